//! TLS judged at the agent's own time, for boards whose clock nobody has set yet.
//!
//! The chain and the name are verified as always. While the clock is not synchronised, a certificate that is not valid
//! *yet* is judged at its own start: a too early clock can only make us accept what is too new, and what the connection
//! carries is verified by signatures of its own.

use std::fmt;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme,
    StreamOwned,
};
use tidelock_protocol::time::{Now, Timestamp};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, Either, LazyBuffers, NextTimeout, Transport, TransportAdapter,
};

use super::Origin;
use super::error::Error;
use crate::config::{ClientCertificate, Connection};

/// Where systems keep the certificates they trust.
const SYSTEM_STORES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// The time that certificates are judged at; one turn sets it for all connections.
#[derive(Debug)]
pub(super) struct Time(Mutex<Now>);

impl Time {
    pub(super) fn at(now: Now) -> Self {
        Self(Mutex::new(now))
    }

    pub(super) fn set(&self, now: Now) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }

    fn now(&self) -> Now {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The value of a `Retry-After`: seconds, or a date as `Sun, 06 Nov 1994 08:49:37 GMT`.
    pub(super) fn retry_after(&self, value: &str) -> Option<Duration> {
        if let Ok(seconds) = value.trim().parse() {
            return Some(Duration::from_secs(seconds));
        }
        let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        let parts: Vec<&str> = value.split_ascii_whitespace().collect();
        let [_, day, month, year, time, "GMT"] = parts[..] else { return None };
        let month = 1 + months.iter().position(|name| *name == month)?;
        let date: Timestamp = format!("{year}-{month:02}-{day:0>2}T{time}Z").parse().ok()?;
        Some(date.since(self.now().wall))
    }
}

impl TimeProvider for Time {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = u64::try_from(self.now().wall.unix()).unwrap_or(0);
        Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
    }
}

/// Adds TLS to a connection where the URL says https.
pub(super) struct Connect {
    origin: Origin,
    /// For the publisher itself, with the client certificate; `None`: the publisher is plain http.
    ours: Option<Arc<ClientConfig>>,
    /// For those it redirects to, without.
    others: Option<Arc<ClientConfig>>,
}

impl Connect {
    pub(super) fn new(connection: &Connection, origin: Origin, time: &Arc<Time>) -> Result<Self, Error> {
        if !origin.secure {
            return Ok(Self { origin, ours: None, others: None });
        }
        let roots = Arc::new(match &connection.ca_file {
            Some(path) => roots_of(path)?,
            None => authorities(&SYSTEM_STORES),
        });
        let verifier = WebPkiServerVerifier::builder_with_provider(roots, Arc::new(default_provider()))
            .build()
            .map_err(|error| Error::Address {
                url: super::shown(&connection.url),
                reason: no_verifier(&error),
            })?;
        let verifier = Arc::new(Verifier { inner: verifier, time: Arc::clone(time) });
        let client = |certificate: Option<&ClientCertificate>| client(&verifier, time, certificate);
        let ours = client(connection.client.as_ref())?;
        let others = if connection.client.is_some() { client(None)? } else { Arc::clone(&ours) };
        Ok(Self { origin, ours: Some(ours), others: Some(others) })
    }
}

fn no_verifier(_: &rustls::client::VerifierBuilderError) -> &'static str {
    "no certificate authority is trusted here; name one in ca_file"
}

