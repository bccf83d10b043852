//! Writes manifests: a first folder that works, with comments, and files of what an environment was found to be.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{API_VERSION, Item, Kind, json_schemas};

/// Where the schemas for editors are in a folder of manifests. Hidden, so that no manifest is looked for in it.
const SCHEMAS: &str = ".schemas";

/// A file's name below the folder, and its text.
pub type File = (String, String);

/// A folder for these environments, which says what these items say; `extras` are examples of kinds that the contract itself
/// needs none of.
///
/// # Errors
/// Never for items that were read or are built in.
pub fn scaffold(items: &[Item], extras: &[Kind], environments: &[String]) -> Result<Vec<File>, serde_json::Error> {
    let mut files = declared(items)?;
    files.extend(extras.iter().filter_map(|kind| example(*kind)).map(|(name, text)| (format!("base/{name}"), text)));
    for environment in environments {
        files.push((format!("env/{environment}/overlay.yaml"), OVERLAY.replace("ENV", environment)));
    }
    files.push(("README.md".to_owned(), README.to_owned()));
    for (name, schema) in json_schemas() {
        files.push((format!("{SCHEMAS}/{name}.json"), format!("{}\n", serde_json::to_string_pretty(&schema)?)));
    }
    Ok(files)
}

/// A file per kind, in `base/`.
///
/// # Errors
/// As [`scaffold`].
pub fn declared(items: &[Item]) -> Result<Vec<File>, serde_json::Error> {
    let mut by_kind: BTreeMap<Kind, String> = BTreeMap::new();
    for item in items {
        let text = by_kind.entry(item.kind()).or_insert_with(|| head(item.kind()));
        text.push_str(&text_of(item.kind(), &item.name, &item.spec.value()?));
    }
    Ok(by_kind.into_iter().map(|(kind, text)| (format!("base/{}", file_of(kind)), text)).collect())
}

/// One document, with its separator before it.
#[must_use]
pub fn text_of(kind: Kind, name: &str, spec: &Value) -> String {
    let document = json!({"apiVersion": API_VERSION, "kind": kind.as_str(), "metadata": {"name": name}, "spec": spec});
    // JSON is YAML: what cannot be written the one way is written the other.
    let text = serde_saphyr::to_string(&document).unwrap_or_else(|_| format!("{document}\n"));
    format!("---\n{text}")
}

/// The file that the documents of a kind are written to.
#[must_use]
pub const fn file_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Database => "database.yaml",
        Kind::VaultMount => "vault-mounts.yaml",
        Kind::VaultPolicy => "vault-policies.yaml",
        Kind::VaultAppRole => "vault-app-roles.yaml",
        Kind::VaultSecret => "vault-secrets.yaml",
        Kind::ConsulPolicy => "consul-policies.yaml",
        Kind::ConsulToken => "consul-tokens.yaml",
        Kind::ConsulKeys => "consul-keys.yaml",
        Kind::KafkaTopic => "topics.yaml",
        Kind::Bucket => "buckets.yaml",
        Kind::Schema => "schemas.yaml",
    }
}

/// What stands at the top of a kind's file.
#[must_use]
pub fn head(kind: Kind) -> String {
    format!("# yaml-language-server: $schema=../{SCHEMAS}/{kind}.json\n# {}\n", kind.about())
}

fn example(kind: Kind) -> Option<File> {
    let text = match kind {
        Kind::VaultMount => VAULT_MOUNTS,
        Kind::VaultPolicy => VAULT_POLICIES,
        Kind::VaultAppRole => VAULT_APP_ROLES,
        Kind::ConsulPolicy => CONSUL_POLICIES,
        Kind::ConsulToken => CONSUL_TOKENS,
        Kind::ConsulKeys => CONSUL_KEYS,
        _ => return None,
    };
    Some((file_of(kind).to_owned(), format!("{}{text}", head(kind))))
}

const README: &str = "\
# What the platform should be

`base/` says what every environment has, `env/<environment>/` what one changes: a document of the same kind and name is
merged into the base's (maps field by field, everything else replaced, null takes away; `spec: null` takes the whole resource
away). No secret is in here, only where one is.

