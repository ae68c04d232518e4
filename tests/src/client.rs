//! An HTTP client that sends what it is told byte for byte, over TCP or TLS, and counts what crosses the wire.
//!
//! Never here: what a good client does with an answer; that is the agent's.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::authority::Pair;

/// What was answered.
#[derive(Debug)]
pub struct Answer {
    /// Such as 200.
    pub status: u16,
    /// First line and headers.
    pub head: String,
    /// As many bytes as the head promised.
    pub body: Vec<u8>,
}

impl Answer {
    /// The value of the first header of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

/// One connection.
pub struct Client {
    stream: Stream,
}

enum Stream {
    Plain(Counted),
    Tls(Box<StreamOwned<ClientConnection, Counted>>),
}

struct Counted {
    inner: TcpStream,
    bytes: u64,
}

/// What a TLS client trusts, and perhaps its own certificate; sessions are remembered in it.
///
/// # Panics
/// When a file cannot be read.
pub fn tls(ca: &Path, own: Option<&Pair>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots);
    Arc::new(match own {
        None => config.with_no_client_auth(),
        Some(pair) => {
            let chain =
                CertificateDer::pem_file_iter(&pair.chain).unwrap().collect::<Result<_, _>>().unwrap();
            config.with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(&pair.key).unwrap()).unwrap()
        }
    })
}

impl Client {
    /// Connects; with `tls` the handshake is done as well.
    ///
    /// # Errors
    /// What the system or TLS says.
    pub fn connect(address: SocketAddr, tls: Option<&Arc<ClientConfig>>) -> io::Result<Self> {
        let inner = TcpStream::connect(address)?;
        inner.set_read_timeout(Some(Duration::from_secs(20)))?;
        inner.set_nodelay(true)?;
        let mut counted = Counted { inner, bytes: 0 };
        let Some(config) = tls else { return Ok(Self { stream: Stream::Plain(counted) }) };
        let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
        let mut session = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
        while session.is_handshaking() {
            session.complete_io(&mut counted)?;
        }
        Ok(Self { stream: Stream::Tls(Box::new(StreamOwned::new(session, counted))) })
    }

    /// Bytes that crossed the wire so far in both directions, TLS included.
    pub fn wire_bytes(&self) -> u64 {
        match &self.stream {
            Stream::Plain(counted) => counted.bytes,
            Stream::Tls(stream) => stream.sock.bytes,
        }
    }

    /// The certificate that the server showed.
    pub fn server_certificate(&self) -> Option<Vec<u8>> {
        let Stream::Tls(stream) = &self.stream else { return None };
        Some(stream.conn.peer_certificates()?.first()?.to_vec())
    }

    /// Whether an earlier TLS session was resumed.
    pub fn resumed(&self) -> bool {
        let Stream::Tls(stream) = &self.stream else { return false };
        stream.conn.handshake_kind() == Some(rustls::HandshakeKind::Resumed)
    }

    /// Sends a request's head as it is and reads the answer.
    ///
    /// # Errors
    /// What the system or TLS says; `UnexpectedEof` when the connection ends before the answer does.
    pub fn send(&mut self, head: &str) -> io::Result<Answer> {
        self.write_all(head.as_bytes())?;
        self.flush()?;
        let mut text = Vec::new();
        let mut byte = [0];
        while !text.ends_with(b"\r\n\r\n") {
            self.read_exact(&mut byte)?;
            text.push(byte[0]);
        }
        let head_text = String::from_utf8_lossy(&text).trim_end().to_owned();
        let status = head_text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        let mut answer = Answer { status, head: head_text, body: Vec::new() };
        let length = answer.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        if !head.starts_with("HEAD") && status != 304 {
            answer.body.resize(length, 0);
            self.read_exact(&mut answer.body)?;
        }
        Ok(answer)
    }

    /// Asks for a path, keeping the connection.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub fn get(&mut self, path: &str, lines: &[&str]) -> io::Result<Answer> {
        let more: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
        self.send(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{more}\r\n"))
    }
}

impl Read for Client {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.stream {
            Stream::Plain(counted) => counted.read(buffer),
            Stream::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Client {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.stream {
            Stream::Plain(counted) => counted.write(bytes),
            Stream::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.stream {
            Stream::Plain(counted) => counted.flush(),
            Stream::Tls(stream) => stream.flush(),
        }
    }
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.bytes += read as u64;
        Ok(read)
    }
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
