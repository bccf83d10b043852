//! Ids from the command line: whole, or by their beginning. `-` reads them from stdin, one a line.

use std::fmt::Display;
use std::io::BufRead;
use std::str::FromStr;

use uuid::Uuid;

use super::context::Connected;
use super::failure::{Failure, FailureKind, OrFail, Result};
use crate::ops::jobs::JobSources;
use crate::ops::target::TargetKind;
use mfctl_core::domain::{AssetId, IdPrefix, JobId};
use mfctl_core::ports::AssetFilter;

/// Longest word of stdin that is read as an id, in bytes.
const MAX_WORD: usize = 1024;

/// Parses all ids; `-` stands for the ids on stdin. Empty lines are skipped.
///
/// # Errors
/// `Usage` for a word that is not an id, with the word; `Invalid` when `-` finds none on stdin.
pub fn parse_all<T: FromStr<Err: Display>>(given: &[String]) -> Result<Vec<T>> {
    parse_all_from(given, &mut std::io::stdin().lock())
}

fn parse_all_from<T: FromStr<Err: Display>>(given: &[String], stdin: &mut dyn BufRead) -> Result<Vec<T>> {
    let mut ids = Vec::new();
    for word in given {
        if word == "-" {
            let before = ids.len();
            read_lines(stdin, &mut ids)?;
            if ids.len() == before {
                return Err(Failure::invalid("stdin has no ids").hint("`-` reads one id a line"));
            }
        } else {
            ids.push(parse_id(word)?);
        }
    }
    Ok(ids)
}

/// Parses one id; `-` stands for the only id on stdin.
///
/// # Errors
/// As [`parse_all`]; `Usage` when stdin has more than one.
pub fn parse_one<T: FromStr<Err: Display>>(given: &str) -> Result<T> {
    let mut ids = parse_all(&[given.to_owned()])?;
    match (ids.pop(), ids.is_empty()) {
        (Some(id), true) => Ok(id),
        _ => Err(Failure::usage("this command takes one id, and stdin has more")),
    }
}

fn parse_id<T: FromStr<Err: Display>>(word: &str) -> Result<T> {
    word.parse().map_err(|error: T::Err| Failure::usage(error.to_string()))
}

/// Reads ids, each ended by a line break or, as `-0` prints them, by a NUL.
fn read_lines<T: FromStr<Err: Display>>(stdin: &mut dyn BufRead, ids: &mut Vec<T>) -> Result<()> {
    let mut word = Vec::new();
    loop {
        let chunk = stdin.fill_buf().or_fail(FailureKind::Invalid, || "cannot read ids from stdin".to_owned())?;
        let at_end = chunk.is_empty();
        let end = chunk.iter().position(|byte| matches!(byte, b'\n' | 0));
        let part = &chunk[..end.unwrap_or(chunk.len())];
        word.extend_from_slice(&part[..part.len().min(MAX_WORD.saturating_sub(word.len()))]);
        let used = end.map_or(chunk.len(), |end| end + 1);
        stdin.consume(used);
        if end.is_none() && !at_end && word.len() < MAX_WORD {
            continue;
        }
        let text = String::from_utf8_lossy(&word);
        if !text.trim().is_empty() {
            ids.push(parse_id(text.trim())?);
        }
        word.clear();
        if at_end {
            return Ok(());
        }
    }
}

/// Most ids that a message names as what a prefix may stand for.
pub(super) const MAX_CANDIDATES: usize = 10;

/// The asset of the profile's tenant whose id begins so. A whole id is returned as it is, whether there is such an asset or not.
///
/// # Errors
/// `NotFound` if no id begins so, `Usage` with the candidates if several do, otherwise those of the catalog.
pub async fn asset(given: IdPrefix, connected: &Connected) -> Result<AssetId> {
    if let Some(id) = given.whole() {
        return Ok(AssetId(id));
    }
    let (low, high) = given.range();
    let filter = AssetFilter { tenant: Some(connected.target.tenant.clone()), ..AssetFilter::default() };
    let before = low.as_u128().checked_sub(1).map(|id| AssetId(Uuid::from_u128(id)).to_string());
    let catalog = &connected.ports.catalog;
    let page = catalog.list(&filter, before.as_deref(), MAX_CANDIDATES + 1).await?;
    let found: Vec<AssetId> = page.items.iter().map(|asset| asset.asset_id).take_while(|id| id.0 <= high).collect();
    match found.as_slice() {
        [] => Err(Failure::not_found(format!("there is no asset whose id begins with {given}"))
            .hint("`mfctl media list` and `mfctl media search` find assets; `mfctl media trace` finds one by path")),
        [id] => Ok(*id),
        several => {
            let paths = catalog.paths(several, 1).await?;
            let names = several.iter().zip(&paths).map(|(id, paths)| match paths.file_name() {
                Some(name) => format!("{id} ({name})"),
                None => id.to_string(),
            });
            Err(ambiguous(given, "assets", names.collect()))
        }
    }
}

/// Fewest digits of an asset's id by which it or its dead letters are changed.
const MIN_DIGITS_TO_CHANGE: u32 = 8;

