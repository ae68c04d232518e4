//! The Debian packages, as apt and dpkg see them, in a clean system: what they bring, what an upgrade and a downgrade
//! keep, and what is left when they are purged.
//!
//! Nothing boots here: what systemd does with them is the virtual machine's.

pub(crate) mod installer;
mod recipes;
pub(crate) mod rig;

use rig::{Root, VERSIONS, files, packages, told};
use tidelock_tests::world::Ran;

const OLD: &str = VERSIONS[0];
const NEW: &str = VERSIONS[1];

/// A fleet on this very system, served by the packaged server; its sample app greets.
fn serve(root: &Root) -> String {
    root.install("tidelock-server", OLD).well();
    root.says("mkdir /srv/fleet && tidelock-server init /srv/fleet/new");
    let place = "--fleet new/fleet --keys new/keys --out out --state state";
    let told = root.says(&format!("cd /srv/fleet && tidelock-server publish {place}"));
    let hash = told.split("--root-sha256 ").nth(1).unwrap().split(' ').next().unwrap().to_owned();
    let serve = format!("tidelock-server serve {place} --listen 127.0.0.1:8080 >/tmp/served 2>&1 &");
    root.says(&format!("cd /srv/fleet && {serve} until grep -q http /tmp/served; do sleep 0.1; done"));
    hash
}

/// A device with the older package that has joined and runs its app.
fn device(name: &str) -> Root {
    let root = Root::new(name);
    let hash = serve(&root);
    root.install("tidelock", OLD).well();
    root.says(&format!("tidelock join http://127.0.0.1:8080 --root-sha256 {hash} --env staging"));
    root.says("tidelock update");
    root
}

/// The process that the app runs as.
fn process(root: &Root) -> String {
    root.says("cat /var/lib/tidelock/apps/hello/data/hello.pid")
}

fn greets(root: &Root) {
    root.says("d=/var/lib/tidelock/apps/hello/data; rm -f $d/greeting; until [ -s $d/greeting ]; do sleep 0.2; done");
}

fn version(root: &Root, package: &str) -> String {
    root.says(&format!("dpkg-query --show --showformat='${{Version}} ${{db:Status-Abbrev}}' {package}"))
}

/// `cross/package` has asked lintian before it gave the packages away, and ends where that names an error.
#[test]
fn packages_hold_a_program_its_manual_completions_and_units_and_no_file_that_an_owner_writes() {
    let files = files();
    assert_eq!(files.len(), 4, "two packages in two versions");
    for file in files {
        let server = file.file_name().unwrap().to_str().unwrap().contains("server");
        let name = if server { "tidelock-server" } else { "tidelock" };
        let contents = told(&file, "--contents");
        let units: &[&str] =
            if server { &["tidelock-server"] } else { &["tidelock", "tidelock-guard", "tidelock-firstboot"] };
        let held = [
            format!("./usr/bin/{name}"),
            format!("./usr/share/man/man8/{name}.8.gz"),
            format!("./usr/share/bash-completion/completions/{name}"),
            format!("./usr/share/zsh/vendor-completions/_{name}"),
            format!("./usr/share/fish/vendor_completions.d/{name}.fish"),
            format!("./usr/lib/sysusers.d/{name}.conf"),
            format!("./usr/lib/tmpfiles.d/{name}.conf"),
        ];
        for path in
            held.into_iter().chain(units.iter().map(|unit| format!("./lib/systemd/system/{unit}.service")))
        {
            let found = contents
                .lines()
                .any(|line| line.ends_with(&path) || line.ends_with(&path.replace("./lib", "./usr/lib")));
            assert!(found, "{path} is not in {}:\n{contents}", file.display());
        }
        // Nothing below /etc is a package's: apt would ask about what `join` wrote, or take it away.
        assert!(!contents.contains(" ./etc"), "{contents}");
        assert!(!told(&file, "--info").contains("conffiles"));
    }
}

