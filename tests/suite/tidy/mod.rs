//! Holds the house to its plan: who may use whom, door signs, sizes, names, walls, reasons, dependencies.
//!
//! Each rule is shown to catch an offender in `rules_catch_offenders`; a rule that cannot fail is no rule.

mod dependencies;
mod rooms;
mod shape;
mod source;

use source::{Source, sources};

/// Fails with every offence at once, one line each.
fn none(rule: &str, offences: Vec<String>) {
    assert!(offences.is_empty(), "{rule}:\n  {}", offences.join("\n  "));
}

#[test]
fn rooms_use_only_whom_the_plan_allows() {
    none("a room uses another that it may not", sources().iter().flat_map(rooms::forbidden_uses).collect());
}

#[test]
fn pure_rooms_touch_nothing() {
    none("a pure room touches the world", sources().iter().flat_map(rooms::touches).collect());
}

#[test]
fn every_module_has_a_door_sign() {
    none("a module without `//!` on its first line", sources().iter().flat_map(shape::door_sign).collect());
}

#[test]
fn files_and_functions_stay_small() {
    none("too long", sources().iter().flat_map(shape::too_long).collect());
}

#[test]
fn nothing_is_named_after_nothing() {
    none("a nameless name", sources().iter().flat_map(shape::nameless).collect());
}

/// Lines of code of agent and protocol together: what runs on a device must stay readable by one person. The figure
/// and why it is not a lower one: docs/decisions/the-device-side-has-10000-lines.md.
const DEVICE_SIDE: usize = 14_730;

#[test]
fn the_device_side_stays_within_its_budget() {
    let device = |source: &&Source| ["protocol", "agent"].contains(&source.package.as_str());
    let lines: usize = sources().iter().filter(device).map(shape::lines_of_code).sum();
    assert!(
        lines < DEVICE_SIDE,
        "agent and protocol have {lines} lines of code; the house allows {DEVICE_SIDE}"
    );
}

#[test]
fn every_reason_is_produced_somewhere() {
    none("a reason that nothing produces", shape::unproduced(&sources(), "Reason"));
}

#[test]
fn the_top_level_is_the_one_of_the_plan() {
    none("unexpected at the top level", dependencies::strangers_at_the_top());
}

#[test]
fn every_dependency_is_accounted_for() {
    none("not in docs/dependencies.md", dependencies::unexplained());
}

#[test]
fn the_agent_links_fewer_than_65_crates() {
    let crates = dependencies::crates_beside_the_agent();
    assert!(crates.len() < 65, "{} crates: {}", crates.len(), crates.join(" "));
}

#[test]
fn no_dependency_needs_a_newer_compiler_than_we_state() {
    none("needs a newer Rust", dependencies::too_new());
}

#[test]
fn rules_catch_offenders() {
    let bad = |path: &str, text: &str| Source::parse(path, text);
    let decide = bad("agent/src/decide/next.rs", "use crate::io::disk;\nfn f() { std::fs::read(\"x\"); }\n");
    assert_eq!(rooms::forbidden_uses(&decide).len(), 1);
    assert_eq!(rooms::touches(&decide).len(), 1);
    assert_eq!(shape::door_sign(&decide).len(), 1);
    let io = bad("agent/src/io/disk.rs", "//! d\nuse crate::decide::next::next;\nuse super::super::turn;\n");
    assert_eq!(rooms::forbidden_uses(&io).len(), 2);
    let allowed =
        bad("agent/src/io/disk.rs", "//! d\nuse crate::decide::model::Step;\nuse crate::config::Paths;\n");
    assert_eq!(rooms::forbidden_uses(&allowed), Vec::<String>::new());
    let web = bad("server/src/web/mod.rs", "//! d\nfn f() { crate::keys::read(); }\nuse tidelock::io;\n");
    assert_eq!(rooms::forbidden_uses(&web).len(), 2);
    let long = bad("server/src/web/mod.rs", &format!("//! d\nfn f() {{\n{}}}\n", "    g();\n".repeat(401)));
    assert_eq!(shape::too_long(&long).len(), 2);
    assert_eq!(shape::nameless(&bad("server/src/utils/mod.rs", "//! d\n")).len(), 1);
    let reasons = bad("agent/src/decide/model.rs", "//! d\npub enum Reason { Disk, Clock }\n");
    let producer = bad("agent/src/decide/next.rs", "//! d\nfn f() -> Reason { Reason::Disk }\n");
    assert_eq!(shape::unproduced(&[reasons, producer], "Reason").len(), 1);
}
