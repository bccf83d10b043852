//! A parser's process, seen by its parent: how it is started, and how its end is learnt.

use std::fs::File;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::UnixStream;
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};

use super::fork_server::{ForkReply, SERVE};
use super::sandbox::VERB;

/// Fork servers that wait for a file.
#[derive(Debug, Clone, Default)]
pub(super) struct ForkServers(Arc<Mutex<Vec<ForkServer>>>);

impl ForkServers {
    /// Starts a process for a request: forked by a server that waits, or else by a new one.
    pub(super) fn start(&self, program: &Path, request: &str, file: &File) -> io::Result<ParserProcess> {
        let (stdout, reply) = io::pipe()?;
        let (stderr, messages) = io::pipe()?;
        loop {
            let waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let is_new = waiting.is_none();
            let server = waiting.map_or_else(|| ForkServer::start(program), Ok)?;
            match server.request(request, [file.as_fd(), reply.as_fd(), messages.as_fd()]) {
                Ok(()) => {
                    let [stdout, stderr] = [stdout, stderr].map(|pipe| pipe::Receiver::from_owned_fd(pipe.into()));
                    let end = ProcessEnd::Forked(server, self.clone());
                    return Ok(ParserProcess { stdout: Some(Box::new(stdout?)), stderr: Some(Box::new(stderr?)), end });
                }
                // It was killed while it waited.
                Err(error) if !is_new && is_closed(&error) => {}
                // It has a part of the request.
                Err(error) if error.kind() == io::ErrorKind::WriteZero => return Err(error),
                Err(error) => {
                    self.put(server);
                    return Err(error);
                }
            }
        }
    }

    fn put(&self, server: ForkServer) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(server);
    }
}

/// Whether the error of a socket says that the other side has closed it.
fn is_closed(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(error.kind(), Kind::BrokenPipe | Kind::ConnectionReset | Kind::UnexpectedEof)
}

/// How long a server may take to kill the process that it forked, and to end, before it is killed itself.
const MAX_END: Duration = Duration::from_secs(1);

/// A process that forks one for each file. Dropping it ends both.
#[derive(Debug)]
struct ForkServer {
    /// Until it is dropped.
    process: Option<Child>,
    socket: UnixStream,
}

impl Drop for ForkServer {
    /// Closes the socket, so that the server kills its process and waits for it: in a container without an init, this program
    /// would be the parent of what is left, and no one would wait for it. A server that is stopped is killed.
    fn drop(&mut self) {
        let _ = rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Both);
        if let (Some(mut process), Ok(runtime)) = (self.process.take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(async move {
                let _ = tokio::time::timeout(MAX_END, process.wait()).await;
            });
        }
    }
}

impl ForkServer {
    fn start(program: &Path) -> io::Result<Self> {
        let (ours, theirs) = StdUnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let theirs = OwnedFd::from(theirs);
        let process = command(program, SERVE).stdin(theirs).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        Ok(Self { process: Some(process), socket: UnixStream::from_std(ours)? })
    }

    /// Sends a line, which fits into the empty buffer of the socket.
    fn request(&self, request: &str, descriptors: [BorrowedFd<'_>; 3]) -> io::Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
        let line = [request.as_bytes(), b"\n"].concat();
        let sent = sendmsg(&self.socket, &[IoSlice::new(&line)], &mut ancillary, SendFlags::NOSIGNAL)?;
        if sent == line.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
    }

    /// How it ended by itself. A signal from outside ended its process too; what else ends the server is no fault of the file.
    async fn end(&mut self) -> io::Result<ParserEnd> {
        let Some(process) = &mut self.process else { return Err(io::ErrorKind::NotFound.into()) };
        let status = process.wait().await?;
        match status.signal() {
            Some(libc::SIGKILL | libc::SIGTERM | libc::SIGINT | libc::SIGHUP | libc::SIGQUIT) => {
                Ok(ParserEnd::Ended(status))
            }
            _ => Err(io::Error::other(format!("the server that forks parsers ended: {status}"))),
        }
    }

    /// How the process that it forked ended; `None` if the server itself has ended.
    async fn reply(&mut self) -> io::Result<Option<ForkReply>> {
        let mut bytes = [0; ForkReply::BYTES];
        match self.socket.read_exact(&mut bytes).await {
            Ok(_) => Ok(ForkReply::of_bytes(&bytes)),
            Err(error) if is_closed(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

type Pipe = Box<dyn AsyncRead + Send + Unpin>;

/// How a parser's process ended.
pub(super) enum ParserEnd {
    Ended(ExitStatus),
    /// It could not be started.
    NotStarted(io::Error),
}

/// A parser's process. Dropping it kills it.
pub(super) struct ParserProcess {
    /// Its reply, until it is taken.
    pub(super) stdout: Option<Pipe>,
    /// Its messages, until they are taken.
    pub(super) stderr: Option<Pipe>,
    end: ProcessEnd,
}

enum ProcessEnd {
    Own(Child),
    Forked(ForkServer, ForkServers),
}

impl ParserProcess {
    /// Starts a program that parses one file.
    pub(super) fn start(program: &Path, request: &str, file: File) -> io::Result<Self> {
        let mut child = command(program, request).stdin(file).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let stdout = child.stdout.take().map(|pipe| Box::new(pipe) as Pipe);
        let stderr = child.stderr.take().map(|pipe| Box::new(pipe) as Pipe);
        Ok(Self { stdout, stderr, end: ProcessEnd::Own(child) })
    }

    /// Waits for its end. A fork server then waits for the next file.
    pub(super) async fn wait(self) -> io::Result<ParserEnd> {
        match self.end {
            ProcessEnd::Own(mut child) => child.wait().await.map(ParserEnd::Ended),
            ProcessEnd::Forked(mut server, servers) => match server.reply().await? {
                Some(ForkReply::Ended(status)) => {
                    servers.put(server);
                    Ok(ParserEnd::Ended(ExitStatus::from_raw(status)))
                }
                Some(ForkReply::NotForked(error)) => {
                    servers.put(server);
                    Ok(ParserEnd::NotStarted(io::Error::from_raw_os_error(error)))
                }
                None => server.end().await,
            },
        }
    }
}

fn command(program: &Path, argument: &str) -> Command {
    let mut command = Command::new(program);
    command
        .arg0("mfctl-parser")
        .args([VERB, argument])
        .env_clear()
        // Each further malloc arena would reserve 64 MiB of the limited address space.
        .env("MALLOC_ARENA_MAX", "1")
        .current_dir("/")
        .process_group(0)
        .kill_on_drop(true);
    command
}