#[test]
fn systemd_takes_what_the_packages_installed() {
    let root = Root::new("systemd");
    root.install("tidelock", NEW).well();
    root.install("tidelock-server", NEW).well();
    let units = "tidelock.service tidelock-guard.service tidelock-firstboot.service tidelock-server.service";
    let ran = root.run(&format!("systemd-analyze verify --man=no {units}")).well();
    assert!(!ran.said().contains("tidelock"), "{}", ran.said());
    for (unit, most) in
        [("tidelock", 30), ("tidelock-guard", 30), ("tidelock-firstboot", 20), ("tidelock-server", 20)]
    {
        root.says(&format!(
            "systemd-analyze security --offline=true --no-pager --threshold={most} {unit}.service"
        ));
        root.says(&format!("systemctl is-enabled {unit}.service"));
    }
    assert_eq!(root.says("stat --format='%U %a' /etc/tidelock-server/keys"), "tidelock-server 700\n");
    assert_eq!(root.says("stat --format='%U %a' /etc/tidelock/apps"), "root 750\n");
    root.says("getent group tidelock");
    root.says("bash -c 'source /usr/share/bash-completion/completions/tidelock; COMP_WORDS=(tidelock ro); COMP_CWORD=1; _tidelock; [ \"$COMPREPLY\" = rollback ]'");
    root.says("bash -c 'source /usr/share/bash-completion/completions/tidelock-server; COMP_WORDS=(tidelock-server pub); COMP_CWORD=1; _tidelock_server; [ \"$COMPREPLY\" = publish ]'");
}

/// `docs/server.md`, as it stands there but for the version, and for questions that nobody is there to answer.
#[test]
fn the_server_is_installed_by_the_commands_of_its_page() {
    let page = include_str!("../../../docs/server.md");
    let block = page.split("```sh\n").nth(1).unwrap().split("```").next().unwrap();
    let root = Root::new("server-page");
    // No service manager is at work here; what it would start is tried below.
    for line in block.lines().filter(|line| !line.starts_with("systemctl ")) {
        let line = line.replace("_0.1.0_", &format!("_{OLD}_"));
        let line = line.replace("apt-get install", "apt-get install --yes --no-install-recommends");
        root.says(&format!("cd /tmp/packages && {line}"));
    }
    let file = root.says("stat --format='%U %G %a' /etc/tidelock-server/config.toml");
    assert_eq!(file, "root tidelock-server 640\n");
    // The example is understood: what it lacks is what only the owner has.
    let serve =
        "setpriv --reuid tidelock-server --regid tidelock-server --clear-groups tidelock-server serve";
    let ran = root.run(&format!("timeout 20 {serve}"));
    assert!(ran.stderr.contains("cannot read a certificate from /etc/tidelock-server/"), "{}", ran.said());
}

#[test]
fn upgrade_and_downgrade_keep_the_state_of_a_device_and_the_app_that_runs() {
    let root = device("upgrade");
    let running = process(&root);
    let state = "find /etc/tidelock /var/lib/tidelock -type f ! -path '*/data/*' ! -name lock -exec sha256sum {} + | sort -k 2";
    let before = root.says(state);
    for other in [NEW, OLD] {
        root.install("tidelock", other).well();
        assert_eq!(version(&root, "tidelock"), format!("{other} ii "));
        assert_eq!(root.says(state), before, "{other}");
        assert_eq!(process(&root), running, "{other}");
        greets(&root);
        let status = root.says("tidelock status");
        assert!(status.contains("Synced") && status.contains("Healthy"), "{status}");
    }
}

#[test]
fn a_downgrade_that_would_not_read_the_records_is_refused_and_the_newer_version_stays() {
    let root = Root::new("downgrade");
    root.install("tidelock", NEW).well();
    root.says("mkdir -p /var/lib/tidelock/journal; echo '{\"format\":99,\"record\":{}}' >/var/lib/tidelock/journal/web.committed.json");
    let refused = |ran: Ran, said: &str| {
        assert_ne!(ran.code, 0, "{}", ran.said());
        assert!(ran.said().contains(said), "{}", ran.said());
    };
    refused(root.install("tidelock", OLD), "have format 99, and this version reads formats up to 1");
    assert_eq!(version(&root, "tidelock"), format!("{NEW} ii "));
    // What was set aside is nobody's record.
    root.says("cd /var/lib/tidelock/journal; mv web.committed.json web.committed.json.unreadable");
    root.install("tidelock", OLD).well();

    root.install("tidelock-server", NEW).well();
    root.says("mkdir -p /var/lib/tidelock-server/state; head -c 100 /dev/zero | tr '\\0' '\\143' >/var/lib/tidelock-server/state/server.db");
    refused(root.install("tidelock-server", OLD), "has schema 99, and this version reads schemas up to");
    assert_eq!(version(&root, "tidelock-server"), format!("{NEW} ii "));
    root.says("rm /var/lib/tidelock-server/state/server.db");
    root.install("tidelock-server", OLD).well();
}

