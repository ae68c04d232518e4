//! A bad network: an HTTP(S) proxy in front of a good server that delays, cuts, corrupts, lies.
//!
//! Never here: what a device makes of it. One thread per connection; ends on drop.

use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::authority::Pair;

/// What goes wrong with an answer. Numbers are bytes of its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The connection is closed before a word was said.
    HangUp,
    /// This status, with no body of the server's.
    Status(u16),
    /// This status, and a Retry-After of so many seconds.
    RetryAfter(u16, u32),
    /// The answer comes late.
    Delay(Duration),
    /// The connection breaks after so many bytes.
    Cut(u64),
    /// The answer claims to be no longer than this, and ends there.
    Truncate(u64),
    /// One bit of this byte is flipped.
    Corrupt(u64),
    /// After so many bytes nothing more comes, and the connection stays.
    Stall(u64),
    /// So many bytes at a time, a tenth of a second apart.
    Trickle(usize),
    /// The server never learns of the Range.
    NoRange,
    /// The range in the answer's head is another one than was asked for.
    WrongRange,
    /// Compressed on its way.
    Gzip,
    /// A page for people, with status 200, whatever was asked.
    Html,
    /// Moved to the same address, for ever.
    Redirect,
    /// Zeros without end.
    Endless,
}

/// A request that came by.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Its path.
    pub path: String,
    /// Its Range header.
    pub range: Option<String>,
    /// What was answered; 0 when nothing was.
    pub status: u16,
    /// Bytes of body that were sent on.
    pub bytes: u64,
}

/// A running proxy.
pub struct Proxy {
    address: SocketAddr,
    scheme: &'static str,
    shared: Arc<Shared>,
}

struct Shared {
    upstream: SocketAddr,
    tls: Option<Arc<ServerConfig>>,
    rules: Mutex<Vec<Rule>>,
    seen: Mutex<Vec<Seen>>,
    ended: AtomicBool,
}

struct Rule {
    part: String,
    fault: Fault,
    left: u32,
}

impl Proxy {
    /// A proxy in front of a plain HTTP server; with a certificate it speaks HTTPS to its clients.
    ///
    /// # Panics
    /// When it cannot listen, or the certificate cannot be read.
    pub fn before(upstream: SocketAddr, certificate: Option<&Pair>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            upstream,
            tls: certificate.map(server_config),
            rules: Mutex::new(Vec::new()),
            seen: Mutex::new(Vec::new()),
            ended: AtomicBool::new(false),
        });
        let of_thread = Arc::clone(&shared);
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                if of_thread.ended.load(Ordering::Relaxed) {
                    return;
                }
                let shared = Arc::clone(&of_thread);
                // A client that hangs up is no failure of the proxy's.
                std::thread::spawn(move || {
                    drop(connection.and_then(|connection| shared.receive(connection)))
                });
            }
        });
        Self { address, scheme: if certificate.is_some() { "https" } else { "http" }, shared }
    }

    /// Where it listens, such as `http://127.0.0.1:40123`.
    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    /// From now on `fault` happens to every request whose path contains `part`.
    pub fn always(&self, part: &str, fault: Fault) {
        self.times(u32::MAX, part, fault);
    }

    /// `fault` happens to the next `left` requests whose path contains `part`.
    ///
    /// # Panics
    /// When a thread of the proxy panicked.
    pub fn times(&self, left: u32, part: &str, fault: Fault) {
        self.shared.rules.lock().unwrap().push(Rule { part: part.to_owned(), fault, left });
    }

    /// The network is good again.
    ///
    /// # Panics
    /// When a thread of the proxy panicked.
    pub fn heal(&self) {
        self.shared.rules.lock().unwrap().clear();
    }

    /// The requests that were answered so far, and forgets them.
    ///
    /// # Panics
    /// When a thread of the proxy panicked.
    pub fn take_seen(&self) -> Vec<Seen> {
        std::mem::take(&mut *self.shared.seen.lock().unwrap())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        // Wakes the thread that accepts.
        drop(TcpStream::connect(self.address));
    }
}