```sh
mfctl bootstrap plan .              # what would be done
mfctl bootstrap plan . --out plan.json && mfctl bootstrap apply plan.json
mfctl bootstrap drift .             # exit 4 when the platform is something else
```

What mfctl made and nobody declares any more is removed only with `--prune`.
";

const OVERLAY: &str = "\
# What is different in environment ENV. An example:
#
# apiVersion: mfctl/v1
# kind: KafkaTopic
# metadata:
#   name: ingest.raw
# spec:
#   partitions: 12
";

const VAULT_MOUNTS: &str = "\
---
apiVersion: mfctl/v1
kind: VaultMount
metadata:
  name: secret
spec:
  type: kv
  kv_version: 2
---
apiVersion: mfctl/v1
kind: VaultMount
metadata:
  name: auth/approle
spec:
  type: approle
";

const VAULT_POLICIES: &str = "\
---
apiVersion: mfctl/v1
kind: VaultPolicy
metadata:
  name: media-worker
spec:
  rules: |
    path \"secret/data/media/*\" {
      capabilities = [\"read\"]
    }
";

const VAULT_APP_ROLES: &str = "\
---
# A program logs in with the role's id and a secret id:
#   vault read -field=role_id auth/approle/role/media-worker/role-id
#   vault write -wrap-ttl=5m -f auth/approle/role/media-worker/secret-id
apiVersion: mfctl/v1
kind: VaultAppRole
metadata:
  name: approle/media-worker
spec:
  policies: [media-worker]
  token_ttl: 20m
  token_max_ttl: 24h
";

const CONSUL_POLICIES: &str = "\
---
apiVersion: mfctl/v1
kind: ConsulPolicy
metadata:
  name: media-worker
spec:
  description: reads the media services' settings
  rules: |
    key_prefix \"\" {
      policy = \"read\"
    }
";

const CONSUL_TOKENS: &str = "\
---
# Its secret is made at random and put into Vault; it is in no file.
apiVersion: mfctl/v1
kind: ConsulToken
metadata:
  name: media-worker
spec:
  policies: [media-worker]
  store:
    mount: secret
    path: media/consul
    field: token
";

const CONSUL_KEYS: &str = "\
---
# <env>/media-api/max_page_size and so on. A secret is refused here: it belongs into Vault.
apiVersion: mfctl/v1
kind: ConsulKeys
metadata:
  name: media-api
spec:
  keys:
    max_page_size: 100
    default_locale: fa-IR
";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bootstrap::manifest::{Defaults, builtin, load};
    use mfctl_core::domain::EnvName;

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]
        #[test]
        fn whatever_a_setting_says_is_read_back_the_same(
            keys in proptest::collection::btree_map("[a-z0-9_]{1,8}", "(?s).{0,24}", 1..6),
        ) {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("keys.yaml");
            std::fs::write(&path, text_of(Kind::ConsulKeys, "svc", &json!({"keys": keys}))).unwrap();
            let items = crate::bootstrap::manifest::load_file(&path, &|_| Ok(())).map_err(|error| {
                proptest::test_runner::TestCaseError::fail(error.to_string())
            })?;
            let spec = items[0].spec.value().unwrap();
            proptest::prop_assert_eq!(&spec["keys"], &json!(keys));
        }
    }

    #[test]
    fn what_is_written_is_read_back_the_same() {
        let defaults =
            Defaults { partitions: 6, replicas: Some((3, 2)), retention: Default::default(), staging_days: 180 };
        let items = builtin(&defaults);
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in scaffold(&items, Kind::ALL, &["dev".to_owned()]).unwrap() {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let mut read = load(dir.path(), &EnvName::new("dev").unwrap(), &|_| Ok(())).unwrap();
        let extras = [Kind::VaultMount, Kind::VaultPolicy, Kind::VaultAppRole, Kind::ConsulPolicy, Kind::ConsulToken];
        for kind in extras.into_iter().chain([Kind::ConsulKeys]) {
            assert!(read.iter().any(|item| item.kind() == kind), "{kind}");
        }
        read.retain(|item| items.iter().any(|built| built.kind() == item.kind()));
        let specs = |items: &[Item]| items.iter().map(|i| (i.name.clone(), i.spec.clone())).collect::<Vec<_>>();
        assert_eq!(specs(&read), specs(&items));
    }
}
