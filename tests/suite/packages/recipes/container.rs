//! The server's container: built by podman on a base of Debian's packages, run with the keys mounted, joined over TLS.
//!
//! By name only (`tests/run recipes`), for the minutes that a build takes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tidelock_tests::program::{bounded, find, free_address, output, run, until};
use tidelock_tests::programs::Ours;
use tidelock_tests::scratch::Scratch;
use tidelock_tests::world::Ran;

use super::super::rig::{VERSIONS, kept, packages};
use super::RECIPES;

/// As whom the container runs.
const USER: &str = "900:900";
const BASE: &str = "docker.io/library/debian:bookworm-slim";

/// A podman with a store of its own.
struct Podman {
    scratch: Scratch,
}

impl Podman {
    fn run(&self, arguments: &[&str]) -> Ran {
        let mut podman = Command::new(find("podman"));
        podman.arg("--root").arg(self.scratch.join("store")).arg("--runroot").arg(self.scratch.join("run"));
        podman.args(["--storage-driver", "overlay", "--cgroup-manager", "cgroupfs", "--runtime", "runc"]);
        Ran::of(&bounded(podman.args(arguments)))
    }

    fn says(&self, arguments: &[&str]) -> String {
        self.run(arguments).well().stdout
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        self.run(&["rm", "--all", "--force", "--time", "5"]);
        // Where it keeps layers it has mounted upon itself.
        drop(Command::new("umount").arg(self.scratch.join("store/overlay")).output());
    }
}

/// What stands for the image that a registry has under that name: the same packages, made here once.
fn base() -> PathBuf {
    let made = kept().join("bookworm-slim.tar");
    if !made.exists() {
        let new = made.with_extension("new.tar");
        let how = ["--quiet", "--variant=minbase", "--aptopt=Acquire::Languages \"none\"", "bookworm"];
        run("mmdebstrap", &[&how[..], &[new.to_str().unwrap()]].concat());
        fs::rename(new, &made).unwrap();
    }
    made
}

/// A new fleet with what the container is to have of it: its repository, and its keys, settings and certificate.
fn fleet(place: &Path, port: u16) {
    let new = place.join("new");
    output(Command::new(Ours::Server.path()).arg("init").arg(&new));
    let settings = place.join("etc");
    fs::create_dir(&settings).unwrap();
    fs::rename(new.join("keys"), settings.join("keys")).unwrap();
    let mut certify = Command::new("openssl");
    certify.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]);
    certify.args(["-subj", "/CN=fleet", "-addext", "subjectAltName=IP:127.0.0.1"]);
    certify.args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout"]);
    output(certify.arg(settings.join("key.pem")).arg("-out").arg(settings.join("chain.pem")));
    let text = format!(
        "fleet = \"/srv/fleet\"\nkeys = \"/etc/tidelock-server/keys\"\npoll = \"1s\"\nlisten = \"127.0.0.1:{port}\"\n\
         out = \"/var/lib/tidelock-server/out\"\nstate = \"/var/lib/tidelock-server/state\"\n\
         tls_cert = \"/etc/tidelock-server/chain.pem\"\ntls_key = \"/etc/tidelock-server/key.pem\"\n"
    );
    fs::write(settings.join("config.toml"), text).unwrap();
    run("chown", &["-R", USER, settings.to_str().unwrap(), new.to_str().unwrap()]);
}

/// A device on this machine, below a root of its own.
fn device(root: &Path, arguments: &[&str]) -> Ran {
    let mut agent = Command::new(Ours::Agent.path());
    Ran::of(&bounded(agent.arg("--root").arg(root).args(arguments)))
}

#[test]
fn the_container_is_built_serves_with_mounted_keys_and_a_device_updates_from_it() {
    let podman = Podman { scratch: Scratch::new("container") };
    let place = podman.scratch.path().to_owned();
    podman.says(&["import", base().to_str().unwrap(), BASE]);
    let made = packages().join(VERSIONS[0]);
    let recipe = format!("{RECIPES}/container/Containerfile");
    let how = ["build", "--isolation", "chroot", "--pull=never", "--build-arg", "TARGET=x86_64", "--tag"];
    podman.says(&[&how[..], &["localhost/server", "--file", &recipe, made.to_str().unwrap()]].concat());

    let address = free_address();
    fleet(&place, address.port());
    let mount = |from: &str, to: &str| format!("{}:{to}:ro", place.join(from).display());
    let (settings, fleet) = (mount("etc", "/etc/tidelock-server"), mount("new/fleet", "/srv/fleet"));
    // What there is of networks differs from machine to machine, and whether limits may be raised.
    let how = ["run", "--detach", "--name", "server", "--network", "host"];
    let limits = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"];
    let volumes = ["-v", &settings, "-v", &fleet, "-v", "fleet:/var/lib/tidelock-server", "localhost/server"];
    podman.says(&[&how[..], &limits, &volumes].concat());
    until("it serves", || std::net::TcpStream::connect(address).is_ok());
    let told = podman.says(&["top", "server", "user", "args"]);
    assert!(told.contains("tidelock-server") && !told.contains("root"), "{told}");

    let root = place.join("device");
    let settings = root.join("etc/tidelock");
    fs::create_dir_all(&settings).unwrap();
    fs::copy(place.join("etc/chain.pem"), settings.join("ca.pem")).unwrap();
    let vendor = root.join("usr/lib/tidelock");
    fs::create_dir_all(&vendor).unwrap();
    fs::write(vendor.join("config.toml"), "ca_file = \"/etc/tidelock/ca.pem\"\n").unwrap();
    let volume = podman.says(&["volume", "inspect", "--format", "{{.Mountpoint}}", "fleet"]);
    let trusted = Path::new(volume.trim()).join("out/metadata/1.root.json");
    until("it published", || trusted.exists());
    let url = format!("https://{address}");
    let join = ["join", &url, "--root-file", trusted.to_str().unwrap(), "--env", "staging"];
    device(&root, &join).well();
    device(&root, &["update"]).well();
    assert!(device(&root, &["status"]).well().stdout.contains("Healthy"));
    let app = fs::read_to_string(root.join("var/lib/tidelock/apps/hello/data/hello.pid")).unwrap();
    run("kill", &[app.trim()]);
    // It ends when it is asked to, and says so.
    podman.says(&["stop", "--time", "20", "server"]);
    let ended = podman.says(&["inspect", "--format", "{{.State.ExitCode}}", "server"]);
    assert_eq!(ended.trim(), "0", "{}", podman.run(&["logs", "server"]).said());
}
