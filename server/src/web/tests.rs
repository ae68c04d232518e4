//! Every rule of an answer, over real sockets: what a client sends byte for byte, and what comes back.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::oneshot;

use super::{Limits, Options, Web};

/// A server of a small tree on a free port; ends when dropped.
struct Served {
    root: PathBuf,
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

const BUNDLE: &str =
    "targets/5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8.app.web.1.any.tar.gz";

impl Served {
    fn with(name: &str, limits: Limits) -> Self {
        let root = std::env::temp_dir().join(format!("tidelock-web-{}-{name}", std::process::id()));
        drop(fs::remove_dir_all(&root));
        for directory in ["metadata", "targets"] {
            fs::create_dir_all(root.join(directory)).unwrap();
        }
        fs::write(root.join("metadata/timestamp.json"), "{\"now\":1}").unwrap();
        fs::write(root.join("metadata/1.root.json"), "{\"root\":1}").unwrap();
        fs::write(root.join(BUNDLE), bundle()).unwrap();
        let (stop, stopped) = oneshot::channel();
        let (tell, told) = std::sync::mpsc::channel();
        let options = Options {
            root: root.clone(),
            listen: "127.0.0.1:0".parse().unwrap(),
            certificate: None,
            limits,
            desk: None,
        };
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
            runtime.unwrap().block_on(async {
                let web = Web::bind(options).await.unwrap();
                tell.send(web.url()).unwrap();
                web.run(async { drop(stopped.await) }).await;
            });
        });
        let url: String = told.recv().unwrap();
        let address = url.strip_prefix("http://").unwrap().parse().unwrap();
        Self { root, address, stop: Some(stop), thread: Some(thread) }
    }

    fn new(name: &str) -> Self {
        Self::with(name, Limits::default())
    }

    fn connect(&self) -> TcpStream {
        let connection = TcpStream::connect(self.address).unwrap();
        connection.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        connection
    }

    /// Asks once on a connection of its own: method and path, then more header lines.
    fn ask(&self, what: &str, lines: &[&str]) -> Answer {
        let mut connection = self.connect();
        let more: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
        write!(connection, "{what} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{more}\r\n").unwrap();
        let mut raw = Vec::new();
        connection.read_to_end(&mut raw).unwrap();
        Answer::parse(&raw)
    }

    fn write(&self, path: &str, bytes: impl AsRef<[u8]>) {
        // As the publisher does it: a new file takes the name of the old one.
        let new = self.root.join("new");
        fs::write(&new, bytes).unwrap();
        fs::rename(new, self.root.join(path)).unwrap();
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.thread.take().unwrap().join();
        drop(fs::remove_dir_all(&self.root));
        assert!(ended.is_ok() || std::thread::panicking(), "the server's thread panicked");
    }
}

