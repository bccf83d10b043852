//! Generates manifest files: a commented folder to start from, and the documents of an import.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{API_VERSION, ResourceDeclaration, ResourceKind, json_schemas};

/// Folder of the JSON Schemas for editors. It is hidden so that the loader does not look for manifests in it.
const SCHEMAS: &str = ".schemas";

/// Path relative to the manifest folder, and text.
pub type GeneratedFile = (String, String);

/// The files of a new manifest folder with these declarations and an overlay for each environment. `extras` are kinds outside
/// the contract, of which an example is added.
///
/// # Errors
/// The serializer's; none for declarations that were parsed or are built in.
pub fn scaffold(
    declarations: &[ResourceDeclaration],
    extras: &[ResourceKind],
    environments: &[String],
) -> Result<Vec<GeneratedFile>, serde_json::Error> {
    let mut files = base_files(declarations)?;
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

/// One file per kind, in `base/`.
fn base_files(declarations: &[ResourceDeclaration]) -> Result<Vec<GeneratedFile>, serde_json::Error> {
    let mut by_kind: BTreeMap<ResourceKind, String> = BTreeMap::new();
    for declaration in declarations {
        let text = by_kind.entry(declaration.kind()).or_insert_with(|| file_header(declaration.kind()));
        text.push_str(&document_text(declaration.kind(), &declaration.name, &declaration.spec.to_value()?));
    }
    Ok(by_kind.into_iter().map(|(kind, text)| (format!("base/{}", file_name(kind)), text)).collect())
}

/// The YAML of one document, with a leading separator.
#[must_use]
pub fn document_text(kind: ResourceKind, name: &str, spec: &Value) -> String {
    let document = json!({"apiVersion": API_VERSION, "kind": kind.as_str(), "metadata": {"name": name}, "spec": spec});
    // JSON is valid YAML, so it serves where the YAML serializer fails.
    let text = serde_saphyr::to_string(&document).unwrap_or_else(|_| format!("{document}\n"));
    format!("---\n{text}")
}

/// Name of the file for a kind's documents, below `base/`.
#[must_use]
pub const fn file_name(kind: ResourceKind) -> &'static str {
    match kind {
        ResourceKind::Database => "database.yaml",
        ResourceKind::VaultMount => "vault-mounts.yaml",
        ResourceKind::VaultPolicy => "vault-policies.yaml",
        ResourceKind::VaultAppRole => "vault-app-roles.yaml",
        ResourceKind::VaultSecret => "vault-secrets.yaml",
        ResourceKind::ConsulPolicy => "consul-policies.yaml",
        ResourceKind::ConsulToken => "consul-tokens.yaml",
        ResourceKind::ConsulKeys => "consul-keys.yaml",
        ResourceKind::KafkaTopic => "topics.yaml",
        ResourceKind::Bucket => "buckets.yaml",
        ResourceKind::Schema => "schemas.yaml",
    }
}

/// The comments at the top of a kind's file: the editor's schema and the kind's description.
#[must_use]
pub fn file_header(kind: ResourceKind) -> String {
    format!("# yaml-language-server: $schema=../{SCHEMAS}/{kind}.json\n# {}\n", kind.description())
}

fn example(kind: ResourceKind) -> Option<GeneratedFile> {
    let text = match kind {
        ResourceKind::VaultMount => VAULT_MOUNTS,
        ResourceKind::VaultPolicy => VAULT_POLICIES,
        ResourceKind::VaultAppRole => VAULT_APP_ROLES,
        ResourceKind::ConsulPolicy => CONSUL_POLICIES,
        ResourceKind::ConsulToken => CONSUL_TOKENS,
        ResourceKind::ConsulKeys => CONSUL_KEYS,
        _ => return None,
    };
    Some((file_name(kind).to_owned(), format!("{}{text}", file_header(kind))))
}

const README: &str = "\
# The desired state of the platform

`base/` declares what every environment has, `env/<environment>/` what differs in one: a document of the same kind and name is
merged into the base's (maps field by field; null removes a field; anything else is replaced; `spec: null` removes the whole
resource). No secret is in this folder, only the location of each.

```sh
mfctl bootstrap plan .              # what would change
mfctl bootstrap plan . --out plan.json && mfctl bootstrap apply plan.json
mfctl bootstrap drift .             # exit 4 when the platform differs
```

A resource that mfctl created and that is no longer declared is deleted only with `--prune`.
";

const OVERLAY: &str = "\
# What differs in environment ENV. An example:
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
# Its secret is generated and stored in Vault; it is in no file.
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
# <env>/media-api/max_page_size and so on. A secret is refused here: it belongs in Vault.
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
    use crate::bootstrap::manifest::{BuiltinDefaults, builtin_declarations, load};
    use mfctl_core::domain::EnvName;

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]
        #[test]
        fn any_setting_value_is_read_back_unchanged(
            keys in proptest::collection::btree_map("[a-z0-9_]{1,8}", "(?s).{0,24}", 1..6),
        ) {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("keys.yaml");
            std::fs::write(&path, document_text(ResourceKind::ConsulKeys, "svc", &json!({"keys": keys}))).unwrap();
            let declarations = crate::bootstrap::manifest::load_file(&path, &|_| Ok(())).map_err(|error| {
                proptest::test_runner::TestCaseError::fail(error.to_string())
            })?;
            let spec = declarations[0].spec.to_value().unwrap();
            proptest::prop_assert_eq!(&spec["keys"], &json!(keys));
        }
    }

    #[test]
    fn scaffolded_declarations_are_read_back_unchanged() {
        let defaults =
            BuiltinDefaults { partitions: 6, replicas: Some((3, 2)), retention: Default::default(), staging_days: 180 };
        let declarations = builtin_declarations(&defaults);
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in scaffold(&declarations, ResourceKind::ALL, &["dev".to_owned()]).unwrap() {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let mut loaded = load(dir.path(), &EnvName::new("dev").unwrap(), &|_| Ok(())).unwrap();
        let extras = [
            ResourceKind::VaultMount,
            ResourceKind::VaultPolicy,
            ResourceKind::VaultAppRole,
            ResourceKind::ConsulPolicy,
            ResourceKind::ConsulToken,
        ];
        for kind in extras.into_iter().chain([ResourceKind::ConsulKeys]) {
            assert!(loaded.iter().any(|declaration| declaration.kind() == kind), "{kind}");
        }
        loaded.retain(|declaration| declarations.iter().any(|built| built.kind() == declaration.kind()));
        let specs = |declarations: &[ResourceDeclaration]| {
            declarations.iter().map(|i| (i.name.clone(), i.spec.clone())).collect::<Vec<_>>()
        };
        assert_eq!(specs(&loaded), specs(&declarations));
    }
}
