//! `mfctl bootstrap init-vault`: a new Vault's keys to their holders, and its root token's end.

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
use crate::cli::output::{Page, Render};
use crate::cli::signals;
use crate::connect;
use mfctl_core::domain::{Secret, SourcePath};
use mfctl_core::ports::{InitKeys, VaultSetup};

/// How often a Vault that waits for its key holders is asked.
const AGAIN: Duration = Duration::from_secs(1);
/// No PGP key is larger.
const LARGEST_KEY: u64 = 256 * 1024;

/// Arguments of `mfctl bootstrap init-vault`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Initialises a Vault that has never been, and hands it over: each share of its key is encrypted for its holder's PGP key and
written to a file; the holders unseal it (`vault operator unseal`), for which this waits; then a role is made for `bootstrap`,
its id and a wrapped secret id are written to files, and the root token is revoked. No share and no token is printed.

Without PGP keys, --plain-shares writes the shares as they are, and unseals with them: for trying things, refused in a
protected profile.

Examples:
  mfctl bootstrap init-vault handover --pgp-key mina.asc --pgp-key omid.asc --pgp-key sara.asc --threshold 2
  mfctl bootstrap init-vault handover --plain-shares --shares 1 --threshold 1 --yes

Exit codes: 0 done, 2 wrong usage, 5 Vault is not reachable, 6 cannot write, or no PGP key, 7 it is initialised already,
8 not confirmed, refused, or the folder is not empty, 129/130/143 stopped while it waited")]
pub struct Args {
    /// The folder for shares and ids, which is made
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// A key holder's PGP public key, one for each share
    #[arg(long, value_name = "FILE", conflicts_with_all = ["plain_shares", "shares"])]
    pgp_key: Vec<PathBuf>,
    /// Write the shares as they are
    #[arg(long, action = ArgAction::SetTrue)]
    plain_shares: bool,
    /// How many shares
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..=255))]
    shares: u8,
    /// How many of them open it
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=255))]
    threshold: u8,
    /// The role and policy that are made
    #[arg(long, value_name = "NAME", default_value = "mfctl-bootstrap", value_parser = role)]
    role: String,
}

fn role(text: &str) -> std::result::Result<String, String> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    match !text.is_empty() && text.chars().all(fits) {
        true => Ok(text.to_owned()),
        false => Err("a role is called by a-z 0-9 -".to_owned()),
    }
}

/// What `mfctl bootstrap init-vault` prints.
#[derive(Debug, Serialize, JsonSchema)]
pub struct InitVaultReport {
    /// The folder.
    pub dir: SourcePath,
    /// The files of shares in it.
    pub shares: Vec<String>,
    /// How many of them open it.
    pub threshold: u8,
    /// The role that was made.
    pub role: String,
    /// Whether the root token was revoked: always, when this is printed.
    pub root_token_revoked: bool,
}

/// Runs the verb.
///
/// # Errors
/// As its help says.
pub async fn run(args: &Args, cx: &Context) -> Result<()> {
    let settings = cx.settings()?;
    let target = cx.announce(&settings)?;
    let keys = args.pgp_key.iter().map(|path| pgp_key(path)).collect::<Result<Vec<_>>>()?;
    let shares = match (keys.len(), args.plain_shares) {
        (0, false) => {
            return Err(Failure::usage("say who holds the key: --pgp-key FILE for each share, or --plain-shares"));
        }
        (0, true) if target.protected => {
            return Err(Failure::refused("shares are not written as they are in a protected profile")
                .hint("give the PGP key of each holder with --pgp-key"));
        }
        (0, true) => args.shares,
        (count, _) => u8::try_from(count).map_err(|_| Failure::usage("more than 255 PGP keys"))?,
    };
    if args.threshold > shares {
        return Err(Failure::usage(format!("--threshold {} is more than there are shares: {shares}", args.threshold)));
    }
    let name = &settings.profile.name;
    let no_vault = || {
        Failure::invalid(format!("profile {name} names no Vault"))
            .hint(format!("add [profile.{name}.vault] with its url"))
    };
    let vault = connect::vault_setup(&settings, &cx.sources().env)?.ok_or_else(no_vault)?;
    if vault.seal_status().await?.initialised {
        return Err(Failure::new(FailureKind::Conflict, "Vault is initialised already")
            .hint("its key holders unseal it; a lost root token is made anew with `vault operator generate-root`"));
    }
    let summary = format!("initialise Vault: {shares} shares, of which {} open it", args.threshold);
    guard::confirm(
        &GuardedChange { verb: "bootstrap init-vault", summary, dangerous: true },
        cx.globals(),
        &target,
        cx.out(),
    )?;
    make(&args.dir)?;
    let stop = cx.stop()?;
    let first = vault.initialise(shares, args.threshold, &keys).await?;
    // Kept before anything else can fail: there is no other copy.
    let files = keep_shares(&args.dir, &first, keys.is_empty())?;
    match keys.is_empty() {
        true => unseal(vault.as_ref(), &first, args.threshold).await?,
        false => wait(vault.as_ref(), cx, &stop).await?,
    }
    let handed = vault.create_admin_role(&first.root, &args.role).await;
    let handed = handed.map_err(|error| Failure::from(error).while_doing("the root token was not revoked yet"))?;
    keep(&args.dir, "role-id", &handed.role_id)?;
    keep(&args.dir, "wrapped-secret-id", &handed.wrapped_secret_id)?;
    vault.revoke(&first.root).await?;
    let (dir, role) = (SourcePath::from_path(args.dir.as_path()), args.role.clone());
    cx.out().print(&InitVaultReport { dir, shares: files, threshold: args.threshold, role, root_token_revoked: true })
}

