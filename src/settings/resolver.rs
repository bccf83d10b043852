//! The values of each key in every layer, and the effective one.

use super::error::Error;
use super::key::SettingKey;
use super::origin::{LayerValue, RefusedSetting, ResolvedSetting};
use super::value::SettingValue;

/// The values of every key, lowest layer first.
#[derive(Debug, Default)]
pub(super) struct Resolver {
    candidates: Vec<(&'static SettingKey, Candidates)>,
}

/// The values of one key.
#[derive(Debug, Default)]
struct Candidates {
    valid: Vec<LayerValue>,
    /// Those above the last valid one that must not be used.
    refused: Vec<LayerValue>,
}

impl Resolver {
    pub(super) fn add(&mut self, key: &'static SettingKey, candidates: impl Iterator<Item = LayerValue>) {
        let mut all = Candidates::default();
        for candidate in candidates {
            if candidate.problem.is_some() {
                all.refused.push(candidate);
            } else {
                all.refused.clear();
                all.valid.push(candidate);
            }
        }
        self.candidates.push((key, all));
    }

    pub(super) fn winner(&self, name: &str) -> Option<&LayerValue> {
        self.candidates.iter().find(|(key, _)| key.name == name).and_then(|(_, all)| all.valid.last())
    }

    /// The effective value as its type. Every value was validated when its layer was read.
    pub(super) fn typed<T: SettingValue>(&self, name: &str) -> Result<T, Error> {
        let winner = self.winner(name).ok_or_else(|| Error::invalid(format!("{name} is not set")))?;
        T::parse(&winner.raw).ok_or_else(|| {
            let error = Error::invalid(format!("{name} expects {}", T::EXPECTS));
            match &winner.origin.location {
                Some(place) => error.at(place.clone()),
                None => error,
            }
        })
    }

    /// As [`Resolver::typed`]; `None` where no layer has a value.
    pub(super) fn optional<T: SettingValue>(&self, name: &str) -> Result<Option<T>, Error> {
        self.winner(name).map(|_| self.typed(name)).transpose()
    }

    /// The effective value of every key, with the values it overrides.
    pub(super) fn resolved(&self) -> Vec<ResolvedSetting> {
        self.candidates.iter().filter_map(|(key, all)| resolve(key, all)).collect()
    }
}

fn resolve(key: &SettingKey, candidates: &Candidates) -> Option<ResolvedSetting> {
    let shown = |candidate: &LayerValue| key.canonical(&candidate.raw).unwrap_or_else(|| candidate.raw.to_string());
    let (winner, below) = candidates.valid.split_last()?;
    let refused = candidates.refused.iter().rev().map(|candidate| RefusedSetting {
        key: key.name.to_owned(),
        value: key.canonical(&candidate.raw),
        origin: candidate.origin.clone(),
        reason: candidate.problem.clone().unwrap_or_default(),
    });
    Some(ResolvedSetting {
        key: key.name.to_owned(),
        value: shown(winner),
        origin: winner.origin.clone(),
        hidden: below.iter().rev().map(|candidate| (shown(candidate), candidate.origin.clone())).collect(),
        refused: refused.collect(),
    })
}
