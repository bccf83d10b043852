//! The only place that prints. stdout carries results alone; progress, logs, notes and errors go to stderr.
//!
//! A command hands a [`Render`] (one document) to [`Output::print`], or one [`ListItem`] after the other to an
//! [`Output::list`], and need not know formats, colour, widths or closed pipes. A closed stdout is no error: a document is
//! dropped, a list ends the command with [`Failure::closed_pipe`].

mod escape;
pub use mfctl_core::humane;
mod list;
mod options;
mod page;
mod progress;
mod shorten;
mod table;
mod target_line;

use std::borrow::Cow;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use indicatif::MultiProgress;
use serde::Serialize;

pub use escape::escape;
pub use list::{List, ListItem};
pub use options::{ColorChoice, Format, OutputFlags, OutputOptions, StreamKind};
pub use page::{Cell, Layout, TextPage, Tone};
pub use progress::{Progress, ProgressPosition};
pub use table::Column;
pub use target_line::{full_target_line, target_line};

use super::failure::{Failure, FailureKind, Result};
use crate::ops::target::Target;

/// Version of every JSON and YAML document. Adding a field keeps it; any other change takes the next number.
pub const SCHEMA_VERSION: u32 = 1;

/// The result of a command: a document for scripts, a page of text for people, and the ids in it.
pub trait Render: Serialize {
    /// Writes the result as text for people.
    fn page(&self, page: &mut TextPage);

    /// The ids that `-o name` prints; `None` when the result has no ids.
    fn names(&self) -> Option<Vec<String>> {
        None
    }
}

/// A document as it is serialized: the fields of the report beside the version and the target.
#[derive(Serialize)]
struct ResultDocument<'a, T: Serialize> {
    schema_version: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<&'a Target>,
    #[serde(flatten)]
    report: &'a T,
}

/// Prints results and messages. Cheap to clone; clones share the streams.
#[derive(Clone)]
pub struct Output {
    state: Arc<OutputState>,
}

struct OutputState {
    options: OutputOptions,
    out: Mutex<Box<dyn Write + Send>>,
    err: Mutex<Box<dyn Write + Send>>,
    bars: MultiProgress,
    target: OnceLock<Target>,
    frame_lines: Mutex<usize>,
    nul_after_names: AtomicBool,
}

impl std::fmt::Debug for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Output").field("options", &self.state.options).finish_non_exhaustive()
    }
}

impl Output {
    /// Prints on this process's stdout and stderr.
    #[must_use]
    pub fn new(options: OutputOptions) -> Self {
        if options.stdout.color {
            // comfy-table writes through crossterm, which would decide on its own from the environment.
            crossterm::style::force_color_output(true);
        }
        let out = Box::new(io::BufWriter::with_capacity(64 * 1024, io::stdout()));
        Self::with_streams(options, out, Box::new(io::stderr()))
    }

    /// Prints into memory, for tests.
    #[must_use]
    pub fn captured(options: OutputOptions) -> (Self, Captured) {
        let captured = Captured::default();
        let output = Self::with_streams(options, Box::new(captured.out.clone()), Box::new(captured.err.clone()));
        (output, captured)
    }

    fn with_streams(options: OutputOptions, out: Box<dyn Write + Send>, err: Box<dyn Write + Send>) -> Self {
        Self {
            state: Arc::new(OutputState {
                options,
                out: Mutex::new(out),
                err: Mutex::new(err),
                bars: MultiProgress::new(),
                target: OnceLock::new(),
                frame_lines: Mutex::new(0),
                nul_after_names: AtomicBool::new(false),
            }),
        }
    }

    /// The options that this output follows.
    #[must_use]
    pub fn options(&self) -> &OutputOptions {
        &self.state.options
    }

    /// Whether of each item only the name is printed, so that the rest of it need not be read.
    #[must_use]
    pub fn prints_only_names(&self) -> bool {
        self.state.options.format == Format::Name
    }

    /// Sets the target, once: prints it on stderr, unless quiet, and adds it as `target` to every later document.
    pub fn set_target(&self, target: &Target) {
        if self.state.target.set(target.clone()).is_ok() && !self.state.options.quiet {
            let verbose = self.state.options.verbose > 0;
            self.err_line(&if verbose { full_target_line(target) } else { target_line(target) });
        }
    }

    /// The target, if it was set.
    #[must_use]
    pub fn target(&self) -> Option<&Target> {
        self.state.target.get()
    }

