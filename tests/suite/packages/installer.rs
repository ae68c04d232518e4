//! `install.sh`, against a server on this machine, into a directory: what is signed is installed, whatever is not is not
//! even unpacked.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use tidelock_tests::program::{Running, bounded, find, free_address, output, run};
use tidelock_tests::scratch::Scratch;
use tidelock_tests::world::Ran;

use super::rig::{VERSIONS, packages};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../cross/install.sh");
pub(crate) const ARCHIVE: &str = "tidelock-x86_64.tar.gz";
/// All that the script asks a system for, its checker of signatures aside.
const TOOLS: &str = "sh id grep mktemp rm rmdir cat sed cut sha256sum tar gzip mkdir dirname cp chmod mv ln uname od tr \
                     head tail readlink";

/// What is released, signed, served; and a directory to install into.
pub(crate) struct Release {
    scratch: Scratch,
    pub(crate) url: String,
    pub(crate) key: String,
    _served: Running,
}

impl Release {
    pub(crate) fn new(name: &str) -> Self {
        let scratch = Scratch::new(name);
        let out = scratch.join("out");
        fs::create_dir_all(&out).unwrap();
        for file in [ARCHIVE, "SHA256SUMS"] {
            fs::copy(packages().join(VERSIONS[0]).join(file), out.join(file)).unwrap();
        }
        let address = free_address();
        let port = address.to_string();
        let arguments = ["httpd", "-f", "-p", &port, "-h", out.to_str().unwrap()].map(OsStr::new);
        let mut served = Running::start(&find("busybox"), &arguments, &scratch.join("served"));
        assert!(served.listens_on(address), "{}", served.said());
        let key = generate(&scratch.join("key"));
        let release = Self { scratch, url: format!("http://{address}"), key, _served: served };
        release.sign(&["-t", "tidelock 7.0"]);
        release
    }

    pub(crate) fn out(&self, name: &str) -> PathBuf {
        self.scratch.join("out").join(name)
    }

    fn sign(&self, how: &[&str]) {
        let (secret, file) = (self.scratch.join("key.secret"), self.out("SHA256SUMS"));
        let mut sign = Command::new(find("minisign"));
        output(sign.arg("-Ss").arg(secret).arg("-m").arg(file).args(how));
    }

    fn root(&self) -> PathBuf {
        let root = self.scratch.join("root");
        fs::create_dir_all(&root).unwrap();
        root
    }

    /// The script, told where and by whose key; with what `tools` are there besides its usual ones.
    fn run(&self, tools: &[&str], arguments: &[&str]) -> Ran {
        let bin = self.scratch.join("bin");
        drop(fs::remove_dir_all(&bin));
        fs::create_dir_all(&bin).unwrap();
        for tool in TOOLS.split_whitespace().chain(tools.iter().copied()) {
            symlink(find(tool), bin.join(tool)).unwrap();
        }
        // Processors of others are said by a program of this name.
        let fake = self.scratch.join("uname");
        if fake.exists() {
            fs::remove_file(bin.join("uname")).unwrap();
            fs::copy(fake, bin.join("uname")).unwrap();
        }
        let mut script = Command::new(find("sh"));
        script.env_clear().env("PATH", &bin).current_dir(self.scratch.path());
        script.args([SCRIPT, "--root", self.root().to_str().unwrap(), "--key", &self.key]);
        Ran::of(&bounded(script.args(arguments)))
    }

    /// From the server, with everything that is usually there.
    fn install(&self, arguments: &[&str]) -> Ran {
        let from = ["--from", &self.url];
        self.run(&["curl", "minisign"], &[&from, arguments].concat())
    }
}

/// Makes a pair of keys; its public one.
fn generate(place: &Path) -> String {
    let (public, secret) = (place.with_extension("pub"), place.with_extension("secret"));
    output(Command::new(find("minisign")).arg("-GWp").arg(&public).arg("-s").arg(secret));
    fs::read_to_string(public).unwrap().lines().last().unwrap().to_owned()
}

