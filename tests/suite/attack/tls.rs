//! TLS: whom a device believes to be its publisher, at which time, and what it shows of itself to whom.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use tidelock::config::ClientCertificate;
use tidelock::io::http::{self, Answer, Ask};
use tidelock_tests::authority::{Authority, Pair};
use tidelock_tests::relay::Relay;
use tidelock_tests::served::Served;

use super::*;

/// An authority, and the settings of a device that trusts it.
struct Room {
    scratch: Scratch,
    authority: Authority,
}

impl Room {
    fn new() -> Self {
        let scratch = Scratch::new("tls");
        let authority = Authority::new(scratch.path());
        Self { scratch, authority }
    }

    /// A device that is told to ask `address`, at a moment, with a clock that is trusted or not.
    fn device(&self, address: SocketAddr, wall: &str, trusted: bool) -> Http {
        self.device_with(address, wall, trusted, None, None)
    }

    fn device_with(
        &self,
        address: SocketAddr,
        wall: &str,
        trusted: bool,
        client: Option<Pair>,
        header_file: Option<PathBuf>,
    ) -> Http {
        let client = client.map(|Pair { chain, key }| ClientCertificate { cert: chain, key });
        let url = format!("https://{address}");
        let connection = Connection { url, ca_file: Some(self.authority.certificate()), header_file, client };
        let now = Now { wall: format!("{wall}T00:00:00Z").parse().unwrap(), boot: Duration::ZERO, trusted };
        Http::new(&connection, now).unwrap()
    }
}

/// Serves `answers`, one connection each, and says per connection which client certificate was shown and what was asked.
fn server(
    pair: &Pair,
    clients: Option<&Authority>,
    answers: Vec<String>,
) -> (SocketAddr, std::thread::JoinHandle<Vec<(bool, String)>>) {
    let chain = CertificateDer::pem_file_iter(&pair.chain).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(&pair.key).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let config = match clients {
        None => config.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_file(authority.certificate()).unwrap()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            config.with_client_cert_verifier(verifier.allow_unauthenticated().build().unwrap())
        }
    };
    let config = Arc::new(config.with_single_cert(chain, key).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let thread = std::thread::spawn(move || {
        let mut seen = Vec::new();
        for answer in answers {
            let (stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            let tls = StreamOwned::new(ServerConnection::new(Arc::clone(&config)).unwrap(), stream);
            let mut reader = BufReader::new(tls);
            let mut head = String::new();
            // A client that refuses the certificate ends the connection here.
            while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).is_ok_and(|read| read > 0) {}
            let shown = reader.get_ref().conn.peer_certificates().is_some();
            drop(reader.get_mut().write_all(answer.as_bytes()));
            reader.get_mut().conn.send_close_notify();
            drop(reader.get_mut().flush());
            seen.push((shown, head));
        }
        seen
    });
    (address, thread)
}

const HELLO: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello";

