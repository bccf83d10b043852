//! How a source is cut into parts, and the thread that reads them: a bounded number of bytes at a time.

use std::io::{self, Read};
use std::sync::Arc;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::digest::Sha;
use mfctl_core::domain::ObjectRef;
use mfctl_core::ports::{ByteSource, Error, ErrorKind, Result};

const MIB: u64 = 1024 * 1024;
/// The most parts that the protocol allows.
pub(super) const MOST_PARTS: u64 = 10_000;
/// The smallest part that the protocol allows, the last one apart.
pub(super) const SMALLEST: u64 = 5 * MIB;
/// The usual part.
const USUAL: u64 = 8 * MIB;
/// The largest object that the protocol allows.
const LARGEST: u64 = 5 * 1024 * 1024 * MIB;
/// Bytes of sources in memory at once, over a whole store. One part that is larger has it for itself.
const IN_MEMORY: u32 = 64 << 20;

/// The size of an object's parts: derived from nothing but its size and the setting, so that a put that goes on cuts as
/// the one before it did.
pub(super) fn size_for(len: u64, wanted: Option<u64>) -> u64 {
    let smallest = len.div_ceil(MOST_PARTS).div_ceil(MIB) * MIB;
    wanted.unwrap_or(USUAL).max(USUAL).max(smallest)
}

/// Refuses what no store takes.
pub(super) fn check_size(at: &ObjectRef, len: u64) -> Result<()> {
    if len <= LARGEST {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Invalid, format!("store object {at}: {len} bytes are more than S3's 5 TiB")))
}

/// The bytes of sources that may be in memory.
pub(super) struct Budget(Arc<Semaphore>);

impl Default for Budget {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(IN_MEMORY as usize)))
    }
}

impl Budget {
    /// Waits for room.
    pub(super) async fn room(&self, bytes: u64) -> Option<OwnedSemaphorePermit> {
        room(self.0.clone(), bytes).await
    }
}

async fn room(budget: Arc<Semaphore>, bytes: u64) -> Option<OwnedSemaphorePermit> {
    let wanted = u32::try_from(bytes).unwrap_or(IN_MEMORY).min(IN_MEMORY);
    // Never closed.
    budget.acquire_many_owned(wanted).await.ok()
}

/// A part that was read.
pub(super) struct Part {
    /// From 1.
    pub(super) number: i32,
    pub(super) bytes: Bytes,
    pub(super) sha: Sha,
    /// Its place in memory, given back when it is sent.
    _room: Option<OwnedSemaphorePermit>,
}

/// How reading a source ended.
#[derive(Debug)]
pub(super) enum Reading {
    /// With as many bytes as it said.
    Whole,
    /// With fewer or more.
    Wrong(String),
    /// Nobody wanted the next part.
    Unwanted,
}

/// What the reading thread works with.
pub(super) struct Cutter {
    source: Arc<dyn ByteSource>,
    size: u64,
    budget: Arc<Semaphore>,
    runtime: Handle,
    parts: mpsc::Sender<Part>,
}

impl Budget {
    /// A cutter of this source, and where its parts come out.
    pub(super) fn cutter(&self, source: Arc<dyn ByteSource>, size: u64) -> (Cutter, mpsc::Receiver<Part>) {
        let (parts, receiver) = mpsc::channel(1);
        (Cutter { source, size, budget: self.0.clone(), runtime: Handle::current(), parts }, receiver)
    }
}

impl Cutter {
    /// Reads the source from its beginning to its end, once. Blocks.
    pub(super) fn run(self) -> io::Result<Reading> {
        let expected = self.source.len();
        let mut reader = self.source.reader(0)?;
        let (mut at, mut number) = (0, 0);
        while at < expected {
            let wanted = self.size.min(expected - at);
            let Some(room) = self.wait_for_room(wanted) else { return Ok(Reading::Unwanted) };
            let bytes = read_up_to(reader.as_mut(), wanted)?;
            at += bytes.len() as u64;
            if (bytes.len() as u64) < wanted {
                return Ok(Reading::Wrong(format!("expected {expected} bytes, found only {at}")));
            }
            number += 1;
            let part = Part { number, sha: Sha::of(&bytes), bytes: bytes.into(), _room: Some(room) };
            if self.parts.blocking_send(part).is_err() {
                return Ok(Reading::Unwanted);
            }
        }
        Ok(match read_up_to(reader.as_mut(), 1)?.is_empty() {
            true => Reading::Whole,
            false => Reading::Wrong(format!("expected {expected} bytes, found more")),
        })
    }

    /// Room for a part; `None` when nobody wants it any more.
    fn wait_for_room(&self, bytes: u64) -> Option<OwnedSemaphorePermit> {
        self.runtime.block_on(async {
            tokio::select! {
                room = room(self.budget.clone(), bytes) => room,
                () = self.parts.closed() => None,
            }
        })
    }
}

/// Reads a small source whole. Blocks.
pub(super) fn read_whole(source: &dyn ByteSource) -> io::Result<Result<Vec<u8>, String>> {
    let expected = source.len();
    let bytes = read_up_to(source.reader(0)?.as_mut(), expected + 1)?;
    let found = bytes.len() as u64;
    Ok(match found.cmp(&expected) {
        std::cmp::Ordering::Equal => Ok(bytes),
        std::cmp::Ordering::Less => Err(format!("expected {expected} bytes, found only {found}")),
        std::cmp::Ordering::Greater => Err(format!("expected {expected} bytes, found more")),
    })
}

/// Reads this many bytes, fewer only at the end.
fn read_up_to(reader: &mut dyn Read, wanted: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(usize::try_from(wanted).unwrap_or(0));
    reader.take(wanted).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The digests of a source's parts, without keeping them. Blocks.
pub(super) fn digests(source: &dyn ByteSource, size: u64, each: &mut dyn FnMut(&[u8], bool)) -> io::Result<bool> {
    let mut reader = source.reader(0)?;
    let mut buffer = vec![0; usize::try_from(MIB.min(size)).unwrap_or(1)];
    let (mut at, mut in_part) = (0u64, 0u64);
    loop {
        let wanted = usize::try_from(size - in_part).unwrap_or(usize::MAX).min(buffer.len());
        let read = match reader.read(&mut buffer[..wanted]) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        at += read as u64;
        in_part += read as u64;
        let ends = in_part == size;
        each(&buffer[..read], ends);
        if ends {
            in_part = 0;
        }
    }
    if in_part > 0 {
        each(&[], true);
    }
    Ok(at == source.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_never_too_many_parts_nor_too_small_ones() {
        for len in [1, 16 * MIB, 2048 * MIB, 100 << 30, 1 << 40, LARGEST] {
            for wanted in [None, Some(1), Some(50 * MIB)] {
                let size = size_for(len, wanted);
                assert!(len.div_ceil(size) <= MOST_PARTS && size >= USUAL, "{len} {wanted:?}: {size}");
            }
        }
        assert_eq!(size_for(2048 * MIB, None), USUAL);
        assert_eq!(size_for(2048 * MIB, Some(50 * MIB)), 50 * MIB);
    }
}
