//! `doctor`: each of its lines made to appear, and to go away again.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tidelock_tests::authority::Authority;
use tidelock_tests::program::{find, output, run};
use tidelock_tests::programs::Ours;

use super::site::{Plan, Site};

/// A device that is well, with a clock that a time service keeps.
fn well(name: &str) -> Site {
    let now = run("date", &["-u", "+%Y-%m-%dT%H:%M:%SZ synchronised"]);
    let site = Plan { agent: Ours::AgentWithTestClock, clock: Some((&now, 1)), ..Plan::new(name) }.build();
    let said = site.device.run(&["doctor"]).well().stdout;
    assert!(!said.contains("ACT"), "{said}");
    site
}

/// What is said of `name` and what to do about it, with status 10; everything but `also` is well.
fn acts(site: &Site, name: &str, also: &[&str]) -> String {
    let ran = site.device.run(&["doctor"]);
    assert_eq!(ran.code, 10, "{}", ran.said());
    let lines: Vec<&str> = ran.stdout.lines().collect();
    let place = lines.iter().position(|line| line.starts_with(&format!("ACT   {name}: ")));
    let place = place.unwrap_or_else(|| panic!("nothing is said of {name}: {}", ran.said()));
    for other in lines.iter().filter(|line| line.starts_with("ACT")) {
        let expected = [&[name][..], also].concat();
        assert!(expected.iter().any(|name| other.starts_with(&format!("ACT   {name}: "))), "{other}");
    }
    assert!(lines[place + 1].starts_with("      "), "it says what to do: {}", ran.said());
    format!("{}\n{}", lines[place], lines[place + 1])
}

fn is_well(site: &Site) {
    site.device.run(&["doctor"]).well();
}

/// Something mounted over a directory; unmounted on drop.
struct Over(PathBuf);

impl Over {
    fn mount(arguments: &[&str], at: &Path) -> Self {
        output(Command::new(find("mount")).args(arguments).arg(at));
        Self(at.to_owned())
    }
}

