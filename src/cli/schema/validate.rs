//! `mfctl schema validate`: checks events against a schema.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;

use clap::Args as ClapArgs;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::source::{self, SubjectSelector};
use crate::cli::context::Context;
use crate::cli::failure::{Failure, FailureKind, OrFail, Result};
use crate::cli::output::{Cell, Column, ListItem, Tone, humane};
use crate::ops::target::DataDirMode;
use mfctl_core::domain::TopicName;
use mfctl_core::domain::path::ShownPath as _;
use mfctl_core::events::schemas;
use mfctl_core::events::validator::{SchemaValidator, SchemaViolation};

/// The longest event that is read, in bytes. Kafka's default limit is 1 MiB.
const MAX_EVENT_BYTES: u64 = 16 << 20;
/// Violations reported for one event.
const MAX_VIOLATIONS: usize = 20;

/// Arguments of `mfctl schema validate`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Reads one JSON document, or JSON lines: one event a line; empty lines are skipped. Values are plain JSON, without the
header of the wire format. Only --subject connects to the registry.

Examples:
  mfctl schema validate event.json --topic ingest.raw           against the schema this binary writes
  kcat -C -t orders -e -q | mfctl schema validate - --subject orders-value@2
  mfctl schema validate events.jsonl --schema schemas/media.enriched.json -o json | jq '.violations[]'

Exit codes: 0 every event is valid, 2 wrong usage, 5 registry not reachable, 6 no such file, schema or subject, 10 some
events are invalid, each listed with its line")]
pub struct Args {
    /// File of events; - reads from stdin
    #[arg(value_name = "FILE|-")]
    file: PathBuf,
    #[command(flatten)]
    schema: SchemaSource,
}

/// The schema that the events are checked against.
#[derive(Debug, ClapArgs)]
#[group(required = true, multiple = false)]
struct SchemaSource {
    /// The schema this binary writes for a topic
    #[arg(long, value_name = "TOPIC")]
    topic: Option<TopicName>,
    /// A subject's schema in the registry; the latest version by default
    #[arg(long, value_name = "SUBJECT[@VERSION]")]
    subject: Option<SubjectSelector>,
    /// A schema in a file
    #[arg(long, value_name = "FILE")]
    schema: Option<PathBuf>,
}

/// One violation of the schema by one event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct EventViolation {
    /// The line on which the event begins, from 1.
    pub line: u64,
    /// The place in the event, and what is wrong with it.
    #[serde(flatten)]
    pub violation: SchemaViolation,
}

/// The counts that follow the list of violations.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct ValidationCounts {
    events: u64,
    invalid: u64,
}

pub async fn run(args: Args, cx: &Context) -> Result<()> {
    let schema = args.schema.fetch(cx).await?;
    let not_a_schema = |why| Failure::invalid(format!("not a JSON Schema: {why}"));
    let validator = SchemaValidator::compile(&schema).map_err(not_a_schema)?;
    let mut list = cx.out().list::<EventViolation>("violations");
    let stdin = args.file.as_os_str() == "-";
    let mut input: Box<dyn BufRead> = if stdin {
        Box::new(BufReader::new(std::io::stdin()))
    } else {
        let file = File::open(&args.file);
        let file = file.or_fail(FailureKind::Invalid, || format!("cannot read {}", args.file.shown()))?;
        Box::new(BufReader::new(file))
    };
    let counts = validate(input.as_mut(), &validator, &mut |violation| list.push(&violation))?;
    if counts.invalid == 0 && cx.out().options().format.is_table() {
        drop(list);
    } else {
        list.finish_with(&counts)?;
    }
    let events = humane::counted(counts.events, "event", "events");
    if counts.events == 0 {
        return Err(Failure::invalid("there are no events to check").hint("give a JSON document, or one event a line"));
    }
    if counts.invalid > 0 {
        return Err(Failure::check_failed(format!("{} of {events} are not valid", humane::count(counts.invalid))));
    }
    cx.out().note(format!("{events}, all valid"));
    Ok(())
}

impl SchemaSource {
    async fn fetch(&self, cx: &Context) -> Result<Value> {
        if let Some(path) = &self.schema {
            return source::read_file(path);
        }
        if let Some(subject) = &self.subject {
            let connected = cx.connect(DataDirMode::MustExist).await?;
            return Ok(subject.fetch(connected.ports.registry.as_ref()).await?.schema);
        }
        let own = self.topic.as_ref().map(schemas::subject).and_then(|subject| source::own_schema(&subject));
        own.ok_or_else(|| {
            let topics: Vec<String> = schemas::written().iter().map(|(topic, _)| topic.to_string()).collect();
            Failure::not_found("this binary writes no events on that topic")
                .hint(format!("its topics are {}; others have --subject or --schema", topics.join(", ")))
        })
    }
}