/// Every file and link below `root`.
fn listed(root: &Path) -> Vec<String> {
    let listed =
        run("find", &[root.to_str().unwrap(), "-mindepth", "1", "!", "-type", "d", "-printf", "%P\n"]);
    let mut listed: Vec<_> = listed.lines().map(str::to_owned).collect();
    listed.sort();
    listed
}

fn write(path: &Path, text: &str, mode: u32) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn the_script_is_posix_shell_without_a_remark_of_shellcheck() {
    run("sh", &["-n", SCRIPT]);
    run("busybox", &["sh", "-n", SCRIPT]);
    let forget = concat!(env!("CARGO_MANIFEST_DIR"), "/../cross/forget");
    run("shellcheck", &["-s", "sh", SCRIPT, forget]);
}

#[test]
fn what_is_signed_is_installed_for_each_init_system_and_uninstalled_without_a_rest() {
    let release = Release::new("install");
    let usual = ["usr/bin/tidelock", "usr/lib/tidelock/forget", "usr/lib/tidelock/installed"];
    for (init, there, placed) in [
        (
            "usr/lib/systemd/systemd",
            "systemd",
            vec![
                "etc/systemd/system/multi-user.target.wants/tidelock-firstboot.service",
                "etc/systemd/system/multi-user.target.wants/tidelock-guard.service",
                "etc/systemd/system/multi-user.target.wants/tidelock.service",
                "usr/lib/systemd/system/tidelock-firstboot.service",
                "usr/lib/systemd/system/tidelock-guard.service",
                "usr/lib/systemd/system/tidelock.service",
                "usr/lib/sysusers.d/tidelock.conf",
                "usr/lib/tmpfiles.d/tidelock.conf",
            ],
        ),
        ("sbin/openrc-run", "openrc", vec!["etc/init.d/tidelock", "etc/runlevels/default/tidelock"]),
        ("sbin/procd", "procd", vec!["etc/init.d/tidelock", "etc/rc.d/K10tidelock", "etc/rc.d/S95tidelock"]),
        ("sbin/init", "none", vec![]),
    ] {
        let root = release.root();
        write(&root.join(init), "#!/bin/sh\n", 0o755);
        let ran = release.install(&[]).well();
        assert!(ran.stdout.contains("is signed: tidelock 7.0"), "{}", ran.said());
        let found = listed(&root);
        for path in usual.iter().chain(&placed) {
            assert!(found.iter().any(|found| found == path), "{there}: {path} is not in {found:?}");
        }
        assert_eq!(
            found.len(),
            usual.len() + placed.len() + 3,
            "{there}: manual, completion, and {init}: {found:?}"
        );
        let told = output(Command::new(root.join("usr/bin/tidelock")).arg("--version"));
        assert!(told.stdout.starts_with(b"tidelock "));
        // Again is an upgrade.
        release.install(&[]).well();
        assert_eq!(listed(&root), found, "{there}");
        write(&root.join("etc/tidelock/config.toml"), "", 0o644);
        let ran = release.install(&["--uninstall"]).well();
        assert!(ran.stdout.contains("settings are left"), "{}", ran.said());
        assert_eq!(listed(&root), ["etc/tidelock/config.toml", init], "{there}");
        release.install(&[]).well();
        release.install(&["--uninstall", "--purge"]).well();
        assert_eq!(listed(&root), [init], "{there}");
        assert_eq!(release.install(&["--uninstall"]).code, 1, "{there}: nothing is installed");
        fs::remove_dir_all(&root).unwrap();
    }
}

