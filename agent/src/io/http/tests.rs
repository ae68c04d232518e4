//! Answers of every kind, from a server that says exactly what a script says.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::{JoinHandle, spawn};

use tidelock_protocol::time::Timestamp;

use super::*;

const NOW: Now = Now { wall: Timestamp::from_unix(784_111_777), boot: Duration::ZERO, trusted: true };

/// A server that, per connection, reads a request and answers with the next script until none is left.
/// Gives its address, and at the end the heads of all requests.
fn server(connections: Vec<Vec<&'static str>>) -> (String, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/base", listener.local_addr().unwrap());
    let thread = spawn(move || {
        let mut heads = Vec::new();
        for scripts in connections {
            let (stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            let mut reader = BufReader::new(stream);
            for script in scripts {
                heads.push(head(&mut reader));
                play(script, reader.get_mut());
            }
        }
        heads
    });
    (url, thread)
}

fn head(reader: &mut BufReader<TcpStream>) -> String {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).unwrap() == 0 {
            break;
        }
    }
    head
}

/// Writes a script; `~` waits 50 ms. The client may have gone: that is what some tests want.
fn play(script: &str, stream: &mut TcpStream) {
    for (position, piece) in script.split('~').enumerate() {
        if position > 0 {
            std::thread::sleep(Duration::from_millis(50));
        }
        if stream.write_all(piece.as_bytes()).is_err() {
            return;
        }
    }
}

fn http(url: &str) -> Http {
    let connection = Connection { url: url.into(), ca_file: None, header_file: None, client: None };
    Http::new(&connection, NOW).unwrap()
}

fn ask() -> Ask {
    Ask { limit: 1000, deadline: Duration::from_secs(5), ..Ask::default() }
}

fn body(answer: Answer) -> Result<Vec<u8>, Error> {
    match answer {
        Answer::Whole { body, .. } | Answer::Part { body, .. } => body.into_bytes(),
        other => panic!("no body in {other:?}"),
    }
}

/// What kind of failure one scripted answer leads to.
fn failure(script: &'static str, ask: &Ask) -> Kind {
    // Twice: an answer that ends before its head is asked for again.
    let (url, _thread) = server(vec![vec![script], vec![script]]);
    let pace = Pace { window: Duration::from_millis(400), bytes: 100, head: Duration::from_secs(1) };
    let error = http(&url).with_pace(pace).get("f", ask).and_then(body).unwrap_err();
    error.kind().unwrap().clone()
}

#[test]
fn a_whole_file_comes_with_its_tag_and_the_connection_is_kept() {
    let reply = "HTTP/1.1 200 OK\r\nETag: \"a\"\r\nContent-Length: 2\r\n\r\nhi";
    let (url, thread) = server(vec![vec![reply, "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n"]]);
    let http = http(&url);
    let Answer::Whole { etag, length, body } = http.get("metadata/timestamp.json", &ask()).unwrap() else {
        panic!()
    };
    assert_eq!((etag.as_deref(), length, &*body.into_bytes().unwrap()), (Some("\"a\""), Some(2), &b"hi"[..]));
    assert!(matches!(http.get("f", &Ask { etag, ..ask() }).unwrap(), Answer::NotModified));
    let heads = thread.join().unwrap();
    assert!(heads[0].starts_with("GET /base/metadata/timestamp.json HTTP/1.1\r\n"), "{}", heads[0]);
    assert!(heads[0].contains("accept-encoding: identity\r\n"), "{}", heads[0]);
    assert!(heads[1].contains("if-none-match: \"a\"\r\n"), "{}", heads[1]);
}

#[test]
fn a_kept_connection_that_died_is_replaced_once() {
    let reply = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    let (url, thread) = server(vec![vec![reply, ""], vec![reply]]);
    let http = http(&url);
    for _ in 0..2 {
        assert_eq!(body(http.get("f", &ask()).unwrap()).unwrap(), b"");
    }
    assert_eq!(thread.join().unwrap().len(), 3);
}

