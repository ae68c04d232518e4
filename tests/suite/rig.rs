//! The rig itself: what the other suites stand on does what it says, or fails.

use std::fs;
use std::io::ErrorKind;
use std::process::Command;
use std::time::Duration;

use tidelock_tests::authority::Authority;
use tidelock_tests::client::{self, Answer, Client};
use tidelock_tests::faults::{Fault, Proxy};
use tidelock_tests::filesystem::{Kind, Mounted};
use tidelock_tests::nginx::{self, Config, Nginx};
use tidelock_tests::program::{find, output};
use tidelock_tests::scratch::Scratch;

static FILE: [u8; 100_000] = [b'a'; 100_000];

fn nginx_with_a_file(scratch: &Scratch) -> Nginx {
    fs::write(scratch.join("file"), FILE).unwrap();
    Config::files(scratch.path()).start()
}

#[test]
fn nginx_serves_ranges_by_tls_to_clients_with_a_certificate() {
    let scratch = Scratch::new("rig-tls");
    let authority = Authority::new(&scratch.join("ca"));
    fs::write(scratch.join("file"), FILE).unwrap();
    let nginx = Config::files(scratch.path())
        .tls(authority.server("server"))
        .only_clients_of(authority.certificate())
        .start();
    assert!(nginx.url().starts_with("https://127.0.0.1:"));
    let ask = |own| {
        let tls = client::tls(&authority.certificate(), own);
        Client::connect(nginx.address(), Some(&tls))
            .and_then(|mut client| client.get("/file", &["Range: bytes=0-9"]))
    };
    let own = authority.client("device");
    let answer = ask(Some(&own)).unwrap();
    assert_eq!((answer.status, answer.body.len()), (206, 10));
    assert_eq!(ask(None).unwrap().status, 400);
    assert_eq!(nginx.requests().len(), 2);
}

#[test]
fn git_is_pushed_to_and_cloned_from_over_smart_http() {
    let scratch = Scratch::new("rig-git");
    let bare = nginx::bare_repository(scratch.path(), "fleet.git");
    let nginx = Config::git(scratch.path()).start();
    let url = format!("{}/fleet.git", nginx.url());
    let git = |directory: &str, arguments: &[&str]| {
        let person = ["-c", "user.name=A", "-c", "user.email=a@example.com"];
        output(Command::new(find("git")).current_dir(scratch.join(directory)).args(person).args(arguments))
    };
    git("", &["init", "-q", "-b", "main", "work"]);
    fs::write(scratch.join("work/file"), FILE).unwrap();
    git("work", &["add", "."]);
    git("work", &["commit", "-qm", "first"]);
    git("work", &["push", "-q", &url, "main"]);
    git("", &["clone", "-q", &url, "clone"]);
    assert_eq!(fs::read(scratch.join("clone/file")).unwrap(), FILE);
    assert!(bare.join("refs/heads/main").exists());
    assert!(nginx.requests().iter().any(|line| line.contains("git-upload-pack")));
}

fn ask(proxy: &Proxy, lines: &[&str]) -> std::io::Result<Answer> {
    let address = proxy.url().rsplit('/').next().unwrap().parse().unwrap();
    Client::connect(address, None)?.get("/file", lines)
}

#[test]
fn a_good_proxy_changes_nothing_and_keeps_the_connection() {
    let scratch = Scratch::new("rig-good");
    let nginx = nginx_with_a_file(&scratch);
    let authority = Authority::new(&scratch.join("ca"));
    let proxy = Proxy::before(nginx.address(), Some(&authority.server("proxy")));
    let tls = client::tls(&authority.certificate(), None);
    let address = proxy.url().strip_prefix("https://").unwrap().parse().unwrap();
    let mut client = Client::connect(address, Some(&tls)).unwrap();
    let whole = client.get("/file", &[]).unwrap();
    assert_eq!((whole.status, whole.body.as_slice()), (200, &FILE[..]));
    let etag = whole.header("etag").unwrap().to_owned();
    assert_eq!(client.get("/file", &[&format!("If-None-Match: {etag}")]).unwrap().status, 304);
    let part = client.get("/file", &["Range: bytes=5-9"]).unwrap();
    assert_eq!((part.status, part.header("content-range")), (206, Some("bytes 5-9/100000")));
    let seen = proxy.take_seen();
    assert_eq!(seen.len(), 3);
    assert_eq!(
        (seen[2].path.as_str(), seen[2].range.as_deref(), seen[2].bytes),
        ("/file", Some("bytes=5-9"), 5)
    );
}

