//! The only place that prints. stdout carries results alone; progress, logs, notes and errors go to stderr.
//!
//! A verb hands a [`Render`] (one document) to [`Output::print`], or [`Item`]s, one by one, to an [`Output::list`]. It
//! knows nothing of formats, colour, widths or closed pipes. A reader of stdout that goes away is no error: a document
//! that nobody reads is dropped, a list ends the verb with [`Failure::closed_pipe`].

mod escape;
pub use mfctl_core::humane;
mod list;
mod options;
mod page;
mod progress;

use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use indicatif::MultiProgress;
use serde::Serialize;

pub use escape::escape;
pub use list::{Item, List};
pub use options::{ColorChoice, Format, OutputFlags, OutputOptions, StreamKind};
pub use page::{Cell, Column, Layout, Page, Tone};
pub use progress::{Position, Progress};

use super::failure::{Failure, FailureKind, Result};
use crate::ops::target::Target;

/// The version of every JSON and YAML document. Fields are only ever added; anything else takes the next number.
pub const SCHEMA_VERSION: u32 = 1;

/// A verb's result: a document for machines, a page for people, and the ids in it.
pub trait Render: Serialize {
    /// Lays the result out for a person.
    fn page(&self, page: &mut Page);

    /// The ids that `-o name` prints; none when the verb has no ids to give.
    fn names(&self) -> Option<Vec<String>> {
        None
    }
}

/// A document as it is written: the report's own fields beside the version and the target.
#[derive(Serialize)]
struct Document<'a, T: Serialize> {
    schema_version: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<&'a Target>,
    #[serde(flatten)]
    report: &'a T,
}

/// Prints. Cheap to clone; clones share the streams.
#[derive(Clone)]
pub struct Output {
    inner: Arc<Inner>,
}

struct Inner {
    options: OutputOptions,
    out: Mutex<Box<dyn Write + Send>>,
    err: Mutex<Box<dyn Write + Send>>,
    bars: MultiProgress,
    target: OnceLock<Target>,
    frame_lines: Mutex<usize>,
}

impl std::fmt::Debug for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Output").field("options", &self.inner.options).finish_non_exhaustive()
    }
}

impl Output {
    /// Prints on this process's stdout and stderr.
    #[must_use]
    pub fn new(options: OutputOptions) -> Self {
        if options.stdout.color {
            // comfy-table writes through crossterm, which would ask the environment again.
            crossterm::style::force_color_output(true);
        }
        let out = Box::new(io::BufWriter::with_capacity(64 * 1024, io::stdout()));
        Self::on(options, out, Box::new(io::stderr()))
    }

    /// Prints into memory, for tests.
    #[must_use]
    pub fn captured(options: OutputOptions) -> (Self, Captured) {
        let captured = Captured::default();
        let output = Self::on(options, Box::new(captured.out.clone()), Box::new(captured.err.clone()));
        (output, captured)
    }

    fn on(options: OutputOptions, out: Box<dyn Write + Send>, err: Box<dyn Write + Send>) -> Self {
        Self {
            inner: Arc::new(Inner {
                options,
                out: Mutex::new(out),
                err: Mutex::new(err),
                bars: MultiProgress::new(),
                target: OnceLock::new(),
                frame_lines: Mutex::new(0),
            }),
        }
    }

    /// How this output prints.
    #[must_use]
    pub fn options(&self) -> &OutputOptions {
        &self.inner.options
    }

    /// Announces the target: stderr's first line (unless quiet) and the `target{}` of every document from now on.
    pub fn set_target(&self, target: &Target) {
        if self.inner.target.set(target.clone()).is_ok() && !self.inner.options.quiet {
            self.err_line(&escape(&target.first_line()));
        }
    }

    /// The target that was announced.
    #[must_use]
    pub fn target(&self) -> Option<&Target> {
        self.inner.target.get()
    }

    /// Prints one result in the format asked for.
    ///
    /// # Errors
    /// When stdout cannot be written. A closed pipe is no error.
    pub fn print<T: Render>(&self, report: &T) -> Result<()> {
        let text = self.text_of(report)?;
        quietly(self.write_out(text.as_bytes()))
    }

    /// Like [`Output::print`], for a view that is printed again and again: on a terminal each replaces the one before.
    ///
    /// # Errors
    /// As [`Output::print`], and [`Failure::closed_pipe`] when nobody watches any more.
    pub fn refresh<T: Render>(&self, report: &T) -> Result<()> {
        let text = self.text_of(report)?;
        let mut lines = lock(&self.inner.frame_lines);
        if self.inner.options.stdout.terminal && self.inner.options.format == Format::Table {
            let up = if *lines > 0 { format!("\u{1b}[{}F\u{1b}[J", *lines) } else { String::new() };
            *lines = text.lines().count();
            return self.write_out(format!("{up}{text}").as_bytes());
        }
        self.write_out(text.as_bytes())
    }

    /// Like [`Output::print`], for one of many results that come one by one.
    ///
    /// # Errors
    /// As [`Output::refresh`].
    pub fn next<T: Render>(&self, report: &T) -> Result<()> {
        let text = self.text_of(report)?;
        self.write_out(text.as_bytes())
    }

