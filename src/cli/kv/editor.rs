//! Runs the operator's editor on a file that only they can read. The file is deleted afterwards even if this process is
//! killed: a child process waits for the end of a pipe, which the kernel closes when this process exits, and deletes it.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::{Child, Command};

use crate::cli::context::Context;
use crate::cli::failure::{Failure, Result};
use mfctl_core::domain::path::ShownPath as _;

/// Bytes of an edited value, at most.
const MAX_EDITED_BYTES: u64 = 512 * 1024;
/// Deletes the file, and an editor's backup and swap file of it, once stdin ends. Ignores the signals of a terminal.
const CLEANUP_SCRIPT: &str = "trap '' INT TERM HUP QUIT TSTP; cat >/dev/null; rm -f -- \"$1\" \"$1\"~ \"$1.swp\"";

/// The folder for temporary files: `$XDG_RUNTIME_DIR/mfctl`, else `run` in the data folder. Created with mode 0700.
///
/// # Errors
/// Exit 6 if it cannot be created.
pub fn runtime_dir(cx: &Context, data_dir: &Path) -> Result<PathBuf> {
    let xdg = cx.sources().env.get("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|dir| dir.is_dir());
    let dir = xdg.map_or_else(|| data_dir.join("run"), |dir| dir.join("mfctl"));
    let created = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir);
    created.map_err(|error| Failure::invalid(format!("cannot create {}", dir.shown())).because(&error))?;
    Ok(dir)
}

/// Opens a text in the editor and returns the edited text.
///
/// # Errors
/// Exit 6 if there is no editor, it fails, or its file is too large or not UTF-8.
pub async fn edit_text(before: &str, name: &str, dir: &Path, env: &BTreeMap<String, String>) -> Result<String> {
    let path = dir.join(format!("{name}.{}.{:08x}", std::process::id(), fastrand::u32(..)));
    let mut cleanup = spawn_cleanup(&path)?;
    let written = write_private(&path, before);
    let text = match written {
        Ok(()) => run_editor(&path, env).await,
        Err(error) => Err(error),
    };
    // The end of its stdin starts the cleanup.
    drop(cleanup.stdin.take());
    let _ = cleanup.wait().await;
    let text = text?;
    // Editors add a newline at the end; a value that had none keeps none.
    let is_same_ending = before.ends_with('\n') || !text.ends_with('\n');
    Ok(if is_same_ending { text } else { text[..text.len() - 1].to_owned() })
}

/// Starts the cleanup script in a process group of its own.
fn spawn_cleanup(path: &Path) -> Result<Child> {
    let mut command = Command::new("sh");
    command.arg("-c").arg(CLEANUP_SCRIPT).arg("sh").arg(path);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    command
        .spawn()
        .map_err(|error| Failure::invalid("cannot start sh, which deletes the file afterwards").because(&error))
}

fn write_private(path: &Path, text: &str) -> Result<()> {
    let failed = |error: std::io::Error| Failure::invalid(format!("cannot write {}", path.shown())).because(&error);
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)
}

async fn run_editor(path: &Path, env: &BTreeMap<String, String>) -> Result<String> {
    let configured =
        ["VISUAL", "EDITOR"].into_iter().find_map(|name| env.get(name).filter(|value| !value.trim().is_empty()));
    let editor = configured.map_or("vi", String::as_str);
    // A shell splits the command, as in git: `code --wait` is two words.
    let status = Command::new("sh").arg("-c").arg(format!("{editor} \"$1\"")).arg("sh").arg(path).status().await;
    let status = status.map_err(|error| Failure::invalid("cannot start sh").because(&error))?;
    if !status.success() {
        return Err(Failure::invalid(format!("the editor ended with {status}; nothing was changed"))
            .hint(format!("the editor was {editor:?}: set EDITOR to use another")));
    }
    let failed = |error: std::io::Error| Failure::invalid("cannot read what the editor wrote").because(&error);
    if std::fs::metadata(path).map_err(failed)?.len() > MAX_EDITED_BYTES {
        return Err(Failure::invalid("the value is larger than 512 KiB; nothing was changed"));
    }
    std::fs::read_to_string(path).map_err(failed)
}
