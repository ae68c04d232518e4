//! What we depend on: explained, few, and no newer than the compiler we state.

use std::collections::BTreeSet;
use std::process::Command;

use super::source::repository;

const TOP: &[&str] = &[
    ".cargo",
    ".ci",
    ".git",
    ".github",
    ".gitignore",
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "agent",
    "clippy.toml",
    "cross",
    "deny.toml",
    "docs",
    "protocol",
    "rustfmt.toml",
    "server",
    "systemd",
    "target",
    "tests",
];

pub(super) fn strangers_at_the_top() -> Vec<String> {
    let entries = std::fs::read_dir(repository()).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| !TOP.contains(&name.as_str())).collect()
}

fn metadata() -> serde_json::Value {
    // Of this platform: a fresh clone has never downloaded what others would need.
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--offline", "--filter-platform", &platform])
        .current_dir(repository())
        .output()
        .unwrap();
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn text<'a>(value: &'a serde_json::Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

/// Direct dependencies of our packages that have no row in `docs/dependencies.md`.
pub(super) fn unexplained() -> Vec<String> {
    let page = std::fs::read_to_string(repository().join("docs/dependencies.md")).unwrap();
    let metadata = metadata();
    let packages = metadata["packages"].as_array().unwrap();
    let ours = packages.iter().filter(|package| package["source"].is_null());
    let named: BTreeSet<&str> = ours
        .flat_map(|package| package["dependencies"].as_array().unwrap())
        .map(|d| text(d, "name"))
        .collect();
    named
        .into_iter()
        .filter(|name| !name.starts_with("tidelock") && !page.contains(&format!("| `{name}`")))
        .map(str::to_owned)
        .collect()
}

/// Distinct crates of others that the agent is built from, for a device.
pub(super) fn crates_beside_the_agent() -> Vec<String> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "-p", "tidelock", "-e", "normal", "--prefix", "none", "--locked", "--offline"])
        .args(["--target", "aarch64-unknown-linux-musl", "--format", "{p}"])
        .current_dir(repository())
        .output()
        .unwrap();
    assert!(output.status.success(), "cargo tree: {}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).unwrap();
    let names: BTreeSet<String> = lines
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| !name.starts_with("tidelock"))
        .map(str::to_owned)
        .collect();
    names.into_iter().collect()
}

/// Dependencies whose stated Rust is newer than ours.
pub(super) fn too_new() -> Vec<String> {
    fn number(version: &str) -> Vec<u32> {
        version.split('.').map(|part| part.parse().unwrap()).collect()
    }
    let metadata = metadata();
    let packages = metadata["packages"].as_array().unwrap();
    let ours = packages.iter().find(|package| text(package, "name") == "tidelock").unwrap();
    let stated = number(text(ours, "rust_version"));
    packages
        .iter()
        .filter(|package| {
            !package["rust_version"].is_null() && number(text(package, "rust_version"))[..2] > stated[..2]
        })
        .map(|package| {
            format!(
                "{} {} needs {}",
                text(package, "name"),
                text(package, "version"),
                text(package, "rust_version")
            )
        })
        .collect()
}
