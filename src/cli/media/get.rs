//! `mfctl media get`: downloads an asset's original or a derivative. No byte is handed out before all are verified.

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
use crate::cli::output::{Output, ProgressPosition, humane};
use crate::ops::target::DataDirMode;
use mfctl_core::domain::asset::DerivativeKind;
use mfctl_core::domain::object_keys;
use mfctl_core::domain::path::ShownPath as _;
use mfctl_core::domain::{Asset, AssetState, IdPrefix, ObjectRef, Sha256};
use mfctl_core::ports::ErrorKind;

/// Size of the copy buffer in bytes.
const BUFFER_BYTES: usize = 256 * 1024;
/// Output to stdout is held in memory up to this size until it is verified; a larger one is held in a temporary file.
const SPOOL_BYTES: usize = 16 * 1024 * 1024;

/// Arguments of `mfctl media get`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
An original or derivative is verified by its SHA-256 before the output file appears, or before the first byte is written
to stdout. A derivative of an earlier release may have no recorded SHA-256; a note then says that it was not verified.

Examples:
  mfctl media get ed6de839-bf6e-5531-a0eb-2be63a35ce0a -O cover.jpg
  mfctl media get ed6de839-bf6e-5531-a0eb-2be63a35ce0a -O .             under its original file name
  mfctl media get ed6de839-bf6e-5531-a0eb-2be63a35ce0a --derivative text | less
  mfctl media get ed6de839-bf6e-5531-a0eb-2be63a35ce0a > copy.pdf

Exit codes: 0 done, 2 wrong usage, 5 store not reachable, 6 no such asset or object, 7 the file exists already,
10 the bytes are not those that were ingested or derived; no file is written")]
pub struct Args {
    /// The asset's id or its beginning, at least 4 digits; - reads it from stdin
    #[arg(value_name = "ASSET", add = ArgValueCandidates::new(complete::assets))]
    asset: String,
    /// Download this derivative instead of the original
    #[arg(long, value_name = "WHICH", value_enum)]
    derivative: Option<Derivative>,
    /// Write to this file, or into this folder; - is stdout
    #[arg(short = 'O', long, value_name = "FILE")]
    output_file: Option<PathBuf>,
    /// Replace an existing file
    #[arg(long)]
    force: bool,
}

/// A derivative that enrichment makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Derivative {
    /// The extracted text.
    Text,
    /// The thumbnail, in WebP.
    Thumbnail,
}

/// An object, with the size and digest that its bytes must have.
struct ExpectedObject {
    location: ObjectRef,
    /// None for a derivative, of which only the digest is recorded.
    size_bytes: Option<u64>,
    /// None for a derivative that an earlier release made.
    sha256: Option<Sha256>,
}

pub async fn run(args: Args, cx: &Context) -> Result<()> {
    let to_stdout = args.output_file.as_deref().is_none_or(|file| file == Path::new("-"));
    if args.output_file.is_none() && std::io::stdout().is_terminal() {
        return Err(Failure::usage("an asset's bytes are not printed to a terminal")
            .hint("write them to a file with -O FILE, pipe them, or force it with -O -"));
    }
    let given: IdPrefix = ids::parse_one(&args.asset)?;
    let connected = cx.connect(DataDirMode::MustExist).await?;
    let id = ids::asset(given, &connected).await?;
    let asset = super::find_asset(id, &connected).await?;
    let expected = locate_object(&asset, args.derivative, &connected)?;
    if expected.sha256.is_none() {
        cx.out().note("not verified: an earlier release made this derivative and did not record its SHA-256");
    }
    let source = open_object(&expected, &connected).await?;
    if to_stdout {
        return write_to_stdout(source, &expected, cx.out()).await;
    }
    let path = args.output_file.unwrap_or_default();
    let file = if path.is_dir() { path.join(file_name(&asset, args.derivative, &connected).await?) } else { path };
    write_to_file(source, &expected, &file, args.force, cx.out()).await
}