/// One megabyte that differs everywhere.
fn bundle() -> Vec<u8> {
    (0..262_144_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect()
}

#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn parse(raw: &[u8]) -> Self {
        let end = raw.windows(4).position(|four| four == b"\r\n\r\n").expect("an answer with a whole head");
        let head = String::from_utf8(raw[..end].to_vec()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Self { status, head, body: raw[end + 4..].to_vec() }
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

#[test]
fn a_file_is_served_with_what_a_cache_and_a_device_need() {
    let served = Served::new("file");
    let timestamp = served.ask("GET /metadata/timestamp.json", &[]);
    assert_eq!((timestamp.status, timestamp.body.as_slice()), (200, &b"{\"now\":1}"[..]));
    assert_eq!(timestamp.header("cache-control"), Some("no-cache"));
    assert_eq!(timestamp.header("content-type"), Some("application/json"));
    assert_eq!(timestamp.header("content-length"), Some("9"));
    let root = served.ask("GET /metadata/1.root.json", &[]);
    assert_eq!(root.header("cache-control"), Some("public, max-age=31536000, immutable"));
    let target = served.ask(&format!("GET /{BUNDLE}"), &["Accept-Encoding: gzip, br"]);
    assert_eq!((target.status, target.body == bundle()), (200, true));
    assert_eq!(target.header("content-type"), Some("application/gzip"));
    assert_eq!(target.header("accept-ranges"), Some("bytes"));
    assert_eq!(target.header("etag"), Some("\"5e884898da28047151d0e56f\""));
    assert_eq!(target.header("content-encoding"), None);
    assert_eq!(target.header("transfer-encoding"), None);
}

#[test]
fn head_says_what_get_says_without_the_body() {
    let served = Served::new("head");
    for path in ["metadata/timestamp.json", BUNDLE, "metadata/9.root.json"] {
        let (get, head) =
            (served.ask(&format!("GET /{path}"), &[]), served.ask(&format!("HEAD /{path}"), &[]));
        let lines = |answer: &Answer| {
            let mut lines: Vec<String> = answer.head.lines().map(str::to_lowercase).collect();
            lines.retain(|line| !line.starts_with("date:"));
            lines.sort();
            lines
        };
        assert_eq!(lines(&get), lines(&head), "{path}");
        assert!(head.body.is_empty());
    }
    let ranged = served.ask(&format!("HEAD /{BUNDLE}"), &["Range: bytes=0-9"]);
    assert_eq!(ranged.status, 200);
}

#[test]
fn a_known_etag_is_answered_304_in_few_bytes() {
    let served = Served::new("304");
    let etag = served.ask("GET /metadata/timestamp.json", &[]).header("etag").unwrap().to_owned();
    assert!(etag.starts_with('"'), "strong: {etag}");
    for line in [
        format!("If-None-Match: {etag}"),
        format!("If-None-Match: \"x\", W/{etag}"),
        format!("If-None-Match: \"x\"\r\nIf-None-Match: {etag}"),
        "If-None-Match: *".to_owned(),
    ] {
        // If-None-Match is judged before the range.
        let answer = served.ask("GET /metadata/timestamp.json", &[&line, "Range: bytes=0-1"]);
        assert_eq!((answer.status, answer.body.len()), (304, 0), "{line}");
        assert_eq!(answer.header("etag"), Some(etag.as_str()));
        assert_eq!(answer.header("cache-control"), Some("no-cache"));
        // A kept connection has no `connection: close` line.
        assert!(answer.head.len() - "connection: close\r\n".len() <= 120, "{}", answer.head);
    }
    let other = served.ask("GET /metadata/timestamp.json", &["If-None-Match: \"other\""]);
    assert_eq!(other.status, 200);
}

#[test]
fn two_publishes_within_one_second_have_two_etags() {
    let served = Served::new("second");
    let etag = || served.ask("HEAD /metadata/timestamp.json", &[]).header("etag").unwrap().to_owned();
    let path = served.root.join("metadata/timestamp.json");
    let mtime = fs::metadata(&path).unwrap().modified().unwrap();
    let before = etag();
    served.write("metadata/timestamp.json", "{\"now\":2}");
    fs::File::open(&path).unwrap().set_modified(mtime).unwrap();
    let after = etag();
    assert_ne!(before, after);
    served.write("metadata/timestamp.json", "{\"now\":1}");
    assert_eq!(etag(), before);
}

#[test]
fn a_range_is_a_part_of_the_same_bytes() {
    let served = Served::new("range");
    let (bundle, path) = (bundle(), format!("GET /{BUNDLE}"));
    for (header, range) in [
        ("bytes=0-0", 0..1),
        ("bytes=100-299999", 100..300_000),
        ("bytes=1048570-", 1_048_570..1_048_576),
        ("bytes=-5", 1_048_571..1_048_576),
        ("bytes=1-99999999", 1..1_048_576),
    ] {
        let answer = served.ask(&path, &[&format!("Range: {header}")]);
        assert_eq!(answer.status, 206, "{header}");
        assert!(answer.body == bundle[range.clone()], "{header}");
        let said = format!("bytes {}-{}/1048576", range.start, range.end - 1);
        assert_eq!(answer.header("content-range"), Some(said.as_str()));
        assert_eq!(answer.header("content-length"), Some(range.len().to_string().as_str()));
    }
    let behind = served.ask(&path, &["Range: bytes=1048576-"]);
    assert_eq!((behind.status, behind.header("content-range")), (416, Some("bytes */1048576")));
    assert_eq!(served.ask(&path, &["Range: bytes=0-1,5-6"]).status, 200);
}

#[test]
fn a_range_of_another_version_is_the_whole_file() {
    let served = Served::new("if-range");
    let path = "GET /metadata/timestamp.json";
    let etag = served.ask(path, &[]).header("etag").unwrap().to_owned();
    let asked =
        |validator: &str| served.ask(path, &["Range: bytes=0-3", &format!("If-Range: {validator}")]).status;
    assert_eq!(asked(&etag), 206);
    assert_eq!(asked("\"other\""), 200);
    assert_eq!(asked(&format!("W/{etag}")), 200);
    assert_eq!(asked("Sun, 06 Nov 1994 08:49:37 GMT"), 200);
}

#[test]
fn a_root_that_is_not_there_yet_is_not_hidden_for_long() {
    let served = Served::new("404");
    let root = served.ask("GET /metadata/2.root.json", &[]);
    assert_eq!((root.status, root.header("cache-control")), (404, Some("max-age=10")));
    let other = served.ask("GET /metadata/2.snapshot.json", &[]);
    assert_eq!((other.status, other.header("cache-control")), (404, Some("no-cache")));
    fs::remove_dir_all(served.root.join("metadata")).unwrap();
    assert_eq!(served.ask("GET /metadata/1.root.json", &[]).status, 404);
}

#[test]
fn nothing_but_published_files_is_served() {
    let served = Served::new("escape");
    let outside = served.root.with_extension("outside");
    fs::write(&outside, "secret").unwrap();
    fs::write(served.root.join("metadata/timestamp.json.new"), "half").unwrap();
    fs::write(served.root.join("metadata/.hidden.json"), "hidden").unwrap();
    fs::write(served.root.join("1.secret.json"), "secret").unwrap();
    symlink(&outside, served.root.join("metadata/1.link.json")).unwrap();
    fs::create_dir(served.root.join("metadata/1.directory.json")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        served.root.join("metadata/1.pipe.json"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    let leaf = outside.file_name().unwrap().to_str().unwrap();
    for path in [
        "/",
        "/metadata",
        "/metadata/",
        "/targets/",
        "/metadata/.",
        "/metadata/..",
        "/metadata/../1.secret.json",
        "/metadata/..%2f1.secret.json",
        "/metadata/%2e%2e/1.secret.json",
        "/metadata/%2e%2e%2f1.secret.json",
        "/metadata/..%5c1.secret.json",
        "/metadata//timestamp.json",
        "/metadata/timestamp.json/",
        "/metadata/timestamp.json%00",
        "/metadata/timestamp.json%00.json",
        "/metadata/timestamp.json.new",
        "/metadata/.hidden.json",
        "/metadata/%252e%252e",
        "/metadata/%ff",
        "/metadata/%",
        "/1.secret.json",
        "/metadata/1.link.json",
        "/metadata/1.directory.json",
        "/metadata/1.pipe.json",
        &format!("/../{leaf}"),
        &format!("/metadata/../../{leaf}"),
        "/etc/passwd",
    ] {
        let answer = served.ask(&format!("GET {path}"), &[]);
        assert!(matches!(answer.status, 400 | 404), "{path}: {}", answer.status);
        let body = String::from_utf8_lossy(&answer.body);
        assert!(!body.contains("secret") && !body.contains("timestamp"), "{path}: {body}");
    }
    // A percent sign that only spells the name otherwise is no trick (RFC 3986 §6.2.2.2).
    assert_eq!(served.ask("GET /metadata/%74imestamp.json", &[]).status, 200);
    fs::remove_file(outside).unwrap();
}

#[test]
fn a_directory_that_is_a_link_leads_nowhere() {
    let served = Served::new("link");
    fs::rename(served.root.join("targets"), served.root.join("elsewhere")).unwrap();
    symlink("elsewhere", served.root.join("targets")).unwrap();
    assert_eq!(served.ask(&format!("GET /{BUNDLE}"), &[]).status, 404);
}

#[test]
fn other_methods_are_refused_and_a_body_is_not_read() {
    let served = Served::new("method");
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "BREW"] {
        let answer = served.ask(&format!("{method} /metadata/timestamp.json"), &[]);
        assert_eq!((answer.status, answer.header("allow")), (405, Some("GET,HEAD")), "{method}");
    }
    let answer = served.ask("GET /metadata/timestamp.json", &["Content-Length: 1000000000"]);
    assert_eq!(answer.status, 200);
}

#[test]
fn heads_are_bounded() {
    let served = Served::new("bounds");
    let many: Vec<String> = (0..40).map(|n| format!("X-{n}: y")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(served.ask("GET /metadata/timestamp.json", &many).status, 431);
    let long = format!("X: {}", "y".repeat(9000));
    assert_eq!(served.ask("GET /metadata/timestamp.json", &[&long]).status, 200);
    let mut connection = served.connect();
    let endless = connection.write_all(format!("GET /{} HTTP/1.1\r\n", "y".repeat(40_000)).as_bytes());
    let mut answer = Vec::new();
    let read = connection.read_to_end(&mut answer);
    let cut = endless.is_err() || read.is_err();
    assert!(cut || matches!(Answer::parse(&answer).status, 414 | 431), "{answer:?}");
}

#[test]
fn what_is_not_http_is_turned_away() {
    let served = Served::new("garbage");
    for garbage in [
        "\x16\x03\x01\x02\x00\x01\x00\x01\r\n\r\n",
        "\r\n\r\n\r\nGET\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "a b c d\r\n\r\n",
    ] {
        let mut connection = served.connect();
        connection.write_all(garbage.as_bytes()).unwrap();
        connection.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        if connection.read_to_end(&mut answer).is_ok() && !answer.is_empty() {
            assert_eq!(Answer::parse(&answer).status, 400, "{garbage:?}");
        }
    }
    assert_eq!(served.ask("GET /metadata/timestamp.json", &[]).status, 200);
}

#[test]
fn pipelined_requests_are_answered_in_order_on_one_connection() {
    let served = Served::new("pipeline");
    let mut connection = served.connect();
    let requests = "GET /metadata/timestamp.json HTTP/1.1\r\nHost: x\r\n\r\n\
        HEAD /metadata/1.root.json HTTP/1.1\r\nHost: x\r\n\r\n\
        GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n\
        GET /metadata/1.root.json HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    connection.write_all(requests.as_bytes()).unwrap();
    let mut answers = String::new();
    connection.read_to_string(&mut answers).unwrap();
    let statuses: Vec<&str> = answers.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect();
    assert_eq!(statuses, ["200", "200", "404", "200"]);
    assert!(answers.ends_with("{\"root\":1}"));
    assert_eq!(answers.matches("{\"root\":1}").count(), 1);
}

/// Limits that a test can wait for.
fn short() -> Limits {
    let brief = Duration::from_millis(300);
    Limits { head: brief, rest: brief, stall: brief, farewell: Duration::from_secs(5), ..Limits::default() }
}

/// Reads until the server closes; what it said.
fn until_closed(mut connection: TcpStream) -> Vec<u8> {
    let mut said = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        match connection.read(&mut chunk) {
            Ok(0) => return said,
            Ok(n) => said.extend(&chunk[..n]),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return said,
            Err(error) => panic!("the server did not close: {error}"),
        }
    }
}

#[test]
fn who_sends_a_head_byte_by_byte_is_cut_off() {
    let served = Served::with("loris", Limits { rest: Duration::from_secs(3600), ..short() });
    let mut connection = served.connect();
    let mut slow = connection.try_clone().unwrap();
    let drip = std::thread::spawn(move || {
        for byte in b"GET /metadata/timestamp.json HTTP/1.1\r\nX: ".iter().chain([b'y'; 2000].iter()) {
            std::thread::sleep(Duration::from_millis(20));
            if slow.write_all(&[*byte]).is_err() {
                return true;
            }
        }
        false
    });
    let mut nothing = Vec::new();
    drop(connection.read_to_end(&mut nothing));
    assert!(nothing.is_empty());
    drop(connection);
    assert!(drip.join().unwrap(), "2000 bytes were taken, one by one");
    // The same once the first request was answered.
    let mut connection = served.connect();
    connection.write_all(b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    std::thread::sleep(Duration::from_millis(50));
    connection.write_all(b"GET /metadata").unwrap();
    assert_eq!(Answer::parse(&until_closed(connection)).status, 404);
}

#[test]
fn who_says_nothing_is_cut_off_and_who_rests_may_rest_longer() {
    let served = Served::with("rest", Limits { rest: Duration::from_secs(3600), ..short() });
    assert!(until_closed(served.connect()).is_empty());
    let mut connection = served.connect();
    for _ in 0..3 {
        connection.write_all(b"GET /metadata/timestamp.json HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut answer = [0; 1024];
        assert!(connection.read(&mut answer).unwrap() > 0);
        std::thread::sleep(Duration::from_millis(500));
    }
    let served = Served::with("rested", short());
    let mut connection = served.connect();
    connection.write_all(b"GET /metadata/timestamp.json HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    assert_eq!(Answer::parse(&until_closed(connection)).status, 200);
}

/// A target of 64 MiB, more than the kernel keeps for a client that does not read.
fn large(served: &Served) -> String {
    let path = format!("targets/{}.app.web.2.any.tar.gz", "b".repeat(64));
    fs::File::create(served.root.join(&path)).unwrap().set_len(64 << 20).unwrap();
    format!("GET /{path} HTTP/1.1\r\nHost: x\r\n\r\n")
}

#[test]
fn who_takes_no_bytes_is_cut_off_and_never_told_that_all_came() {
    let served = Served::with("stall", Limits { rest: Duration::from_secs(3600), ..short() });
    let mut connection = served.connect();
    connection.write_all(large(&served).as_bytes()).unwrap();
    std::thread::sleep(Duration::from_millis(1500));
    let said = until_closed(connection);
    assert!(said.len() < 64 << 20);
    assert_eq!(Answer::parse(&said).header("content-length"), Some("67108864"));
}

#[test]
fn a_file_that_becomes_shorter_breaks_the_connection() {
    let served = Served::new("short");
    let mut connection = served.connect();
    connection.write_all(large(&served).as_bytes()).unwrap();
    let mut first = [0; 64];
    connection.read_exact(&mut first).unwrap();
    let path = served.root.join(format!("targets/{}.app.web.2.any.tar.gz", "b".repeat(64)));
    fs::OpenOptions::new().write(true).open(path).unwrap().set_len(32 << 20).unwrap();
    assert!(until_closed(connection).len() < 64 << 20);
}

#[test]
fn a_thousand_connections_find_room_for_sixteen_at_a_time() {
    let served = Served::with("crowd", Limits { connections: 16, ..Limits::default() });
    // All stay open; only those that rest make room.
    let mut kept = Vec::new();
    for n in 0..1000 {
        let mut connection = served.connect();
        connection.write_all(b"GET /metadata/timestamp.json HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut answer = [0; 12];
        connection.read_exact(&mut answer).unwrap_or_else(|error| panic!("connection {n}: {error}"));
        assert_eq!(&answer, b"HTTP/1.1 200");
        kept.push(connection);
        if kept.len() > 200 {
            kept.remove(0);
        }
    }
    let open = kept.iter().filter(|connection| is_open(connection)).count();
    assert!(open <= 16, "{open} are open");
}

fn is_open(mut connection: &TcpStream) -> bool {
    connection.set_nonblocking(true).unwrap();
    let mut rest = [0; 4096];
    loop {
        match connection.read(&mut rest) {
            Ok(0) => return false,
            Ok(_) => {}
            Err(error) => return error.kind() == ErrorKind::WouldBlock,
        }
    }
}

#[test]
fn an_answer_under_way_ends_whole_when_the_server_stops() {
    let mut served = Served::new("stop");
    let mut busy = served.connect();
    busy.write_all(large(&served).as_bytes()).unwrap();
    let mut rests = served.connect();
    rests.write_all(b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut first = [0; 64];
    busy.read_exact(&mut first).unwrap();
    drop(served.stop.take());
    assert_eq!(Answer::parse(&until_closed(rests)).status, 404);
    assert!(first.len() + until_closed(busy).len() > 64 << 20);
    served.thread.take().unwrap().join().unwrap();
    assert!(TcpStream::connect(served.address).is_err());
    served.thread = Some(std::thread::spawn(|| {}));
}

#[test]
fn an_address_that_is_taken_is_named() {
    let served = Served::new("taken");
    let options = Options {
        root: Path::new("/nowhere").into(),
        listen: served.address,
        certificate: None,
        limits: Limits::default(),
        desk: None,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let error = runtime.block_on(Web::bind(options)).err().unwrap();
    assert_eq!(error.to_string(), format!("cannot listen on {}", served.address));
}
