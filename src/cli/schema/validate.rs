//! `mfctl schema validate`: are these events what their schema says?

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;

use clap::Args as ClapArgs;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::source::{self, SubjectAt};
use crate::cli::context::Context;
use crate::cli::failure::{Failure, FailureKind, OrFail, Result};
use crate::cli::output::{Cell, Column, ListItem, Tone, humane};
use crate::ops::target::DataDirMode;
use mfctl_core::domain::TopicName;
use mfctl_core::events::schemas;
use mfctl_core::events::validator::{SchemaValidator, SchemaViolation};

/// The longest event that is read. Kafka takes a megabyte unless it is told otherwise.
const MOST_BYTES: u64 = 16 << 20;
/// Breaches listed of one event.
const MOST_BREACHES: usize = 20;

/// Arguments of `mfctl schema validate`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Reads one JSON document, or JSON lines: one event a line, empty lines passed over. Values are plain JSON, without the wire
format's head. Only --subject asks the registry.

Examples:
  mfctl schema validate event.json --topic ingest.raw           against the schema this binary writes
  kcat -C -t orders -e -q | mfctl schema validate - --subject orders-value@2
  mfctl schema validate events.jsonl --schema schemas/media.enriched.json -o json | jq '.violations[]'

Exit codes: 0 every event is valid, 2 wrong usage, 5 registry not reachable, 6 no such file, schema or subject, 10 some are
not, each listed by its line")]
pub struct Args {
    /// The events; - reads them from stdin
    #[arg(value_name = "FILE|-")]
    file: PathBuf,
    #[command(flatten)]
    schema: Against,
}

/// What to check against.
#[derive(Debug, ClapArgs)]
#[group(required = true, multiple = false)]
struct Against {
    /// The schema this binary writes for a topic
    #[arg(long, value_name = "TOPIC")]
    topic: Option<TopicName>,
    /// A subject's schema in the registry, the latest if no version is given
    #[arg(long, value_name = "SUBJECT[@VERSION]")]
    subject: Option<SubjectAt>,
    /// A schema in a file
    #[arg(long, value_name = "FILE")]
    schema: Option<PathBuf>,
}

/// One way in which one event is not what its schema says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct EventViolation {
    /// The line on which the event begins, from 1.
    pub line: u64,
    /// Where in the event.
    #[serde(flatten)]
    pub breach: SchemaViolation,
}

/// What stands beside the list in a document.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct Tally {
    events: u64,
    invalid: u64,
}

pub async fn run(args: Args, cx: &Context) -> Result<()> {
    let schema = args.schema.fetch(cx).await?;
    let unusable = |why| Failure::invalid(format!("that is no JSON Schema: {why}"));
    let validator = SchemaValidator::compile(&schema).map_err(unusable)?;
    let mut list = cx.out().list::<EventViolation>("violations");
    let stdin = args.file.as_os_str() == "-";
    let mut input: Box<dyn BufRead> = if stdin {
        Box::new(BufReader::new(std::io::stdin()))
    } else {
        let file = File::open(&args.file);
        let file = file.or_fail(FailureKind::Invalid, || format!("cannot read {}", args.file.display()))?;
        Box::new(BufReader::new(file))
    };
    let tally = validate(input.as_mut(), &validator, &mut |violation| list.push(&violation))?;
    if tally.invalid == 0 && cx.out().options().format == crate::cli::output::Format::Table {
        drop(list);
    } else {
        list.finish_with(&tally)?;
    }
    let events = humane::counted(tally.events, "event", "events");
    if tally.events == 0 {
        return Err(Failure::invalid("there are no events to check").hint("give a JSON document, or one event a line"));
    }
    if tally.invalid > 0 {
        return Err(Failure::check_failed(format!("{} of {events} are not valid", humane::count(tally.invalid))));
    }
    cx.out().note(format!("{events}, all valid"));
    Ok(())
}

impl Against {
    async fn fetch(&self, cx: &Context) -> Result<Value> {
        if let Some(path) = &self.schema {
            return source::of_file(path);
        }
        if let Some(subject) = &self.subject {
            let connected = cx.connect(DataDirMode::MustExist).await?;
            return Ok(subject.fetch(connected.ports.registry.as_ref()).await?.schema);
        }
        let own = self.topic.as_ref().map(schemas::subject).and_then(|subject| source::own(&subject));
        own.ok_or_else(|| {
            let topics: Vec<String> = schemas::written().iter().map(|(topic, _)| topic.to_string()).collect();
            Failure::not_found("this binary writes no events on that topic")
                .hint(format!("its topics are {}; others have --subject or --schema", topics.join(", ")))
        })
    }
}

