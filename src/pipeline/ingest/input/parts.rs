//! The parts of a job's list and manifest: each is read from the spool, or once from the input itself.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::poll::InterruptibleFile;
use super::spool::{
    DiffersFromFirstPart, HeldInput, JobSpool, SpoolFailed, SpoolWriter, SpoolingReader, create_part, kept_input_path,
    spool_error,
};
use super::{GivenInput, WaitNotice};
use crate::pipeline::ingest::error::Error;
use crate::pipeline::ingest::read;
use mfctl_core::domain::JobId;
use mfctl_core::domain::job::{InputKind, JobInput};
use mfctl_core::stop::Stop;

/// The lists and manifests of a run, in the order in which they are read.
#[derive(Default)]
pub(in crate::pipeline::ingest) struct JobInputs {
    parts: Vec<InputPart>,
}

/// One part, and how far it was read.
struct InputPart {
    kind: InputKind,
    number: u32,
    source: PartSource,
    bytes: AtomicU64,
    entries: AtomicU64,
    ended: AtomicBool,
    /// Its content is no list or manifest, or not the one that the job was begun with: the job goes on without it.
    rejected: AtomicBool,
}

enum PartSource {
    /// In the spool of the job.
    Kept(PathBuf),
    /// Read, but not in a spool: the job has not begun.
    Held(HeldInput),
    /// Not read yet; once it is, it is in the spool, except in a dry run.
    New(Mutex<Option<SpoolingReader>>, Option<PathBuf>),
}

impl JobInputs {
    /// The parts that the journal has of a job.
    pub(in crate::pipeline::ingest) fn kept(data_dir: &Path, job: JobId, inputs: Vec<JobInput>) -> Self {
        let kept = |input: JobInput| {
            let path = kept_input_path(data_dir, job, input.kind, input.part);
            InputPart::new(&input, PartSource::Kept(path))
        };
        Self { parts: inputs.into_iter().map(kept).collect() }
    }

    /// One input with this content.
    #[cfg(test)]
    pub(in crate::pipeline::ingest) fn of_text(kind: InputKind, text: &[u8], ended: bool) -> Self {
        let held = HeldInput::of_text(text);
        let input = JobInput { kind, part: 1, bytes: held.bytes, entries: 0, ended };
        Self { parts: vec![InputPart::new(&input, PartSource::Held(held))] }
    }

    /// Adds an input whose content is not in the spool.
    pub(in crate::pipeline::ingest) fn push_held(&mut self, kind: InputKind, held: &HeldInput) {
        let input = JobInput { kind, part: self.next_part(kind), bytes: held.bytes, entries: 0, ended: true };
        self.parts.push(InputPart::new(&input, PartSource::Held(held.clone())));
    }

    /// Writes an input's content to the spool and adds it.
    pub(in crate::pipeline::ingest) fn keep_held(
        &mut self,
        kind: InputKind,
        held: &HeldInput,
        spool: &JobSpool,
    ) -> Result<(), Error> {
        let part = self.next_part(kind);
        let path = spool.part_path(kind, part);
        held.store(&path)?;
        let input = JobInput { kind, part, bytes: held.bytes, entries: 0, ended: true };
        self.parts.push(InputPart::new(&input, PartSource::Kept(path)));
        Ok(())
    }

    /// Adds an input that is read, and kept in the spool, when its entries are asked for the first time. Without a spool, as in
    /// a dry run, it can be read once only.
    pub(in crate::pipeline::ingest) fn push_new(
        &mut self,
        given: GivenInput,
        spool: Option<&JobSpool>,
        stop: &Stop,
        notice: WaitNotice,
    ) -> Result<(), Error> {
        let kind = given.kind;
        let part = self.next_part(kind);
        let path = spool.map(|spool| spool.part_path(kind, part));
        let writer = match (spool, &path) {
            (Some(spool), Some(path)) => Some(SpoolWriter::new(create_part(path)?, spool.free_space)),
            _ => None,
        };
        let earlier = match spool {
            Some(spool) if !spool.takes_rest => self.first_part(kind)?,
            _ => None,
        };
        let source = InterruptibleFile::new(given.file, &given.name, stop.clone(), notice);
        let input = JobInput { kind, part, bytes: 0, entries: 0, ended: false };
        let reader = Mutex::new(Some(SpoolingReader::new(source, writer, earlier)));
        self.parts.push(InputPart::new(&input, PartSource::New(reader, path)));
        Ok(())
    }

    /// What is in the spool of the first part of this kind, if its end was not read.
    fn first_part(&self, kind: InputKind) -> Result<Option<File>, Error> {
        let first = self.parts.iter().find(|part| part.kind == kind);
        let first = first.and_then(|part| match &part.source {
            PartSource::Kept(path) if !part.ended.load(Ordering::Acquire) => Some(path),
            _ => None,
        });
        first.map(|path| File::open(path).map_err(|error| spool_error(error, path))).transpose()
    }

    fn next_part(&self, kind: InputKind) -> u32 {
        self.parts.iter().filter(|part| part.kind == kind).map(|part| part.number).max().unwrap_or(0) + 1
    }

    /// Whether the last part of this kind has been read to its end; `false` if there is none.
    pub(in crate::pipeline::ingest) fn ended(&self, kind: InputKind) -> bool {
        self.parts.iter().rfind(|part| part.kind == kind).is_some_and(|part| part.ended.load(Ordering::Acquire))
    }