/// Validates event by event, and passes each violation to `report`. Memory is bounded by the longest event.
fn validate(
    input: &mut dyn BufRead,
    validator: &SchemaValidator,
    report: &mut dyn FnMut(EventViolation) -> Result<()>,
) -> Result<ValidationCounts> {
    let mut counts = ValidationCounts::default();
    let mut line = 0;
    let mut text = Vec::new();
    loop {
        text.clear();
        line += 1;
        if read_line(input, &mut text)? == 0 {
            return Ok(counts);
        }
        if text.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let mut event = serde_json::from_slice::<Value>(text.trim_ascii());
        let first_line = line;
        // The first event may be one document that spans all lines.
        if counts.events == 0 && event.as_ref().is_err_and(serde_json::Error::is_eof) {
            read_rest(input, &mut text)?;
            event = serde_json::from_slice(text.trim_ascii());
        }
        counts.events += 1;
        let violations = match &event {
            Ok(event) => validator.violations(event, MAX_VIOLATIONS),
            Err(error) => {
                vec![SchemaViolation {
                    pointer: String::new(),
                    message: format!("not JSON: {}", parse_message(error, &text)),
                }]
            }
        };
        counts.invalid += u64::from(!violations.is_empty());
        for violation in violations {
            report(EventViolation { line: first_line, violation })?;
        }
    }
}

/// The parser's message. For a text of one line, only the column of the position is kept: the parser counts from that line.
fn parse_message(error: &serde_json::Error, text: &[u8]) -> String {
    let message = error.to_string();
    match message.split_once(" at line ") {
        Some((what, _)) if !text.trim_ascii().contains(&b'\n') => format!("{what} at column {}", error.column()),
        _ => message,
    }
}

fn read_line(input: &mut dyn BufRead, text: &mut Vec<u8>) -> Result<usize> {
    let read = input.take(MAX_EVENT_BYTES).read_until(b'\n', text);
    let read = read.or_fail(FailureKind::Invalid, || "cannot read the events".to_owned())?;
    check_length(text, read)
}

fn read_rest(input: &mut dyn BufRead, text: &mut Vec<u8>) -> Result<usize> {
    let read = input.take(MAX_EVENT_BYTES).read_to_end(text);
    let read = read.or_fail(FailureKind::Invalid, || "cannot read the events".to_owned())?;
    check_length(text, read)
}

fn check_length(text: &[u8], read: usize) -> Result<usize> {
    if (text.len() as u64) < MAX_EVENT_BYTES {
        return Ok(read);
    }
    Err(Failure::invalid("an event is larger than 16 MiB").hint("give one event a line"))
}

impl ListItem for EventViolation {
    const COLUMNS: &'static [Column] = &[Column::number("LINE"), Column::text("PATH"), Column::text("MESSAGE")];

    fn cells(&self) -> Vec<Cell> {
        let pointer = if self.violation.pointer.is_empty() { "/" } else { self.violation.pointer.as_str() };
        let message = Cell::new(self.violation.message.as_str()).tone(Tone::Bad);
        vec![Cell::new(self.line.to_string()), Cell::new(pointer), message]
    }

    fn name(&self) -> String {
        self.line.to_string()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn validate_text(text: &str) -> (ValidationCounts, Vec<String>) {
        let schema = json!({ "type": "object", "properties": { "n": { "type": "integer" } }, "required": ["n"] });
        let validator = SchemaValidator::compile(&schema).unwrap();
        let mut all = Vec::new();
        let counts = validate(&mut text.as_bytes(), &validator, &mut |violation| {
            all.push(format!("{} {}", violation.line, violation.violation.pointer));
            Ok(())
        });
        (counts.unwrap(), all)
    }

    #[test]
    fn each_line_is_an_event_and_each_invalid_one_is_reported() {
        let (counts, all) = validate_text("{\"n\":1}\n\n{\"n\":\"x\"}\n{\"n\":\nnonsense\n{}\n{\"n\":2}");
        assert_eq!(counts, ValidationCounts { events: 6, invalid: 4 });
        assert_eq!(all, ["3 /n", "4 ", "5 ", "6 "]);
    }

    #[test]
    fn document_over_several_lines_is_one_event() {
        assert_eq!(validate_text("\n{\n  \"n\": 1\n}\n").0, ValidationCounts { events: 1, invalid: 0 });
        assert_eq!(validate_text("{\n  \"n\": \"x\"\n}\n").1, ["1 /n"]);
        assert_eq!(validate_text("").0, ValidationCounts::default());
    }
}
