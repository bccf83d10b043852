//! One dead letter in detail: record, error, resolution, asset and schema validity.

use std::borrow::Cow;

use bytes::Bytes;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::decide::{self, RedriveDecision, RedriveRules, SkipReason};
use super::kept::{KeptRecords, Restored};
use super::run::decide_with_kept_record;
use mfctl_core::domain::dead_letter::{DeadLetterInfo, LedgerEntry};
use mfctl_core::domain::dead_letter_stub::DeadLetterStub;
use mfctl_core::domain::event::unframe;
use mfctl_core::domain::json_numbers::with_quoted_numbers;
use mfctl_core::domain::{AssetId, AssetState, Record, RecordAddress, Stage, Timestamp, TopicName, TopicPartition};
use mfctl_core::events::ledger::Ledger;
use mfctl_core::events::{DecodeError, EventCodec};
use mfctl_core::ports::{Error, ErrorKind, EventLog, FetchLimits, Ports, Result};

/// A larger value is not parsed as JSON, in bytes.
const MAX_JSON_BYTES: usize = 256 * 1024;
/// Text of a value or header is truncated to this, in bytes.
const MAX_TEXT_BYTES: usize = 16 * 1024;
/// Binary values are truncated to this, in bytes.
const MAX_HEX_BYTES: usize = 1024;

/// A key, value or header value, decoded for display.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ShownBytes {
    /// The size before truncation.
    pub size_bytes: u64,
    /// `json`, `utf8`, `hex` or `null`.
    pub encoding: &'static str,
    /// The schema id, for a value in the registry's wire format.
    pub schema_id: Option<u32>,
    /// The value, if it is JSON without a number that would lose digits.
    pub json: Option<Value>,
    /// The text or hexadecimal digits, if there is no `json`.
    pub text: Option<String>,
    /// Whether `text` is truncated.
    pub truncated: bool,
}

/// A header, decoded for display.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ShownHeader {
    /// The header's name.
    pub name: String,
    /// The value.
    pub value: ShownBytes,
}

/// What a redrive would do with a dead letter now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "Forecast")]
pub struct RedrivePreview {
    /// `redrive`, `park` or `nothing`.
    pub action: &'static str,
    /// The topic it would be sent to.
    pub to: Option<TopicName>,
    /// How often it was redriven so far.
    pub redrives: u32,
    /// Why it would be skipped.
    pub reason: Option<String>,
}

/// The whole record of a dead letter that holds only the head of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ShownKeptRecord {
    /// The object with the whole record, its size and SHA-256.
    #[serde(flatten)]
    pub stub: DeadLetterStub,
    /// Why the record cannot be restored now; none when it was read and its SHA-256 is right.
    pub unavailable: Option<String>,
}

/// The catalog's row of the dead letter's asset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ShownAsset {
    /// The asset's id.
    pub asset_id: AssetId,
    /// The asset's state; none when it is not in the catalog.
    pub state: Option<AssetState>,
    /// The stage whose dead letter is unresolved.
    pub dead_lettered: Option<Stage>,
    /// The title given at ingest, else the one in the file.
    pub title: Option<String>,
}

/// One dead letter.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct DeadLetterDetail {
    /// The address in the dead-letter or parked topic.
    pub id: RecordAddress,
    /// When it was dead-lettered.
    #[schemars(with = "String")]
    pub dead_lettered_at: Timestamp,
    /// The error and the origin, from the headers.
    pub error: DeadLetterInfo,
    /// The ledger entry; none while it is unresolved.
    pub resolution: Option<LedgerEntry>,
    /// What a redrive would do with it.
    pub redrive: RedrivePreview,
    /// Its record in the object store, if the record was too large for the dead-letter topic. Key, headers and value below
    /// are those of the whole record where it could be read.
    pub kept_record: Option<ShownKeptRecord>,
    /// The asset, by the record's key.
    pub asset: Option<ShownAsset>,
    /// The record's key.
    pub key: ShownBytes,
    /// The headers, in record order.
    pub headers: Vec<ShownHeader>,
    /// The value.
    pub value: ShownBytes,
    /// `valid`, or the first violation of the schema.
    pub validity: String,
}

/// The record at an address.
///
/// # Errors
/// `NotFound` when there is none, otherwise those of the log.
pub async fn fetch_record(log: &dyn EventLog, id: &RecordAddress) -> Result<Record> {
    let at = TopicPartition::new(id.topic.clone(), id.partition);
    let spans = log.offsets(std::slice::from_ref(&id.topic)).await?;
    let missing = || {
        Error::new(ErrorKind::NotFound, format!("there is no record at {id}"))
            .hint("`mfctl dlq list -o name` prints the addresses of dead letters")
    };
    let span = spans.iter().find(|p| p.at == at).ok_or_else(missing)?.span;
    if !(span.low..span.high).contains(&id.offset) {
        return Err(missing());
    }
    let one = FetchLimits { max_records: 1, ..FetchLimits::default() };
    let fetched = log.fetch(&at, id.offset, one).await?;
    fetched.records.into_iter().find(|record| record.address == *id).ok_or_else(missing)
}

