//! `mfctl media show`: prints an asset's metadata, files, objects and events, and which of its objects are missing.

use clap::Args as ClapArgs;
use clap_complete::ArgValueCandidates;
use schemars::JsonSchema;
use serde::Serialize;

use super::list::state_cell;
use super::{AssetNames, display_title};
use crate::cli::complete;
use crate::cli::context::{Connected, Context};
use crate::cli::failure::Result;
use crate::cli::ids;
use crate::cli::output::{Cell, Column, Render, TextPage, Tone, humane};
use crate::ops::target::DataDirMode;
use mfctl_core::domain::asset::{AssetSource, DerivativeKind};
use mfctl_core::domain::names::topics;
use mfctl_core::domain::object_keys;
use mfctl_core::domain::{Asset, AssetState, EventId, IdPrefix, ObjectRef, SourcePath, Timestamp, TopicName};
use mfctl_core::ports::Takedown;

/// Maximum number of source files shown for an asset.
const MAX_SOURCES: usize = 50;
/// Maximum number of paths in the document.
const MAX_PATHS: usize = 100;

/// Arguments of `mfctl media show`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  mfctl media show ed6de839-bf6e-5531-a0eb-2be63a35ce0a
  mfctl media show ed6de8                               by the beginning of its id
  mfctl media search hafez --limit 1 -o name | mfctl media show -
  mfctl media show ed6de839-bf6e-5531-a0eb-2be63a35ce0a -o json | jq .asset.facts

Exit codes: 0 shown, 2 not an asset id, or the beginning of several, 5 a dependency is not reachable, 6 no such asset or no data folder")]
pub struct Args {
    /// The asset's id or its beginning, at least 4 digits; - reads it from stdin
    #[arg(value_name = "ASSET", add = ArgValueCandidates::new(complete::assets))]
    asset: String,
}

/// An object of an asset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ShownObject {
    /// Its role: `staging`, `original`, `archived`, `text` or `thumbnail`.
    pub role: &'static str,
    /// Its bucket and key, whether it exists or not.
    pub at: ObjectRef,
    /// Its size; none if it does not exist.
    pub size_bytes: Option<u64>,
    /// Whether an asset in this state should have it.
    pub expected: bool,
}

/// An event of an asset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ShownEvent {
    /// Its topic.
    pub topic: TopicName,
    /// Its id, whether it was published yet or not.
    pub event_id: EventId,
}

/// A source file of an asset.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ShownSource {
    /// The file as it was read last.
    #[serde(flatten)]
    pub source: AssetSource,
    /// Time of the outcome of its first ingest with these bytes, of whatever host, a moment after the file was read; none if the
    /// asset has very many paths.
    #[schemars(with = "Option<String>")]
    pub first_seen_at: Option<Timestamp>,
}

/// The output of `mfctl media show`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct MediaShowReport {
    /// The asset's row in the catalog.
    pub asset: Asset,
    /// Why enrichment read nothing of the file; none if it read something, or has not run.
    pub unread: Option<String>,
    /// The names of its files.
    #[serde(flatten)]
    pub names: AssetNames,
    /// The files it was ingested from, the latest seen first, at most 50.
    pub sources: Vec<ShownSource>,
    /// Its objects: those that exist and those that should.
    pub objects: Vec<ShownObject>,
    /// Whether the search index has its document.
    pub search_document: bool,
    /// The events of its current revision.
    pub events: Vec<ShownEvent>,
    /// Its latest takedown; none if it was never taken down.
    pub takedown: Option<Takedown>,
    #[serde(skip)]
    now: Option<Timestamp>,
}

