//! One dead letter, with everything that is known of it.

use bytes::Bytes;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::decide::{self, Decision, Rules, SkipReason};
use mfctl_core::domain::dead_letter::{DeadLetterInfo, LedgerEntry};
use mfctl_core::domain::event::unframe;
use mfctl_core::domain::{AssetId, AssetState, Record, RecordAddress, Stage, Timestamp, TopicName, TopicPartition};
use mfctl_core::events::ledger::Ledger;
use mfctl_core::events::{DecodeError, EventCodec};
use mfctl_core::ports::{Error, ErrorKind, EventLog, FetchLimits, Ports, Result};

/// The longest JSON value that is parsed to be shown.
const MAX_JSON_BYTES: usize = 256 * 1024;
/// The longest text shown of a value or header, in bytes.
const MAX_TEXT_BYTES: usize = 16 * 1024;
/// Bytes shown as hexadecimal.
const MAX_HEX_BYTES: usize = 1024;

/// Bytes as they can be shown.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ShownBytes {
    /// How many bytes there are.
    pub size_bytes: u64,
    /// `json`, `utf8`, `hex` or `null`.
    pub encoding: &'static str,
    /// The number of the schema, where they are in the wire format.
    pub schema_id: Option<u32>,
    /// The JSON, where they are JSON.
    pub json: Option<Value>,
    /// The text or hexadecimal digits, where they are not.
    pub text: Option<String>,
    /// Whether there is more than is shown.
    pub truncated: bool,
}

/// A header as it can be shown.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ShownHeader {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: ShownBytes,
}

/// What a redrive would do to it now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Forecast {
    /// `redrive`, `park` or `nothing`.
    pub action: &'static str,
    /// The topic it would go to.
    pub to: Option<TopicName>,
    /// How often it was redriven before.
    pub redrives: u32,
    /// Why nothing would happen.
    pub reason: Option<String>,
}

/// What the catalog knows of the asset it is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ShownAsset {
    /// The asset.
    pub asset_id: AssetId,
    /// Its state; none when the catalog does not have it.
    pub state: Option<AssetState>,
    /// The stage whose dead letter is unresolved.
    pub dead_lettered: Option<Stage>,
    /// Its title.
    pub title: Option<String>,
}

/// One dead letter.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Shown {
    /// Its address.
    pub id: RecordAddress,
    /// When it was dead-lettered.
    #[schemars(with = "String")]
    pub dead_lettered_at: Timestamp,
    /// Why, and where it came from.
    pub error: DeadLetterInfo,
    /// What was decided of it; none while it is unresolved.
    pub resolution: Option<LedgerEntry>,
    /// What a redrive would do.
    pub redrive: Forecast,
    /// The asset it is about.
    pub asset: Option<ShownAsset>,
    /// Its key.
    pub key: ShownBytes,
    /// Its headers, in their order.
    pub headers: Vec<ShownHeader>,
    /// Its value.
    pub value: ShownBytes,
    /// What the schema says of its value: `valid`, or the first thing that is wrong.
    pub validity: String,
}

/// The record at an address.
///
/// # Errors
/// `NotFound` when none stands there, otherwise those of the log.
pub async fn fetch(log: &dyn EventLog, id: &RecordAddress) -> Result<Record> {
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

/// Gathers what is known of a dead letter.
///
/// # Errors
/// Those of the log, catalog and registry.
pub async fn show(record: &Record, ports: &Ports, codec: &EventCodec, rules: &Rules) -> Result<Shown> {
    let ledger = Ledger::load(ports.log.as_ref()).await?;
    let resolution = ledger.entry(ports.log.as_ref(), &record.address).await?;
    let error = DeadLetterInfo::from_record(record);
    Ok(Shown {
        id: record.address.clone(),
        dead_lettered_at: record.timestamp,
        redrive: forecast(record, &error, resolution.as_ref(), rules),
        asset: asset(record, ports).await?,
        key: plain(record.key.as_ref()),
        headers: record.headers.0.iter().map(header).collect(),
        value: value(record.value.as_ref()),
        validity: validity(record, codec).await?,
        error,
        resolution,
    })
}

fn header(header: &mfctl_core::domain::Header) -> ShownHeader {
    ShownHeader { name: header.name.clone().into_owned(), value: plain(header.value.as_ref()) }
}

fn forecast(record: &Record, info: &DeadLetterInfo, resolved: Option<&LedgerEntry>, rules: &Rules) -> Forecast {
    let redrives = decide::redrives(record, info);
    let source = record.address.topic.source();
    let nothing = |reason: String| Forecast { action: "nothing", to: None, redrives, reason: Some(reason) };
    if let Some(entry) = resolved {
        return nothing(format!("it is resolved: {}", entry.resolution));
    }
    match decide::decide(record, info, rules) {
        Decision::Redrive { .. } => Forecast { action: "redrive", to: Some(source), redrives, reason: None },
        Decision::Park { .. } => Forecast { action: "park", to: Some(source.parked()), redrives, reason: None },
        Decision::Skip(reason) => nothing(SkipReason::text(reason).to_owned()),
    }
}

async fn asset(record: &Record, ports: &Ports) -> Result<Option<ShownAsset>> {
    let Some(asset_id) = decide::asset_of(record) else { return Ok(None) };
    let found = ports.catalog.assets(&[asset_id]).await?.into_iter().next();
    Ok(Some(ShownAsset {
        asset_id,
        state: found.as_ref().map(|asset| asset.state),
        dead_lettered: found.as_ref().and_then(|asset| asset.dead_lettered),
        title: found.and_then(|asset| asset.metadata.title.or(asset.facts.title)),
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

/// A value, out of the wire format where it is in it.
fn value(bytes: Option<&Bytes>) -> ShownBytes {
    let framed = unframe(bytes).ok();
    let schema_id = framed.as_ref().map(|(schema, _)| schema.0);
    let body = framed.map(|(_, body)| body);
    let Some(all) = bytes else { return plain(None) };
    let candidate = body.as_ref().unwrap_or(all);
    let json = (candidate.len() <= MAX_JSON_BYTES).then(|| serde_json::from_slice::<Value>(candidate).ok()).flatten();
    match json {
        Some(json) => ShownBytes {
            size_bytes: all.len() as u64,
            encoding: "json",
            schema_id,
            json: Some(json),
            text: None,
            truncated: false,
        },
        None => ShownBytes { schema_id, size_bytes: all.len() as u64, ..plain(Some(candidate)) },
    }
}

/// Bytes as text where they are UTF-8, else as hexadecimal digits, cut.
fn plain(bytes: Option<&Bytes>) -> ShownBytes {
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
    fn a_value_is_shown_as_what_it_is() {
        let framed = value(Some(&frame(SchemaId(7), br#"{"a":1}"#)));
        assert_eq!((framed.encoding, framed.schema_id, framed.size_bytes), ("json", Some(7), 12));
        assert_eq!(value(Some(&Bytes::from_static(b"[1]"))).json, Some(serde_json::json!([1])));
        let text = value(Some(&Bytes::from_static("سلام".as_bytes())));
        assert_eq!((text.encoding, text.text.as_deref()), ("utf8", Some("سلام")));
        let binary = value(Some(&Bytes::from(vec![0xff; 5000])));
        assert_eq!((binary.encoding, binary.truncated, binary.size_bytes), ("hex", true, 5000));
        assert_eq!(value(None).encoding, "null");
        let cut = value(Some(&Bytes::from("ف".repeat(20_000))));
        assert!(cut.truncated && cut.text.unwrap().len() <= MAX_TEXT_BYTES);
    }
}