    /// Opens the parts of this kind one after the other.
    pub(in crate::pipeline::ingest) fn open(
        &self,
        kind: InputKind,
    ) -> impl Iterator<Item = Result<PartReader<'_>, Error>> {
        self.parts.iter().filter(move |part| part.kind == kind).map(InputPart::open)
    }

    /// How far each part was read, without those that were rejected.
    pub(in crate::pipeline::ingest) fn progress(&self) -> Vec<JobInput> {
        self.parts.iter().filter(|part| !part.is_rejected()).map(InputPart::progress).collect()
    }

    /// Kind and number of each part whose content was rejected.
    pub(in crate::pipeline::ingest) fn rejected(&self) -> Vec<(InputKind, u32)> {
        self.parts.iter().filter(|part| part.is_rejected()).map(|part| (part.kind, part.number)).collect()
    }

    /// Whether a part was rejected that an earlier run kept.
    pub(in crate::pipeline::ingest) fn rejected_kept(&self) -> bool {
        self.parts.iter().any(|part| part.is_rejected() && matches!(part.source, PartSource::Kept(_)))
    }

    /// Counts an entry of a part that was read before.
    pub(in crate::pipeline::ingest) fn count_entry(&self, kind: InputKind, number: u32) {
        let part = self.parts.iter().find(|part| part.kind == kind && part.number == number);
        part.inspect(|part| _ = part.entries.fetch_add(1, Ordering::Relaxed));
    }
}

impl InputPart {
    fn new(input: &JobInput, source: PartSource) -> Self {
        Self {
            kind: input.kind,
            number: input.part,
            source,
            bytes: input.bytes.into(),
            entries: input.entries.into(),
            ended: input.ended.into(),
            rejected: false.into(),
        }
    }

    fn is_rejected(&self) -> bool {
        self.rejected.load(Ordering::Acquire)
    }

    fn progress(&self) -> JobInput {
        JobInput {
            kind: self.kind,
            part: self.number,
            // Read first: once the end was read, the other two are final.
            ended: self.ended.load(Ordering::Acquire),
            bytes: self.bytes.load(Ordering::Relaxed),
            entries: self.entries.load(Ordering::Relaxed),
        }
    }

    fn open(&self) -> Result<PartReader<'_>, Error> {
        let source: Box<dyn Read + Send + '_> = match &self.source {
            PartSource::Held(held) => Box::new(held.reader()),
            PartSource::Kept(path) => Box::new(self.open_kept(path)?),
            PartSource::New(reader, path) => {
                match (reader.lock().unwrap_or_else(PoisonError::into_inner).take(), path) {
                    (Some(reader), _) => Box::new(ProgressReader { part: self, reader }),
                    (None, Some(path)) => Box::new(self.open_kept(path)?),
                    (None, None) => return Err(Error::Spec("has an input that was read already".to_owned())),
                }
            }
        };
        self.entries.store(0, Ordering::Relaxed);
        Ok(PartReader { part: self, reader: BufReader::new(source) })
    }

    /// Opens the spool. What was kept of an input that ended must be whole.
    fn open_kept(&self, path: &Path) -> Result<File, Error> {
        let opened = read::open(path).and_then(|file| file.metadata().map(|metadata| (file, metadata)));
        let (file, metadata) = opened.map_err(|error| spool_error(error, path))?;
        if !metadata.is_file() {
            return Err(spool_error(io::Error::new(io::ErrorKind::NotFound, "it is not a file"), path));
        }
        let length = metadata.len();
        if !self.ended.load(Ordering::Acquire) {
            self.bytes.store(length, Ordering::Relaxed);
        } else if length != self.bytes.load(Ordering::Relaxed) {
            let error = format!("it has {length} bytes, not {}", self.bytes.load(Ordering::Relaxed));
            return Err(spool_error(io::Error::new(io::ErrorKind::NotFound, error), path));
        }
        Ok(file)
    }
}

/// Reads a new input and records how far.
struct ProgressReader<'a> {
    part: &'a InputPart,
    reader: SpoolingReader,
}

impl Read for ProgressReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        self.part.bytes.fetch_add(read as u64, Ordering::Relaxed);
        if read == 0 && !buffer.is_empty() {
            self.part.ended.store(true, Ordering::Release);
        }
        Ok(read)
    }
}

/// Reads one part.
pub(in crate::pipeline::ingest) struct PartReader<'a> {
    part: &'a InputPart,
    reader: BufReader<Box<dyn Read + Send + 'a>>,
}

impl PartReader<'_> {
    /// The part's number, from 1.
    pub(in crate::pipeline::ingest) fn number(&self) -> u32 {
        self.part.number
    }

    /// Whether its end is the end of the input, and not of what was read of it. Known once the end was reached.
    pub(in crate::pipeline::ingest) fn ended(&self) -> bool {
        self.part.ended.load(Ordering::Acquire)
    }

    pub(in crate::pipeline::ingest) fn count_entry(&self) {
        self.part.entries.fetch_add(1, Ordering::Relaxed);
    }

    /// The error for a failed read of the input with this name. After `InvalidData` the part is rejected.
    pub(in crate::pipeline::ingest) fn error(&self, name: &str, error: io::Error) -> Error {
        if error.kind() == io::ErrorKind::InvalidData {
            self.part.rejected.store(true, Ordering::Release);
        }
        if error.get_ref().is_some_and(|inner| inner.is::<DiffersFromFirstPart>()) {
            return Error::AnotherInput { what: name.to_owned(), kind: self.part.kind };
        }
        if error.get_ref().is_some_and(|inner| inner.is::<SpoolFailed>()) {
            return match &self.part.source {
                PartSource::New(_, Some(path)) | PartSource::Kept(path) => spool_error(error, path),
                _ => Error::Input { what: name.to_owned(), error },
            };
        }
        Error::Input { what: name.to_owned(), error }
    }
}

impl Read for PartReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reader.read(buffer)
    }
}

impl BufRead for PartReader<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.reader.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.reader.consume(amount);
    }
}
