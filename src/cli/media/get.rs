//! `mfctl media get`: an asset's bytes or a derivative, verified before anybody can use them.

use std::io::{IsTerminal, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use clap::{Args as ClapArgs, ValueEnum};
use clap_complete::ArgValueCandidates;
use sha2::{Digest, Sha256 as Hasher};
use tempfile::{NamedTempFile, SpooledTempFile};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::cli::complete;
use crate::cli::context::{Connected, Context};
use crate::cli::failure::{Failure, FailureKind, OrFail, Result};
use crate::cli::ids;
use crate::cli::output::{Output, Position, humane};
use crate::ops::target::DataDirMode;
use mfctl_core::domain::object_keys;
use mfctl_core::domain::{Asset, AssetId, AssetState, ObjectRef, Sha256};
use mfctl_core::ports::ErrorKind;

/// Bytes read at once.
const BUFFER: usize = 256 * 1024;
/// Bytes bound for a pipe wait here until they are verified; more wait in a temporary file.
const SPOOL: usize = 16 * 1024 * 1024;

/// Arguments of `mfctl media get`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
The original is verified by its SHA-256 before the file gets its name, or before the first byte reaches the pipe.

Examples:
  mfctl media get ed6de839-bf6e-5531-a0eb-2be63a35ce0a -O cover.jpg
  mfctl media get ed6de839-bf6e-5531-a0eb-2be63a35ce0a -O .             under the name it came with
  mfctl media get ed6de839-bf6e-5531-a0eb-2be63a35ce0a --derivative text | less
  mfctl media get ed6de839-bf6e-5531-a0eb-2be63a35ce0a > copy.pdf

Exit codes: 0 done, 2 wrong usage, 5 store not reachable, 6 no such asset or object, 7 the file is there already,
10 the bytes are not those that were ingested; nothing is left behind")]
pub struct Args {
    /// The asset's id; - reads it from stdin
    #[arg(value_name = "ASSET", add = ArgValueCandidates::new(complete::assets))]
    asset: String,
    /// Not the original but what was derived from it
    #[arg(long, value_name = "WHICH", value_enum)]
    derivative: Option<Derivative>,
    /// Write to this file, or into this folder; - is stdout
    #[arg(short = 'O', long, value_name = "FILE")]
    output_file: Option<PathBuf>,
    /// Replace a file that is there
    #[arg(long)]
    force: bool,
}

/// What enrichment derives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Derivative {
    /// The text.
    Text,
    /// The thumbnail, WebP.
    Thumbnail,
}

/// What to read and how to know that it is right.
struct Wanted {
    at: ObjectRef,
    size_bytes: u64,
    sha256: Option<Sha256>,
}

/// Runs the verb.
///
/// # Errors
/// As its help says.
pub async fn run(args: Args, cx: &Context) -> Result<()> {
    let to_stdout = args.output_file.as_deref().is_none_or(|file| file == Path::new("-"));
    if args.output_file.is_none() && std::io::stdout().is_terminal() {
        return Err(Failure::usage("an asset's bytes are not for a terminal")
            .hint("write them to a file with -O FILE, pipe them on, or insist with -O -"));
    }
    let id: AssetId = ids::one(&args.asset)?;
    let connected = cx.connect(DataDirMode::MustExist).await?;
    let asset = super::asset(id, &connected).await?;
    let wanted = wanted(&asset, args.derivative, &connected).await?;
    let source = open(&wanted, &connected).await?;
    if to_stdout {
        return to_pipe(source, &wanted, cx.out()).await;
    }
    let given = args.output_file.unwrap_or_default();
    let file = if given.is_dir() { given.join(name_of(&asset, args.derivative, &connected).await?) } else { given };
    to_file(source, &wanted, &file, args.force, cx.out()).await
}

