//! The build that users get does not inherit what the build for demo and tests saves.

use std::path::Path;

#[test]
fn shipped_build_is_optimised_in_every_package() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let manifest: toml::Table = std::fs::read_to_string(manifest).unwrap().parse().unwrap();
    let profiles = &manifest["profile"];
    let level = |package: &toml::Value| package.get("opt-level").and_then(toml::Value::as_integer);
    assert_eq!(level(&profiles["dist"]), Some(3));
    let shipped = profiles["dist"]["package"].as_table().unwrap();
    for (name, tested) in profiles["release"]["package"].as_table().unwrap() {
        let shipped = shipped.get(name);
        let inherited = level(tested).unwrap_or(3);
        assert_eq!(shipped.and_then(level).unwrap_or(inherited), 3, "optimisation level of {name}");
        for check in ["debug-assertions", "overflow-checks"] {
            let of = |package: &toml::Value| package.get(check).and_then(toml::Value::as_bool);
            let inherited = of(tested).unwrap_or(false);
            assert!(!shipped.and_then(of).unwrap_or(inherited), "{check} of {name}");
        }
    }
}