#[test]
fn a_part_is_what_was_asked_or_its_beginning() {
    let ask = Ask { range: Some(10..20), ..ask() };
    let (url, thread) = server(vec![vec![
        "HTTP/1.1 206 P\r\nContent-Range: bytes 10-14/99\r\nContent-Length: 5\r\n\r\nabcde",
        "HTTP/1.1 416 R\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",
    ]]);
    let http = http(&url);
    let Answer::Part { range, total, body } = http.get("f", &ask).unwrap() else { panic!() };
    assert_eq!((range, total, &*body.into_bytes().unwrap()), (10..15, Some(99), &b"abcde"[..]));
    assert!(matches!(http.get("f", &ask).unwrap(), Answer::OutOfRange));
    assert!(matches!(http.get("f", &ask).unwrap(), Answer::Whole { .. }));
    drop(http);
    assert!(thread.join().unwrap()[0].contains("range: bytes=10-19\r\n"));
}

#[test]
fn a_part_that_is_not_what_was_asked_is_refused() {
    let ask = Ask { range: Some(10..20), ..ask() };
    for script in [
        "HTTP/1.1 206 P\r\nContent-Length: 1\r\n\r\nx",
        "HTTP/1.1 206 P\r\nContent-Range: bytes 11-19/99\r\nContent-Length: 9\r\n\r\n123456789",
        "HTTP/1.1 206 P\r\nContent-Range: bytes 10-20/99\r\nContent-Length: 11\r\n\r\n12345678901",
        "HTTP/1.1 206 P\r\nContent-Range: bytes 10-19/12\r\nContent-Length: 10\r\n\r\n1234567890",
        "HTTP/1.1 206 P\r\nContent-Range: bytes 10-19/99\r\nContent-Length: 9\r\n\r\n123456789",
        "HTTP/1.1 206 P\r\nContent-Range: bytes 19-10/99\r\nContent-Length: 9\r\n\r\n123456789",
        "HTTP/1.1 206 P\r\nContent-Range: bytes 10-18446744073709551615/*\r\n\r\n123456789",
        "HTTP/1.1 206 P\r\nContent-Range: bytes 10-19/99\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n12345678901\r\n0\r\n\r\n",
        "HTTP/1.1 206 P\r\nContent-Type: multipart/byteranges; boundary=x\r\nContent-Length: 3\r\n\r\n--x",
    ] {
        assert_eq!(failure(script, &ask), Kind::Range, "{script}");
    }
    let unasked = "HTTP/1.1 206 P\r\nContent-Range: bytes 0-0/1\r\nContent-Length: 1\r\n\r\nx";
    assert_eq!(failure(unasked, &Ask { range: None, ..ask }), Kind::Range);
}

#[test]
fn a_missing_file_is_an_answer_and_every_other_status_an_error_with_its_retry_after() {
    let page = "HTTP/1.1 404 N\r\nContent-Length: 2\r\n\r\nno";
    let (url, thread) = server(vec![vec![page, "HTTP/1.1 403 F\r\nContent-Length: 0\r\n\r\n", page]]);
    let publisher = http(&url);
    for _ in 0..3 {
        assert!(matches!(publisher.get("f", &ask()).unwrap(), Answer::Missing));
    }
    assert_eq!(thread.join().unwrap().len(), 3, "on one connection");
    let status =
        |code, seconds: Option<u64>| Kind::Status { code, retry_after: seconds.map(Duration::from_secs) };
    let busy = "HTTP/1.1 503 B\r\nRetry-After: 120\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(failure(busy, &ask()), status(503, Some(120)));
    let date = "HTTP/1.1 429 B\r\nRetry-After: Sun, 06 Nov 1994 08:49:47 GMT\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(failure(date, &ask()), status(429, Some(10)));
    assert_eq!(failure("HTTP/1.1 500 B\r\nRetry-After: soon\r\n\r\n", &ask()), status(500, None));
    assert_eq!(failure("HTTP/1.1 304 N\r\n\r\n", &ask()), status(304, None), "nobody asked with a tag");
    assert_eq!(failure("HTTP/1.1 416 R\r\n\r\n", &ask()), status(416, None), "nobody asked for a range");
}

