//! Dead letters from the command line: by their addresses, or by the id of their asset or its beginning.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use crate::cli::context::Connected;
use crate::cli::failure::{Failure, Result};
use crate::cli::ids;
use crate::cli::output::{Output, humane};
use crate::dlq::list::{self, DeadLetterFilter, ListedDeadLetter};
use mfctl_core::domain::{AssetId, IdPrefix, RecordAddress};
use mfctl_core::events::ledger::Ledger;
use mfctl_core::ports;

/// Most dead letters of one asset.
const MAX_OF_ASSET: usize = 1000;

/// A dead letter as it is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GivenDeadLetter {
    /// By its address.
    Address(RecordAddress),
    /// By its asset.
    OfAsset(IdPrefix),
}

impl FromStr for GivenDeadLetter {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        text.parse().map(Self::Address).or_else(|error| match text.parse() {
            Ok(given) => Ok(Self::OfAsset(given)),
            Err(_) if text.contains(':') => Err(format!("{error}")),
            Err(_) => {
                Err(format!("{error}, nor the id of an asset or its beginning with at least 4 hexadecimal digits"))
            }
        })
    }
}

/// The dead letters to redrive or discard, parked ones among them where `with_parked`. Those that are given by their asset are named in a note before anything is changed.
///
/// # Errors
/// `Usage` for fewer digits than 8 or several assets, `NotFound` for an asset without an unresolved dead letter, otherwise
/// those of the log.
pub async fn to_change(
    given: Vec<GivenDeadLetter>,
    with_parked: bool,
    connected: &Connected,
    out: &Output,
) -> Result<Vec<RecordAddress>> {
    for one in &given {
        if let GivenDeadLetter::OfAsset(given) = one {
            ids::require_digits_to_change(*given)?;
        }
    }
    let mut addresses = Vec::with_capacity(given.len());
    let filter = DeadLetterFilter { with_parked, ..DeadLetterFilter::default() };
    let found = of_assets(&given, filter, false, connected).await?;
    for one in given {
        match one {
            GivenDeadLetter::Address(address) => addresses.push(address),
            GivenDeadLetter::OfAsset(given) => {
                let (asset, letters) = the_only_asset(given, &found)?;
                if letters.len() > MAX_OF_ASSET {
                    let message = format!("asset {asset} has more than {MAX_OF_ASSET} dead letters");
                    return Err(Failure::usage(message).hint("select them with --topic, --kind or by their ids"));
                }
                let ids: Vec<String> = letters.iter().map(|letter| letter.id.to_string()).collect();
                out.note(format!("asset {asset}: {}", ids.join(", ")));
                addresses.extend(letters.iter().map(|letter| letter.id.clone()));
            }
        }
    }
    Ok(addresses)
}

/// The one dead letter to show: of an asset, the one that is unresolved, or resolved if none is.
///
/// # Errors
/// `Usage` for several assets or dead letters, each named, otherwise as [`to_change`].
pub async fn to_show(given: GivenDeadLetter, connected: &Connected) -> Result<RecordAddress> {
    let prefix = match given {
        GivenDeadLetter::Address(address) => return Ok(address),
        GivenDeadLetter::OfAsset(prefix) => prefix,
    };
    let filter = DeadLetterFilter { with_parked: true, ..DeadLetterFilter::default() };
    let found = of_assets(&[given], filter, true, connected).await?;
    let (asset, letters) = the_only_asset(prefix, &found)?;
    let unresolved: Vec<&ListedDeadLetter> = letters.iter().filter(|letter| letter.resolution.is_none()).collect();
    let letters = if unresolved.is_empty() { letters.iter().collect() } else { unresolved };
    match letters.as_slice() {
        [only] => Ok(only.id.clone()),
        several => {
            let ids = several.iter().take(ids::MAX_CANDIDATES).map(|letter| letter.id.to_string());
            let ids: Vec<String> = ids.collect();
            let count = humane::counted(several.len() as u64, "dead letter", "dead letters");
            Err(Failure::usage(format!("asset {asset} has {count}: {}", ids.join(", ")))
                .hint("give the id of the one you mean"))
        }
    }
}

type LettersByAsset = BTreeMap<AssetId, Vec<ListedDeadLetter>>;

/// The dead letters of the given assets that pass the filter: the unresolved ones, or those `with_resolved` too.
async fn of_assets(
    given: &[GivenDeadLetter],
    filter: DeadLetterFilter,
    with_resolved: bool,
    connected: &Connected,
) -> Result<LettersByAsset> {
    let prefixes: Vec<IdPrefix> = given
        .iter()
        .filter_map(|one| match one {
            GivenDeadLetter::OfAsset(given) => Some(*given),
            GivenDeadLetter::Address(_) => None,
        })
        .collect();
    let mut found = LettersByAsset::new();
    if prefixes.is_empty() {
        return Ok(found);
    }
    let log = connected.ports.log.as_ref();
    let ledger = Ledger::load(log).await?;
    list::for_each_dead_letter::<ports::Error>(log, &ledger, &filter, |letter| {
        let of_asset = letter.asset_id.filter(|asset| prefixes.iter().any(|prefix| prefix.matches(asset.0)));
        if let Some(asset) = of_asset.filter(|_| with_resolved || letter.resolution.is_none()) {
            // Enough assets to name the candidates of each prefix, and enough dead letters of each.
            if found.len() <= prefixes.len() * ids::MAX_CANDIDATES || found.contains_key(&asset) {
                let letters = found.entry(asset).or_default();
                if letters.len() <= MAX_OF_ASSET {
                    letters.push(letter);
                }
            }
        }
        Ok(())
    })
    .await?;
    Ok(found)
}

fn the_only_asset(given: IdPrefix, found: &LettersByAsset) -> Result<(AssetId, &[ListedDeadLetter])> {
    let assets: BTreeSet<AssetId> = found.keys().copied().filter(|asset| given.matches(asset.0)).collect();
    let mut assets = assets.into_iter();
    match (assets.next(), assets.next()) {
        (Some(asset), None) => Ok((asset, found.get(&asset).map(Vec::as_slice).unwrap_or_default())),
        (None, _) => Err(Failure::not_found(format!("no asset whose id begins with {given} has such a dead letter"))
            .hint("`mfctl dlq list --each` shows the dead letters with their assets")),
        (Some(first), Some(second)) => {
            let candidates = [first, second].into_iter().chain(assets).map(|asset| asset.to_string());
            Err(ids::ambiguous(given, "assets", candidates.collect()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_letter_is_given_by_its_address_or_its_asset() {
        let parse = |text: &str| text.parse::<GivenDeadLetter>();
        assert!(matches!(parse("media.ingested.dlq:3:42"), Ok(GivenDeadLetter::Address(_))));
        assert!(matches!(parse("ed6de839"), Ok(GivenDeadLetter::OfAsset(given)) if given.digits() == 8));
        for wrong in ["nonsense", "ed6", "a.dlq:x:1"] {
            assert!(parse(wrong).unwrap_err().contains(wrong), "{wrong}");
        }
    }
}