/// Checks that an id has enough digits to change something by it.
///
/// # Errors
/// `Usage` for fewer digits than [`MIN_DIGITS_TO_CHANGE`].
pub fn require_digits_to_change(given: IdPrefix) -> Result<()> {
    if given.digits() >= MIN_DIGITS_TO_CHANGE {
        return Ok(());
    }
    let message = format!("{given} has too few digits to change something: at least {MIN_DIGITS_TO_CHANGE} are needed");
    Err(Failure::usage(message))
}

/// As [`asset`], for an asset that is to be changed.
///
/// # Errors
/// As [`asset`] and [`require_digits_to_change`].
pub async fn asset_to_change(given: IdPrefix, connected: &Connected) -> Result<AssetId> {
    require_digits_to_change(given)?;
    asset(given, connected).await
}

/// The job of any host whose id begins so. A whole id is returned as it is, whether there is such a job or not.
///
/// # Errors
/// As [`asset`].
pub async fn job(given: IdPrefix, connected: &Connected) -> Result<JobId> {
    if let Some(id) = given.whole() {
        return Ok(JobId(id));
    }
    let (low, high) = given.range();
    let after = high.as_u128().checked_add(1).map(|id| JobId(Uuid::from_u128(id)).to_string());
    let sources = JobSources::of(&connected.ports, &connected.target.tenant);
    let page = sources.page(after.as_deref(), MAX_CANDIDATES + 1).await?;
    if let Some(error) = page.catalog_error {
        return Err(Failure::from(error).hint("give the whole id: the jobs of other hosts are not known"));
    }
    let found: Vec<_> = page.jobs.iter().take_while(|job| job.job_id().0 >= low).collect();
    match found.as_slice() {
        [] => {
            let place = if connected.target.kind == TargetKind::Embedded { " in this data folder" } else { "" };
            Err(Failure::not_found(format!("there is no job{place} whose id begins with {given}"))
                .hint("`mfctl jobs list` shows the jobs"))
        }
        [job] => Ok(job.job_id()),
        several => Err(ambiguous(given, "jobs", several.iter().map(|job| job.summary()).collect())),
    }
}

/// The failure of a prefix that several ids begin with.
pub(super) fn ambiguous(given: IdPrefix, what: &str, mut candidates: Vec<String>) -> Failure {
    if candidates.len() > MAX_CANDIDATES {
        candidates.truncate(MAX_CANDIDATES);
        candidates.push("and more".to_owned());
    }
    Failure::usage(format!("{given} begins the ids of several {what}: {}", candidates.join(", ")))
        .hint("give more digits of the one you mean")
}

#[cfg(test)]
mod tests {
    use super::*;
    use mfctl_core::domain::RecordAddress;

    #[test]
    fn a_dash_reads_ids_from_stdin() {
        let mut stdin: &[u8] = b"a.dlq:0:1\n\n  a.dlq:0:2  \n";
        let given = ["b.dlq:1:1".to_owned(), "-".to_owned()];
        let ids: Vec<RecordAddress> = parse_all_from(&given, &mut stdin).unwrap();
        assert_eq!(ids.iter().map(ToString::to_string).collect::<Vec<_>>(), ["b.dlq:1:1", "a.dlq:0:1", "a.dlq:0:2"]);
    }

    #[test]
    fn ids_on_stdin_may_end_with_a_nul() {
        let mut stdin: &[u8] = b"a.dlq:0:1\0a.dlq:0:2\0";
        let ids: Vec<RecordAddress> = parse_all_from(&["-".to_owned()], &mut stdin).unwrap();
        assert_eq!(ids.iter().map(ToString::to_string).collect::<Vec<_>>(), ["a.dlq:0:1", "a.dlq:0:2"]);
        let mut in_parts = std::io::BufReader::with_capacity(3, &b"a.dlq:0:1\nb.dlq:0:2"[..]);
        let ids: Vec<RecordAddress> = parse_all_from(&["-".to_owned()], &mut in_parts).unwrap();
        assert_eq!(ids.len(), 2);
    }

    #[test]
    fn candidates_of_a_prefix_are_named_and_bounded() {
        let failure = ambiguous("ed6d".parse().unwrap(), "assets", vec!["x".to_owned(); 11]);
        assert_eq!(failure.exit_code(), 2);
        assert!(failure.message().ends_with(": x, x, x, x, x, x, x, x, x, x, and more"), "{failure}");
    }

    #[test]
    fn an_invalid_id_is_named_in_the_error() {
        let wrong = parse_all_from::<RecordAddress>(&["nonsense".to_owned()], &mut std::io::empty()).unwrap_err();
        assert_eq!(wrong.exit_code(), 2);
        assert!(wrong.message().contains("nonsense"), "{wrong}");
        let none = parse_all_from::<RecordAddress>(&["-".to_owned()], &mut std::io::empty()).unwrap_err();
        assert_eq!(none.exit_code(), 6);
        let mut long: &[u8] = &[b'x'; 5000];
        assert_eq!(parse_all_from::<RecordAddress>(&["-".to_owned()], &mut long).unwrap_err().exit_code(), 2);
    }
}
