//! `mfctl bootstrap init-vault`: initialises a new Vault, hands out its key shares and revokes the root token.

use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{ArgAction, Args as ClapArgs};
use schemars::JsonSchema;
use serde::Serialize;

use crate::cli::context::Context;
use crate::cli::failure::{Failure, FailureKind, Result};
use crate::cli::guard::{self, GuardedChange};
use crate::cli::output::{Render, TextPage};
use crate::cli::signals;
use crate::connect;
use mfctl_core::domain::path::ShownPath as _;
use mfctl_core::domain::{Secret, SourcePath};
use mfctl_core::ports::{InitKeys, VaultSetup};

/// Interval between two reads of the seal status.
const SEAL_POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Bytes of a PGP key file, at most.
const MAX_PGP_KEY_BYTES: u64 = 256 * 1024;

/// Arguments of `mfctl bootstrap init-vault`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Initialises a new Vault. Each share of its unseal key is encrypted with its holder's PGP key and written to a file. The
command waits until the holders have unsealed Vault (`vault operator unseal`), creates a role for `bootstrap`, writes the
role's id and a wrapped secret id to files, and revokes the root token. No share and no token is printed.

Without PGP keys, --plain-shares writes the shares unencrypted and unseals Vault with them: for experiments, and refused in a
protected profile.

Examples:
  mfctl bootstrap init-vault handover --pgp-key mina.asc --pgp-key omid.asc --pgp-key sara.asc --threshold 2
  mfctl bootstrap init-vault handover --plain-shares --shares 1 --threshold 1 --yes

Exit codes: 0 done, 2 wrong usage, 5 Vault is not reachable, 6 cannot write, or not a PGP key, 7 Vault is initialised
already, 8 not confirmed, refused, or the folder is not empty, 129/130/143 stopped while waiting")]
pub struct Args {
    /// The folder for shares and ids; created if it does not exist
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// A key holder's PGP public key, one for each share
    #[arg(long, value_name = "FILE", conflicts_with_all = ["plain_shares", "shares"])]
    pgp_key: Vec<PathBuf>,
    /// Write the shares unencrypted
    #[arg(long, action = ArgAction::SetTrue)]
    plain_shares: bool,
    /// Number of key shares
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..=255))]
    shares: u8,
    /// Number of shares that unseal Vault
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=255))]
    threshold: u8,
    /// Name of the role and of its policy
    #[arg(long, value_name = "NAME", default_value = "mfctl-bootstrap", value_parser = parse_role)]
    role: String,
}

fn parse_role(text: &str) -> std::result::Result<String, String> {
    let is_allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    match !text.is_empty() && text.chars().all(is_allowed) {
        true => Ok(text.to_owned()),
        false => Err("a role name consists of a-z 0-9 -".to_owned()),
    }
}

/// The output of `mfctl bootstrap init-vault`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct InitVaultReport {
    /// The folder that the files were written to.
    pub dir: SourcePath,
    /// Names of the share files in the folder.
    pub shares: Vec<String>,
    /// Number of shares that unseal Vault.
    pub threshold: u8,
    /// The role that was created.
    pub role: String,
    /// Whether the root token was revoked; always true, as the report is printed only then.
    pub root_token_revoked: bool,
}