#[test]
fn bodies_end_where_they_should() {
    let stated = "HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n";
    assert_eq!(failure(stated, &ask()), Kind::TooLong { limit: 1000 });
    let endless = "HTTP/1.1 200 OK\r\n\r\n0123456789 and so on";
    assert_eq!(failure(endless, &Ask { limit: 10, ..ask() }), Kind::TooLong { limit: 10 });
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n01234\r\n6\r\n567890\r\n";
    assert_eq!(failure(chunked, &Ask { limit: 10, ..ask() }), Kind::TooLong { limit: 10 });
    assert_eq!(failure("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n0123", &ask()), Kind::Cut);
    let cut = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n0123";
    assert_eq!(failure(cut, &ask()), Kind::Cut);
}

#[test]
fn a_slow_or_silent_server_is_left() {
    let dripping = "HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n~a~a~a~a~a~a~a~a~a~a~a~a~a~a~a~a~a~a~a~a";
    assert_eq!(failure(dripping, &ask()), Kind::Slow);
    let silent = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\na~~~~~~~~~~~~~~~~~~~~b";
    assert_eq!(failure(silent, &ask()), Kind::TimedOut);
    let late = "~~~~~~~~~~~~~~~~~~~~HTTP/1.1 200 OK\r\n\r\n";
    assert_eq!(failure(late, &ask()), Kind::TimedOut);
    let in_time = Ask { deadline: Duration::from_millis(200), ..ask() };
    let whole = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n~a~a~a~a~a~a~a~a~a";
    assert_eq!(failure(whole, &in_time), Kind::TimedOut);
    let heads = "HTTP/1.1 200 OK\r\n~X: 1\r\n~X: 1\r\n~X: 1\r\n~X: 1\r\n~X: 1\r\n~X: 1\r\n~X: 1\r\n~";
    assert_eq!(failure(heads, &in_time), Kind::TimedOut);
    let endless: &'static str =
        Box::leak(format!("HTTP/1.1 200 OK\r\n{}", "X: 1\r\n~".repeat(40)).into_boxed_str());
    assert_eq!(failure(endless, &ask()), Kind::TimedOut, "headers have a time of their own");
}

#[test]
fn headers_without_end_and_answers_that_are_not_http_are_refused() {
    let long: &'static str =
        Box::leak(format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(40_000)).into_boxed_str());
    assert_eq!(failure(long, &ask()), Kind::Protocol);
    let many: &'static str =
        Box::leak(format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: y\r\n".repeat(5_000)).into_boxed_str());
    assert_eq!(failure(many, &ask()), Kind::Protocol);
    assert_eq!(failure("SSH-2.0-OpenSSH_9.2\r\n\r\n", &ask()), Kind::Protocol);
}

#[test]
fn promises_chunk_words_and_trailers_without_end_are_left() {
    let leak = |text: String| -> &'static str { Box::leak(text.into_boxed_str()) };
    let soon = Ask { deadline: Duration::from_secs(1), ..ask() };
    assert_eq!(failure(leak("HTTP/1.1 100 Continue\r\n\r\n~".repeat(60)), &ask()), Kind::TimedOut);
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let kind = failure(leak(format!("{chunked}1;{}", "x".repeat(100_000))), &soon);
    assert!(matches!(kind, Kind::Protocol | Kind::TimedOut), "{kind:?}");
    let kind = failure(leak(format!("{chunked}1\r\nx\r\n0\r\n{}", "X: y\r\n~".repeat(60))), &soon);
    assert_eq!(kind, Kind::TimedOut);
}

#[test]
fn an_encoded_body_is_refused_and_the_message_names_the_proxy() {
    let gzip = "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx";
    let kind = failure(gzip, &ask());
    assert_eq!(kind, Kind::Encoded("gzip".into()));
    assert!(kind.to_string().contains("proxy"));
    let (url, _thread) =
        server(vec![vec!["HTTP/1.1 200 OK\r\nContent-Encoding: identity\r\nContent-Length: 1\r\n\r\nx"]]);
    assert_eq!(body(http(&url).get("f", &ask()).unwrap()).unwrap(), b"x");
}

