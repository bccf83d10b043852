//! The body of a request that stores bytes: it goes piece by piece, so that a standstill is noticed.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use aws_sdk_s3::primitives::{ByteStream, SdkBody};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;

/// Bytes that are handed over at once.
const PIECE: usize = 128 * 1024;

/// When a body last moved.
#[derive(Debug, Clone)]
pub(super) struct Progress(Arc<Mutex<Instant>>);

impl Progress {
    /// Waits until the body has not moved for so long.
    pub(super) async fn still_for(&self, long: Duration) {
        loop {
            let end = *self.0.lock().unwrap_or_else(PoisonError::into_inner) + long;
            if Instant::now() >= end {
                return;
            }
            tokio::time::sleep_until(end).await;
        }
    }

    fn moved(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }
}

/// A body of these bytes that can be sent again, and how it gets on.
pub(super) fn body(bytes: &Bytes) -> (ByteStream, Progress) {
    let progress = Progress(Arc::new(Mutex::new(Instant::now())));
    let (bytes, told) = (bytes.clone(), progress.clone());
    let fresh = move || SdkBody::from_body_1_x(Pieces { left: bytes.clone(), told: told.clone() });
    (ByteStream::new(SdkBody::retryable(fresh)), progress)
}

struct Pieces {
    left: Bytes,
    told: Progress,
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.told.moved();
        let length = self.left.len().min(PIECE);
        Poll::Ready((length > 0).then(|| Ok(Frame::data(self.left.split_to(length)))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left.len() as u64)
    }
}
