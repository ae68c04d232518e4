//! `tidelock-server serve` as a service: its configuration file, what it tells the service manager, and the user and
//! directories that come with its unit (`systemd` judges the unit itself).

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tidelock_tests::client::Client;
use tidelock_tests::program::{free_address, output, run, terminate, until};
use tidelock_tests::programs::Ours;
use tidelock_tests::publisher::{Device, Room};
use tidelock_tests::scratch::Scratch;
use tidelock_tests::world::Ran;

/// A `serve` that is told everything by a file; ends on drop.
struct Service(Child);

impl Service {
    fn start(command: &mut Command, log: &Path) -> Self {
        let log = fs::File::create(log).unwrap();
        Self(command.stdout(log.try_clone().unwrap()).stderr(log).stdin(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        terminate(&mut self.0);
        drop(self.0.wait());
    }
}

fn serve(config: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(Ours::Server.path());
    command.arg("serve").arg("--config").arg(config).args(more);
    command
}

/// The configuration of a room's service, with `more` lines.
fn config(room: &Room, more: &str) -> PathBuf {
    let fleet = &room.fleet;
    let text = format!(
        "fleet = {:?}\nkeys = {:?}\nout = {:?}\nstate = {:?}\npoll = \"1s\"\n{more}",
        fleet.repository(),
        fleet.keys(),
        fleet.out(),
        fleet.state()
    );
    let path = room.scratch.join("config.toml");
    fs::write(&path, text).unwrap();
    path
}

#[test]
fn a_service_is_told_everything_by_its_file_and_the_command_line_counts_over_it() {
    let room = Room::new("service");
    let (filed, said) = (free_address(), free_address());
    let path = config(&room, &format!("listen = \"{filed}\"\n"));
    let log = room.scratch.join("log");
    let service = Service::start(&mut serve(&path, &[]), &log);
    until("it publishes", || Device::read(&room.fleet.out()).is_ok());
    until("it serves", || Client::connect(filed, None).is_ok());
    drop(service);
    let _service = Service::start(&mut serve(&path, &["--listen", &said.to_string()]), &log);
    until("it serves elsewhere", || Client::connect(said, None).is_ok());
    assert!(Client::connect(filed, None).is_err());
}

#[test]
fn a_file_that_cannot_be_used_is_said_whole_and_nothing_is_begun() {
    let room = Room::new("service-wrong");
    let ran = |path: &Path| Ran::of(&serve(path, &[]).output().unwrap());
    let absent = ran(Path::new("/nowhere.toml"));
    assert!(absent.code == 1 && absent.stderr.contains("/nowhere.toml"), "{}", absent.said());
    let path = config(&room, "lisen = \"x\"\ntls_key = \"key\"\n");
    let wrong = ran(&path);
    let file = path.display();
    for said in [
        format!("{file}:6:1: unknown key `lisen`; did you mean `listen`?"),
        format!("{file}:7:11: `tls_key`: expected an absolute path"),
        "`tls_cert` and `tls_key` go together".into(),
    ] {
        assert!(wrong.code == 1 && wrong.stderr.contains(&said), "{said}: {}", wrong.said());
    }
    fs::write(&path, "keys = \"/k\"\n").unwrap();
    let little = ran(&path);
    assert!(
        little.code == 2 && little.stderr.contains(&format!("{file}: fleet, out, state")),
        "{}",
        little.said()
    );
    assert!(!room.fleet.out().exists());
}

#[test]
fn the_service_manager_is_told_when_the_first_turn_is_done_and_then_what_is_news() {
    let room = Room::new("service-manager");
    let socket = room.scratch.join("notify");
    let manager = UnixDatagram::bind(&socket).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let told = || {
        let mut words = [0; 4096];
        let length = manager.recv(&mut words).unwrap();
        String::from_utf8(words[..length].to_vec()).unwrap()
    };
    let address = free_address();
    let path = config(&room, &format!("listen = \"{address}\"\n"));
    let mut command = serve(&path, &[]);
    let _service = Service::start(command.env("NOTIFY_SOCKET", &socket), &room.scratch.join("log"));
    let first = told();
    assert!(first.starts_with("READY=1\nSTATUS=") && first.ends_with(" is published\n"), "{first}");
    let answer = Client::connect(address, None).unwrap().get("/metadata/timestamp.json", &[]).unwrap();
    assert_eq!(answer.status, 200, "it is published and served when it says that it is ready");
    room.fleet.write("fleet.toml", "format = 1\n");
    room.fleet.commit("a mistake");
    let trouble = told();
    assert!(trouble.starts_with("STATUS=trouble: "), "{trouble}");
    room.fleet.git(&["revert", "--no-edit", "HEAD"]);
    let well = told();
    assert!(well.starts_with("STATUS=") && well.contains("Revert"), "{well}");
}

fn shipped(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../systemd")).join(name)
}

#[test]
fn the_servers_user_and_directories_are_made_by_systemd_as_the_unit_takes_them() {
    let scratch = Scratch::new("sysusers");
    let root = format!("--root={}", scratch.path().display());
    fs::create_dir_all(scratch.join("etc")).unwrap();
    let (users, files) = (shipped("tidelock-server.sysusers"), shipped("tidelock-server.tmpfiles"));
    run("systemd-sysusers", &[&root, users.to_str().unwrap()]);
    let passwd = fs::read_to_string(scratch.join("etc/passwd")).unwrap();
    let user = passwd.lines().find(|line| line.starts_with("tidelock-server:")).unwrap();
    assert!(user.contains(":/var/lib/tidelock-server:") && user.ends_with("/nologin"), "{user}");
    output(Command::new("systemd-tmpfiles").args([&root, "--create"]).arg(files));
    let keys = scratch.join("etc/tidelock-server/keys");
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(keys).unwrap().permissions());
    assert_eq!(mode & 0o7777, 0o700);
}
