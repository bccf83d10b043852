//! The ends of the parts of a list or manifest whose end was not read: each may be a piece of an entry.

use std::ops::ControlFlow;

use super::error::Error;
use super::input::{JobInputs, PartReader};
use mfctl_core::domain::job::InputKind;

/// Bytes of a tail that a reason shows.
const SHOWN_BYTES: usize = 80;

/// What a part whose end was not read ended with.
#[derive(Debug)]
pub(super) struct OpenTail {
    /// Number of the part.
    pub(super) part: u32,
    /// The number of the line or entry that it begins on.
    pub(super) line: u64,
    /// Its bytes.
    bytes: Vec<u8>,
    /// The entry before it in the part; `None` if it is the first one.
    previous: Option<Vec<u8>>,
}

/// Reads all parts of an input with `read`. Returns the tails of which no part had the whole entry; none while the end of the
/// input is not read.
///
/// # Errors
/// A part that cannot be opened; those of `read`.
pub(super) fn read_parts(
    inputs: &JobInputs,
    kind: InputKind,
    mut read: impl FnMut(PartReader<'_>, &mut OpenTails) -> Result<ControlFlow<()>, Error>,
) -> Result<ControlFlow<(), Vec<OpenTail>>, Error> {
    let mut tails = OpenTails::default();
    for part in inputs.open(kind) {
        if read(part?, &mut tails)?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    if !inputs.ended(kind) {
        return Ok(ControlFlow::Continue(Vec::new()));
    }
    tails.tails.iter().for_each(|tail| inputs.count_entry(kind, tail.part));
    Ok(ControlFlow::Continue(tails.tails))
}

/// The open tails of the parts that were read, until a later part has the whole entry.
///
/// An entry of a later part is the whole of a tail if it begins with the tail's bytes and follows the same entry. Without that
/// entry nothing shows that it is not the next one, whose name begins alike.
#[derive(Debug, Default)]
pub(super) struct OpenTails {
    tails: Vec<OpenTail>,
    /// The entry that was read last in this part.
    previous: Option<Vec<u8>>,
}

impl OpenTails {
    /// The next entry is the first one of a part.
    pub(super) fn begin_part(&mut self) {
        self.previous = None;
    }

    /// Notes an entry that was read in whole.
    pub(super) fn whole_entry(&mut self, bytes: &[u8]) {
        let previous = self.previous.as_deref();
        self.tails.retain(|tail| {
            let is_whole = previous == tail.previous.as_deref() && bytes.starts_with(&tail.bytes);
            !is_whole
        });
        let kept = self.previous.get_or_insert_default();
        kept.clear();
        kept.extend_from_slice(bytes);
    }

    /// Notes what a part ended with whose end was not read.
    pub(super) fn open_tail(&mut self, part: u32, line: u64, bytes: &[u8]) {
        let previous = self.previous.take();
        self.tails.push(OpenTail { part, line, bytes: bytes.to_vec(), previous });
    }
}

impl OpenTail {
    /// Why the entry is refused; `what` is "the list" or "the manifest".
    pub(super) fn reason(&self, what: &str) -> String {
        let head = &self.bytes[..self.bytes.len().min(SHOWN_BYTES)];
        let text = String::from_utf8_lossy(head.trim_ascii());
        format!("is cut off: {what} broke off in it, after {text:?}, and what was given later does not have it")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tails that are left of parts, each with its entries and its tail.
    fn left(parts: &[(&[&str], Option<&str>)]) -> Vec<(u32, u64)> {
        let mut tails = OpenTails::default();
        for (part, (entries, tail)) in (1..).zip(parts) {
            tails.begin_part();
            entries.iter().for_each(|entry| tails.whole_entry(entry.as_bytes()));
            if let Some(tail) = tail {
                tails.open_tail(part, entries.len() as u64 + 1, tail.as_bytes());
            }
        }
        tails.tails.iter().map(|tail| (tail.part, tail.line)).collect()
    }

    #[test]
    fn tail_is_completed_by_the_entry_in_its_place() {
        let cut: (&[&str], Option<&str>) = (&["a", "b"], Some("c"));
        assert_eq!(left(&[cut]), [(1, 3)]);
        assert_eq!(left(&[cut, (&["a", "b", "cd", "e"], None)]), [], "all of it again");
        assert_eq!(left(&[cut, (&["b", "cd", "e"], None)]), [], "the rest, from the last whole entry on");
        assert_eq!(left(&[cut, (&["cx", "e"], None)]), [(1, 3)], "perhaps another entry that begins alike");
        assert_eq!(left(&[cut, (&["e", "cx"], None)]), [(1, 3)], "another entry that begins alike");
        assert_eq!(left(&[cut, (&["e"], None)]), [(1, 3)]);
        let first: (&[&str], Option<&str>) = (&[], Some("c"));
        assert_eq!(left(&[first, (&["a", "cd"], None)]), [(1, 1)]);
        assert_eq!(left(&[first, (&["ca"], Some("d")), (&["ca"], Some("de")), (&["ca", "def"], None)]), []);
        assert_eq!(left(&[first, (&["b"], None), (&["ca"], None)]), []);
    }
}
