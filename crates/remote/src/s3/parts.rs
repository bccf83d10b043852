//! Splits a source into parts and reads them on a blocking thread, with a bounded number of bytes in memory.

use std::io::{self, Read};
use std::sync::Arc;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::digest::PayloadSha256;
use mfctl_core::domain::ObjectRef;
use mfctl_core::ports::{ByteSource, Error, ErrorKind, Result};

const MIB: u64 = 1024 * 1024;
/// The most parts of an upload that the protocol allows.
pub(super) const MAX_PARTS: u64 = 10_000;
/// The smallest part that the protocol allows, except for the last one.
pub(super) const MIN_PART_BYTES: u64 = 5 * MIB;
/// The default size of a part, and the smallest that a setting can give.
const DEFAULT_PART_BYTES: u64 = 8 * MIB;
/// The largest object that the protocol allows.
const MAX_OBJECT_BYTES: u64 = 5 * 1024 * 1024 * MIB;
/// Bytes of sources in memory at once, per store. A larger part takes all of it.
const MAX_BUFFERED_BYTES: u32 = 64 << 20;

/// The size of an object's parts: a function of the object's size and the setting alone, so that a resumed upload is split
/// in the same way as the interrupted one.
pub(super) fn part_size_for(len: u64, wanted: Option<u64>) -> u64 {
    let smallest = len.div_ceil(MAX_PARTS).div_ceil(MIB) * MIB;
    wanted.unwrap_or(DEFAULT_PART_BYTES).max(DEFAULT_PART_BYTES).max(smallest)
}

/// # Errors
/// `Invalid` for an object that is larger than the protocol allows.
pub(super) fn check_object_size(at: &ObjectRef, len: u64) -> Result<()> {
    if len <= MAX_OBJECT_BYTES {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Invalid, format!("store object {at}: {len} bytes exceed the S3 limit of 5 TiB")))
}

/// The memory for sources, shared by all puts of a store.
#[derive(Clone)]
pub(super) struct BufferBudget(Arc<Semaphore>);

impl Default for BufferBudget {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MAX_BUFFERED_BYTES as usize)))
    }
}

impl BufferBudget {
    /// Waits until this many bytes may be buffered. Dropping the permit releases them.
    pub(super) async fn reserve(&self, bytes: u64) -> Option<OwnedSemaphorePermit> {
        let bytes = u32::try_from(bytes).unwrap_or(MAX_BUFFERED_BYTES).min(MAX_BUFFERED_BYTES);
        // The semaphore is never closed.
        self.0.clone().acquire_many_owned(bytes).await.ok()
    }

    /// A reader that splits this source into parts, and the channel that it sends them to.
    pub(super) fn part_reader(
        &self,
        source: Arc<dyn ByteSource>,
        part_size: u64,
    ) -> (PartReader, mpsc::Receiver<SourcePart>) {
        let (parts, receiver) = mpsc::channel(1);
        let reader = PartReader { source, part_size, budget: self.clone(), runtime: Handle::current(), parts };
        (reader, receiver)
    }
}

/// The error for a source that cannot be read.
pub(super) fn unreadable_source(at: &ObjectRef, error: io::Error) -> Error {
    Error::new(ErrorKind::Invalid, format!("read the source of object {at}")).because(error)
}

/// The error for a source whose length is not the announced one.
pub(super) fn length_mismatch(at: &ObjectRef, why: &str) -> Error {
    Error::new(ErrorKind::Invalid, format!("store object {at}: {why}"))
}

/// A part of a source.
pub(super) struct SourcePart {
    /// From 1.
    pub(super) number: i32,
    pub(super) bytes: Bytes,
    pub(super) sha256: PayloadSha256,
    /// Its share of the buffer budget, released when the part is dropped.
    _reservation: Option<OwnedSemaphorePermit>,
}

/// How reading a source ended.
#[derive(Debug)]
pub(super) enum ReadOutcome {
    /// With as many bytes as the source announced.
    Complete,
    /// With fewer or more; the text says how many.
    LengthMismatch(String),
    /// The receiver of the parts was dropped.
    ReceiverDropped,
}

/// Reads a source on a blocking thread.
pub(super) struct PartReader {
    source: Arc<dyn ByteSource>,
    part_size: u64,
    budget: BufferBudget,
    runtime: Handle,
    parts: mpsc::Sender<SourcePart>,
}

