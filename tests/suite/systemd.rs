//! The unit files, judged by systemd's own tools: well formed, and locked up as far as the work allows.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use tidelock::io::units::{Entry, Owner, wanted};
use tidelock_protocol::names::AppName;
use tidelock_protocol::recipe::Recipe;
use tidelock_tests::program::run;
use tidelock_tests::scratch::Scratch;

fn units() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../systemd"))
}

/// A root with systemd's own units, ours, and the programs that ours start.
fn root() -> Scratch {
    let scratch = Scratch::new("systemd-root");
    for directory in ["usr/bin", "usr/lib/systemd", "etc/systemd/system"] {
        fs::create_dir_all(scratch.join(directory)).unwrap();
    }
    let system = ["/usr/lib/systemd/system", "/lib/systemd/system"];
    let system = system.into_iter().find(|path| fs::metadata(path).is_ok()).unwrap();
    run("cp", &["-r", system, scratch.join("usr/lib/systemd/").to_str().unwrap()]);
    symlink("usr/lib", scratch.join("lib")).unwrap();
    for program in ["tidelock", "tidelock-server"] {
        fs::copy("/bin/true", scratch.join("usr/bin").join(program)).unwrap();
    }
    for unit in fs::read_dir(units()).unwrap().map(|entry| entry.unwrap().path()) {
        if unit.extension().is_some_and(|extension| extension == "service") {
            fs::copy(&unit, scratch.join("etc/systemd/system").join(unit.file_name().unwrap())).unwrap();
        }
    }
    scratch
}

#[test]
fn systemd_finds_nothing_wrong_with_the_units() {
    let root = root();
    let all = fs::read_dir(root.join("etc/systemd/system")).unwrap();
    let all: Vec<_> = all.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(all.len() >= 2);
    let mut verify = Command::new("systemd-analyze");
    verify.arg("verify").arg(format!("--root={}", root.path().display())).args(&all);
    let output = verify.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    // What it says of units that are not ours is not ours to mend.
    let ours: Vec<_> = said.lines().filter(|line| line.contains("tidelock")).collect();
    assert!(output.status.success() && ours.is_empty(), "{said}");
}

/// The example of `docs/apps.md`, as it would lie on a device.
#[test]
fn systemd_finds_nothing_wrong_with_the_units_that_the_documentation_shows() {
    let root = root();
    let example = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/app"));
    let recipe = Recipe::parse(&fs::read_to_string(example.join("release.toml")).unwrap()).unwrap();
    let app: AppName = "web".parse().unwrap();
    let home = Path::new("/var/lib/tidelock/apps/web");
    let owner = Owner {
        app: &app,
        units: &recipe.units,
        allowed: &BTreeSet::new(),
        may_be_root: false,
        user: recipe.user.as_deref(),
        app_env: "/etc/tidelock/apps/web.env".into(),
        places: [home.into(), "/etc/tidelock/credentials/web".into()],
        state: "/var/lib/tidelock".into(),
        data: home.join("data"),
    };
    let programs = root.join("var/lib/tidelock/apps/web/current/tree/bin");
    fs::create_dir_all(&programs).unwrap();
    for program in ["web", "cleanup"] {
        fs::copy("/bin/true", programs.join(program)).unwrap();
    }
    let files = wanted(&owner, &recipe, example).unwrap();
    let mut verify = Command::new("systemd-analyze");
    verify.args(["verify", "--man=no"]).arg(format!("--root={}", root.path().display()));
    for (name, entry) in &files {
        if let Entry::Unit(text) = entry {
            fs::write(root.join("etc/systemd/system").join(name), text).unwrap();
            verify.arg(name);
        }
    }
    let output = verify.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let ours: Vec<_> = said.lines().filter(|line| line.contains("tidelock")).collect();
    assert!(output.status.success() && ours.is_empty(), "{said}");
    assert_eq!(files.len(), 5, "three units, and what starts two of them");
}

#[test]
fn the_services_are_exposed_no_more_than_their_work_needs() {
    for (unit, most) in
        [("tidelock.service", "30"), ("tidelock-guard.service", "30"), ("tidelock-server.service", "20")]
    {
        let path = units().join(unit);
        let threshold = format!("--threshold={most}");
        // A higher exposure is a failure of the command, which `run` does not forgive.
        run(
            "systemd-analyze",
            &["security", "--offline=true", "--no-pager", &threshold, path.to_str().unwrap()],
        );
    }
}

#[test]
fn users_directories_and_presets_are_taken_by_systemd() {
    let root = root();
    let below = format!("--root={}", root.path().display());
    for directory in ["etc/systemd/system", "usr/lib/systemd/system-preset"] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    let file = |path: &str| units().join(path).to_str().unwrap().to_owned();
    run("systemd-sysusers", &[&below, &file("sysusers.d/tidelock.conf")]);
    assert!(fs::read_to_string(root.join("etc/group")).unwrap().starts_with("tidelock:"));
    run("systemd-tmpfiles", &["--create", &below, &file("tmpfiles.d/tidelock.conf")]);
    for directory in ["etc/tidelock/apps", "var/lib/tidelock", "run/tidelock"] {
        assert!(root.join(directory).is_dir(), "{directory}");
    }
    let preset = root.join("usr/lib/systemd/system-preset/50-tidelock.preset");
    fs::copy(file("system-preset/50-tidelock.preset"), preset).unwrap();
    run("systemctl", &[&below, "preset", "tidelock.service", "tidelock-guard.service"]);
    for unit in ["tidelock.service", "tidelock-guard.service"] {
        let wanted = root.join("etc/systemd/system/multi-user.target.wants").join(unit);
        assert!(wanted.is_symlink(), "{unit} is enabled");
    }
}

#[test]
fn the_scripts_for_other_supervisors_are_shell() {
    for script in ["without/tidelock.openrc", "without/tidelock.procd"] {
        let path = units().join(script);
        let path = path.to_str().unwrap();
        run("sh", &["-n", path]);
        run("busybox", &["sh", "-n", path]);
        run("shellcheck", &["-s", "sh", path]);
    }
}