fn locate_object(asset: &Asset, derivative: Option<Derivative>, connected: &Connected) -> Result<ExpectedObject> {
    if asset.state == AssetState::Revoked {
        return Err(Failure::not_found(format!("asset {} was taken down", asset.asset_id)));
    }
    let buckets = &connected.buckets;
    let Some(derivative) = derivative else {
        let location = if asset.state == AssetState::Staged {
            asset.staging.clone()
        } else {
            ObjectRef { bucket: buckets.originals.clone(), key: object_keys::original(&asset.tenant, &asset.sha256) }
        };
        return Ok(ExpectedObject { location, size_bytes: Some(asset.size_bytes), sha256: Some(asset.sha256) });
    };
    let kind = match derivative {
        Derivative::Text => DerivativeKind::Text,
        Derivative::Thumbnail => DerivativeKind::Thumbnail,
    };
    let recorded = asset.facts.derivative(kind).ok_or_else(|| {
        let failure = Failure::not_found(format!("asset {} has no such derivative", asset.asset_id));
        if asset.state == AssetState::Enriched {
            failure.hint("not every type has one; `mfctl media show` lists the derivatives")
        } else {
            failure.hint(format!("its state is {}; enrichment makes the derivatives", asset.state))
        }
    })?;
    let location = ObjectRef { bucket: buckets.derived.clone(), key: super::derived_key(&recorded)? };
    Ok(ExpectedObject { location, size_bytes: None, sha256: recorded.sha256 })
}

async fn open_object(expected: &ExpectedObject, connected: &Connected) -> Result<Box<dyn AsyncRead + Send + Unpin>> {
    match connected.ports.objects.open(&expected.location).await {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Err(Failure::from(error).hint("`mfctl audit` reports whether the object should exist"))
        }
        other => Ok(other?),
    }
}

async fn write_to_stdout(
    source: Box<dyn AsyncRead + Send + Unpin>,
    expected: &ExpectedObject,
    out: &Output,
) -> Result<()> {
    let mut spool = SpooledTempFile::new(SPOOL_BYTES);
    copy_verified(source, expected, &mut spool, out).await?;
    let read_failed = || "cannot read the verified bytes back".to_owned();
    spool.seek(SeekFrom::Start(0)).or_fail(FailureKind::Unexpected, read_failed)?;
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let read = spool.read(&mut buffer).or_fail(FailureKind::Unexpected, read_failed)?;
        if read == 0 {
            return Ok(());
        }
        out.raw(&buffer[..read])?;
    }
}

async fn write_to_file(
    source: Box<dyn AsyncRead + Send + Unpin>,
    expected: &ExpectedObject,
    file: &Path,
    force: bool,
    out: &Output,
) -> Result<()> {
    match file.symlink_metadata() {
        Ok(_) if !force => return Err(already_exists(file)),
        // A device, a FIFO or a link would be replaced by a file.
        Ok(metadata) if !metadata.is_file() => {
            let message = format!("{} is not a regular file, and is not replaced", file.shown());
            return Err(Failure::new(FailureKind::Conflict, message).hint("choose another name, or write to stdout"));
        }
        _ => {}
    }
    let folder = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let write_failed = || format!("cannot write {}", file.shown());
    // In the target's folder, so that the rename stays on one file system.
    let mut temporary =
        NamedTempFile::with_prefix_in(".mfctl-get-", folder).or_fail(FailureKind::Invalid, write_failed)?;
    let written = copy_verified(source, expected, temporary.as_file_mut(), out).await?;
    temporary.as_file().sync_all().or_fail(FailureKind::Unexpected, write_failed)?;
    apply_umask(temporary.as_file()).or_fail(FailureKind::Unexpected, write_failed)?;
    let persisted = if force { temporary.persist(file) } else { temporary.persist_noclobber(file) };
    match persisted {
        Ok(_) => {
            out.note(format!("wrote {} ({})", file.shown(), humane::bytes(written)));
            Ok(())
        }
        Err(error) if error.error.kind() == std::io::ErrorKind::AlreadyExists => Err(already_exists(file)),
        Err(error) => Err(Failure::invalid(write_failed()).because(&error.error)),
    }
}

/// Gives a temporary file, which only its owner can read, the permissions of a new file.
fn apply_umask(file: &std::fs::File) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mask = rustix::process::umask(rustix::fs::Mode::empty());
    rustix::process::umask(mask);
    file.set_permissions(std::fs::Permissions::from_mode(0o666 & !mask.as_raw_mode()))
}