    /// Starts a list of any length, printed as it comes. `field` is the list's name in a JSON document.
    pub fn list<T: Item>(&self, field: &'static str) -> List<'_, T> {
        List::new(self, field)
    }

    /// Writes bytes as they are: an object's content, a completion script.
    ///
    /// # Errors
    /// [`Failure::closed_pipe`], or why stdout cannot be written.
    pub fn raw(&self, bytes: &[u8]) -> Result<()> {
        self.write_out(bytes)
    }

    /// Says something a person may want to know. Silent with `-q`.
    pub fn note(&self, text: impl AsRef<str>) {
        if !self.inner.options.quiet {
            self.err_line(&escape(text.as_ref()));
        }
    }

    /// Says something only `-v` asked for.
    pub fn detail(&self, text: impl AsRef<str>) {
        if self.inner.options.verbose > 0 {
            self.err_line(&escape(text.as_ref()));
        }
    }

    /// Warns, with `-q` too.
    pub fn warn(&self, text: impl AsRef<str>) {
        let label = page::paint("warning:", Tone::Warn, self.inner.options.stderr.color);
        self.err_line(&format!("{label} {}", escape(text.as_ref())));
    }

    /// Tells why the command ends as it does: the sentence, its causes and the hint; as JSON for machines.
    pub fn failure(&self, failure: &Failure) {
        if failure.kind() == FailureKind::ClosedPipe {
            return;
        }
        if self.inner.options.format.is_json() {
            if let Ok(line) = serde_json::to_string(&failure.document()) {
                self.err_line(&line);
            }
            return;
        }
        let color = self.inner.options.stderr.color;
        self.err_line(&format!("{} {}", page::paint("error:", Tone::Bad, color), escape(failure.message())));
        for cause in failure.causes() {
            self.err_line(&format!("  {} {}", page::paint("caused by:", Tone::Dim, color), escape(cause)));
        }
        if let Some(hint) = failure.hint_text() {
            self.err_line(&format!("{} {}", page::paint("hint:", Tone::Good, color), escape(hint)));
        }
    }

    /// Asks on stderr, without a newline. The answer is read by `guard`, the only one that asks.
    pub(super) fn ask(&self, question: &str) {
        let mut err = lock(&self.inner.err);
        // Nobody is there to tell when stderr itself fails.
        let _ = err.write_all(question.as_bytes()).and_then(|()| err.flush());
    }

    /// Shows how far something has come; see [`Progress`].
    #[must_use]
    pub fn progress(&self, what: &'static str, unit: &'static str) -> Progress {
        Progress::new(self.clone(), what, unit)
    }

    /// A writer for log lines that does not tear a progress bar.
    #[must_use]
    pub fn log_writer(&self) -> LogWriter {
        LogWriter(self.clone())
    }

    fn bars(&self) -> &MultiProgress {
        &self.inner.bars
    }

    fn layout(&self) -> Layout {
        Layout { width: self.inner.options.width, color: self.inner.options.stdout.color }
    }

    fn text_of<T: Render>(&self, report: &T) -> Result<String> {
        let document = Document { schema_version: SCHEMA_VERSION, target: self.target(), report };
        match self.inner.options.format {
            Format::Table => {
                let mut page = Page::default();
                report.page(&mut page);
                Ok(page.render(self.layout()))
            }
            Format::Json => serde_json::to_string_pretty(&document).map(|json| json + "\n").map_err(unprintable),
            Format::Jsonl => serde_json::to_string(&document).map(|json| json + "\n").map_err(unprintable),
            Format::Yaml => yaml(&document),
            Format::Name => Ok(self.names_of(report)),
        }
    }

    fn names_of<T: Render>(&self, report: &T) -> String {
        let Some(names) = report.names() else {
            self.warn("-o name: this command has no names to print");
            return String::new();
        };
        names.iter().map(|name| format!("{}\n", escape(name))).collect()
    }

    /// Writes to stdout and flushes; a closed pipe is [`Failure::closed_pipe`].
    fn write_out(&self, bytes: &[u8]) -> Result<()> {
        let mut out = lock(&self.inner.out);
        out.write_all(bytes).and_then(|()| out.flush()).map_err(|error| unwritten(&error))
    }

    /// Writes one line to stderr, above any progress bar. A stderr that fails leaves nobody to tell.
    fn err_line(&self, line: &str) {
        self.inner.bars.suspend(|| {
            let mut err = lock(&self.inner.err);
            let _ = writeln!(err, "{line}").and_then(|()| err.flush());
        });
    }
}

/// A poisoned lock only means that another thread panicked while printing; the stream is still a stream.
fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A document that nobody reads any more is no failure of the work it tells of.
fn quietly(result: Result<()>) -> Result<()> {
    match result {
        Err(failure) if failure.kind() == FailureKind::ClosedPipe => Ok(()),
        other => other,
    }
}

fn unwritten(error: &io::Error) -> Failure {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return Failure::closed_pipe();
    }
    Failure::unexpected("cannot write the results to stdout").because(error)
}

fn unprintable(error: impl std::error::Error + 'static) -> Failure {
    Failure::unexpected("cannot write the results in this format").because(&error)
}

fn yaml<T: Serialize>(document: &T) -> Result<String> {
    serde_saphyr::to_string(document)
        .map(|text| if text.ends_with('\n') { text } else { text + "\n" })
        .map_err(unprintable)
}

/// Writes log lines to stderr, above any progress bar.
#[derive(Debug, Clone)]
pub struct LogWriter(Output);

impl Write for LogWriter {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.0.inner.bars.suspend(|| {
            let mut err = lock(&self.0.inner.err);
            // A lost log line must not stop a worker.
            let _ = err.write_all(buffer).and_then(|()| err.flush());
        });
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What an [`Output::captured`] has printed so far.
#[derive(Debug, Clone, Default)]
pub struct Captured {
    out: Buffer,
    err: Buffer,
}

#[derive(Debug, Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        lock(&self.0).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Captured {
    /// stdout's text so far.
    #[must_use]
    pub fn stdout(&self) -> String {
        String::from_utf8_lossy(&lock(&self.out.0)).into_owned()
    }

    /// stderr's text so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&lock(&self.err.0)).into_owned()
    }
}

#[cfg(test)]
mod tests;