impl Drop for Over {
    fn drop(&mut self) {
        let _ = Command::new(find("umount")).arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_state_directory_that_forgets_is_seen() {
    let site = well("doctor-memory");
    let state = site.device.root().join("var/lib/tidelock");
    let memory = Over::mount(&["-t", "tmpfs", "-o", "size=128m,mode=755", "tmpfs"], &state);
    let said = acts(&site, "file system", &[]);
    assert!(said.contains("(tmpfs)") && said.contains("mount a partition"), "{said}");
    drop(memory);
    let small = Over::mount(&["-t", "tmpfs", "-o", "size=8m,mode=755", "tmpfs"], &state);
    let said = acts(&site, "disk", &["file system"]);
    assert!(said.contains("8 MiB") && said.contains("make room"), "{said}");
    drop(small);
    let layer = |name: &str| {
        let path = site.room.join(name);
        fs::create_dir(&path).unwrap();
        path.display().to_string()
    };
    let (upper, work) = (layer("upper"), layer("work"));
    let options = format!("lowerdir={},upperdir={upper},workdir={work}", state.display());
    let overlay = Over::mount(&["-t", "overlay", "-o", &options, "overlay"], &state);
    let said = acts(&site, "file system", &[]);
    assert!(said.contains("overlay") && said.contains("below no overlay"), "{said}");
    drop(overlay);
    is_well(&site);
}

#[test]
fn who_else_could_write_what_is_trusted_or_read_what_is_secret_is_seen() {
    let site = well("doctor-permissions");
    let root = site.device.root().join("etc/tidelock/root.json");
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    mode(&root, 0o666);
    let said = acts(&site, "permissions", &[]);
    assert!(said.contains("root.json: its mode is 666") && said.contains("chmod"), "{said}");
    mode(&root, 0o644);
    std::os::unix::fs::chown(&root, Some(65534), None).unwrap();
    assert!(acts(&site, "permissions", &[]).contains("belongs to somebody else"));
    std::os::unix::fs::chown(&root, Some(0), None).unwrap();
    let secret = site.device.root().join("etc/tidelock/header");
    fs::write(&secret, "Authorization: Bearer x\n").unwrap();
    mode(&secret, 0o644);
    site.device.configure("header", "header_file = \"/etc/tidelock/header\"\n");
    let said = acts(&site, "permissions", &[]);
    assert!(said.contains("header: its mode is 644") && !said.contains("Bearer"), "{said}");
    mode(&secret, 0o600);
    is_well(&site);
    let state = site.device.root().join("var/lib/tidelock");
    let read_only = Over::mount(&["--bind", "-o", "ro", state.to_str().unwrap()], &state);
    run("mount", &["-o", "remount,bind,ro", state.to_str().unwrap()]);
    assert!(acts(&site, "permissions", &["disk"]).contains("cannot be written"));
    drop(read_only);
    is_well(&site);
}

#[test]
fn an_unknown_key_a_lost_root_and_a_clock_that_nobody_keeps_are_seen() {
    let site = well("doctor-settings");
    site.device.configure("typo", "pol = \"5m\"\n");
    let said = acts(&site, "configuration", &[]);
    assert!(said.contains("typo.toml:1") && said.contains("did you mean `poll`"), "{said}");
    fs::remove_file(site.device.root().join("etc/tidelock/config.d/typo.toml")).unwrap();
    let clock = site.room.join("clock");
    let kept = fs::read_to_string(&clock).unwrap();
    fs::write(&clock, "1970-01-01T00:00:10Z unsynchronised\n").unwrap();
    let said = acts(&site, "clock", &[]);
    assert!(said.contains("1970-01-01T00:00:10Z") && said.contains("chrony"), "{said}");
    fs::write(&clock, kept).unwrap();
    let root = site.device.root().join("etc/tidelock/root.json");
    let kept = fs::read(&root).unwrap();
    fs::write(&root, "{}").unwrap();
    let said = acts(&site, "root of trust", &[]);
    assert!(said.contains("is no root") && said.contains("tidelock join"), "{said}");
    fs::write(&root, kept).unwrap();
    is_well(&site);
}

#[test]
fn how_far_a_question_to_the_publisher_comes_is_seen() {
    let site = well("doctor-publisher");
    let url = |url: &str| site.device.configure("zz", &format!("url = \"{url}\"\n"));
    url("https://no-such-host.invalid");
    let said = acts(&site, "DNS", &[]);
    assert!(said.contains("cannot be resolved") && said.contains("/etc/resolv.conf"), "{said}");
    url("https://127.0.0.1:1");
    assert!(acts(&site, "reachability", &[]).contains("the connection was refused"));
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    url(&format!("http://{}", silent.local_addr().unwrap()));
    assert!(acts(&site, "reachability", &[]).contains("no answer in time"));
    drop(silent);
    url(&site.url());
    let other = Authority::new(&site.room.join("other"));
    site.device.trusts(&other.certificate());
    let said = acts(&site, "TLS", &[]);
    assert!(said.contains("(TLS)") && said.contains("`ca_file`"), "{said}");
    site.device.trusts(&site.authority.certificate());
    is_well(&site);
    let timestamp = site.fleet.out().join("metadata/timestamp.json");
    let kept = fs::read_to_string(&timestamp).unwrap();
    let at = kept.find("\"sig\":\"").unwrap() + 7;
    let forged = if &kept[at..=at] == "0" { "1" } else { "0" };
    fs::write(&timestamp, format!("{}{forged}{}", &kept[..at], &kept[at + 1..])).unwrap();
    let said = acts(&site, "signatures", &[]);
    assert!(said.contains("is not believed") && said.contains("an attack"), "{said}");
    fs::write(&timestamp, kept).unwrap();
    run("touch", &["-d", "+2 seconds", timestamp.to_str().unwrap()]);
    is_well(&site);
}
