//! Request bodies that are sent in chunks and report their progress, so that a stalled upload is noticed.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use aws_sdk_s3::primitives::{ByteStream, SdkBody};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, sleep_until};

const CHUNK_BYTES: usize = 128 * 1024;

/// When a body last handed over a chunk.
#[derive(Debug, Clone)]
pub(super) struct BodyProgress(Arc<Mutex<Instant>>);

impl BodyProgress {
    fn start() -> Self {
        Self(Arc::new(Mutex::new(Instant::now())))
    }

    /// Completes once the body has made no progress for `timeout`.
    pub(super) async fn stalled(&self, timeout: Duration) {
        loop {
            let deadline = *self.0.lock().unwrap_or_else(PoisonError::into_inner) + timeout;
            if Instant::now() >= deadline {
                return;
            }
            sleep_until(deadline).await;
        }
    }

    fn record(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }
}

/// A body that the SDK can send again, and its progress over all attempts.
pub(super) fn chunked_body(bytes: &Bytes) -> (ByteStream, BodyProgress) {
    let progress = BodyProgress::start();
    let bytes = bytes.clone();
    let recorder = progress.clone();
    let restart = move || SdkBody::from_body_1_x(ChunkedBody { remaining: bytes.clone(), progress: recorder.clone() });
    (ByteStream::new(SdkBody::retryable(restart)), progress)
}

struct ChunkedBody {
    remaining: Bytes,
    progress: BodyProgress,
}

impl Body for ChunkedBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.progress.record();
        let length = self.remaining.len().min(CHUNK_BYTES);
        Poll::Ready((length > 0).then(|| Ok(Frame::data(self.remaining.split_to(length)))))
    }

    fn is_end_stream(&self) -> bool {
        self.remaining.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.remaining.len() as u64)
    }
}
