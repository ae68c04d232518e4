//! The server's API as a client: one connection, a token, and errors in the server's own words.

use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::de::DeserializeOwned;
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};

use super::{Error, failed};

/// Where systems keep the authorities that they trust.
const SYSTEM: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
    "/etc/ssl/ca-bundle.pem",
];
/// Longest answer that is read.
const ANSWER: u64 = 64 << 20;

/// How to speak with a server.
#[derive(Clone, Debug)]
pub struct Speaking {
    /// Its address.
    pub url: String,
    /// The token.
    pub token: String,
    /// Authorities to trust, PEM; none: the system's.
    pub ca_file: Option<PathBuf>,
}

/// A server.
pub struct Server {
    agent: ureq::Agent,
    url: String,
    token: String,
}

impl Server {
    /// Prepares to speak; nobody is asked yet.
    ///
    /// # Errors
    /// The authorities cannot be read.
    pub fn new(speaking: &Speaking) -> Result<Self, Error> {
        let mut config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .user_agent(concat!("tidelock-server/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(Duration::from_secs(30)))
            .timeout_recv_response(Some(Duration::from_secs(300)))
            .timeout_send_body(Some(Duration::from_secs(150)));
        if speaking.url.starts_with("https:") {
            config = config.tls_config(tls(speaking.ca_file.clone())?);
        }
        let agent = ureq::Agent::new_with_config(config.build());
        Ok(Self { agent, url: speaking.url.trim_end_matches('/').to_owned(), token: speaking.token.clone() })
    }

    /// Asks.
    pub(super) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        let url = self.at(path);
        let answer = self.agent.get(&url).header("authorization", self.bearer()).call();
        read(url, answer)
    }

    /// Puts bytes.
    pub(super) fn put<T: DeserializeOwned>(&self, path: &str, bytes: &[u8]) -> Result<T, Error> {
        let url = self.at(path);
        let answer = self
            .agent
            .put(&url)
            .header("authorization", self.bearer())
            .header("content-type", "application/octet-stream")
            .send(bytes);
        read(url, answer)
    }

    /// Posts words.
    pub(super) fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        words: &serde_json::Value,
    ) -> Result<T, Error> {
        let url = self.at(path);
        let answer = self
            .agent
            .post(&url)
            .header("authorization", self.bearer())
            .header("content-type", "application/json")
            .send(words.to_string());
        read(url, answer)
    }

    /// The bytes of a published file; none where there is no such file.
    pub(super) fn file(&self, path: &str) -> Result<Option<Vec<u8>>, Error> {
        let url = format!("{}/{path}", self.url);
        let (status, bytes) = bytes(&url, self.agent.get(&url).call())?;
        match status {
            200 => Ok(Some(bytes)),
            404 => Ok(None),
            _ => Err(Error::Answered { url, status, said: said(&bytes) }),
        }
    }

    fn at(&self, path: &str) -> String {
        format!("{}/api/v1/{path}", self.url)
    }

    fn bearer(&self) -> String {
        format!("Bearer {}", self.token)
    }
}

type Answer = Result<ureq::http::Response<ureq::Body>, ureq::Error>;

fn read<T: DeserializeOwned>(url: String, answer: Answer) -> Result<T, Error> {
    let (status, bytes) = bytes(&url, answer)?;
    if !(200..300).contains(&status) {
        return Err(Error::Answered { url, status, said: said(&bytes) });
    }
    serde_json::from_slice(&bytes).map_err(|error| Error::Answered { url, status, said: error.to_string() })
}

fn bytes(url: &str, answer: Answer) -> Result<(u16, Vec<u8>), Error> {
    let broken = |source| Error::Unreachable { url: url.to_owned(), source: Box::new(source) };
    let mut answer = answer.map_err(broken)?;
    let mut bytes = Vec::new();
    let read = answer.body_mut().as_reader().take(ANSWER).read_to_end(&mut bytes);
    read.map_err(|error| broken(ureq::Error::Io(error)))?;
    Ok((answer.status().as_u16(), bytes))
}

/// The server's own words, or the beginning of what somebody else said.
fn said(bytes: &[u8]) -> String {
    let problem = serde_json::from_slice::<serde_json::Value>(bytes).ok();
    let words = problem.and_then(|problem| problem["error"].as_str().map(str::to_owned));
    words.unwrap_or_else(|| String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).trim().to_owned())
}

fn tls(ca_file: Option<PathBuf>) -> Result<TlsConfig, Error> {
    let named = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    let system = || SYSTEM.iter().map(PathBuf::from).find(|path| path.is_file());
    let path = ca_file.or(named).or_else(system).unwrap_or_else(|| SYSTEM[0].into());
    let text = std::fs::read(&path).map_err(failed("read the authorities in", &path))?;
    let parsed = CertificateDer::pem_slice_iter(&text).filter_map(Result::ok);
    let roots: Vec<Certificate<'static>> = parsed.map(|der| Certificate::from_der(&der).to_owned()).collect();
    Ok(TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .root_certs(RootCerts::new_with_certs(&roots))
        .build())
}