#[test]
fn redirects_are_followed_a_few_times_and_never_to_another_scheme() {
    let hop = "HTTP/1.1 302 F\r\nLocation: /base/f\r\nContent-Length: 0\r\n\r\n";
    let (url, thread) = server(vec![
        vec![hop],
        vec!["HTTP/1.1 307 F\r\nLocation: other\r\n\r\n"],
        vec!["HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx"],
    ]);
    assert_eq!(body(http(&url).get("d/f", &ask()).unwrap()).unwrap(), b"x");
    assert!(thread.join().unwrap()[2].starts_with("GET /base/other "));
    for location in
        ["https://127.0.0.1/f", "ftp://127.0.0.1/f", "http://user:hunter2@127.0.0.1/f", "file:///etc/passwd"]
    {
        let script = format!("HTTP/1.1 302 F\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n");
        let kind = failure(Box::leak(script.into_boxed_str()), &ask());
        assert!(matches!(kind, Kind::Redirect(_)), "{location} {kind:?}");
    }
    let (url, thread) = server(vec![vec![hop]; 6]);
    let error = http(&url).get("f", &ask()).unwrap_err();
    assert_eq!(error.kind(), Some(&Kind::Redirect("more redirects than are followed")));
    assert_eq!(thread.join().unwrap().len(), 6);
}

#[test]
fn credentials_go_to_the_publisher_alone() {
    let file = std::env::temp_dir().join(format!("tidelock-header-{}", std::process::id()));
    std::fs::write(&file, "X-Token: secret\n").unwrap();
    let (elsewhere, other) = server(vec![vec!["HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"]]);
    let hop = format!("HTTP/1.1 302 F\r\nLocation: {elsewhere}/f\r\nContent-Length: 0\r\n\r\n");
    let (url, thread) = server(vec![vec![Box::leak(hop.into_boxed_str())]]);
    let connection = Connection { url, ca_file: None, header_file: Some(file.clone()), client: None };
    let http = Http::new(&connection, NOW).unwrap();
    http.get("f", &ask()).unwrap();
    assert!(thread.join().unwrap()[0].contains("x-token: secret\r\n"));
    assert!(!other.join().unwrap()[0].contains("secret"));
    assert!(!format!("{http:?}").contains("secret"));
    std::fs::write(&file, "no header\n").unwrap();
    assert!(Http::new(&connection, NOW).is_err());
    std::fs::remove_file(&file).unwrap();
}

#[test]
fn what_is_wrong_with_an_address_is_said_without_its_secrets() {
    for (url, shown) in [
        ("ftp://host/x", "ftp://host/x"),
        ("host/x", "host/x"),
        ("http://user:hunter2@host/x", "http://host/x"),
        ("https://host/x?sig=hunter2", "https://host/x"),
        ("", ""),
    ] {
        let connection = Connection { url: url.into(), ca_file: None, header_file: None, client: None };
        let message = Http::new(&connection, NOW).unwrap_err().to_string();
        assert!(message.contains(&format!("cannot use {shown} as")), "{message}");
        assert!(!message.contains("hunter2"), "{message}");
    }
}

#[test]
fn nobody_there_and_no_such_host_are_told_apart() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let kind = |url: &str| http(url).get("f", &ask()).unwrap_err().kind().unwrap().clone();
    assert_eq!(kind(&format!("http://{free}/")), Kind::Refused);
    assert_eq!(kind("http://no-such-host.invalid/"), Kind::Host);
}

#[test]
fn the_systems_authorities_count_and_mozillas_where_it_has_none() {
    let here = concat!(env!("CARGO_MANIFEST_DIR"), "/");
    let [none, empty, one] =
        ["none", "src/lib.rs", "testdata/authority.pem"].map(|path| format!("{here}{path}"));
    let [none, empty, one] = [&none, &empty, &one].map(String::as_str);
    let names = |stores: &[&str]| -> Vec<String> {
        let found = tls::authorities(stores);
        found.roots.iter().map(|root| String::from_utf8_lossy(&root.subject).into_owned()).collect()
    };
    assert_eq!(names(&[none, empty, one]).len(), 1);
    let mozilla = names(&[none, empty]);
    assert!(mozilla.len() > 100 && mozilla.iter().any(|name| name.contains("ISRG Root X1")), "{mozilla:?}");
}