fn server_config(pair: &Pair) -> Arc<ServerConfig> {
    let chain = CertificateDer::pem_file_iter(&pair.chain).unwrap().collect::<Result<Vec<_>, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_file(&pair.key).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    Arc::new(config.with_no_client_auth().with_single_cert(chain, key).unwrap())
}

trait Connection: Read + Write {}
impl<T: Read + Write> Connection for T {}

/// A request's or answer's head: first line, then the other lines without their ends.
struct Head {
    first: String,
    lines: Vec<String>,
}

impl Head {
    /// Reads one; `None` at the end of the connection.
    fn read(from: &mut impl BufRead) -> io::Result<Option<Self>> {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if from.read_line(&mut line)? == 0 {
                return Ok(None);
            }
            match line.trim_end() {
                "" => break,
                line => lines.push(line.to_owned()),
            }
        }
        if lines.is_empty() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(Some(Self { first: lines.remove(0), lines }))
    }

    fn value(&self, name: &str) -> Option<&str> {
        let found = self.lines.iter().find(|line| is_named(line, name))?;
        Some(found.split_once(':')?.1.trim())
    }

    fn set(&mut self, name: &str, value: Option<&str>) {
        self.lines.retain(|line| !is_named(line, name));
        self.lines.extend(value.map(|value| format!("{name}: {value}")));
    }

    fn text(&self) -> String {
        let mut text = format!("{}\r\n", self.first);
        for line in &self.lines {
            write!(text, "{line}\r\n").unwrap();
        }
        text + "\r\n"
    }
}

fn is_named(line: &str, name: &str) -> bool {
    line.split_once(':').is_some_and(|(found, _)| found.eq_ignore_ascii_case(name))
}

impl Shared {
    fn receive(&self, connection: TcpStream) -> io::Result<()> {
        connection.set_read_timeout(Some(Duration::from_secs(60)))?;
        connection.set_write_timeout(Some(Duration::from_secs(60)))?;
        let mut connection: BufReader<Box<dyn Connection>> = BufReader::new(match &self.tls {
            None => Box::new(connection),
            Some(tls) => {
                let session = ServerConnection::new(Arc::clone(tls)).map_err(io::Error::other)?;
                Box::new(StreamOwned::new(session, connection))
            }
        });
        while let Some(request) = Head::read(&mut connection)? {
            let path = request.first.split(' ').nth(1).unwrap_or_default().to_owned();
            let range = request.value("range").map(str::to_owned);
            let mut seen = Seen { path: path.clone(), range, status: 0, bytes: 0 };
            let outcome = self.answer(request, self.fault(&path), connection.get_mut(), &mut seen);
            self.seen.lock().unwrap().push(seen);
            outcome?;
        }
        Ok(())
    }

    /// The fault for a path: the first rule that fits and is not used up.
    fn fault(&self, path: &str) -> Option<Fault> {
        let mut rules = self.rules.lock().unwrap();
        let rule = rules.iter_mut().find(|rule| rule.left > 0 && path.contains(&rule.part))?;
        rule.left -= 1;
        Some(rule.fault.clone())
    }

