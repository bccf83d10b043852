//! The operator's editor on a file that only they can read and that is gone afterwards, also when this process dies: a small
//! process beside it waits for the end of a pipe, which the system closes whatever happens, and removes the file.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::{Child, Command};

use crate::cli::context::Context;
use crate::cli::failure::{Failure, Result};

/// No value that came out of an editor is larger.
const LARGEST: u64 = 512 * 1024;
/// Waits until nobody holds the other end any more. Deaf to what a terminal sends to everybody.
const GUARD: &str = "trap '' INT TERM HUP QUIT TSTP; cat >/dev/null; rm -f -- \"$1\" \"$1\"~ \"$1.swp\"";

/// Where files live that must not outlive the session: the system's own folder for that, else one in the data folder.
///
/// # Errors
/// When it cannot be made.
pub fn runtime_dir(cx: &Context, data_dir: &Path) -> Result<PathBuf> {
    let of_system = cx.sources().env.get("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|dir| dir.is_dir());
    let dir = of_system.map_or_else(|| data_dir.join("run"), |dir| dir.join("mfctl"));
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir);
    made.map_err(|error| Failure::invalid(format!("cannot make {}", dir.display())).because(&error))?;
    Ok(dir)
}

/// What a text is after the editor.
///
/// # Errors
/// When there is no editor, it fails, or what it wrote is no text.
pub async fn edited(before: &str, name: &str, dir: &Path, env: &BTreeMap<String, String>) -> Result<String> {
    let path = dir.join(format!("{name}.{}.{:08x}", std::process::id(), fastrand::u32(..)));
    let mut guard = guard(&path)?;
    let written = write(&path, before);
    let text = match written {
        Ok(()) => edit(&path, env).await,
        Err(error) => Err(error),
    };
    // The pipe's end is its sign.
    drop(guard.stdin.take());
    let _ = guard.wait().await;
    let text = text?;
    // Editors end the last line; a value that had no such end keeps none.
    let ends_alike = before.ends_with('\n') || !text.ends_with('\n');
    Ok(if ends_alike { text } else { text[..text.len() - 1].to_owned() })
}

fn guard(path: &Path) -> Result<Child> {
    let mut command = Command::new("sh");
    command.arg("-c").arg(GUARD).arg("sh").arg(path);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    command
        .spawn()
        .map_err(|error| Failure::invalid("cannot start sh, which removes the file afterwards").because(&error))
}

fn write(path: &Path, text: &str) -> Result<()> {
    let failed = |error: std::io::Error| Failure::invalid(format!("cannot write {}", path.display())).because(&error);
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)
}

async fn edit(path: &Path, env: &BTreeMap<String, String>) -> Result<String> {
    let named =
        ["VISUAL", "EDITOR"].into_iter().find_map(|name| env.get(name).filter(|value| !value.trim().is_empty()));
    let editor = named.map_or("vi", String::as_str);
    // A shell reads it, as git and sudoedit have it: `code --wait` is two words.
    let status = Command::new("sh").arg("-c").arg(format!("{editor} \"$1\"")).arg("sh").arg(path).status().await;
    let status = status.map_err(|error| Failure::invalid("cannot start sh").because(&error))?;
    if !status.success() {
        return Err(Failure::invalid(format!("the editor ended with {status}; nothing was changed"))
            .hint(format!("it was {editor:?}: set EDITOR to the one you want")));
    }
    let failed = |error: std::io::Error| Failure::invalid("cannot read what the editor wrote").because(&error);
    if std::fs::metadata(path).map_err(failed)?.len() > LARGEST {
        return Err(Failure::invalid("the value is larger than 512 KiB; nothing was changed"));
    }
    std::fs::read_to_string(path).map_err(failed)
}