pub async fn run(args: Args, cx: &Context) -> Result<()> {
    let given: IdPrefix = ids::parse_one(&args.asset)?;
    let connected = cx.connect(DataDirMode::MustExist).await?;
    let id = ids::asset(given, &connected).await?;
    let asset = super::find_asset(id, &connected).await?;
    let ports = &connected.ports;
    let paths = ports.catalog.paths(&[id], MAX_PATHS).await?.pop().unwrap_or_default();
    let first_seen_at = |path: &SourcePath| {
        let known = paths.paths.iter().find(|known| known.path == *path);
        known.map(|known| known.first_seen_at)
    };
    let sources = ports.catalog.sources(id, MAX_SOURCES).await?;
    let sources = sources.into_iter().map(|source| ShownSource { first_seen_at: first_seen_at(&source.path), source });
    let report = MediaShowReport {
        sources: sources.collect(),
        names: paths.into(),
        objects: asset_objects(&asset, &connected).await?,
        search_document: ports.search.indexed(&[id]).await?.first().copied().unwrap_or(false),
        events: asset_events(&asset),
        takedown: ports.catalog.takedowns(&[id]).await?.pop(),
        unread: asset.unread().map(str::to_owned),
        asset,
        now: Some(ports.clock.now()),
    };
    cx.out().print(&report)
}

async fn asset_objects(asset: &Asset, connected: &Connected) -> Result<Vec<ShownObject>> {
    let buckets = &connected.buckets;
    let durable = matches!(asset.state, AssetState::Ingested | AssetState::Enriched);
    let original =
        ObjectRef { bucket: buckets.originals.clone(), key: object_keys::original(&asset.tenant, &asset.sha256) };
    let derived = |key| ObjectRef { bucket: buckets.derived.clone(), key };
    let enriched = asset.state == AssetState::Enriched;
    let archived = ObjectRef {
        bucket: buckets.originals.clone(),
        key: object_keys::archived_original(&asset.tenant, &asset.sha256),
    };
    let mut candidates = vec![
        ("staging", asset.staging.clone(), asset.state == AssetState::Staged),
        ("original", original, durable),
        ("archived", archived, false),
    ];
    for derivative in DerivativeKind::ALL.into_iter().filter_map(|kind| asset.facts.derivative(kind)) {
        candidates.push((derivative.kind.as_str(), derived(super::derived_key(&derivative)?), enriched));
    }
    let mut objects = Vec::new();
    for (role, at, expected) in candidates {
        let size_bytes = connected.ports.objects.head(&at).await?.map(|info| info.size_bytes);
        if size_bytes.is_some() || expected {
            objects.push(ShownObject { role, at, size_bytes, expected });
        }
    }
    Ok(objects)
}

fn asset_events(asset: &Asset) -> Vec<ShownEvent> {
    let mut events = vec![ShownEvent { topic: topics::INGEST_RAW, event_id: asset.event_id }];
    for topic in [topics::MEDIA_INGESTED, topics::MEDIA_ENRICHED] {
        let event_id = EventId::of_output(asset.asset_id, topic.as_str(), asset.revision);
        events.push(ShownEvent { topic, event_id });
    }
    events
}

impl Render for MediaShowReport {
    fn page(&self, page: &mut TextPage) {
        let asset = &self.asset;
        page.field("asset", Cell::new(asset.asset_id.to_string()).tone(Tone::Strong));
        page.field("name", Cell::maybe(self.names.file_name.as_deref()));
        page.field("state", state_cell(asset));
        page.field("revision", asset.revision.to_string());
        page.field("title", Cell::maybe(display_title(asset)));
        page.field("type", asset.media_type.as_str());
        page.field("size", format!("{} ({} bytes)", humane::bytes(asset.size_bytes), asset.size_bytes));
        page.field("sha256", asset.sha256.to_string());
        page.field("tenant", asset.tenant.as_str());
        page.field("collection", Cell::maybe(asset.metadata.collection.as_deref()));
        for (name, value) in &asset.metadata.tags {
            page.field(format!("tag {name}"), value.as_str());
        }
        for (name, value) in &asset.metadata.custom {
            page.field(format!("field {name}"), value.to_string());
        }
        page.field("job", asset.job_id.to_string());
        page.field("staged", self.time_cell(Some(asset.staged_at)));
        page.field("ingested", self.time_cell(asset.ingested_at));
        page.field("enriched", self.time_cell(asset.enriched_at));
        self.add_takedown(page);
        self.add_facts(page);
        self.add_tables(page);
    }

