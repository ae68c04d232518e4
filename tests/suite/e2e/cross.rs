//! The files that `cross/build` made, one test per target: natively where this processor runs them, by qemu-user elsewhere.
//! `tests/run cross [TARGET…]` builds what it names and runs what stands here about it; what the server's files do is said by
//! the server's own suites, which it runs with them.
//!
//! Never here: how they are built, what they may weigh (`cross`).

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use tidelock_tests::program::{beside_python, bounded, find, output, run};
use tidelock_tests::scratch::Scratch;
use tidelock_tests::world::Ran;

use super::site::{Plan, Site};
use super::updates::is_installed_updated_refused_and_reverted;

/// One test per target, under its name.
macro_rules! on_each {
    ($test:ident: $($target:ident)+) => {
        $(#[test] fn $target() { super::$test(stringify!($target)); })+
    };
}

mod an_app_is_installed_updated_refused_and_reverted {
    on_each!(lives: x86_64 aarch64 armv7 armv6 i686 riscv64);
}

mod the_file_needs_nothing_and_has_its_guards {
    on_each!(is_static: x86_64 aarch64 armv7 armv6 i686 riscv64 server_x86_64 server_aarch64);
}

mod what_is_in_it_is_said_in_cyclonedx {
    on_each!(says_what_is_in_it: x86_64 aarch64 armv7 armv6 i686 riscv64 server_x86_64 server_aarch64);
}

mod the_year_is_2045 {
    on_each!(lives_in_2045: armv7 armv6 i686);
}

mod signed {
    /// What `cross/sign` leaves beside the files is what minisign asks for, and says which bytes they were.
    #[test]
    fn a_changed_list_is_not_the_signed_one() {
        super::is_signed();
    }
}

fn lives(target: &str) {
    let room = Scratch::new(&format!("cross-{target}"));
    is_installed_updated_refused_and_reverted(&site(target, program(&room, target, &emulator(target))));
}

/// No interpreter, no library, no stack that can be run, another address at each start but for who says otherwise, and what
/// the linker relocated is read-only afterwards.
fn is_static(target: &str) {
    let file = built(target);
    let said = run(find("file"), &["--brief", file.to_str().unwrap()]);
    let word = table()["target"][target.replace("server_", "server-")].get("position-independent").cloned();
    let moves = word.is_none_or(|word| word.as_bool().unwrap());
    assert!(said.contains(if moves { "static-pie linked" } else { "statically linked" }), "{said}");
    assert!(said.contains(", stripped"), "{said}");
    let headers = run(find("readelf"), &["--wide", "--program-headers", file.to_str().unwrap()]);
    let header = |kind: &str| headers.lines().find(|line| line.split_whitespace().next() == Some(kind));
    assert!(header("INTERP").is_none(), "{headers}");
    assert!(header("GNU_RELRO").is_some(), "{headers}");
    assert!(header("GNU_STACK").is_some_and(|line| !line.contains('E')), "{headers}");
}

/// The list fits its public schema, and names what the program certainly holds.
fn says_what_is_in_it(target: &str) {
    let list =
        built(target).with_file_name(format!("tidelock-{}.cdx.json", target.replace("server_", "server-")));
    let text = fs::read_to_string(&list).unwrap();
    for crate_of_all in ["pkg:cargo/sha2@", "pkg:cargo/rustls@", "pkg:cargo/tidelock-protocol@"] {
        assert!(text.contains(crate_of_all), "{crate_of_all}: {text}");
    }
    let judge = "import sys; from cyclonedx.schema import SchemaVersion as V; \
                 from cyclonedx.validation.json import JsonStrictValidator as J; \
                 sys.exit(str(J(V.V1_5).validate_str(open(sys.argv[1]).read()) or '') or 0)";
    let room = Scratch::new(&format!("cross-list-{target}"));
    let judged = |text: &str| {
        let copy = room.join("list");
        fs::write(&copy, text).unwrap();
        let mut python = Command::new(beside_python("python3"));
        Ran::of(&bounded(python.args(["-c", judge]).arg(copy)))
    };
    judged(&text).well();
    assert_ne!(judged(&text.replace("\"library\"", "\"shelf\"")).code, 0, "it lets everything pass");
}

/// The same life when 32 bits of seconds are over. The test runs itself, and with it everything that it starts, below
/// faketime; that reaches the file through a qemu that is linked dynamically: its emulated processor asks it for the time.
fn lives_in_2045(target: &str) {
    if SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() < IN_2045 {
        let test = format!("e2e::cross::the_year_is_2045::{target}");
        let own = std::env::current_exe().unwrap();
        let mut again = Command::new(find("faketime"));
        again
            .arg("-f")
            .arg("+19y")
            .arg(own)
            .args([&test, "--exact", "--nocapture"])
            .env("DONT_FAKE_MONOTONIC", "1");
        let ran = Ran::of(&bounded(&mut again)).well();
        assert!(ran.stdout.contains("1 passed"), "{}", ran.said());
        return;
    }
    let room = Scratch::new(&format!("cross-2045-{target}"));
    let dynamic = match emulator(target).as_str() {
        "" => "qemu-i386".to_owned(),
        emulator => emulator.replacen("-static", "", 1),
    };
    let site = site(target, program(&room, target, &dynamic));
    is_installed_updated_refused_and_reverted(&site);
    let status = site.device.run(&["status", "--json"]).well().stdout;
    assert!(status.contains("\"2045-"), "{status}");
}

fn is_signed() {
    let room = Scratch::new("cross-signed");
    let (out, key, public) = (room.join("out"), room.join("key"), room.join("public"));
    fs::create_dir(&out).unwrap();
    fs::write(out.join("tidelock-any"), "a program").unwrap();
    let minisign = find("minisign");
    let make = |at: &Path| {
        output(Command::new(&minisign).args(["-G", "-W", "-f", "-p"]).arg(&public).arg("-s").arg(at))
    };
    make(&key);
    output(Command::new(root().join("cross/sign")).arg(&key).arg(&out));
    let verify = || {
        Command::new(&minisign)
            .arg("-Vm")
            .arg(out.join("SHA256SUMS"))
            .arg("-p")
            .arg(&public)
            .output()
            .unwrap()
    };
    let good = Ran::of(&verify()).well();
    assert!(good.stdout.contains("Trusted comment: tidelock "), "{}", good.said());
    output(Command::new(find("sha256sum")).args(["--check", "--strict", "SHA256SUMS"]).current_dir(&out));
    let sums = fs::read_to_string(out.join("SHA256SUMS")).unwrap();
    assert!(sums.ends_with("  tidelock-any\n") && sums.lines().count() == 1, "{sums}");
    fs::write(out.join("SHA256SUMS"), sums.replacen("tidelock-any", "tidelock-all", 1)).unwrap();
    assert_ne!(Ran::of(&verify()).code, 0);
    fs::write(out.join("SHA256SUMS"), sums).unwrap();
    make(&room.join("another"));
    assert_ne!(Ran::of(&verify()).code, 0, "another key's");
}

/// The first second of that year.
const IN_2045: u64 = 2_366_841_600;

fn site(target: &str, program: PathBuf) -> Site {
    Plan { program: Some(program), ..Plan::new(target) }.build()
}

/// The emulator and its options as the table of targets names them; empty where this machine runs the file itself.
fn emulator(target: &str) -> String {
    let table = table();
    let words = table["target"][target]["run"].as_array().unwrap();
    words.iter().map(|word| word.as_str().unwrap()).collect::<Vec<_>>().join(" ")
}

/// The table of targets.
fn table() -> toml::Table {
    fs::read_to_string(root().join("cross/budget.toml")).unwrap().parse().unwrap()
}

/// `target`'s file as one program: itself, or a script that has the emulator run it.
fn program(room: &Scratch, target: &str, emulator: &str) -> PathBuf {
    let Some(qemu) = emulator.split(' ').next().filter(|name| !name.is_empty()) else { return built(target) };
    find(qemu);
    let script = room.join("tidelock");
    fs::write(&script, format!("#!/bin/sh\nexec {emulator} {} \"$@\"\n", built(target).display())).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    script
}

/// The file itself.
fn built(target: &str) -> PathBuf {
    let file =
        root().join("target/cross/out").join(format!("tidelock-{}", target.replace("server_", "server-")));
    assert!(file.exists(), "there is no {}: `tests/run cross` builds it first", file.display());
    file
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}