fn get(http: &Http) -> Result<Vec<u8>, http::Error> {
    let ask = Ask { limit: 100, deadline: Duration::from_secs(10), ..Ask::default() };
    match http.get("file", &ask)? {
        Answer::Whole { body, .. } => body.into_bytes(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_publisher_of_the_trusted_authority_is_believed_and_another_is_not() {
    let (room, stranger) = (Room::new(), Room::new());
    let (address, _thread) = server(&room.authority.server("s"), None, vec![HELLO.into()]);
    assert_eq!(get(&room.device(address, "2026-11-24", true)).unwrap(), b"hello");
    let (address, _thread) = server(&stranger.authority.server("s"), None, vec![HELLO.into()]);
    let error = get(&room.device(address, "2026-11-24", true)).unwrap_err();
    assert_eq!(error.kind(), Some(&http::Kind::Tls), "{error:?}");
}

#[test]
fn a_certificate_for_another_name_is_refused() {
    let room = Room::new();
    let (address, _thread) = server(&room.authority.client("elsewhere.example"), None, vec![HELLO.into()]);
    assert_eq!(get(&room.device(address, "2026-11-24", true)).unwrap_err().kind(), Some(&http::Kind::Tls));
}

/// The machine's own clock plays no part: only the time that the turn is judged by, and whether it is trusted.
#[test]
fn certificates_are_judged_at_the_time_of_the_turn() {
    let room = Room::new();
    let pair = room.authority.server_between("s", 2026, 2027);
    for (wall, trusted, believed) in [
        ("2026-06-01", true, true),
        ("2026-06-01", false, true),
        ("1970-01-01", true, false),
        ("1970-01-01", false, true),
        ("2025-12-31", true, false),
        ("2025-12-31", false, true),
        ("2027-01-02", true, false),
        ("2027-01-02", false, false),
        ("2100-01-01", false, false),
    ] {
        let (address, _thread) = server(&pair, None, vec![HELLO.into()]);
        let answer = get(&room.device(address, wall, trusted));
        assert_eq!(answer.is_ok(), believed, "{wall} {trusted} {answer:?}");
        if let Err(error) = answer {
            assert_eq!(error.kind(), Some(&http::Kind::Tls));
        }
    }
}

#[test]
fn the_next_turn_is_judged_at_its_own_time() {
    let room = Room::new();
    let (address, _thread) =
        server(&room.authority.server_between("s", 2026, 2027), None, vec![HELLO.into(); 2]);
    let http = room.device(address, "2025-06-01", true);
    assert!(get(&http).is_err());
    http.set_now(Now { wall: "2026-06-01T00:00:00Z".parse().unwrap(), boot: Duration::ZERO, trusted: true });
    assert_eq!(get(&http).unwrap(), b"hello");
}

#[test]
fn credentials_are_shown_to_the_publisher_and_not_to_those_it_redirects_to() {
    let room = Room::new();
    let header = room.scratch.join("header");
    std::fs::write(&header, "Authorization: Bearer secret\n").unwrap();
    let pair = room.authority.server("s");
    let (elsewhere, other) = server(&pair, Some(&room.authority), vec![HELLO.into()]);
    let hop = format!(
        "HTTP/1.1 307 F\r\nLocation: https://{elsewhere}/x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    );
    let (address, publisher) = server(&pair, Some(&room.authority), vec![hop]);
    let http =
        room.device_with(address, "2026-11-24", true, Some(room.authority.client("device")), Some(header));
    assert_eq!(get(&http).unwrap(), b"hello");
    let (shown, head) = publisher.join().unwrap().remove(0);
    assert!(shown && head.contains("authorization: Bearer secret"), "{head}");
    let (shown, head) = other.join().unwrap().remove(0);
    assert!(!shown && !head.contains("secret"), "{head}");
}

#[test]
fn nobody_leads_from_https_to_http() {
    let room = Room::new();
    let hop = "HTTP/1.1 302 F\r\nLocation: http://127.0.0.1:1/x\r\nContent-Length: 0\r\n\r\n";
    let (address, _thread) = server(&room.authority.server("s"), None, vec![hop.into()]);
    let error = get(&room.device(address, "2026-11-24", true)).unwrap_err();
    assert!(matches!(error.kind(), Some(http::Kind::Redirect(_))), "{error:?}");
}

#[test]
fn files_that_are_no_certificates_are_named_when_the_connection_is_prepared() {
    let room = Room::new();
    let nonsense = room.scratch.join("nonsense.pem");
    std::fs::write(&nonsense, "no certificate\n").unwrap();
    let now = Now { wall: reading(0).civil, boot: Duration::ZERO, trusted: true };
    let pair = room.authority.client("device");
    let certificate =
        |cert: &PathBuf, key: &PathBuf| Some(ClientCertificate { cert: cert.clone(), key: key.clone() });
    for (ca_file, client) in [
        (Some(nonsense.clone()), None),
        (Some(room.scratch.join("missing.pem")), None),
        (None, certificate(&nonsense, &pair.key)),
        (None, certificate(&pair.chain, &nonsense)),
    ] {
        let ca_file = ca_file.or_else(|| Some(room.authority.certificate()));
        let connection = Connection { url: "https://127.0.0.1".into(), ca_file, header_file: None, client };
        let error = Http::new(&connection, now).unwrap_err();
        assert!(matches!(error, http::Error::Setup { .. }), "{error:?}");
        assert!(error.to_string().contains(".pem"), "{error}");
    }
}

/// Bytes that one conditional question costs, both ways, below TLS.
fn cost(http: &Http, relay: &Relay, etag: Option<&str>) -> u64 {
    let before = relay.up() + relay.down();
    let ask =
        Ask { etag: etag.map(str::to_owned), limit: 10_000, deadline: Duration::from_secs(10), range: None };
    let answer = http.get("metadata/timestamp.json", &ask).unwrap();
    assert!(matches!(answer, Answer::NotModified));
    relay.up() + relay.down() - before
}

#[test]
fn the_connection_is_kept_between_questions_and_the_session_where_it_is_not() {
    let room = Room::new();
    let site = room.scratch.join("site");
    std::fs::create_dir_all(site.join("metadata")).unwrap();
    std::fs::write(site.join("metadata/timestamp.json"), "{}").unwrap();
    let served = Served::start(&site, Some(&room.authority.server("s"))).unwrap();
    let relay = Relay::to(served.address());
    let http = room.device(relay.address(), "2026-11-24", true);
    let ask = Ask { limit: 10_000, deadline: Duration::from_secs(10), ..Ask::default() };
    assert!(matches!(http.get("metadata/2.root.json", &ask).unwrap(), Answer::Missing));
    let Answer::Whole { etag, body, .. } = http.get("metadata/timestamp.json", &ask).unwrap() else {
        panic!()
    };
    assert_eq!(body.into_bytes().unwrap(), b"{}");
    let kept = cost(&http, &relay, etag.as_deref());
    assert!(kept <= 360, "{kept} bytes on a kept connection");
    relay.cut();
    let resumed = cost(&http, &relay, etag.as_deref());
    assert!((kept..=1_500).contains(&resumed), "{resumed} bytes with a resumed session");
}