/// What a release of nobody's may look like: its name, what is done to the good one, and what is said of it.
type Forgery = (&'static str, fn(&Release), &'static str);
const WRONG: &str = "is wrong: nothing was installed";
const OTHER: &str = "is not the file that was signed";
pub(crate) const SIGNED: [&str; 3] = [ARCHIVE, "SHA256SUMS", "SHA256SUMS.minisig"];
const FORGERIES: [Forgery; 7] = [
    ("another archive", put_another, OTHER),
    (
        "another archive with its sum",
        |release| {
            put_another(release);
            let archive = release.out(ARCHIVE);
            let archive = archive.to_str().unwrap();
            fs::write(release.out("SHA256SUMS"), run("sha256sum", &[archive]).replace(archive, ARCHIVE))
                .unwrap();
        },
        WRONG,
    ),
    (
        "no signature",
        |release| fs::remove_file(release.out("SHA256SUMS.minisig")).unwrap(),
        "SHA256SUMS.minisig",
    ),
    (
        "an empty signature",
        |release| fs::write(release.out("SHA256SUMS.minisig"), "").unwrap(),
        "nothing was installed",
    ),
    (
        "another comment",
        |release| change(&release.out("SHA256SUMS.minisig"), "tidelock 7.0", "tidelock 9.0"),
        WRONG,
    ),
    ("a line that nobody signed", |release| change(&release.out("SHA256SUMS"), ARCHIVE, "other\n"), WRONG),
    (
        "an archive without its sum",
        |release| {
            fs::write(release.out("SHA256SUMS"), "").unwrap();
            release.sign(&["-t", "x"]);
        },
        OTHER,
    ),
];

fn change(path: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{text}");
    fs::write(path, text.replace(from, to)).unwrap();
}

/// In place of the archive, one whose program tells that it was run.
fn put_another(release: &Release) {
    let evil = release.scratch.join("evil");
    let program = format!("#!/bin/sh\ntouch {}\n", release.scratch.join("marker").display());
    write(&evil.join("tidelock/usr/bin/tidelock"), &program, 0o755);
    let archive = release.out(ARCHIVE);
    run("tar", &["-czf", archive.to_str().unwrap(), "-C", evil.to_str().unwrap(), "tidelock"]);
}

#[test]
fn nothing_that_is_not_signed_is_installed_or_run_whoever_checks_it() {
    let release = Release::new("unsigned");
    let marker = release.scratch.join("marker");
    let other = generate(&release.scratch.join("other"));
    let good = SIGNED.map(|name| (name, fs::read(release.out(name)).unwrap()));
    for checker in ["minisign", "openssl"] {
        for (name, change, said) in FORGERIES {
            change(&release);
            let ran = release.run(&["curl", checker], &["--from", &release.url, "--", "run"]);
            assert_eq!(ran.code, 1, "{checker}, {name}: {}", ran.said());
            assert!(ran.stderr.contains(said), "{checker}, {name}: {}", ran.said());
            assert_eq!(listed(&release.root()), [""; 0], "{checker}, {name}");
            assert!(!marker.exists(), "{checker}, {name}");
            for (name, bytes) in &good {
                fs::write(release.out(name), bytes).unwrap();
            }
        }
        let by_other = release.run(&["curl", checker], &["--from", &release.url, "--key", &other]);
        assert_eq!(by_other.code, 1, "{checker}: {}", by_other.said());
        assert!(by_other.stderr.contains("nothing was installed"), "{}", by_other.said());
        let ran = release.run(&["curl", checker], &["--from", &release.url]).well();
        assert!(ran.stdout.contains("is signed"), "{checker}: {}", ran.said());
        fs::remove_dir_all(release.root()).unwrap();
    }
    // The older form of a signature is over the file itself.
    release.sign(&["-l", "-t", "old"]);
    release.run(&["curl", "openssl"], &["--from", &release.url]).well();
    fs::remove_dir_all(release.root()).unwrap();
    let ran = release.run(&["curl"], &["--from", &release.url]);
    assert_eq!((ran.code, listed(&release.root()).len()), (1, 0), "{}", ran.said());
    assert!(ran.stderr.contains("neither minisign nor OpenSSL 3 is here"), "{}", ran.said());
}

#[test]
fn a_dry_run_says_what_would_be_done_and_changes_nothing() {
    let release = Release::new("dry");
    let root = release.root();
    write(&root.join("sbin/openrc-run"), "", 0o755);
    let ran = release.install(&["--dry-run", "--", "join", "https://fleet.example.org"]).well();
    for said in ["is signed", "would: install", "etc/init.d/tidelock", "would: tidelock join https://fleet"] {
        assert!(ran.stdout.contains(said), "{said}: {}", ran.said());
    }
    assert_eq!(listed(&root), ["sbin/openrc-run"]);
    release.install(&[]).well();
    let before = listed(&root);
    let ran = release.install(&["--uninstall", "--purge", "--dry-run"]).well();
    assert!(ran.stdout.contains("would: remove"), "{}", ran.said());
    assert_eq!(listed(&root), before);
}

