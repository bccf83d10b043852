//! The parser's fork server: a process of this program that forks one process for each file.
//!
//! Starting this program takes milliseconds, most of them to relocate its code; a fork takes a fraction of one. The server reads
//! neither files nor replies, so every process that it forks begins in the same state.
//!
//! Requests arrive on a Unix socket, one after the other: a line with a [`super::child::ParserRequest`] in JSON, and with it
//! the descriptors of the file, of the pipe for the reply, and of the pipe for messages. Each is answered by a [`ForkReply`]
//! once the process has ended. The server ends when its parent closes the socket.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, recvmsg, send};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, getpid, getppid, kill_process, pidfd_open, set_parent_process_death_signal,
    waitpid,
};
use rustix::stdio;

use super::child::{EXIT_UNGUARDED, parse};

/// The argument that starts the server, in the place of a request.
pub(super) const SERVE: &str = "serve";

/// How a process that the server forked ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ForkReply {
    /// With this status, as `waitpid` has it.
    Ended(i32),
    /// It could not be forked, for the reason with this number.
    NotForked(i32),
}

impl ForkReply {
    pub(super) const BYTES: usize = 8;

    fn to_bytes(self) -> [u8; Self::BYTES] {
        let (kind, number) = match self {
            Self::Ended(status) => (0_i32, status),
            Self::NotForked(error) => (1, error),
        };
        let mut bytes = [0; Self::BYTES];
        bytes[..4].copy_from_slice(&kind.to_le_bytes());
        bytes[4..].copy_from_slice(&number.to_le_bytes());
        bytes
    }

    /// `None` if the bytes are no reply.
    pub(super) fn of_bytes(bytes: &[u8]) -> Option<Self> {
        let (kind, number) = bytes.split_first_chunk::<4>()?;
        let number = i32::from_le_bytes(number.try_into().ok()?);
        match i32::from_le_bytes(*kind) {
            0 => Some(Self::Ended(number)),
            1 => Some(Self::NotForked(number)),
            _ => None,
        }
    }
}

/// Runs the server, whose socket is standard input; returns the exit status of the server, or of a process that it forked.
pub(super) fn serve() -> u8 {
    serve_requests().unwrap_or(EXIT_UNGUARDED)
}

fn serve_requests() -> io::Result<u8> {
    let server = getpid();
    let socket = fcntl_dupfd_cloexec(stdio::stdin(), 3)?;
    let nothing = File::open("/dev/null")?;
    stdio::dup2_stdin(&nothing)?;
    loop {
        let Some((request, [file, reply, messages])) = receive(&socket)? else { return Ok(0) };
        // The server has the file as standard input too, so that the list of processes shows which one it waits for.
        stdio::dup2_stdin(&file)?;
        drop(file);
        let answer = match fork() {
            Ok(None) => {
                drop(socket);
                set_parent_process_death_signal(Some(Signal::KILL))?;
                if getppid() != Some(server) {
                    return Ok(EXIT_UNGUARDED);
                }
                stdio::dup2_stdout(&reply)?;
                stdio::dup2_stderr(&messages)?;
                drop((reply, messages, nothing));
                return Ok(parse(&request));
            }
            Ok(Some(process)) => {
                drop((reply, messages));
                match wait(&socket, process)? {
                    Some(status) => ForkReply::Ended(status),
                    None => return Ok(0),
                }
            }
            Err(error) => ForkReply::NotForked(error.raw_os_error().unwrap_or_default()),
        };
        stdio::dup2_stdin(&nothing)?;
        send(&socket, &answer.to_bytes(), SendFlags::NOSIGNAL)?;
    }
}

/// The process id in the server, `None` in the new process.
#[allow(unsafe_code, reason = "a new process without a new program has no safe interface")]
fn fork() -> io::Result<Option<Pid>> {
    // SAFETY: the server has one thread, so that no lock is held in the new process and its memory is consistent.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(None),
        process => Ok(Pid::from_raw(process)),
    }
}

/// The next request with its three descriptors; `None` once the parent has closed the socket.
fn receive(socket: &OwnedFd) -> io::Result<Option<(String, [OwnedFd; 3])>> {
    let mut request = Vec::new();
    let mut descriptors = Vec::with_capacity(3);
    while request.last() != Some(&b'\n') {
        let mut bytes = [0; 4096];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let received = recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut ancillary, RecvFlags::CMSG_CLOEXEC);
        let length = match received {
            Ok(message) if message.bytes == 0 => return Ok(None),
            Ok(message) => message.bytes,
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        };
        request.extend_from_slice(&bytes[..length]);
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(received) = message {
                descriptors.extend(received);
            }
        }
    }
    let invalid = || io::Error::from(io::ErrorKind::InvalidData);
    let descriptors = descriptors.try_into().map_err(|_| invalid())?;
    Ok(Some((String::from_utf8(request).map_err(|_| invalid())?, descriptors)))
}

/// How long the parent's closing of the socket goes unnoticed, at most, where the end of a process cannot be polled for.
const MAX_UNNOTICED: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// Waits for the end of a process. `None` once the parent has closed the socket: then the process is killed.
fn wait(socket: &OwnedFd, process: Pid) -> io::Result<Option<i32>> {
    // Kernels before 5.3, and some containers, have no descriptors of processes.
    let ended = pidfd_open(process, PidfdFlags::empty()).ok();
    let mut is_killed = false;
    loop {
        let options = if is_killed { WaitOptions::empty() } else { WaitOptions::NOHANG };
        match waitpid(Some(process), options) {
            Ok(Some((_, status))) => return Ok((!is_killed).then(|| status.as_raw())),
            Ok(None) => {}
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        }
        let mut polled = vec![PollFd::from_borrowed_fd(socket.as_fd(), PollFlags::HUP)];
        polled.extend(ended.as_ref().map(|ended| PollFd::new(ended, PollFlags::IN)));
        let timeout = if ended.is_some() { None } else { Some(&MAX_UNNOTICED) };
        match poll(&mut polled, timeout) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        if !polled[0].revents().is_empty() && polled.get(1).is_none_or(|ended| ended.revents().is_empty()) {
            let _ = kill_process(process, Signal::KILL);
            is_killed = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_read_as_they_were_written() {
        for reply in [ForkReply::Ended(0), ForkReply::Ended(139), ForkReply::NotForked(11)] {
            assert_eq!(ForkReply::of_bytes(&reply.to_bytes()), Some(reply));
        }
        assert_eq!(ForkReply::of_bytes(&[2, 0, 0, 0, 0, 0, 0, 0]), None);
        assert_eq!(ForkReply::of_bytes(&[0, 0, 0]), None);
    }
}