pub async fn run(args: &Args, cx: &Context) -> Result<()> {
    let settings = cx.settings()?;
    let target = cx.announce(&settings)?;
    let keys = args.pgp_key.iter().map(|path| read_pgp_key(path)).collect::<Result<Vec<_>>>()?;
    let shares = match (keys.len(), args.plain_shares) {
        (0, false) => {
            return Err(Failure::usage("name the key holders: --pgp-key FILE for each share, or --plain-shares"));
        }
        (0, true) if target.protected => {
            return Err(Failure::refused("unencrypted shares are not written in a protected profile")
                .hint("give the PGP key of each holder with --pgp-key"));
        }
        (0, true) => args.shares,
        (count, _) => u8::try_from(count).map_err(|_| Failure::usage("more than 255 PGP keys"))?,
    };
    if args.threshold > shares {
        return Err(Failure::usage(format!(
            "--threshold {} is higher than the number of shares: {shares}",
            args.threshold
        )));
    }
    let name = &settings.profile.name;
    let no_vault = || {
        Failure::invalid(format!("profile {name} has no Vault"))
            .hint(format!("add [profile.{name}.vault] with its url"))
    };
    let vault = connect::vault_setup(&settings, &cx.sources().env)?.ok_or_else(no_vault)?;
    if vault.seal_status().await?.initialised {
        return Err(Failure::new(FailureKind::Conflict, "Vault is already initialised")
            .hint("its key holders unseal it; `vault operator generate-root` replaces a lost root token"));
    }
    let summary = format!("initialise Vault: {shares} shares, {} of them unseal it", args.threshold);
    guard::confirm(
        &GuardedChange { verb: "bootstrap init-vault", summary, dangerous: true },
        cx.globals(),
        &target,
        cx.out(),
    )?;
    create_private_dir(&args.dir)?;
    let stop = cx.stop()?;
    let init = vault.initialise(shares, args.threshold, &keys).await?;
    // Written before anything else can fail: there is no other copy.
    let files = write_shares(&args.dir, &init, keys.is_empty())?;
    match keys.is_empty() {
        true => unseal(vault.as_ref(), &init, args.threshold).await?,
        false => wait_until_unsealed(vault.as_ref(), cx, &stop).await?,
    }
    let admin_role = vault.create_admin_role(&init.root, &args.role).await;
    let admin_role =
        admin_role.map_err(|error| Failure::from(error).while_doing("the root token is not revoked yet"))?;
    write_secret(&args.dir, "role-id", &admin_role.role_id)?;
    write_secret(&args.dir, "wrapped-secret-id", &admin_role.wrapped_secret_id)?;
    vault.revoke(&init.root).await?;
    let dir = SourcePath::from_path(args.dir.as_path());
    let role = args.role.clone();
    cx.out().print(&InitVaultReport { dir, shares: files, threshold: args.threshold, role, root_token_revoked: true })
}

/// Reads a PGP public key, armoured or binary, and returns its bytes in base64, as Vault's API takes it.
fn read_pgp_key(path: &Path) -> Result<String> {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    let failed = |error: std::io::Error| Failure::invalid(format!("cannot read {}", path.shown())).because(&error);
    if std::fs::metadata(path).map_err(failed)?.len() > MAX_PGP_KEY_BYTES {
        return Err(Failure::invalid(format!("{} is too large to be a PGP key", path.shown())));
    }
    let bytes = std::fs::read(path).map_err(failed)?;
    let encoded = match std::str::from_utf8(&bytes) {
        Ok(text) if text.contains("-----BEGIN PGP PUBLIC KEY BLOCK-----") => armoured_body(text),
        Ok(_) => None,
        Err(_) => Some(STANDARD.encode(&bytes)),
    };
    encoded.filter(|text| STANDARD.decode(text).is_ok_and(|key| !key.is_empty())).ok_or_else(|| {
        Failure::invalid(format!("{} is not a PGP public key", path.shown()))
            .hint("`gpg --export --armor KEY` writes one")
    })
}

/// The base64 body of an armoured block (RFC 9580, 6.2): the lines between its headers and its checksum.
fn armoured_body(text: &str) -> Option<String> {
    let (_, block) = text.split_once("-----BEGIN PGP PUBLIC KEY BLOCK-----")?;
    let (block, _) = block.split_once("-----END PGP PUBLIC KEY BLOCK-----")?;
    let lines = block.lines().map(str::trim).skip(1).skip_while(|line| line.contains(": "));
    Some(lines.filter(|line| !line.is_empty() && !line.starts_with('=')).collect())
}

fn create_private_dir(dir: &Path) -> Result<()> {
    if std::fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(Failure::refused(format!("the folder {} is not empty", dir.shown()))
            .hint("name a new folder; existing files are never overwritten"));
    }
    let created = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
    created.map_err(|error| Failure::invalid(format!("cannot create {}", dir.shown())).because(&error))
}