    fn names(&self) -> Option<Vec<String>> {
        Some(vec![self.asset.asset_id.to_string()])
    }
}

impl MediaShowReport {
    fn time_cell(&self, at: Option<Timestamp>) -> Cell {
        Cell::maybe(at.map(|at| self.now.map_or_else(|| humane::time(at), |now| humane::time_and_age(at, now))))
    }

    fn add_takedown(&self, page: &mut TextPage) {
        let Some(takedown) = &self.takedown else { return };
        page.field("taken down", self.time_cell(Some(takedown.revoked_at)));
        page.field("  by", takedown.actor.as_str());
        page.field("  reason", takedown.reason.as_str());
        if takedown.completed_at.is_none() && takedown.lifted_at.is_none() {
            let detail = "not completed: run `mfctl media takedown` again";
            page.field("  state", Cell::new(detail).tone(Tone::Bad));
        }
        if takedown.purged_at.is_some() {
            page.field("  purged", self.time_cell(takedown.purged_at));
        }
        if takedown.lifted_at.is_some() {
            page.field("lifted", self.time_cell(takedown.lifted_at));
            page.field("  by", Cell::maybe(takedown.lifted_by.as_deref()));
            page.field("  reason", Cell::maybe(takedown.lift_reason.as_deref()));
        }
    }

    fn add_facts(&self, page: &mut TextPage) {
        let facts = &self.asset.facts;
        let size = facts.width_px.zip(facts.height_px).map(|(width, height)| format!("{width} × {height} px"));
        let text = facts.text_chars.map(|chars| {
            let truncated = if facts.text_truncated { ", truncated at the limit" } else { "" };
            format!("{}{truncated}", humane::counted(chars, "character", "characters"))
        });
        let fields = [
            ("title in the file", facts.title.clone()),
            ("language", facts.language.clone()),
            ("text", text),
            ("pages", facts.pages.map(|pages| pages.to_string())),
            ("image", size),
            ("taken at", facts.taken_at.clone()),
            ("camera", facts.camera.clone()),
        ];
        for (name, value) in fields {
            if let Some(value) = value {
                page.field(name, value);
            }
        }
        for note in &facts.notes {
            page.field("note", note.as_str());
        }
    }

    fn add_tables(&self, page: &mut TextPage) {
        page.heading("Files");
        let columns = [
            Column::path("PATH"),
            Column::text("HOST").rank(2),
            Column::whole("FIRST SEEN"),
            Column::whole("LAST SEEN").rank(3),
            Column::whole("LAST JOB").rank(1),
        ];
        let rows = self.sources.iter().map(|ShownSource { source, first_seen_at }| {
            vec![
                Cell::new(source.path.as_str()),
                Cell::new(source.host.as_str()),
                Cell::maybe(first_seen_at.map(humane::time)),
                Cell::new(humane::time(first_seen_at.map_or(source.seen_at, |first| first.max(source.seen_at)))),
                Cell::new(source.job_id.to_string()),
            ]
        });
        page.table(&columns, rows.collect());
        if self.names.path_count > self.sources.len() as u64 {
            let all = humane::count(self.names.path_count);
            page.line(format!("the latest {} of {all} paths", self.sources.len()));
        }
        page.heading("Objects");
        let columns = [Column::whole("ROLE"), Column::number("SIZE").rank(1), Column::path("LOCATION")];
        let rows = self.objects.iter().map(|object| {
            let size = match object.size_bytes {
                Some(size) => Cell::new(humane::bytes(size)),
                None => Cell::new("missing").tone(Tone::Bad),
            };
            vec![Cell::new(object.role), size, Cell::new(object.at.to_string())]
        });
        page.table(&columns, rows.collect());
        page.heading("Events");
        let rows = self.events.iter().map(|event| vec![event.topic.as_str().into(), event.event_id.to_string().into()]);
        page.table(&[Column::whole("TOPIC"), Column::whole("EVENT")], rows.collect());
        let indexed = if self.search_document { "yes" } else { "no" };
        page.blank().field("in the search index", indexed);
    }
}
