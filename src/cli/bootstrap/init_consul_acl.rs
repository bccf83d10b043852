//! `mfctl bootstrap init-consul-acl`: begins a new Consul's access control, its first token into Vault.

use std::collections::BTreeMap;

use clap::Args as ClapArgs;
use schemars::JsonSchema;
use serde::Serialize;
use uuid::Uuid;

use crate::cli::context::Context;
use crate::cli::failure::{Failure, FailureKind, Result};
use crate::cli::guard::{self, GuardedChange};
use crate::cli::output::{Page, Render};
use crate::connect::{self, FirstConsul};
use mfctl_core::domain::Secret;

/// Arguments of `mfctl bootstrap init-consul-acl`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
The first token, which may do everything, is made here at random and kept in Vault before Consul hears of it: a crash in
between loses nothing, and the same command goes on. Where in Vault is what the profile says its Consul's token is:

  [profile.prod.consul]
  token = \"vault:consul/management#token\"

Nothing is printed of it. Make narrower tokens with ConsulPolicy and ConsulToken in the manifests.

Examples:
  mfctl bootstrap init-consul-acl --profile prod

Exit codes: 0 begun, or it had begun with the token in Vault, 5 a server is not reachable, 6 the profile keeps the token
elsewhere, or access control is off, 7 it had begun with another token, 8 not confirmed")]
pub struct Args {}

/// What `mfctl bootstrap init-consul-acl` prints.
#[derive(Debug, Serialize, JsonSchema)]
pub struct InitConsulAclReport {
    /// Whether it began now.
    pub begun: bool,
    /// Where the first token is kept.
    pub kept_at: String,
}

/// Runs the verb.
///
/// # Errors
/// As its help says.
pub async fn run(_: &Args, cx: &Context) -> Result<()> {
    let settings = cx.settings()?;
    let target = cx.announce(&settings)?;
    let first = connect::first_consul(&settings, &cx.sources().env)?;
    let kept_at = format!("{}/{}#{}", first.mount, first.path, first.field);
    let summary = format!("begin access control in Consul, its first token kept in Vault at {kept_at}");
    guard::confirm(
        &GuardedChange { verb: "bootstrap init-consul-acl", summary, dangerous: true },
        cx.globals(),
        &target,
        cx.out(),
    )?;
    let token = kept(&first, &kept_at).await?;
    mfctl_core::failpoint::hit("consul_acl_kept");
    let begun = first.without_token.bootstrap(&token).await?;
    let with_token = connect::consul_with(&settings, &cx.sources().env, token)?;
    with_token.policies().await.map_err(|error| match begun {
        true => Failure::from(error),
        false => Failure::new(
            FailureKind::Conflict,
            "access control had begun before, and not with the token in Vault",
        )
        .because(&error)
        .hint(format!(
            "put the management token at {kept_at}; if nobody has it any more, Consul's documents on resetting the ACL \
                 system say how to begin anew"
        )),
    })?;
    cx.out().print(&InitConsulAclReport { begun, kept_at })
}

/// The token as it is kept; made and kept now where there is none.
async fn kept(first: &FirstConsul, kept_at: &str) -> Result<Secret> {
    let FirstConsul { secrets, mount, path, field, .. } = first;
    if let Some(token) = secrets.read(mount, path, field).await? {
        return Ok(token);
    }
    if secrets.shape(mount, path).await?.is_some() {
        return Err(Failure::new(FailureKind::Conflict, format!("{mount}/{path} holds other fields, and not {field}"))
            .hint("choose another path for the profile's consul.token"));
    }
    let token = Secret::new(Uuid::new_v4().to_string());
    let fields = BTreeMap::from([(field.clone(), token.clone())]);
    let written = secrets.write(mount, path, &fields, 0).await;
    written.map_err(|error| Failure::from(error).while_doing(format!("keep the first token at {kept_at}")))?;
    Ok(token)
}

impl Render for InitConsulAclReport {
    fn page(&self, page: &mut Page) {
        page.line(match self.begun {
            true => "access control has begun",
            false => "access control had begun before, with the token in Vault",
        });
        page.line(format!("the first token is kept at {}", self.kept_at));
    }
}