/// A PGP public key as Vault wants it: its bytes in base64, whether the file is armoured or not.
fn pgp_key(path: &Path) -> Result<String> {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    let failed = |error: std::io::Error| Failure::invalid(format!("cannot read {}", path.display())).because(&error);
    if std::fs::metadata(path).map_err(failed)?.len() > LARGEST_KEY {
        return Err(Failure::invalid(format!("{} is too large to be a PGP key", path.display())));
    }
    let bytes = std::fs::read(path).map_err(failed)?;
    let encoded = match std::str::from_utf8(&bytes) {
        Ok(text) if text.contains("-----BEGIN PGP PUBLIC KEY BLOCK-----") => armoured(text),
        Ok(_) => None,
        Err(_) => Some(STANDARD.encode(&bytes)),
    };
    encoded.filter(|text| STANDARD.decode(text).is_ok_and(|key| !key.is_empty())).ok_or_else(|| {
        Failure::invalid(format!("{} is no PGP public key", path.display()))
            .hint("`gpg --export --armor KEY` writes one")
    })
}

/// The body of an armoured block (RFC 9580, 6.2): what stands between the empty line after its headers and the checksum.
fn armoured(text: &str) -> Option<String> {
    let (_, block) = text.split_once("-----BEGIN PGP PUBLIC KEY BLOCK-----")?;
    let (block, _) = block.split_once("-----END PGP PUBLIC KEY BLOCK-----")?;
    let lines = block.lines().map(str::trim).skip(1).skip_while(|line| line.contains(": "));
    Some(lines.filter(|line| !line.is_empty() && !line.starts_with('=')).collect())
}

fn make(dir: &Path) -> Result<()> {
    if std::fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(Failure::refused(format!("the folder {} is not empty", dir.display()))
            .hint("name a new one; what is there is never written over"));
    }
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(|error| Failure::invalid(format!("cannot make {}", dir.display())).because(&error))
}

fn keep(dir: &Path, name: &str, secret: &Secret) -> Result<()> {
    let path = dir.join(name);
    let failed = |error: std::io::Error| Failure::invalid(format!("cannot write {}", path.display())).because(&error);
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).map_err(failed)?;
    file.write_all(secret.expose().as_bytes()).and_then(|()| file.sync_all()).map_err(failed)
}

fn keep_shares(dir: &Path, first: &InitKeys, plain: bool) -> Result<Vec<String>> {
    let end = if plain { "share" } else { "share.pgp.base64" };
    let named = first.shares.iter().enumerate().map(|(n, share)| (format!("{}.{end}", n + 1), share));
    named
        .map(|(name, share)| {
            keep(dir, &name, share)?;
            Ok(name)
        })
        .collect()
}

async fn unseal(vault: &dyn VaultSetup, first: &InitKeys, threshold: u8) -> Result<()> {
    for share in first.shares.iter().take(usize::from(threshold)) {
        vault.unseal(share).await?;
    }
    match vault.seal_status().await?.sealed {
        true => Err(Failure::unexpected("Vault is sealed although its shares were given")),
        false => Ok(()),
    }
}

/// Waits until the key's holders have opened it. The root token is in this process alone meanwhile.
async fn wait(vault: &dyn VaultSetup, cx: &Context, stop: &mfctl_core::stop::Stop) -> Result<()> {
    let mut told = None;
    loop {
        let state = vault.seal_status().await?;
        if !state.sealed {
            return Ok(());
        }
        if told != Some(state.progress) {
            cx.out().note(format!(
                "waiting for the key's holders to unseal Vault: {} of {}",
                state.progress, state.threshold
            ));
            told = Some(state.progress);
        }
        tokio::select! {
            reason = stop.wait() => {
                let what = "stopped while Vault was sealed; its root token is lost with this process";
                return Err(signals::stopped(reason, what)
                    .hint("once it is unsealed, `vault operator generate-root` makes another for its key's holders"));
            }
            () = mfctl_core::wait::pause(AGAIN) => {}
        }
    }
}

impl Render for InitVaultReport {
    fn page(&self, page: &mut Page) {
        let Self { dir, shares, threshold, role, .. } = self;
        page.line(format!("Vault is initialised and unsealed; {threshold} of {} shares open it", shares.len()));
        page.line(format!("the shares are in {dir}: give each to its holder, and remove it"));
        page.line(format!("the root token is revoked; role {role} goes on, with what is in the same folder:"));
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
    fn an_armoured_key_is_its_body_alone() {
        let text = "-----BEGIN PGP PUBLIC KEY BLOCK-----\nVersion: x\n\nmDME\nZ2dn\n=abcd\n-----END PGP PUBLIC KEY BLOCK-----\n";
        assert_eq!(armoured(text).as_deref(), Some("mDMEZ2dn"));
        let dir = tempfile::tempdir().unwrap();
        let write = |text: &[u8]| {
            let path = dir.path().join("key");
            std::fs::write(&path, text).unwrap();
            pgp_key(&path)
        };
        assert_eq!(write(text.as_bytes()).unwrap(), "mDMEZ2dn");
        assert_eq!(write(&[0x98, 0x33, 0xff]).unwrap(), "mDP/");
        for wrong in ["", "not a key", "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n-----END PGP PUBLIC KEY BLOCK-----"] {
            assert_eq!(write(wrong.as_bytes()).unwrap_err().exit_code(), 6, "{wrong}");
        }
    }
}
