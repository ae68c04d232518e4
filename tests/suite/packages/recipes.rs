//! The recipes for systems without our Debian packages, each on the real archive as far as a Debian can run it: OpenRC
//! itself and a shell for the rest start the agent, GNU make installs what Buildroot and OpenWrt would, Nix evaluates.
//!
//! Never here: those systems' own trees. What was tried in them by hand stands at the head of each recipe.

mod container;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tidelock_tests::program::{output, run};
use tidelock_tests::scratch::Scratch;

use super::installer::ARCHIVE;
use super::rig::{Root, VERSIONS, packages};
use super::serve;

const RECIPES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../cross/recipes");
/// The little that is needed of each system's macros.
const STUBS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/packages/recipes");
const UNITS: &str = "644 usr/lib/systemd/system/tidelock-firstboot.service
644 usr/lib/systemd/system/tidelock-guard.service
644 usr/lib/systemd/system/tidelock.service
644 usr/lib/sysusers.d/tidelock.conf
644 usr/lib/tmpfiles.d/tidelock.conf";
/// The process of the agent.
const AGENT: &str = "pidof tidelock";
const PROGRAM: &str = "755 usr/bin/tidelock";

/// The archive, unpacked into `place`.
fn unpack(place: &Path) -> PathBuf {
    let archive = packages().join(VERSIONS[0]).join(ARCHIVE);
    run("tar", &["-xzf", archive.to_str().unwrap(), "-C", place.to_str().unwrap()]);
    place.join("tidelock")
}

/// Mode and name of each file below `place`, links with where they lead.
fn lies(place: &Path) -> String {
    let wanted = ["-type", "f", "-printf", "%m %P\n", "-o", "-type", "l", "-printf", "%P -> %l\n"];
    let listed = run("find", &[&[place.to_str().unwrap()][..], &wanted].concat());
    let mut lines: Vec<_> = listed.lines().collect();
    lines.sort_by_key(|line| line.trim_start_matches(|c: char| c.is_ascii_digit() || c == ' '));
    lines.join("\n")
}

/// Asks OpenRC's or anybody's agent until it has brought the app of the fleet.
fn brings_the_app(root: &Root) {
    root.says("for _ in $(seq 300); do tidelock status | grep -q 'Synced .*Healthy' && exit; sleep 0.1; done; tidelock status; exit 1");
}

/// Ends the agent as a fault would; whoever looks after it starts another.
fn comes_again(root: &Root) {
    let first = root.says(AGENT).trim().to_owned();
    root.says(&format!("kill -KILL {first}"));
    let other = format!("now=$({AGENT}) && [ \"$now\" != {first} ]");
    root.says(&format!("for _ in $(seq 300); do {other} && exit; sleep 0.1; done; exit 1"));
}

/// The device of a fleet that is served here, with what a recipe has put below `from`.
fn device(root: &Root, from: &Path) {
    let hash = serve(root);
    run("cp", &["-a", &format!("{}/.", from.display()), root.inside("/").to_str().unwrap()]);
    root.says(&format!("tidelock join http://127.0.0.1:8080 --root-sha256 {hash} --env staging"));
}

/// `package()` of Alpine's recipe; what it fetches for a processor is said first.
fn alpine(scratch: &Scratch, processor: &str) -> String {
    let script = ". \"$1\" && echo \"${source#*::}\" && package";
    let mut shell = Command::new("busybox");
    shell.args(["sh", "-ec", script, "abuild", &format!("{RECIPES}/alpine/APKBUILD")]);
    shell.env("CARCH", processor).env("srcdir", scratch.path()).env("pkgdir", scratch.join("root"));
    String::from_utf8(output(&mut shell).stdout).unwrap()
}

#[test]
fn what_alpine_packs_is_started_watched_and_stopped_by_openrc() {
    let scratch = Scratch::new("alpine");
    unpack(scratch.path());
    for (processor, target) in [
        ("aarch64", "aarch64"),
        ("armhf", "armv6"),
        ("armv7", "armv7"),
        ("riscv64", "riscv64"),
        ("x86", "i686"),
        ("x86_64", "x86_64"),
    ] {
        let file = format!("https://releases.example.org/tidelock/tidelock-{target}.tar.gz\n");
        assert_eq!(alpine(&scratch, processor), file);
    }
    let packed = scratch.join("root");
    assert_eq!(
        lies(&packed),
        format!("755 etc/init.d/tidelock\n{PROGRAM}\n644 usr/share/man/man8/tidelock.8")
    );

    let root = Root::new("openrc");
    device(&root, &packed);
    // As it is for a system that has not been booted by it.
    let places = "daemons exclusive failed hotplugged inactive options scheduled started starting stopping tmp wasinactive";
    root.says(&format!("cd /run && mkdir openrc && cd openrc && mkdir {places} && touch softlevel"));
    root.says("rc-update add tidelock default");
    root.says("rc-service tidelock start");
    assert!(root.says("rc-service tidelock status").contains("started"));
    brings_the_app(&root);
    root.says("rc-service tidelock poll");
    comes_again(&root);
    root.says("rc-service tidelock stop");
    assert_ne!(root.run(AGENT).code, 0, "the agent ended");
    assert_ne!(root.run("rc-service tidelock status").code, 0);
    root.says("kill -0 $(cat /var/lib/tidelock/apps/hello/data/hello.pid)");
}