#[test]
fn a_local_file_is_installed_without_network_and_an_own_package_is_left_to_apt() {
    let release = Release::new("offline");
    let file = release.out(ARCHIVE);
    for from in
        [file.to_str().unwrap(), release.scratch.join("out").to_str().unwrap(), "out/tidelock-x86_64.tar.gz"]
    {
        release.run(&["openssl"], &["--from", from]).well();
        assert!(release.root().join("usr/bin/tidelock").exists());
        release.run(&[], &["--uninstall"]).well();
    }
    write(&release.root().join("var/lib/dpkg/info/tidelock.list"), "/usr/bin/tidelock\n", 0o644);
    let ran = release.run(&["openssl"], &["--from", "out"]);
    assert!(ran.code == 1 && ran.stderr.contains("as a Debian package"), "{}", ran.said());
}

#[test]
fn each_processor_gets_the_agent_that_it_can_run() {
    let release = Release::new("processors");
    let root = release.root();
    let (v6, v7) = (
        "Features : half thumb fastmult vfp edsp java tls",
        "Features : half thumb fastmult vfp edsp neon vfpv3 tls vfpv4",
    );
    for (machine, class, features, target) in [
        ("x86_64", 2, "flags : fpu sse2", "x86_64"),
        ("x86_64", 1, "flags : fpu sse2", "i686"),
        ("i686", 1, "flags : fpu sse2", "i686"),
        ("aarch64", 2, "Features : fp asimd", "aarch64"),
        // A Pi 4 with the 32-bit system and the kernel that it starts by default.
        ("aarch64", 1, "Features : fp asimd", "armv7"),
        ("armv7l", 1, v7, "armv7"),
        ("armv7l", 1, "Features : swp half thumb vfp", "armv6"),
        ("armv6l", 1, v6, "armv6"),
        ("armv6l", 1, "Features : swp half thumb", "armv6"),
        ("riscv64", 2, "isa : rv64imafdc", "riscv64"),
    ] {
        write(&release.scratch.join("uname"), &format!("#!/bin/sh\necho {machine}\n"), 0o755);
        let mut shell = b"\x7fELF".to_vec();
        shell.push(class);
        fs::create_dir_all(root.join("bin")).unwrap();
        fs::write(root.join("bin/sh"), shell).unwrap();
        write(
            &root.join("proc/cpuinfo"),
            &format!("processor : 0\nCPU architecture: 7\n{features}\n"),
            0o644,
        );
        let ran = release.run(&["minisign"], &["--from", "nowhere", "--dry-run"]);
        // The sums come first; a directory with them alone shows which archive is asked for.
        fs::create_dir_all(release.scratch.join("nowhere")).unwrap();
        for name in ["SHA256SUMS", "SHA256SUMS.minisig"] {
            fs::copy(release.out(name), release.scratch.join("nowhere").join(name)).unwrap();
        }
        assert_eq!(ran.code, 1);
        let ran = release.run(&["minisign"], &["--from", "nowhere", "--dry-run"]);
        let said = format!("there is no nowhere/tidelock-{target}.tar.gz");
        assert!(ran.stderr.contains(&said), "{machine}, {class}: {}", ran.said());
    }
    for (machine, features, said) in
        [("sparc64", "", "no agent for a processor called sparc64"), ("i586", "flags : fpu mmx", "SSE2")]
    {
        write(&release.scratch.join("uname"), &format!("#!/bin/sh\necho {machine}\n"), 0o755);
        write(&root.join("proc/cpuinfo"), &format!("{features}\n"), 0o644);
        let ran = release.run(&["minisign"], &["--from", "nowhere", "--dry-run"]);
        assert!(ran.code == 1 && ran.stderr.contains(said), "{machine}: {}", ran.said());
    }
}