/// The whole value of a dead letter, byte for byte.
///
/// # Errors
/// `NotFound`, `Corrupt` or `Denied` when it is kept in the object store and is not there, damaged or denied, otherwise
/// those of the store.
pub async fn whole_value(record: Record, kept: &KeptRecords) -> Result<Option<Bytes>> {
    let Some(stub) = DeadLetterStub::of(&record) else { return Ok(record.value) };
    let reason = match kept.restore(&record, &stub).await? {
        Restored::Whole(whole) => return Ok(whole.value),
        Restored::Unavailable(reason) => reason,
    };
    let kind = match reason {
        SkipReason::KeptRecordMissing => ErrorKind::NotFound,
        SkipReason::KeptRecordDamaged => ErrorKind::Corrupt,
        SkipReason::KeptRecordDenied => ErrorKind::Denied,
        _ => ErrorKind::Invalid,
    };
    let why = match reason {
        SkipReason::TooLarge => "its record is too large to be read into memory",
        reason => reason.text(),
    };
    let hint =
        format!("without --raw, `mfctl dlq show` shows the head of its value; the whole record is {}", stub.object);
    Err(Error::new(kind, format!("dead letter {}: {why}", record.address)).hint(hint))
}

/// The details of a dead letter, from the ledger, the catalog, the registry and the kept records.
///
/// # Errors
/// Errors of the log, catalog, registry and object store.
pub async fn describe(
    record: &Record,
    ports: &Ports,
    codec: &EventCodec,
    rules: &RedriveRules,
    kept: &KeptRecords,
) -> Result<DeadLetterDetail> {
    let ledger = Ledger::load(ports.log.as_ref()).await?;
    let resolution = ledger.entry(ports.log.as_ref(), record).await?;
    let error = DeadLetterInfo::from_record(record);
    let stub = DeadLetterStub::of(record);
    let redrive = match &resolution {
        Some(entry) => nothing(record, format!("it is resolved: {}", entry.resolution)),
        None => redrive_preview(record, decide_with_kept_record(record, stub.as_ref(), rules, kept).await?.0),
    };
    let (whole, kept_record) = whole_record(record, stub, kept).await?;
    let record = whole.as_deref().unwrap_or(record);
    let is_head_only = kept_record.as_ref().is_some_and(|kept| kept.unavailable.is_some());
    Ok(DeadLetterDetail {
        id: record.address.clone(),
        dead_lettered_at: record.timestamp,
        redrive,
        kept_record,
        asset: asset_detail(record, ports).await?,
        key: display_bytes(record.key.as_ref()),
        headers: record.headers.0.iter().map(display_header).collect(),
        value: display_value(record.value.as_ref()),
        validity: match is_head_only {
            true => "not checked: the whole value is not available".to_owned(),
            false => validity(record, codec).await?,
        },
        error,
        resolution,
    })
}

fn display_header(header: &mfctl_core::domain::Header) -> ShownHeader {
    ShownHeader { name: header.name.clone().into_owned(), value: display_bytes(header.value.as_ref()) }
}

/// The whole dead letter of a stub, where it is available, and what is known of its kept record.
async fn whole_record(
    record: &Record,
    stub: Option<DeadLetterStub>,
    kept: &KeptRecords,
) -> Result<(Option<Box<Record>>, Option<ShownKeptRecord>)> {
    let Some(stub) = stub else { return Ok((None, None)) };
    Ok(match kept.restore(record, &stub).await? {
        Restored::Whole(whole) => (Some(whole), Some(ShownKeptRecord { stub, unavailable: None })),
        Restored::Unavailable(reason) => {
            (None, Some(ShownKeptRecord { stub, unavailable: Some(reason.text().to_owned()) }))
        }
    })
}

fn nothing(record: &Record, reason: String) -> RedrivePreview {
    RedrivePreview { action: "nothing", to: None, redrives: redrives(record), reason: Some(reason) }
}

fn redrives(record: &Record) -> u32 {
    decide::redrive_count(record, &DeadLetterInfo::from_record(record))
}