    fn answer(
        &self,
        mut request: Head,
        fault: Option<Fault>,
        client: &mut dyn Connection,
        seen: &mut Seen,
    ) -> io::Result<()> {
        let made = |seen: &mut Seen, client: &mut dyn Connection, status: u16, lines: &str, body: &str| {
            (seen.status, seen.bytes) = (status, body.len() as u64);
            let length = body.len();
            write!(client, "HTTP/1.1 {status} So\r\nContent-Length: {length}\r\n{lines}\r\n{body}")?;
            client.flush()
        };
        match &fault {
            Some(Fault::HangUp) => return Err(io::ErrorKind::ConnectionAborted.into()),
            Some(Fault::Status(status)) => return made(seen, client, *status, "", "no\n"),
            Some(Fault::RetryAfter(status, seconds)) => {
                return made(seen, client, *status, &format!("Retry-After: {seconds}\r\n"), "later\n");
            }
            Some(Fault::Html) => {
                let page = "<html><body>Please accept our terms to use this network.</body></html>";
                return made(seen, client, 200, "Content-Type: text/html\r\n", page);
            }
            Some(Fault::Redirect) => {
                return made(seen, client, 302, &format!("Location: {}\r\n", seen.path), "");
            }
            Some(Fault::Endless) => {
                seen.status = 200;
                write!(client, "HTTP/1.1 200 OK\r\n\r\n")?;
                loop {
                    client.write_all(&[0; 4096])?;
                    seen.bytes += 4096;
                }
            }
            Some(Fault::NoRange) => request.set("Range", None),
            Some(Fault::Delay(delay)) => std::thread::sleep(*delay),
            _ => {}
        }
        request.set("Connection", Some("close"));
        let mut upstream = TcpStream::connect(self.upstream)?;
        upstream.write_all(request.text().as_bytes())?;
        let mut upstream = BufReader::new(upstream);
        let head = Head::read(&mut upstream)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        seen.status = head.first.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        let bodiless = request.first.starts_with("HEAD") || matches!(seen.status, 204 | 304);
        pass_on(head, if bodiless { None } else { Some(upstream) }, fault, client, &mut seen.bytes)
    }
}

/// Sends an answer of the good server's on, in the way that `fault` says.
fn pass_on(
    mut head: Head,
    body: Option<BufReader<TcpStream>>,
    fault: Option<Fault>,
    client: &mut dyn Connection,
    sent: &mut u64,
) -> io::Result<()> {
    head.set("Connection", None);
    let Some(mut body) = body else {
        client.write_all(head.text().as_bytes())?;
        return client.flush();
    };
    match fault {
        Some(Fault::Gzip) => {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            io::copy(&mut body, &mut encoder)?;
            let compressed = encoder.finish()?;
            head.set("Content-Encoding", Some("gzip"));
            head.set("Content-Length", Some(&compressed.len().to_string()));
            client.write_all(head.text().as_bytes())?;
            client.write_all(&compressed)?;
            *sent += compressed.len() as u64;
            return client.flush();
        }
        Some(Fault::Truncate(length)) => head.set("Content-Length", Some(&length.to_string())),
        Some(Fault::WrongRange) => {
            let moved = head.value("content-range").map(|range| range.replacen("bytes ", "bytes 1", 1));
            head.set("Content-Range", moved.as_deref());
        }
        _ => {}
    }
    client.write_all(head.text().as_bytes())?;
    let mut chunk = [0; 16 * 1024];
    loop {
        let size = match fault {
            Some(Fault::Trickle(few)) => few,
            Some(Fault::Cut(end) | Fault::Truncate(end) | Fault::Stall(end)) => {
                usize::try_from(end - *sent).unwrap_or(usize::MAX).min(chunk.len())
            }
            _ => chunk.len(),
        };
        let read = if size == 0 { 0 } else { body.read(&mut chunk[..size])? };
        if let Some(Fault::Corrupt(at)) = fault
            && let Some(byte) =
                at.checked_sub(*sent).and_then(|at| chunk[..read].get_mut(usize::try_from(at).ok()?))
        {
            *byte ^= 1;
        }
        client.write_all(&chunk[..read])?;
        client.flush()?;
        *sent += read as u64;
        match fault {
            Some(Fault::Cut(_)) if size == 0 => return Err(io::ErrorKind::ConnectionAborted.into()),
            Some(Fault::Stall(_)) if size == 0 => loop {
                // Until the client goes away: nothing more comes from it meanwhile.
                if client.read(&mut chunk)? == 0 {
                    return Err(io::ErrorKind::ConnectionAborted.into());
                }
            },
            Some(Fault::Trickle(_)) if read > 0 => std::thread::sleep(Duration::from_millis(100)),
            _ if read == 0 => return Ok(()),
            _ => {}
        }
    }
}
