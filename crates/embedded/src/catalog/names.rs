//! The paths of assets, from their sources and from the outcomes of jobs, which keep what later ingests change in a source.

use jiff::Timestamp;
use rusqlite::{CachedStatement, Connection, params};

use crate::db::SqlContext;
use crate::sql::RowReader;
use mfctl_core::domain::asset::{AssetPath, AssetPaths, AssetSighting};
use mfctl_core::domain::{AssetId, JobId, SourcePath};
use mfctl_core::ports::Result;

/// The paths of one asset (?1) in their order, at most ?2; each with the number of all. A source's row has its latest job, the
/// outcomes have every one.
pub(super) const PATHS: &str = "
    SELECT path, min(coalesce(first_job, job_id)) AS named_by, min(coalesce(first_at, seen_at)), count(*) OVER ()
    FROM (SELECT source.path, source.job_id, source.seen_at,
                 (SELECT min(seen.job_id) FROM media_job_outcomes AS seen WHERE seen.tenant = source.tenant
                  AND seen.path = source.path AND seen.asset_id = source.asset_id) AS first_job,
                 (SELECT min(seen.at) FROM media_job_outcomes AS seen WHERE seen.tenant = source.tenant
                  AND seen.path = source.path AND seen.asset_id = source.asset_id) AS first_at
          FROM media_sources AS source WHERE source.asset_id = ?1)
    GROUP BY path ORDER BY named_by, path LIMIT ?2";

/// The outcomes of an asset (?1) by the paths of its sources, and the sources whose job has no outcome of them yet. A host is
/// that of the source's row if it is of the same job, or the only one.
pub(super) const SIGHTINGS: &str = "
    SELECT path, host, job_id, at FROM (
        SELECT seen.path, seen.job_id, seen.at,
               coalesce((SELECT source.host FROM media_sources AS source
                         WHERE source.tenant = known.tenant AND source.path = known.path
                           AND source.asset_id = ?1 AND source.job_id = seen.job_id),
                        (SELECT min(source.host) FROM media_sources AS source
                         WHERE source.tenant = known.tenant AND source.path = known.path
                           AND source.asset_id = ?1 HAVING count(*) = 1)) AS host
        FROM (SELECT DISTINCT tenant, path FROM media_sources WHERE asset_id = ?1) AS known
        JOIN media_job_outcomes AS seen ON seen.tenant = known.tenant AND seen.path = known.path AND seen.asset_id = ?1
        UNION ALL
        SELECT path, job_id, seen_at, host FROM media_sources AS source
        WHERE asset_id = ?1 AND NOT EXISTS (
            SELECT 1 FROM media_job_outcomes AS seen WHERE seen.tenant = source.tenant AND seen.path = source.path
              AND seen.job_id = source.job_id AND seen.asset_id = source.asset_id))
    ORDER BY at, job_id, path LIMIT ?2";

/// See [`mfctl_core::ports::Catalog::paths`].
pub(super) fn paths(connection: &Connection, asset: AssetId, limit: usize) -> Result<AssetPaths> {
    let what = "read an asset's paths";
    if let Some(only) = only_source(connection, asset).during(what)? {
        let path = path_of(connection, asset, only).during(what)?;
        return Ok(AssetPaths { paths: vec![path], count: 1 });
    }
    let mut found = AssetPaths::default();
    let mut select = connection.prepare_cached(PATHS).during(what)?;
    let mut rows = select.query(params![asset.0.as_bytes(), limit as i64]).during(what)?;
    while let Some(row) = rows.next().during(what)? {
        let mut columns = RowReader::new(row);
        let mut path = || -> rusqlite::Result<AssetPath> {
            Ok(AssetPath {
                path: SourcePath::from_text(columns.get::<String>()?),
                job_id: columns.id(JobId)?,
                first_seen_at: columns.time()?,
            })
        };
        found.paths.push(path().during(what)?);
        found.count = columns.count().during(what)?;
    }
    Ok(found)
}

/// The name that an asset is shown by; empty if no file of it is known.
pub(super) fn file_name(connection: &Connection, asset: AssetId) -> Result<String> {
    if let Some(only) = only_source(connection, asset).during("read an asset's paths")? {
        return Ok(only.path.file_name().to_owned());
    }
    Ok(paths(connection, asset, 1)?.file_name().unwrap_or_default().to_owned())
}

/// The source of an asset that has one.
struct OnlySource {
    tenant: String,
    path: SourcePath,
    job_id: JobId,
    seen_at: Timestamp,
}

/// The only source of an asset, as nearly every asset has; `None` if it has none or several.
fn only_source(connection: &Connection, asset: AssetId) -> rusqlite::Result<Option<OnlySource>> {
    let mut select = connection
        .prepare_cached("SELECT tenant, path, job_id, seen_at FROM media_sources WHERE asset_id = ?1 LIMIT 2")?;
    let mut rows = select.query([asset.0.as_bytes()])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let mut columns = RowReader::new(row);
    let only = OnlySource {
        tenant: columns.get()?,
        path: SourcePath::from_text(columns.get::<String>()?),
        job_id: columns.id(JobId)?,
        seen_at: columns.time()?,
    };
    Ok(rows.next()?.is_none().then_some(only))
}

/// The path of a source with its first job.
fn path_of(connection: &Connection, asset: AssetId, source: OnlySource) -> rusqlite::Result<AssetPath> {
    let mut select = connection.prepare_cached(
        "SELECT min(job_id), min(at) FROM media_job_outcomes WHERE tenant = ?1 AND path = ?2 AND asset_id = ?3",
    )?;
    let (first_job, first_at) =
        select.query_row(params![source.tenant, source.path.as_str(), asset.0.as_bytes()], |row| {
            let mut columns = RowReader::new(row);
            Ok((columns.maybe_id(JobId)?, columns.maybe_time()?))
        })?;
    Ok(AssetPath {
        path: source.path,
        job_id: first_job.unwrap_or(source.job_id),
        first_seen_at: first_at.unwrap_or(source.seen_at),
    })
}

/// See [`mfctl_core::ports::Catalog::sightings`].
pub(super) fn sightings(connection: &Connection, asset: AssetId, limit: usize) -> Result<Vec<AssetSighting>> {
    connection
        .prepare_cached(SIGHTINGS)
        .and_then(|mut select| {
            let rows = select.query_map(params![asset.0.as_bytes(), limit as i64], |row| {
                let mut columns = RowReader::new(row);
                Ok(AssetSighting {
                    path: SourcePath::from_text(columns.get::<String>()?),
                    host: columns.get()?,
                    job_id: columns.id(JobId)?,
                    at: columns.time()?,
                })
            })?;
            rows.collect()
        })
        .during("read an asset's history")
}

/// The paths of assets, one after another.
pub(super) struct PathTexts<'c>(CachedStatement<'c>);

impl<'c> PathTexts<'c> {
    pub(super) fn new(connection: &'c Connection) -> Result<Self> {
        let select = connection.prepare_cached("SELECT path FROM media_sources WHERE asset_id = ?1");
        Ok(Self(select.during("read an asset's paths")?))
    }

    /// Whether a path of the asset has a property.
    pub(super) fn any(&mut self, asset: AssetId, mut holds: impl FnMut(&str) -> bool) -> Result<bool> {
        let what = "read an asset's paths";
        let mut rows = self.0.query([asset.0.as_bytes()]).during(what)?;
        while let Some(row) = rows.next().during(what)? {
            let path = row.get_ref(0).and_then(|path| Ok(path.as_str()?)).during(what)?;
            if holds(path) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