/// The commands of Buildroot's recipe for one init system, run into a directory; where the archive was to come from.
fn buildroot(scratch: &Scratch, settings: &[&str]) -> (String, PathBuf) {
    let target = scratch.join("target");
    drop(fs::remove_dir_all(&target));
    let named = [
        format!("BUILD={}", scratch.join("tidelock").display()),
        format!("TARGET_DIR={}", target.display()),
        format!("RECIPE={RECIPES}/buildroot/tidelock.mk"),
        format!("TIDELOCK_PKGDIR={RECIPES}/buildroot"),
    ];
    let stub = format!("{STUBS}/buildroot.mk");
    let mut make = Command::new("make");
    make.args(["--silent", "-f", &stub]).args(named).args(settings);
    (String::from_utf8(output(&mut make).stdout).unwrap().trim_end().to_owned(), target)
}

#[test]
fn buildroot_installs_the_program_and_what_each_init_system_starts_it_by() {
    let scratch = Scratch::new("buildroot");
    unpack(scratch.path());
    for (settings, target) in [
        (&["BR2_aarch64=y"][..], "aarch64"),
        (&["BR2_x86_64=y"], "x86_64"),
        (&["BR2_i386=y"], "i686"),
        (&["BR2_RISCV_64=y"], "riscv64"),
        (&["BR2_arm=y", "BR2_ARM_CPU_ARMV7A=y", "BR2_ARM_CPU_HAS_VFPV3=y"], "armv7"),
        (&["BR2_arm=y", "BR2_ARM_CPU_ARMV8A=y", "BR2_ARM_CPU_HAS_VFPV3=y"], "armv7"),
        (&["BR2_arm=y", "BR2_ARM_CPU_ARMV7A=y"], "armv6"),
        (&["BR2_arm=y", "BR2_ARM_CPU_ARMV6=y"], "armv6"),
    ] {
        let (file, _) = buildroot(&scratch, settings);
        assert_eq!(
            file,
            format!("https://releases.example.org/tidelock/tidelock-{target}.tar.gz"),
            "{settings:?}"
        );
    }
    for (init, there) in [
        ("NONE", PROGRAM.to_owned()),
        ("SYSTEMD", format!("{PROGRAM}\n{UNITS}")),
        (
            "OPENRC",
            format!(
                "755 etc/init.d/tidelock\netc/runlevels/default/tidelock -> /etc/init.d/tidelock\n{PROGRAM}"
            ),
        ),
        ("SYSV", format!("755 etc/init.d/S95tidelock\n{PROGRAM}")),
    ] {
        let (_, target) = buildroot(&scratch, &["BR2_x86_64=y", &format!("INIT={init}")]);
        assert_eq!(lies(&target), there, "{init}");
    }
}

#[test]
fn the_script_for_buildroot_without_systemd_starts_the_agent_again_and_stops_it() {
    let script = format!("{RECIPES}/buildroot/S95tidelock");
    run("busybox", &["sh", "-n", &script]);
    run("shellcheck", &["-s", "sh", &script]);
    let scratch = Scratch::new("sysv");
    unpack(scratch.path());
    let (_, target) = buildroot(&scratch, &["BR2_x86_64=y", "INIT=SYSV"]);
    let root = Root::new("sysv");
    device(&root, &target);
    let service = "/etc/init.d/S95tidelock";
    assert_eq!(root.says(&format!("{service} start")), "Starting tidelock: OK\n");
    brings_the_app(&root);
    comes_again(&root);
    let keeper = root.says("cat /var/run/tidelock.pid");
    assert_eq!(root.says(&format!("{service} stop")), "Stopping tidelock: OK\n");
    assert_ne!(root.run(AGENT).code, 0, "the agent ended");
    assert_ne!(root.run(&format!("kill -0 {keeper}")).code, 0, "and what starts it again");
    root.says("kill -0 $(cat /var/lib/tidelock/apps/hello/data/hello.pid)");
}

/// OpenWrt's recipe for a processor, run into a directory; where the archive was to come from.
fn openwrt(scratch: &Scratch, settings: &[&str]) -> (String, PathBuf) {
    let target = scratch.join("target");
    let named = [
        format!("TOPDIR={STUBS}/openwrt"),
        format!("BUILD_DIR={}", scratch.path().display()),
        format!("DESTINATION={}", target.display()),
    ];
    let mut make = Command::new("make");
    make.args(["--silent", "-f", &format!("{RECIPES}/openwrt/Makefile")]).args(named).args(settings);
    (String::from_utf8(output(&mut make).stdout).unwrap().trim_end().to_owned(), target)
}

