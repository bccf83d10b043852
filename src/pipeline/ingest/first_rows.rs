//! The first row of each file in a manifest, so that a later row that says something else of the file is found.

use std::os::unix::ffi::OsStrExt;

use mfctl_core::domain::Sha256;
use mfctl_core::ports::{Error, ErrorKind, Result};

use super::candidate::IngestCandidate;
use super::spooled_map::{SpooledMap, VALUE_BYTES, Value};

/// Where a row of a manifest is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RowPlace {
    /// Number of the part, from 1.
    pub(super) part: u32,
    /// Number of the line in that part, from 1.
    pub(super) line: u64,
}

/// What a row is to the rows before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repetition {
    /// The first row of its file.
    No,
    /// It says the same of its file as the first row.
    Same,
    /// It says something else than the first row, which is here.
    Differs(RowPlace),
}

/// The first row of each path, in bounded memory.
pub(super) struct FirstRows {
    by_path: SpooledMap,
}

impl FirstRows {
    pub(super) fn new() -> Result<Self> {
        Ok(Self { by_path: SpooledMap::new()? })
    }

    /// Compares a row, `text`, that was read as this candidate, with the first one of the same path.
    pub(super) fn compare(&mut self, row: &IngestCandidate, place: RowPlace, text: &[u8]) -> Result<Repetition> {
        // Of a row that is refused, only the text is known.
        let said = match &row.declared {
            Some(declared) => Sha256::of(&serde_json::to_vec(declared).map_err(|error| {
                Error::new(ErrorKind::Internal, "compare the rows of a manifest that name one file").because(error)
            })?),
            None => Sha256::of(text),
        };
        let first = self.by_path.get_or_insert(row.path.as_os_str().as_bytes(), &to_value(place, &said))?;
        Ok(match first.as_ref().map(from_value) {
            None => Repetition::No,
            Some((_, first_said)) if first_said == said => Repetition::Same,
            Some((first_place, _)) => Repetition::Differs(first_place),
        })
    }
}

/// The part, the line and the digest of what the row says.
fn to_value(place: RowPlace, said: &Sha256) -> Value {
    let mut value = [0; VALUE_BYTES];
    value[..4].copy_from_slice(&place.part.to_le_bytes());
    value[4..12].copy_from_slice(&place.line.to_le_bytes());
    value[12..44].copy_from_slice(&said.0);
    value
}

fn from_value(value: &Value) -> (RowPlace, Sha256) {
    let mut part = [0; 4];
    let mut line = [0; 8];
    let mut said = [0; 32];
    part.copy_from_slice(&value[..4]);
    line.copy_from_slice(&value[4..12]);
    said.copy_from_slice(&value[12..44]);
    (RowPlace { part: u32::from_le_bytes(part), line: u64::from_le_bytes(line) }, Sha256(said))
}