/// Reads event by event; memory is bounded by the longest.
fn validate(
    input: &mut dyn BufRead,
    validator: &SchemaValidator,
    told: &mut dyn FnMut(EventViolation) -> Result<()>,
) -> Result<Tally> {
    let mut tally = Tally::default();
    let (mut line, mut text) = (0, Vec::new());
    loop {
        text.clear();
        line += 1;
        if read_line(input, &mut text)? == 0 {
            return Ok(tally);
        }
        if text.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let mut event = serde_json::from_slice::<Value>(text.trim_ascii());
        let began = line;
        // The first line of a document that is laid out over several.
        if tally.events == 0 && event.as_ref().is_err_and(serde_json::Error::is_eof) {
            read_rest(input, &mut text)?;
            event = serde_json::from_slice(text.trim_ascii());
        }
        tally.events += 1;
        let breaches = match &event {
            Ok(event) => validator.violations(event, MOST_BREACHES),
            Err(error) => {
                vec![SchemaViolation { pointer: String::new(), message: format!("not JSON: {}", placed(error, &text)) }]
            }
        };
        tally.invalid += u64::from(!breaches.is_empty());
        for breach in breaches {
            told(EventViolation { line: began, breach })?;
        }
    }
}

/// What is wrong with a text; within one line the parser's own count of lines says nothing.
fn placed(error: &serde_json::Error, text: &[u8]) -> String {
    let told = error.to_string();
    match told.split_once(" at line ") {
        Some((what, _)) if !text.trim_ascii().contains(&b'\n') => format!("{what} at column {}", error.column()),
        _ => told,
    }
}

fn read_line(input: &mut dyn BufRead, text: &mut Vec<u8>) -> Result<usize> {
    let read = input.take(MOST_BYTES).read_until(b'\n', text);
    let read = read.or_fail(FailureKind::Invalid, || "cannot read the events".to_owned())?;
    bounded(text, read)
}

fn read_rest(input: &mut dyn BufRead, text: &mut Vec<u8>) -> Result<usize> {
    let read = input.take(MOST_BYTES).read_to_end(text);
    let read = read.or_fail(FailureKind::Invalid, || "cannot read the events".to_owned())?;
    bounded(text, read)
}

fn bounded(text: &[u8], read: usize) -> Result<usize> {
    if (text.len() as u64) < MOST_BYTES {
        return Ok(read);
    }
    Err(Failure::invalid("an event is larger than 16 MiB").hint("give one event a line"))
}

impl ListItem for EventViolation {
    const COLUMNS: &'static [Column] = &[Column::right("LINE"), Column::left("PATH"), Column::left("MESSAGE")];

    fn cells(&self) -> Vec<Cell> {
        let place = if self.breach.pointer.is_empty() { "/" } else { self.breach.pointer.as_str() };
        let message = Cell::new(self.breach.message.as_str()).tone(Tone::Bad);
        vec![Cell::new(self.line.to_string()), Cell::new(place), message]
    }

    fn name(&self) -> String {
        self.line.to_string()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(text: &str) -> (Tally, Vec<String>) {
        let schema = json!({ "type": "object", "properties": { "n": { "type": "integer" } }, "required": ["n"] });
        let validator = SchemaValidator::compile(&schema).unwrap();
        let mut all = Vec::new();
        let tally = validate(&mut text.as_bytes(), &validator, &mut |violation| {
            all.push(format!("{} {}", violation.line, violation.breach.pointer));
            Ok(())
        });
        (tally.unwrap(), all)
    }

    #[test]
    fn lines_are_events_and_each_bad_one_is_named() {
        let (tally, all) = told("{\"n\":1}\n\n{\"n\":\"x\"}\n{\"n\":\nnonsense\n{}\n{\"n\":2}");
        assert_eq!(tally, Tally { events: 6, invalid: 4 });
        assert_eq!(all, ["3 /n", "4 ", "5 ", "6 "]);
    }

    #[test]
    fn a_document_over_several_lines_is_one_event() {
        assert_eq!(told("\n{\n  \"n\": 1\n}\n").0, Tally { events: 1, invalid: 0 });
        assert_eq!(told("{\n  \"n\": \"x\"\n}\n").1, ["1 /n"]);
        assert_eq!(told("").0, Tally::default());
    }
}