async fn wanted(asset: &Asset, derivative: Option<Derivative>, connected: &Connected) -> Result<Wanted> {
    if asset.state == AssetState::Revoked {
        return Err(Failure::not_found(format!("asset {} was taken down", asset.asset_id)));
    }
    let buckets = &connected.buckets;
    let Some(derivative) = derivative else {
        let at = if asset.state == AssetState::Staged {
            asset.staging.clone()
        } else {
            ObjectRef { bucket: buckets.originals.clone(), key: object_keys::original(&asset.tenant, &asset.sha256) }
        };
        return Ok(Wanted { at, size_bytes: asset.size_bytes, sha256: Some(asset.sha256) });
    };
    let key = match derivative {
        Derivative::Text => object_keys::derived_text(asset.asset_id, asset.revision),
        Derivative::Thumbnail => object_keys::derived_thumbnail(asset.asset_id, asset.revision),
    };
    let at = ObjectRef { bucket: buckets.derived.clone(), key };
    let found = connected.ports.objects.head(&at).await?;
    let info = found.ok_or_else(|| {
        let failure = Failure::not_found(format!("asset {} has no such derivative", asset.asset_id));
        if asset.state == AssetState::Enriched {
            failure.hint("not every type has one; `mfctl media show` says what was derived")
        } else {
            failure.hint(format!("it is {}: derivatives come with enrichment", asset.state))
        }
    })?;
    Ok(Wanted { at, size_bytes: info.size_bytes, sha256: None })
}

async fn open(wanted: &Wanted, connected: &Connected) -> Result<Box<dyn AsyncRead + Send + Unpin>> {
    match connected.ports.objects.open(&wanted.at).await {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Err(Failure::from(error).hint("`mfctl audit` says whether it should be there"))
        }
        other => Ok(other?),
    }
}

async fn to_pipe(source: Box<dyn AsyncRead + Send + Unpin>, wanted: &Wanted, out: &Output) -> Result<()> {
    let mut spool = SpooledTempFile::new(SPOOL);
    copy_verified(source, wanted, &mut spool, out).await?;
    let unread = || "cannot read the bytes back".to_owned();
    spool.seek(SeekFrom::Start(0)).or_fail(FailureKind::Unexpected, unread)?;
    let mut buffer = vec![0; BUFFER];
    loop {
        let read = spool.read(&mut buffer).or_fail(FailureKind::Unexpected, unread)?;
        if read == 0 {
            return Ok(());
        }
        out.raw(&buffer[..read])?;
    }
}

async fn to_file(
    source: Box<dyn AsyncRead + Send + Unpin>,
    wanted: &Wanted,
    file: &Path,
    force: bool,
    out: &Output,
) -> Result<()> {
    if !force && file.symlink_metadata().is_ok() {
        return Err(there_already(file));
    }
    let folder = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let unwritten = || format!("cannot write {}", file.display());
    // Beside the target, so that the rename stays on one file system.
    let mut temporary =
        NamedTempFile::with_prefix_in(".mfctl-get-", folder).or_fail(FailureKind::Invalid, unwritten)?;
    copy_verified(source, wanted, temporary.as_file_mut(), out).await?;
    temporary.as_file().sync_all().or_fail(FailureKind::Unexpected, unwritten)?;
    readable(temporary.as_file()).or_fail(FailureKind::Unexpected, unwritten)?;
    let kept = if force { temporary.persist(file) } else { temporary.persist_noclobber(file) };
    match kept {
        Ok(_) => {
            out.note(format!("wrote {} ({})", file.display(), humane::bytes(wanted.size_bytes)));
            Ok(())
        }
        Err(error) if error.error.kind() == std::io::ErrorKind::AlreadyExists => Err(there_already(file)),
        Err(error) => Err(Failure::invalid(unwritten()).because(&error.error)),
    }
}

/// A temporary file is its owner's alone; what it becomes has the rights a new file has.
fn readable(file: &std::fs::File) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mask = rustix::process::umask(rustix::fs::Mode::empty());
    rustix::process::umask(mask);
    file.set_permissions(std::fs::Permissions::from_mode(0o666 & !mask.as_raw_mode()))
}

fn there_already(file: &Path) -> Failure {
    Failure::new(FailureKind::Conflict, format!("{} is there already", file.display()))
        .hint("choose another name, or replace it with --force")
}

