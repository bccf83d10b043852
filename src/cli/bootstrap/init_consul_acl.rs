//! `mfctl bootstrap init-consul-acl`: bootstraps the ACL system of a new Consul and stores the first token in Vault.

use std::collections::BTreeMap;

use clap::Args as ClapArgs;
use schemars::JsonSchema;
use serde::Serialize;
use uuid::Uuid;

use crate::cli::context::Context;
use crate::cli::failure::{Failure, FailureKind, Result};
use crate::cli::guard::{self, GuardedChange};
use crate::cli::output::{Render, TextPage};
use crate::connect::{self, ConsulAclBootstrap};
use mfctl_core::domain::Secret;

/// Arguments of `mfctl bootstrap init-consul-acl`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
The first token has every permission. It is generated here and stored in Vault before it is sent to Consul, so that a crash
in between loses nothing: run the same command again. Its location in Vault is that of the profile's Consul token:

  [profile.prod.consul]
  token = \"vault:consul/management#token\"

The token is never printed. Create tokens with fewer permissions by ConsulPolicy and ConsulToken in the manifests.

Examples:
  mfctl bootstrap init-consul-acl --profile prod

Exit codes: 0 bootstrapped, now or earlier with the token in Vault, 5 a server is not reachable, 6 the profile's token is not
kept in Vault, or ACLs are disabled, 7 bootstrapped earlier with another token, 8 not confirmed")]
pub struct Args {}

/// The output of `mfctl bootstrap init-consul-acl`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct InitConsulAclReport {
    /// Whether this run bootstrapped the ACL system; false if it was bootstrapped before.
    pub begun: bool,
    /// Where the first token is stored in Vault, as `mount/path#field`.
    pub kept_at: String,
}

pub async fn run(_: &Args, cx: &Context) -> Result<()> {
    let settings = cx.settings()?;
    let target = cx.announce(&settings)?;
    let first = connect::consul_acl_bootstrap(&settings, &cx.sources().env)?;
    let kept_at = format!("{}/{}#{}", first.mount, first.path, first.field);
    let summary = format!("bootstrap Consul's ACL system and store its first token in Vault at {kept_at}");
    guard::confirm(
        &GuardedChange { verb: "bootstrap init-consul-acl", summary, dangerous: true },
        cx.globals(),
        &target,
        cx.out(),
    )?;
    let token = read_or_create_token(&first, &kept_at).await?;
    mfctl_core::failpoint::hit("consul_acl_kept");
    let begun = first.without_token.bootstrap(&token).await?;
    let with_token = connect::consul_with_token(&settings, &cx.sources().env, token)?;
    with_token.policies().await.map_err(|error| match begun {
        true => Failure::from(error),
        false => Failure::new(
            FailureKind::Conflict,
            "the ACL system was bootstrapped earlier, with a token other than the one in Vault",
        )
        .because(&error)
        .hint(format!(
            "put the management token at {kept_at}; if it is lost, see Consul's documentation on resetting the ACL \
                 system"
        )),
    })?;
    cx.out().print(&InitConsulAclReport { begun, kept_at })
}

/// The token that Vault holds; if it holds none, a new one, which is in Vault before this returns.
async fn read_or_create_token(first: &ConsulAclBootstrap, kept_at: &str) -> Result<Secret> {
    let ConsulAclBootstrap { secrets, mount, path, field, .. } = first;
    if let Some(token) = secrets.read(mount, path, field).await? {
        // Consul would generate a token in place of an empty one, and nothing would keep it.
        if token.expose().is_empty() {
            return Err(Failure::new(FailureKind::Conflict, format!("{kept_at} is empty"))
                .hint(format!("store the management token there, or delete {mount}/{path} to have one generated")));
        }
        return Ok(token);
    }
    if secrets.shape(mount, path).await?.is_some() {
        return Err(Failure::new(FailureKind::Conflict, format!("{mount}/{path} has other fields, but not {field}"))
            .hint("choose another path for the profile's consul.token"));
    }
    let token = Secret::new(Uuid::new_v4().to_string());
    let fields = BTreeMap::from([(field.clone(), token.clone().into())]);
    let written = secrets.write(mount, path, &fields, 0).await;
    written.map_err(|error| Failure::from(error).while_doing(format!("store the first token at {kept_at}")))?;
    Ok(token)
}

impl Render for InitConsulAclReport {
    fn page(&self, page: &mut TextPage) {
        page.line(match self.begun {
            true => "the ACL system is bootstrapped",
            false => "the ACL system was bootstrapped earlier, with the token in Vault",
        });
        page.line(format!("the first token is stored at {}", self.kept_at));
    }
}