    /// Ends each name of `-o name` with a NUL instead of a line break.
    ///
    /// # Errors
    /// `Usage` with another format.
    pub fn end_names_with_nul(&self) -> Result<()> {
        if !self.prints_only_names() {
            return Err(Failure::usage("-0 ends names, which -o name prints").hint("add -o name"));
        }
        self.state.nul_after_names.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// The byte after each name of `-o name`.
    fn name_end(&self) -> u8 {
        if self.state.nul_after_names.load(Ordering::Relaxed) { 0 } else { b'\n' }
    }

    /// Prints one result in the chosen format.
    ///
    /// # Errors
    /// When stdout cannot be written. A closed pipe is no error.
    pub fn print<T: Render>(&self, report: &T) -> Result<()> {
        let text = self.format(report)?;
        ignore_closed_pipe(self.write_out(text.as_bytes()))
    }

    /// Prints a view that is printed repeatedly: as a table on a terminal, each replaces the one before.
    ///
    /// # Errors
    /// As [`Output::print`], and [`Failure::closed_pipe`].
    pub fn refresh<T: Render>(&self, report: &T) -> Result<()> {
        let text = self.format(report)?;
        let mut lines = lock(&self.state.frame_lines);
        if self.state.options.stdout.terminal && self.state.options.format.is_table() {
            let up = if *lines > 0 { format!("\u{1b}[{}F\u{1b}[J", *lines) } else { String::new() };
            *lines = text.lines().count();
            return self.write_out(format!("{up}{text}").as_bytes());
        }
        self.write_out(text.as_bytes())
    }

    /// Prints one of a stream of results.
    ///
    /// # Errors
    /// As [`Output::refresh`].
    pub fn print_next<T: Render>(&self, report: &T) -> Result<()> {
        let text = self.format(report)?;
        self.write_out(text.as_bytes())
    }

    /// Starts a list of any length. `field` is the list's name in a JSON or YAML document.
    pub fn list<T: ListItem>(&self, field: &'static str) -> List<'_, T> {
        List::new(self, field)
    }

    /// Writes bytes to stdout unchanged: the content of an object, a completion script.
    ///
    /// # Errors
    /// [`Failure::closed_pipe`], or `Unexpected` when stdout cannot be written.
    pub fn raw(&self, bytes: &[u8]) -> Result<()> {
        self.write_out(bytes)
    }

    /// Prints a line on stderr, unless `-q` is given.
    pub fn note(&self, text: impl AsRef<str>) {
        if !self.state.options.quiet {
            self.err_line(&escape(text.as_ref()));
        }
    }

    /// Prints a line on stderr if `-v` is given.
    pub fn detail(&self, text: impl AsRef<str>) {
        if self.state.options.verbose > 0 {
            self.err_line(&escape(text.as_ref()));
        }
    }

    /// Prints a warning on stderr, even with `-q`.
    pub fn warn(&self, text: impl AsRef<str>) {
        let label = page::paint("warning:", Tone::Warn, self.state.options.stderr.color);
        self.err_line(&format!("{label} {}", escape(text.as_ref())));
    }

    /// Prints the failure that ends the command: message, causes and hint, or the error document with a JSON format.
    pub fn failure(&self, failure: &Failure) {
        if failure.kind() == FailureKind::ClosedPipe {
            return;
        }
        if self.state.options.format.is_json() {
            if let Ok(line) = serde_json::to_string(&failure.document()) {
                self.err_line(&line);
            }
            return;
        }
        let color = self.state.options.stderr.color;
        // A clean stop was asked for: it is no error, but its exit code and its hint tell what is left to do.
        let (label, tone) = if failure.kind().is_stop() { ("stopped:", Tone::Warn) } else { ("error:", Tone::Bad) };
        self.err_line(&format!("{} {}", page::paint(label, tone, color), escape(failure.message())));
        for cause in failure.causes() {
            self.err_line(&format!("  {} {}", page::paint("caused by:", Tone::Dim, color), escape(cause)));
        }
        if let Some(hint) = failure.hint_text() {
            self.err_line(&format!("{} {}", page::paint("hint:", Tone::Good, color), escape(hint)));
        }
    }

    /// Prints a question on stderr, without a newline. `guard`, the only caller, reads the answer.
    pub(super) fn ask(&self, question: &str) {
        let mut err = lock(&self.state.err);
        // An error of stderr cannot be reported anywhere.
        let _ = err.write_all(question.as_bytes()).and_then(|()| err.flush());
    }

    /// Starts a progress display for the work `name`, counted in `unit`.
    #[must_use]
    pub fn progress(&self, name: &'static str, unit: &'static str) -> Progress {
        Progress::new(self.clone(), name, unit)
    }

    /// A writer for log lines that keeps them apart from a progress bar.
    #[must_use]
    pub fn log_writer(&self) -> LogWriter {
        LogWriter(self.clone())
    }

    fn bars(&self) -> &MultiProgress {
        &self.state.bars
    }

    fn layout(&self) -> Layout {
        Layout { width: self.state.options.width, color: self.state.options.stdout.color }
    }

    fn format<T: Render>(&self, report: &T) -> Result<String> {
        let document = ResultDocument { schema_version: SCHEMA_VERSION, target: self.target(), report };
        match self.state.options.format {
            Format::Table | Format::Wide => {
                let mut page = TextPage::default();
                report.page(&mut page);
                Ok(page.render(self.layout()))
            }
            Format::Json => serde_json::to_string_pretty(&document).map(|json| json + "\n").map_err(format_failure),
            Format::Jsonl => serde_json::to_string(&document).map(|json| json + "\n").map_err(format_failure),
            Format::Yaml => yaml(&document),
            Format::Name => Ok(self.format_names(report)),
        }
    }

    fn format_names<T: Render>(&self, report: &T) -> String {
        let Some(names) = report.names() else {
            self.warn("-o name: this command has no names to print");
            return String::new();
        };
        let end = char::from(self.name_end());
        let is_terminal = self.state.options.stdout.terminal;
        let shown = |name| if is_terminal { escape(name) } else { Cow::Borrowed(name) };
        names.iter().map(|name| format!("{}{end}", shown(name))).collect()
    }

    /// Writes to stdout and flushes; a closed pipe is [`Failure::closed_pipe`].
    fn write_out(&self, bytes: &[u8]) -> Result<()> {
        let mut out = lock(&self.state.out);
        out.write_all(bytes).and_then(|()| out.flush()).map_err(|error| write_failure(&error))
    }

    /// Writes one line to stderr, above any progress bar. An error of stderr is ignored: it cannot be reported anywhere.
    fn err_line(&self, line: &str) {
        self.state.bars.suspend(|| {
            let mut err = lock(&self.state.err);
            let _ = writeln!(err, "{line}").and_then(|()| err.flush());
        });
    }
}

/// A poisoned lock only means that another thread panicked while printing; the stream is still a stream.
fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ignores a closed pipe: the command has done its work, whether its document is read or not.
fn ignore_closed_pipe(result: Result<()>) -> Result<()> {
    match result {
        Err(failure) if failure.kind() == FailureKind::ClosedPipe => Ok(()),
        other => other,
    }
}

fn write_failure(error: &io::Error) -> Failure {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return Failure::closed_pipe();
    }
    Failure::unexpected("cannot write the results to stdout").because(error)
}

fn format_failure(error: impl std::error::Error + 'static) -> Failure {
    Failure::unexpected("cannot write the results in this format").because(&error)
}

fn yaml<T: Serialize>(document: &T) -> Result<String> {
    serde_saphyr::to_string(document)
        .map(|text| if text.ends_with('\n') { text } else { text + "\n" })
        .map_err(format_failure)
}

/// Writes log lines to stderr, above any progress bar.
#[derive(Debug, Clone)]
pub struct LogWriter(Output);

impl Write for LogWriter {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.0.state.bars.suspend(|| {
            let mut err = lock(&self.0.state.err);
            // A lost log line must not stop a worker.
            let _ = err.write_all(buffer).and_then(|()| err.flush());
        });
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The text that an [`Output::captured`] has printed so far.
#[derive(Debug, Clone, Default)]
pub struct Captured {
    out: SharedBuffer,
    err: SharedBuffer,
}

#[derive(Debug, Clone, Default)]
struct SharedBuffer(Arc<Mutex<Vec<u8>>>);

impl Write for SharedBuffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        lock(&self.0).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Captured {
    /// Text on stdout so far.
    #[must_use]
    pub fn stdout(&self) -> String {
        String::from_utf8_lossy(&lock(&self.out.0)).into_owned()
    }

    /// Text on stderr so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&lock(&self.err.0)).into_owned()
    }
}

#[cfg(test)]
mod tests;