/// Copies, hashing on the way; wrong bytes end it before anybody sees them.
async fn copy_verified(
    mut source: Box<dyn AsyncRead + Send + Unpin>,
    wanted: &Wanted,
    to: &mut (dyn Write + Send),
    out: &Output,
) -> Result<()> {
    let bar = out.progress("get", "bytes");
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; BUFFER];
    let mut done: u64 = 0;
    loop {
        let read = source
            .read(&mut buffer)
            .await
            .or_fail(FailureKind::Unreachable, || format!("cannot read {}", wanted.at))?;
        if read == 0 {
            break;
        }
        hasher.update(&buffer[..read]);
        to.write_all(&buffer[..read]).or_fail(FailureKind::Full, || "cannot write the bytes".to_owned())?;
        done += read as u64;
        bar.set(&Position { done, total: Some(wanted.size_bytes), ..Position::default() });
    }
    to.flush().or_fail(FailureKind::Full, || "cannot write the bytes".to_owned())?;
    let found = Sha256(hasher.finalize().into());
    let right = done == wanted.size_bytes && wanted.sha256.is_none_or(|expected| expected == found);
    if right {
        return Ok(());
    }
    let expected = wanted.sha256.map_or_else(String::new, |sha256| format!(" with SHA-256 {sha256}"));
    Err(Failure::check_failed(format!(
        "{} is damaged: {} bytes{expected} were ingested, {done} bytes with SHA-256 {found} are stored",
        wanted.at, wanted.size_bytes
    ))
    .hint("nothing was written; `mfctl audit` finds what else is damaged, ingesting the file again mends it"))
}

/// The name it came with, or its id where that is no plain name.
async fn name_of(asset: &Asset, derivative: Option<Derivative>, connected: &Connected) -> Result<PathBuf> {
    let sources = connected.ports.catalog.sources(asset.asset_id, 1).await?;
    let path = sources.first().map(|source| source.path.to_path());
    let name = path.as_deref().and_then(Path::file_name).map(PathBuf::from);
    let name = name.unwrap_or_else(|| PathBuf::from(asset.asset_id.to_string()));
    Ok(match derivative {
        None => name,
        Some(Derivative::Text) => with_suffix(name, ".txt"),
        Some(Derivative::Thumbnail) => with_suffix(name, ".thumb.webp"),
    })
}

fn with_suffix(name: PathBuf, suffix: &str) -> PathBuf {
    let mut name = name.into_os_string();
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::super::super::output::OutputOptions;
    use super::*;

    fn wanted_of(bytes: &[u8]) -> Wanted {
        Wanted {
            at: ObjectRef {
                bucket: mfctl_core::domain::BucketName::new("originals").unwrap(),
                key: mfctl_core::domain::ObjectKey::new("default/a").unwrap(),
            },
            size_bytes: bytes.len() as u64,
            sha256: Some(Sha256(Hasher::digest(bytes).into())),
        }
    }

    #[tokio::test]
    async fn damaged_bytes_leave_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.bin");
        let (out, _) = Output::captured(OutputOptions::default());
        for stored in [&b"right bytez"[..], b"right", b"right bytes and more"] {
            let failure = to_file(Box::new(stored), &wanted_of(b"right bytes"), &file, false, &out).await.unwrap_err();
            assert_eq!(failure.exit_code(), 10);
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        }
        to_file(Box::new(&b"right bytes"[..]), &wanted_of(b"right bytes"), &file, false, &out).await.unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), b"right bytes");
        let again = to_file(Box::new(&b"other"[..]), &wanted_of(b"other"), &file, false, &out).await.unwrap_err();
        assert_eq!(again.exit_code(), 7);
        to_file(Box::new(&b"other"[..]), &wanted_of(b"other"), &file, true, &out).await.unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), b"other");
    }

    #[tokio::test]
    async fn a_pipe_sees_all_of_it_or_nothing() {
        let (out, captured) = Output::captured(OutputOptions::default());
        to_pipe(Box::new(&b"wrong"[..]), &wanted_of(b"right"), &out).await.unwrap_err();
        assert_eq!(captured.stdout(), "");
        to_pipe(Box::new(&b"right"[..]), &wanted_of(b"right"), &out).await.unwrap();
        assert_eq!(captured.stdout(), "right");
    }
}
