//! Compares one object with what is recorded of it. An object that cannot be read is a finding of its own, unless the store
//! as a whole does not answer.

use mfctl_core::domain::{ObjectRef, Sha256};
use mfctl_core::ports::{Error, ErrorKind, ObjectStore, Result};

use crate::ops::digest;

/// What is recorded of an object; `None` where nothing is.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Recorded {
    pub(super) size_bytes: Option<u64>,
    pub(super) sha256: Option<Sha256>,
}

/// What is wrong with an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ObjectFault {
    Missing,
    OtherBytes,
    Unreadable,
}

/// The fault of an object with a sentence about it; `None` if it is as recorded. `read`: its bytes are read and hashed too.
///
/// # Errors
/// Those of a store that does not answer for other objects either.
pub(super) async fn check(
    objects: &dyn ObjectStore,
    at: &ObjectRef,
    recorded: Recorded,
    read: bool,
) -> Result<Option<(ObjectFault, String)>> {
    match compare(objects, at, recorded, read).await {
        Ok(fault) => Ok(fault),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Unprepared) => {
            Ok(Some((ObjectFault::Missing, error.full())))
        }
        Err(error) if error.kind().is_dependency() && !answers(objects, at).await => Err(error),
        Err(error) => Ok(Some((ObjectFault::Unreadable, error.full()))),
    }
}

/// Whether the store answers another request, so that an error is about the object alone.
async fn answers(objects: &dyn ObjectStore, at: &ObjectRef) -> bool {
    objects.list(&at.bucket, "", None, 1).await.is_ok()
}

async fn compare(
    objects: &dyn ObjectStore,
    at: &ObjectRef,
    recorded: Recorded,
    read: bool,
) -> Result<Option<(ObjectFault, String)>> {
    let Some(info) = objects.head(at).await? else {
        return Ok(Some((ObjectFault::Missing, format!("{at} is not there"))));
    };
    if let Some(size_bytes) = recorded.size_bytes.filter(|size_bytes| *size_bytes != info.size_bytes) {
        let detail = format!("{at} has {} bytes, the catalog says {size_bytes}", info.size_bytes);
        return Ok(Some((ObjectFault::OtherBytes, detail)));
    }
    let Some(recorded) = recorded.sha256.filter(|_| read) else { return Ok(None) };
    let found = digest::sha256_of(objects.open(at).await?).await.map_err(|error| read_error(at, error))?;
    if found == recorded {
        return Ok(None);
    }
    Ok(Some((ObjectFault::OtherBytes, format!("{at} has SHA-256 {found}, not {recorded}"))))
}

/// The store's own error, which came through the reader, or one of reading the file.
fn read_error(at: &ObjectRef, error: std::io::Error) -> Error {
    match error.downcast::<Error>() {
        Ok(inner) => inner,
        Err(error) => Error::new(ErrorKind::Unreachable, format!("read {at}")).because(error),
    }
}