fn write_secret(dir: &Path, name: &str, secret: &Secret) -> Result<()> {
    let path = dir.join(name);
    let failed = |error: std::io::Error| Failure::invalid(format!("cannot write {}", path.shown())).because(&error);
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).map_err(failed)?;
    file.write_all(secret.expose().as_bytes()).and_then(|()| file.sync_all()).map_err(failed)
}

/// Writes each share to a file and returns the files' names.
fn write_shares(dir: &Path, init: &InitKeys, is_plain: bool) -> Result<Vec<String>> {
    let extension = if is_plain { "share" } else { "share.pgp.base64" };
    let named = init.shares.iter().enumerate().map(|(n, share)| (format!("{}.{extension}", n + 1), share));
    named
        .map(|(name, share)| {
            write_secret(dir, &name, share)?;
            Ok(name)
        })
        .collect()
}

async fn unseal(vault: &dyn VaultSetup, init: &InitKeys, threshold: u8) -> Result<()> {
    for share in init.shares.iter().take(usize::from(threshold)) {
        vault.unseal(share).await?;
    }
    match vault.seal_status().await?.sealed {
        true => Err(Failure::unexpected("Vault is still sealed after its shares were entered")),
        false => Ok(()),
    }
}

/// Waits until the key holders have unsealed Vault. Until then only this process has the root token.
async fn wait_until_unsealed(vault: &dyn VaultSetup, cx: &Context, stop: &mfctl_core::stop::Stop) -> Result<()> {
    let mut last_progress = None;
    loop {
        let status = vault.seal_status().await?;
        if !status.sealed {
            return Ok(());
        }
        if last_progress != Some(status.progress) {
            cx.out().note(format!(
                "waiting for the key holders to unseal Vault: {} of {}",
                status.progress, status.threshold
            ));
            last_progress = Some(status.progress);
        }
        tokio::select! {
            reason = stop.wait() => {
                let message = "stopped while Vault was sealed; its root token is lost with this process";
                return Err(signals::stopped(reason, message)
                    .hint("once Vault is unsealed, `vault operator generate-root` makes another for its key holders"));
            }
            () = mfctl_core::wait::pause(SEAL_POLL_INTERVAL) => {}
        }
    }
}

impl Render for InitVaultReport {
    fn page(&self, page: &mut TextPage) {
        let Self { dir, shares, threshold, role, .. } = self;
        page.line(format!("Vault is initialised and unsealed; {threshold} of {} shares unseal it", shares.len()));
        page.line(format!("the shares are in {dir}: give each to its holder, then delete the file"));
        page.line(format!("the root token is revoked; continue as role {role}, with the ids in the same folder:"));
        page.line("  [profile.NAME.vault]");
        page.line(format!("  role_id = \"file:{dir}/role-id\""));
        page.line(format!("  wrapped_secret_id = \"file:{dir}/wrapped-secret-id\"   # opens once, within 24 hours"));
    }

    fn names(&self) -> Option<Vec<String>> {
        Some(self.shares.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn armoured_and_binary_keys_become_base64_and_other_files_are_invalid() {
        let text = "-----BEGIN PGP PUBLIC KEY BLOCK-----\nVersion: x\n\nmDME\nZ2dn\n=abcd\n-----END PGP PUBLIC KEY BLOCK-----\n";
        assert_eq!(armoured_body(text).as_deref(), Some("mDMEZ2dn"));
        let dir = tempfile::tempdir().unwrap();
        let read = |content: &[u8]| {
            let path = dir.path().join("key");
            std::fs::write(&path, content).unwrap();
            read_pgp_key(&path)
        };
        assert_eq!(read(text.as_bytes()).unwrap(), "mDMEZ2dn");
        assert_eq!(read(&[0x98, 0x33, 0xff]).unwrap(), "mDP/");
        for invalid in ["", "not a key", "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n-----END PGP PUBLIC KEY BLOCK-----"] {
            assert_eq!(read(invalid.as_bytes()).unwrap_err().exit_code(), 6, "{invalid}");
        }
    }
}