#[test]
fn openwrt_installs_the_program_and_its_script_keeps_the_state_where_var_is_memory() {
    let scratch = Scratch::new("openwrt");
    unpack(scratch.path());
    for (settings, target) in [
        (&["ARCH=aarch64"][..], "aarch64"),
        (&["ARCH=x86_64"], "x86_64"),
        (&["ARCH=i386"], "i686"),
        (&["ARCH=riscv64"], "riscv64"),
        (&["ARCH=arm", "CONFIG_CPU_TYPE=\"cortex-a7+neon-vfpv4\""], "armv7"),
        (&["ARCH=arm", "CONFIG_CPU_TYPE=\"cortex-a9+vfpv3-d16\""], "armv7"),
        (&["ARCH=arm", "CONFIG_CPU_TYPE=\"arm1176jzf-s+vfp\""], "armv6"),
    ] {
        let (file, _) = openwrt(&scratch, settings);
        assert_eq!(
            file,
            format!("https://releases.example.org/tidelock/tidelock-{target}.tar.gz"),
            "{settings:?}"
        );
    }
    let (_, target) = openwrt(&scratch, &["ARCH=x86_64"]);
    assert_eq!(lies(&target), format!("755 etc/init.d/tidelock\n{PROGRAM}"));

    let root = Root::new("procd");
    device(&root, &target);
    fs::copy(format!("{STUBS}/openwrt/rc.common"), root.inside("/etc/rc.common")).unwrap();
    // As OpenWrt has it: gone at each boot.
    root.says("rm -rf /var && ln -s tmp /var");
    let asked = root.says("sh /etc/rc.common /etc/init.d/tidelock start_service");
    let command = asked.lines().find_map(|line| line.strip_prefix("command ")).unwrap();
    assert_eq!(command, "/usr/bin/tidelock run");
    assert!(asked.contains("respawn 3600 5 0\n"), "{asked}");
    root.says(&format!("{command} >/tmp/said 2>&1 &"));
    brings_the_app(&root);
    root.says("test -e /srv/tidelock/apps/hello/current && test -L /var/lib/tidelock");
    let reload = root.says("sh /etc/rc.common /etc/init.d/tidelock reload_service");
    assert_eq!(reload, "signal tidelock * USR1\n");
    // The next boot: the same state, by a new link.
    root.says("rm /var/lib/tidelock");
    root.says("sh /etc/rc.common /etc/init.d/tidelock start_service");
    root.says("test -e /var/lib/tidelock/apps/hello/current");
}

#[test]
fn nix_evaluates_the_module_to_the_service_that_the_unit_is() {
    let eval = |system: &str| {
        let mut nix = Command::new("nix-instantiate");
        let home = Scratch::new("nix");
        nix.env("HOME", home.path())
            .env("NIX_STATE_DIR", home.path())
            .args(["--store", "dummy://", "--eval"]);
        nix.args(["--strict", "--json", "--argstr", "system", system, "--arg", "module"]);
        nix.arg(format!("{RECIPES}/nixos/module.nix")).arg(format!("{STUBS}/nixos.nix"));
        serde_json::from_slice::<serde_json::Value>(&output(&mut nix).stdout).unwrap()
    };
    for (system, target) in [
        ("x86_64-linux", "x86_64"),
        ("aarch64-linux", "aarch64"),
        ("armv7l-linux", "armv7"),
        ("armv6l-linux", "armv6"),
        ("i686-linux", "i686"),
        ("riscv64-linux", "riscv64"),
    ] {
        let file = format!("https://releases.example.org/tidelock/tidelock-{target}.tar.gz");
        assert_eq!(eval(system)["source"], *file, "{system}");
    }
    let told = eval("x86_64-linux");
    let configured = &told["etc"]["tidelock/config.toml"]["source"];
    assert_eq!(configured["url"], "https://fleet.example.org");
    assert_eq!(configured["labels"]["ring"], "early");
    assert_eq!(told["etc"]["tidelock/root.json"]["source"], "/root.json");
    // What it says of the service is what the unit says, but for where Nix has the program.
    let unit = include_str!("../../../systemd/tidelock.service");
    for (key, value) in told["service"].as_object().unwrap() {
        let value = match value {
            serde_json::Value::Bool(true) => "yes",
            value => value.as_str().unwrap(),
        };
        match key.as_str() {
            "ExecStart" => assert_eq!(value, "/nix/store/tidelock/bin/tidelock run"),
            "ExecStartPre" => assert_eq!(value, "-/nix/store/tidelock/bin/tidelock guard"),
            _ => assert!(unit.contains(&format!("\n{key}={value}\n")), "the unit does not say {key}={value}"),
        }
    }
}
