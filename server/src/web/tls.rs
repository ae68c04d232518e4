//! TLS: the certificate, read again when its files change, and tickets, so that a device resumes instead of starting anew.
//!
//! Never here: trust in what is published. TLS keeps the fleet's releases private; the signatures keep them right.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio_rustls::TlsAcceptor;

use super::{Certificate, CertificateError};
use crate::turn::chain;

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(2);

/// How this server speaks TLS.
pub(super) struct Tls {
    files: Certificate,
    shown: Arc<Shown>,
    config: Arc<ServerConfig>,
}

impl Tls {
    /// Reads the certificate and its key.
    pub(super) fn new(files: Certificate) -> Result<Self, CertificateError> {
        let shown = Arc::new(Shown(RwLock::new(load(&files)?)));
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::<Shown>::clone(&shown));
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // Tickets rather than a table of sessions: ten thousand devices resume, and nothing is kept for them.
        config.ticketer = ring::Ticketer::new()?;
        config.send_tls13_tickets = 1;
        Ok(Self { files, shown, config: Arc::new(config) })
    }

    /// Makes a TCP connection a TLS connection.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.config))
    }

    /// Takes up a renewed certificate; never returns. A pair that cannot be used is said once, and the old one stays.
    pub(super) async fn keep_current(&self) {
        let mut loaded = self.look();
        let mut seen = loaded;
        loop {
            tokio::time::sleep(LOOK).await;
            let now = self.look();
            // Two looks alike: whoever replaces the files is done with both of them.
            let settled = now == seen;
            seen = now;
            if now == loaded || !settled {
                continue;
            }
            loaded = now;
            match load(&self.files) {
                Ok(key) => {
                    if let Ok(mut shown) = self.shown.0.write() {
                        *shown = key;
                    }
                    log::info!("certificate read again from {}", self.files.chain.display());
                }
                Err(error) => log::warn!(
                    "the certificate was replaced, and the old one stays in use: {}",
                    chain(&error)
                ),
            }
        }
    }

    fn look(&self) -> [Option<(u64, u64, i64, i64)>; 2] {
        let look = |path: &Path| {
            let found = std::fs::metadata(path).ok()?;
            Some((found.ino(), found.len(), found.mtime(), found.mtime_nsec()))
        };
        [look(&self.files.chain), look(&self.files.key)]
    }
}

/// The pair that is shown to clients now.
#[derive(Debug)]
struct Shown(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.read().ok().map(|key| Arc::clone(&key))
    }
}

fn load(files: &Certificate) -> Result<Arc<CertifiedKey>, CertificateError> {
    let read = |what, path: &Path| {
        let path = path.to_owned();
        move |source| CertificateError::Read { what, path, source }
    };
    let chain: Vec<_> = CertificateDer::pem_file_iter(&files.chain)
        .and_then(Iterator::collect)
        .map_err(read("a certificate", &files.chain))?;
    if chain.is_empty() {
        return Err(CertificateError::Empty(files.chain.clone()));
    }
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(read("a private key", &files.key))?;
    let pair = CertifiedKey::from_der(chain, key, &ring::default_provider());
    Ok(Arc::new(pair.map_err(|source| {
        let Certificate { chain, key } = files.clone();
        CertificateError::Pair { chain, key, source }
    })?))
}