#[test]
fn each_fault_is_what_its_name_says() {
    let scratch = Scratch::new("rig-faults");
    let nginx = nginx_with_a_file(&scratch);
    let proxy = Proxy::before(nginx.address(), None);
    let once = |fault: Fault, lines: &[&str]| {
        proxy.times(1, "file", fault);
        ask(&proxy, lines)
    };
    let broken = |outcome: std::io::Result<Answer>| {
        let kind = outcome.unwrap_err().kind();
        assert!(matches!(kind, ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset), "{kind}");
    };
    broken(once(Fault::HangUp, &[]));
    broken(once(Fault::Cut(50_000), &[]));
    assert_eq!(proxy.take_seen().last().unwrap().bytes, 50_000);
    assert_eq!(once(Fault::Status(503), &[]).unwrap().status, 503);
    let later = once(Fault::RetryAfter(429, 7), &[]).unwrap();
    assert_eq!((later.status, later.header("retry-after")), (429, Some("7")));
    assert_eq!(once(Fault::Delay(Duration::from_millis(10)), &[]).unwrap().body, FILE);
    assert_eq!(once(Fault::Truncate(70), &[]).unwrap().body, FILE[..70]);
    let corrupt = once(Fault::Corrupt(99_999), &[]).unwrap().body;
    assert_eq!((corrupt[99_998], corrupt[99_999]), (b'a', b'a' ^ 1));
    assert_eq!(once(Fault::NoRange, &["Range: bytes=0-9"]).unwrap().status, 200);
    let moved = once(Fault::WrongRange, &["Range: bytes=5-9"]).unwrap();
    assert_eq!((moved.status, moved.header("content-range")), (206, Some("bytes 15-9/100000")));
    let gzip = once(Fault::Gzip, &[]).unwrap();
    assert_eq!(gzip.header("content-encoding"), Some("gzip"));
    assert_eq!(gzip.body[..2], [0x1f, 0x8b]);
    assert_eq!(once(Fault::Html, &[]).unwrap().header("content-type"), Some("text/html"));
    assert_eq!(once(Fault::Redirect, &[]).unwrap().header("location"), Some("/file"));
    assert_eq!(ask(&proxy, &[]).unwrap().body, FILE);
    proxy.always("file", Fault::Status(500));
    assert_eq!(ask(&proxy, &[]).unwrap().status, 500);
    assert_eq!(ask(&proxy, &[]).unwrap().status, 500);
    proxy.heal();
    assert_eq!(ask(&proxy, &[]).unwrap().status, 200);
}

#[test]
fn slow_faults_stay_until_the_client_leaves() {
    use std::io::{Read, Write};
    let scratch = Scratch::new("rig-slow");
    let nginx = nginx_with_a_file(&scratch);
    let proxy = Proxy::before(nginx.address(), None);
    let address = proxy.url().strip_prefix("http://").unwrap().to_owned();
    for (fault, least, most) in
        [(Fault::Stall(10), 10, 10), (Fault::Trickle(1), 1, 20), (Fault::Endless, 1_000_000, usize::MAX)]
    {
        proxy.times(1, "file", fault.clone());
        let mut stream = std::net::TcpStream::connect(&address).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        stream.write_all(b"GET /file HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut said: Vec<u8> = Vec::new();
        let mut chunk = [0; 65_536];
        let end = std::time::Instant::now() + Duration::from_secs(1);
        while said.len() < 4_000_000 && std::time::Instant::now() < end {
            match stream.read(&mut chunk) {
                Ok(0) => panic!("{fault:?} closed the connection"),
                Ok(n) => said.extend(&chunk[..n]),
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
        }
        let head = said.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
        let body = said.len() - head;
        assert!((least..=most).contains(&body), "{fault:?}: {body}");
    }
}

#[test]
fn small_file_systems_fill_up_and_leave_nothing_behind() {
    let disk = Mounted::new(Kind::Ext4 { megabytes: 8, inodes: 32 });
    let full = fs::write(disk.path().join("large"), vec![1; 16 << 20]).unwrap_err();
    assert_eq!(full.kind(), ErrorKind::StorageFull);
    fs::remove_file(disk.path().join("large")).unwrap();
    let none = (0..64).find_map(|n| fs::write(disk.path().join(n.to_string()), "").err()).unwrap();
    assert_eq!(none.kind(), ErrorKind::StorageFull);
    disk.make_read_only();
    let refused = fs::write(disk.path().join("0"), "x").unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ReadOnlyFilesystem);
    disk.make_writable();
    fs::write(disk.path().join("0"), "x").unwrap();
    let at = disk.path().to_owned();
    drop(disk);
    assert!(!at.exists());
    assert!(!fs::read_to_string("/proc/mounts").unwrap().contains(at.to_str().unwrap()));
}

#[test]
fn btrfs_and_xfs_reflink() {
    for kind in [Kind::Btrfs, Kind::Xfs] {
        let disk = Mounted::new(kind);
        fs::write(disk.path().join("a"), FILE).unwrap();
        let copy = ["--reflink=always", "a", "b"];
        output(Command::new(find("cp")).args(copy).current_dir(disk.path()));
        assert_eq!(fs::read(disk.path().join("b")).unwrap(), FILE, "{kind:?}");
    }
}
