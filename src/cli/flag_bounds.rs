//! Checks a flag that gives a setting against the bounds of the setting.

use super::failure::{Failure, Result};
use crate::settings::{RawValue, general_key};

/// Checks the value that `flag` gives the setting `key`.
///
/// # Errors
/// `Invalid` (exit 6) with the flag, the bound and the default.
pub fn check_flag(key: &str, flag: &str, value: &RawValue) -> Result<()> {
    let Some(setting) = general_key(key) else { return Ok(()) };
    setting.validate(value).map_err(|reason| {
        Failure::invalid(format!("{flag}: {reason}"))
            .hint(format!("`mfctl config explain {key}` says what the setting does"))
    })
}
