//! Reads from a file, pipe, FIFO or terminal, and ends the wait for more when a stop is requested.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::WaitNotice;
use mfctl_core::stop::Stop;

/// How often a wait looks for a stop request.
const POLL_INTERVAL: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
/// After this long without a first byte, a notice says what the job waits for.
const NOTICE_AFTER: Duration = Duration::from_secs(2);

/// A reader whose waits end when a stop is requested: with an error, which is not the end of the input.
pub(super) struct InterruptibleFile {
    file: File,
    stop: Stop,
    name: String,
    opened: Instant,
    /// Called once if the first byte is long in coming.
    notice: Option<WaitNotice>,
}

impl InterruptibleFile {
    pub(super) fn new(file: File, name: &str, stop: Stop, notice: WaitNotice) -> Self {
        Self { file, stop, name: name.to_owned(), opened: Instant::now(), notice: Some(notice) }
    }

    /// Whether there is something to read, or the end, after a wait of at most [`POLL_INTERVAL`].
    ///
    /// On a FIFO that no writer has opened yet this is false, whereas a read would report the end.
    fn is_ready(&self) -> io::Result<bool> {
        let mut fds = [PollFd::new(&self.file, PollFlags::IN)];
        match poll(&mut fds, Some(&POLL_INTERVAL)) {
            Ok(ready) => Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }

    fn notify_if_late(&mut self) {
        if self.opened.elapsed() >= NOTICE_AFTER
            && let Some(notice) = self.notice.take()
        {
            notice(&format!("waiting for {}: nothing has been written to it yet", self.name));
        }
    }
}

impl Read for InterruptibleFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.stop.requested().is_some() {
                return Err(io::Error::other("a stop was requested"));
            }
            if !self.is_ready()? {
                self.notify_if_late();
                continue;
            }
            match self.file.read(buffer) {
                Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => {}
                read => {
                    self.notice = None;
                    return read;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Arc;
    use std::sync::mpsc;

    use mfctl_core::stop::StopReason;
    use rustix::fs::Mode;

    use super::super::super::read::open;
    use super::*;

    #[test]
    fn fifo_is_read_once_it_has_a_writer_and_a_stop_ends_the_wait() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let (notified, notices) = mpsc::channel();
        let notified = std::sync::Mutex::new(notified);
        let notice: WaitNotice = Arc::new(move |text: &str| notified.lock().unwrap().send(text.to_owned()).unwrap());
        let (stopper, stop) = Stop::channel();
        let mut reader = InterruptibleFile::new(open(&path).unwrap(), "fifo", stop.clone(), notice.clone());
        let reading = std::thread::spawn(move || {
            let mut text = String::new();
            reader.read_to_string(&mut text).map(|_| text)
        });
        // The notice shows that the reader waits, although the FIFO has no writer.
        assert!(notices.recv().unwrap().contains("waiting for fifo"));
        let mut writer = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        writer.write_all(b"a\n").unwrap();
        drop(writer);
        assert_eq!(reading.join().unwrap().unwrap(), "a\n");

        let mut reader = InterruptibleFile::new(open(&path).unwrap(), "fifo", stop, notice);
        let reading = std::thread::spawn(move || reader.read(&mut [0; 9]));
        assert!(notices.recv().unwrap().contains("waiting"));
        stopper.stop(StopReason::Interrupted);
        assert!(reading.join().unwrap().is_err());
    }
}