fn already_exists(file: &Path) -> Failure {
    Failure::new(FailureKind::Conflict, format!("{} exists already", file.shown()))
        .hint("choose another name, or replace it with --force")
}

/// Copies the bytes, and fails if their size or digest is not the expected one; returns their number. Only then may the
/// caller hand them out.
async fn copy_verified(
    mut source: Box<dyn AsyncRead + Send + Unpin>,
    expected: &ExpectedObject,
    to: &mut (dyn Write + Send),
    out: &Output,
) -> Result<u64> {
    let bar = out.progress("get", "bytes");
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut done: u64 = 0;
    loop {
        let read = source
            .read(&mut buffer)
            .await
            .or_fail(FailureKind::Unreachable, || format!("cannot read {}", expected.location))?;
        if read == 0 {
            break;
        }
        hasher.update(&buffer[..read]);
        to.write_all(&buffer[..read]).or_fail(FailureKind::Full, || "cannot write the bytes".to_owned())?;
        done += read as u64;
        bar.set(&ProgressPosition { done, total: expected.size_bytes, ..ProgressPosition::default() });
    }
    to.flush().or_fail(FailureKind::Full, || "cannot write the bytes".to_owned())?;
    let digest = Sha256(hasher.finalize().into());
    if expected.size_bytes.is_none_or(|size| size == done) && expected.sha256.is_none_or(|sha256| sha256 == digest) {
        return Ok(done);
    }
    let size = expected.size_bytes.map(|size| format!("{size} bytes"));
    let sha256 = expected.sha256.map(|sha256| format!("SHA-256 {sha256}"));
    let wanted: Vec<_> = size.into_iter().chain(sha256).collect();
    Err(Failure::check_failed(format!(
        "{} is damaged: it should have {}, and has {done} bytes with SHA-256 {digest}",
        expected.location,
        wanted.join(" with ")
    ))
    .hint("nothing was written; `mfctl audit` finds other damaged objects"))
}

/// The name that the asset is shown by, or the asset's id if no file of it is known; with a suffix for a derivative.
async fn file_name(asset: &Asset, derivative: Option<Derivative>, connected: &Connected) -> Result<PathBuf> {
    let paths = connected.ports.catalog.paths(&[asset.asset_id], 1).await?.pop().unwrap_or_default();
    let path = paths.paths.first().map(|first| first.path.to_path());
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

    fn expect_bytes(bytes: &[u8]) -> ExpectedObject {
        ExpectedObject {
            location: ObjectRef {
                bucket: mfctl_core::domain::BucketName::new("originals").unwrap(),
                key: mfctl_core::domain::ObjectKey::new("default/a").unwrap(),
            },
            size_bytes: Some(bytes.len() as u64),
            sha256: Some(Sha256::of(bytes)),
        }
    }

    #[tokio::test]
    async fn damaged_bytes_leave_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.bin");
        let (out, _) = Output::captured(OutputOptions::default());
        for stored in [&b"right bytez"[..], b"right", b"right bytes and more"] {
            let failure =
                write_to_file(Box::new(stored), &expect_bytes(b"right bytes"), &file, false, &out).await.unwrap_err();
            assert_eq!(failure.exit_code(), 10);
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        }
        write_to_file(Box::new(&b"right bytes"[..]), &expect_bytes(b"right bytes"), &file, false, &out).await.unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), b"right bytes");
        let again =
            write_to_file(Box::new(&b"other"[..]), &expect_bytes(b"other"), &file, false, &out).await.unwrap_err();
        assert_eq!(again.exit_code(), 7);
        write_to_file(Box::new(&b"other"[..]), &expect_bytes(b"other"), &file, true, &out).await.unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), b"other");
    }

    #[tokio::test]
    async fn stdout_gets_all_bytes_or_none() {
        let (out, captured) = Output::captured(OutputOptions::default());
        write_to_stdout(Box::new(&b"wrong"[..]), &expect_bytes(b"right"), &out).await.unwrap_err();
        assert_eq!(captured.stdout(), "");
        write_to_stdout(Box::new(&b"right"[..]), &expect_bytes(b"right"), &out).await.unwrap();
        assert_eq!(captured.stdout(), "right");
    }
}