#[test]
fn purge_leaves_an_app_that_runs_with_its_release_and_data_and_nothing_else() {
    let root = device("purge");
    let running = process(&root);
    root.says("mkdir -p /etc/tidelock/credentials/hello /etc/tidelock/credentials/gone /var/lib/tidelock/apps/gone/releases/x");
    root.says("cd /etc/tidelock; touch apps/hello.env apps/gone.env credentials/hello/key credentials/gone/key device.key");
    root.says("cp -r /var/lib/tidelock/apps/hello/releases/* /var/lib/tidelock/apps/hello/releases/0000");
    root.says("cd /etc/systemd/system; mkdir -p x.wants; for app in hello gone; do touch tidelock-app-$app.a.service; ln -s ../tidelock-app-$app.a.service x.wants/; done");
    let removed = root.says("apt-get remove --yes tidelock");
    assert!(root.has("/etc/tidelock/config.toml") && root.has("/var/lib/tidelock/journal"), "{removed}");
    let said = root.says("apt-get purge --yes tidelock");
    assert!(said.contains("still running, left where they are: hello"), "{said}");
    assert_eq!(process(&root), running);
    greets(&root);
    let left = root.says("cd /; find etc var/lib run -path '*tidelock*' -not -type d");
    let kept = ["etc/tidelock/apps/hello.env", "etc/tidelock/credentials/hello/key"];
    // The server's package is still here.
    for path in left.lines().filter(|path| !path.contains("tidelock-server")) {
        let kept = kept.contains(&path)
            || path.starts_with("var/lib/tidelock/apps/hello/")
            || path.contains("tidelock-app-hello.");
        assert!(kept, "{path} is left; all:\n{left}");
    }
    assert!(left.contains("hello/current") && left.contains("hello/data/hello.pid"), "{left}");
    assert!(!root.has("/var/lib/tidelock/apps/hello/releases/0000"));
    assert_ne!(root.run("getent group tidelock").code, 0);
}

#[test]
fn purge_without_a_running_app_leaves_a_system_as_it_was() {
    let root = Root::new("clean");
    for package in ["tidelock", "tidelock-server"] {
        root.install(package, OLD).well();
    }
    let brought = root.changed();
    assert!(brought.iter().any(|path| path == "usr/bin/tidelock"), "{brought:?}");
    root.says("mkdir -p /var/lib/tidelock/apps/web/data /var/lib/tidelock/journal /var/lib/tidelock-server/state; touch /etc/tidelock/config.toml /etc/tidelock-server/config.toml");
    root.says("apt-get purge --yes tidelock tidelock-server");
    // Accounts are written anew, with the same lines.
    let accounts = ["etc/passwd", "etc/group", "etc/shadow", "etc/gshadow", "etc/subuid", "etc/subgid"];
    let left: Vec<_> =
        root.changed().into_iter().filter(|path| !accounts.contains(&path.trim_end_matches('-'))).collect();
    assert_eq!(left, [""; 0]);
    assert_eq!(root.says("grep -l tidelock /etc/passwd /etc/group /etc/shadow /etc/subuid; true"), "");
    assert!(
        !root.has("/var/lib/tidelock") && !root.has("/etc/tidelock") && !root.has("/etc/tidelock-server")
    );
}

#[test]
fn purge_of_the_server_leaves_the_keys_and_what_was_published_without_which_a_fleet_is_lost() {
    let root = Root::new("keys");
    root.install("tidelock-server", OLD).well();
    root.says("touch /etc/tidelock-server/keys/root.key /etc/tidelock-server/config.toml; mkdir -p /var/lib/tidelock-server/out /var/lib/tidelock-server/state; touch /var/lib/tidelock-server/out/1");
    let said = root.says("apt-get purge --yes tidelock-server");
    assert!(said.contains("the private keys of the fleet and what it published are left"), "{said}");
    assert_eq!(
        root.says("find /etc/tidelock-server /var/lib/tidelock-server -type f"),
        "/etc/tidelock-server/keys/root.key\n/var/lib/tidelock-server/out/1\n"
    );
}

#[test]
fn an_archive_made_twice_is_the_same_bytes() {
    let of = |version: &str| {
        let file = packages().join(format!("{version}/tidelock-x86_64.tar.gz"));
        std::fs::read(file).unwrap()
    };
    assert_eq!(of(OLD), of(NEW), "it knows no version but the program's own");
}