impl PartReader {
    /// Reads the source once, from beginning to end. Blocks.
    pub(super) fn run(self) -> io::Result<ReadOutcome> {
        let expected = self.source.len();
        let mut reader = self.source.reader(0)?;
        let mut offset = 0;
        let mut number = 0;
        while offset < expected {
            let wanted = self.part_size.min(expected - offset);
            let Some(reservation) = self.reserve(wanted) else { return Ok(ReadOutcome::ReceiverDropped) };
            let bytes = read_up_to(reader.as_mut(), wanted)?;
            offset += bytes.len() as u64;
            if (bytes.len() as u64) < wanted {
                return Ok(ReadOutcome::LengthMismatch(too_short(expected, offset)));
            }
            number += 1;
            let sha256 = PayloadSha256::of(&bytes);
            let part = SourcePart { number, sha256, bytes: bytes.into(), _reservation: Some(reservation) };
            if self.parts.blocking_send(part).is_err() {
                return Ok(ReadOutcome::ReceiverDropped);
            }
        }
        Ok(match read_up_to(reader.as_mut(), 1)?.is_empty() {
            true => ReadOutcome::Complete,
            false => ReadOutcome::LengthMismatch(too_long(expected)),
        })
    }

    /// Memory for a part; `None` once the receiver is dropped.
    fn reserve(&self, bytes: u64) -> Option<OwnedSemaphorePermit> {
        self.runtime.block_on(async {
            tokio::select! {
                reservation = self.budget.reserve(bytes) => reservation,
                () = self.parts.closed() => None,
            }
        })
    }
}

fn too_short(expected: u64, found: u64) -> String {
    format!("expected {expected} bytes, found only {found}")
}

fn too_long(expected: u64) -> String {
    format!("expected {expected} bytes, found more")
}

/// Reads a whole source into memory; the inner error is a length other than announced. Blocks.
pub(super) fn read_whole(source: &dyn ByteSource) -> io::Result<Result<Vec<u8>, String>> {
    let expected = source.len();
    let bytes = read_up_to(source.reader(0)?.as_mut(), expected + 1)?;
    let found = bytes.len() as u64;
    Ok(match found.cmp(&expected) {
        std::cmp::Ordering::Equal => Ok(bytes),
        std::cmp::Ordering::Less => Err(too_short(expected, found)),
        std::cmp::Ordering::Greater => Err(too_long(expected)),
    })
}

/// Reads this many bytes; fewer only at the end.
fn read_up_to(reader: &mut dyn Read, wanted: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(usize::try_from(wanted).unwrap_or(0));
    reader.take(wanted).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Passes a source through `each` in small chunks; the flag says that a part ends with the chunk, which may be empty.
/// Returns whether the source had the announced length. Blocks.
pub(super) fn for_each_chunk(
    source: &dyn ByteSource,
    part_size: u64,
    each: &mut dyn FnMut(&[u8], bool),
) -> io::Result<bool> {
    let mut reader = source.reader(0)?;
    let mut buffer = vec![0; usize::try_from(MIB.min(part_size)).unwrap_or(1)];
    let mut offset = 0u64;
    let mut in_part = 0u64;
    loop {
        let wanted = usize::try_from(part_size - in_part).unwrap_or(usize::MAX).min(buffer.len());
        let read = match reader.read(&mut buffer[..wanted]) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        offset += read as u64;
        in_part += read as u64;
        let is_part_end = in_part == part_size;
        each(&buffer[..read], is_part_end);
        if is_part_end {
            in_part = 0;
        }
    }
    if in_part > 0 {
        each(&[], true);
    }
    Ok(offset == source.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn part_size_respects_the_protocol_limits() {
        for len in [1, 16 * MIB, 2048 * MIB, 100 << 30, 1 << 40, MAX_OBJECT_BYTES] {
            for wanted in [None, Some(1), Some(50 * MIB)] {
                let size = part_size_for(len, wanted);
                assert!(len.div_ceil(size) <= MAX_PARTS && size >= DEFAULT_PART_BYTES, "{len} {wanted:?}: {size}");
            }
        }
        assert_eq!(part_size_for(2048 * MIB, None), DEFAULT_PART_BYTES);
        assert_eq!(part_size_for(2048 * MIB, Some(50 * MIB)), 50 * MIB);
    }
}