fn client(
    verifier: &Arc<Verifier>,
    time: &Arc<Time>,
    certificate: Option<&ClientCertificate>,
) -> Result<Arc<ClientConfig>, Error> {
    let builder = ClientConfig::builder_with_details(Arc::new(default_provider()), Arc::clone(time) as _)
        .with_protocol_versions(rustls::ALL_VERSIONS)
        .map_err(|error| Error::from_ureq("https", ureq::Error::Rustls(error)))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(verifier) as _);
    let mut config = match certificate {
        None => builder.with_no_client_auth(),
        Some(ClientCertificate { cert, key }) => {
            let chain = certificates(cert)?;
            let bad = |error: String| std::io::Error::other(error);
            let private = PrivateKeyDer::from_pem_file(key)
                .map_err(|error| Error::setup("read the client key", key)(bad(error.to_string())))?;
            builder
                .with_client_auth_cert(chain, private)
                .map_err(|error| Error::setup("use the client certificate", cert)(bad(error.to_string())))?
        }
    };
    config.resumption = Resumption::in_memory_sessions(8);
    Ok(Arc::new(config))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let bad = |error: String| Error::setup("read certificates from", path)(std::io::Error::other(error));
    let list: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| bad(error.to_string()));
    match list {
        Ok(list) if list.is_empty() => Err(bad("it holds no certificate".into())),
        other => other,
    }
}

fn roots_of(path: &Path) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    // A store of many authorities may hold one that is not understood here; the others still count.
    let (usable, _) = roots.add_parsable_certificates(certificates(path)?);
    if usable > 0 {
        return Ok(roots);
    }
    Err(Error::setup("read certificates from", path)(std::io::Error::other(
        "none of them can be an authority",
    )))
}

/// The authorities of the first of `stores` that holds any, or Mozilla's, which this program was built with.
pub(super) fn authorities(stores: &[&str]) -> RootCertStore {
    let system = stores.iter().find_map(|path| roots_of(Path::new(path)).ok());
    system.unwrap_or_else(|| RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() })
}

/// Verifies as webpki does, with the exception of this file's head.
#[derive(Debug)]
struct Verifier {
    inner: Arc<WebPkiServerVerifier>,
    time: Arc<Time>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        mut now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        // Each certificate of the chain may move the time once; it only moves forward, and expiry is judged there.
        for _ in 0..=intermediates.len() {
            match self.inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
                Err(rustls::Error::InvalidCertificate(CertificateError::NotValidYetContext {
                    not_before,
                    ..
                })) if !self.time.now().trusted && not_before > now => now = not_before,
                verdict => return verdict,
            }
        }
        self.inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

impl<In: Transport> Connector<In> for Connect {
    type Out = Either<In, Tls>;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, ureq::Error> {
        let transport = chained.ok_or(ureq::Error::ConnectionFailed)?;
        if !details.needs_tls() || transport.is_tls() {
            return Ok(Some(Either::A(transport)));
        }
        let ours = Origin::of(details.uri).as_ref() == Some(&self.origin);
        let config = if ours { &self.ours } else { &self.others };
        let config = config.as_ref().ok_or(ureq::Error::TlsRequired)?;
        let host = details.uri.host().unwrap_or_default().trim_matches(['[', ']']);
        let name = ServerName::try_from(host).map_err(|_| ureq::Error::Tls("not a host name"))?.to_owned();
        let mut connection = ClientConnection::new(Arc::clone(config), name)?;
        let mut socket = TransportAdapter::new(transport.boxed(), Arc::clone(&details.current_time));
        socket.set_timeout(details.timeout);
        connection.complete_io(&mut socket)?;
        let buffers =
            LazyBuffers::new(details.config.input_buffer_size(), details.config.output_buffer_size());
        Ok(Some(Either::B(Tls { buffers, stream: StreamOwned::new(connection, socket) })))
    }
}

impl fmt::Debug for Connect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connect").field("origin", &self.origin).finish_non_exhaustive()
    }
}

/// A connection inside TLS.
pub(super) struct Tls {
    buffers: LazyBuffers,
    stream: StreamOwned<ClientConnection, TransportAdapter>,
}

impl Transport for Tls {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        self.stream.get_mut().set_timeout(timeout);
        Ok(self.stream.write_all(&self.buffers.output()[..amount])?)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.stream.get_mut().set_timeout(timeout);
        let amount = self.stream.read(self.buffers.input_append_buf())?;
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        self.stream.get_mut().get_mut().is_open()
    }

    fn is_tls(&self) -> bool {
        true
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}