fn redrive_preview(record: &Record, decision: RedriveDecision) -> RedrivePreview {
    let source = record.address.topic.source();
    let sent = |action, to| RedrivePreview { action, to: Some(to), redrives: redrives(record), reason: None };
    match decision {
        RedriveDecision::Redrive { .. } => sent("redrive", source),
        RedriveDecision::Park { .. } => sent("park", source.parked()),
        RedriveDecision::Skip(reason) => nothing(record, SkipReason::text(reason).to_owned()),
    }
}

async fn asset_detail(record: &Record, ports: &Ports) -> Result<Option<ShownAsset>> {
    let Some(asset_id) = decide::asset_of(record) else { return Ok(None) };
    let asset = ports.catalog.assets(&[asset_id]).await?.into_iter().next();
    Ok(Some(ShownAsset {
        asset_id,
        state: asset.as_ref().map(|asset| asset.state),
        dead_lettered: asset.as_ref().and_then(|asset| asset.dead_lettered),
        title: asset.and_then(|asset| asset.metadata.title.or(asset.facts.title)),
    }))
}

async fn validity(record: &Record, codec: &EventCodec) -> Result<String> {
    match codec.decode_value(record).await {
        Ok(_) => Ok("valid".to_owned()),
        Err(DecodeError::Poison { kind, message }) => Ok(format!("{kind}: {message}")),
        Err(DecodeError::Stop { reason, .. }) => Ok(reason),
        Err(DecodeError::Dependency(error)) => Err(error),
    }
}

/// A value for display: without the wire format's header, if it has one, and as JSON where it parses and no number in it
/// loses digits.
fn display_value(bytes: Option<&Bytes>) -> ShownBytes {
    let framed = unframe(bytes).ok();
    let schema_id = framed.as_ref().map(|(schema, _)| schema.0);
    let body = framed.map(|(_, body)| body);
    let Some(all) = bytes else { return display_bytes(None) };
    let candidate = body.as_ref().unwrap_or(all);
    let json = if candidate.len() <= MAX_JSON_BYTES { json_as_typed(candidate) } else { None };
    match json {
        Some(json) => ShownBytes {
            size_bytes: all.len() as u64,
            encoding: "json",
            schema_id,
            json: Some(json),
            text: None,
            truncated: false,
        },
        None => ShownBytes { schema_id, size_bytes: all.len() as u64, ..display_bytes(Some(candidate)) },
    }
}

/// JSON whose numbers are written as they are typed.
fn json_as_typed(bytes: &[u8]) -> Option<Value> {
    let json = serde_json::from_slice(bytes).ok()?;
    matches!(with_quoted_numbers(std::str::from_utf8(bytes).ok()?), Cow::Borrowed(_)).then_some(json)
}

/// Bytes for display: as text where they are UTF-8, else as hexadecimal digits; truncated.
fn display_bytes(bytes: Option<&Bytes>) -> ShownBytes {
    let shown = |encoding, text, truncated, size: usize| ShownBytes {
        size_bytes: size as u64,
        encoding,
        schema_id: None,
        json: None,
        text,
        truncated,
    };
    let Some(bytes) = bytes else { return shown("null", None, false, 0) };
    match std::str::from_utf8(bytes) {
        Ok(text) => {
            let cut = &text[..text.floor_char_boundary(MAX_TEXT_BYTES)];
            shown("utf8", Some(cut.to_owned()), cut.len() < text.len(), bytes.len())
        }
        Err(_) => {
            let cut = &bytes[..bytes.len().min(MAX_HEX_BYTES)];
            shown("hex", Some(hex::encode(cut)), cut.len() < bytes.len(), bytes.len())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mfctl_core::domain::event::{SchemaId, frame};

    #[test]
    fn a_value_is_displayed_as_json_text_or_hex() {
        let framed = display_value(Some(&frame(SchemaId(7), br#"{"a":1}"#)));
        assert_eq!((framed.encoding, framed.schema_id, framed.size_bytes), ("json", Some(7), 12));
        assert_eq!(display_value(Some(&Bytes::from_static(b"[1]"))).json, Some(serde_json::json!([1])));
        let long = display_value(Some(&Bytes::from_static(b"[12345678901234567890123]")));
        assert_eq!((long.encoding, long.text.as_deref()), ("utf8", Some("[12345678901234567890123]")));
        let text = display_value(Some(&Bytes::from_static("سلام".as_bytes())));
        assert_eq!((text.encoding, text.text.as_deref()), ("utf8", Some("سلام")));
        let binary = display_value(Some(&Bytes::from(vec![0xff; 5000])));
        assert_eq!((binary.encoding, binary.truncated, binary.size_bytes), ("hex", true, 5000));
        assert_eq!(display_value(None).encoding, "null");
        let cut = display_value(Some(&Bytes::from("ف".repeat(20_000))));
        assert!(cut.truncated && cut.text.unwrap().len() <= MAX_TEXT_BYTES);
    }
}
