//! The listening socket and its connections: how many, how they end, and how all of them end.
//!
//! Never here: what is answered.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio_rustls::TlsAcceptor;

use super::api::Asked;
use super::patience::Patient;
use super::{Error, Limits, Options, router, tls};

/// A request's head: what a device sends has 8 lines and 400 bytes.
const HEADERS: usize = 32;
const HEAD_BYTES: usize = 16 * 1024;
/// Between two looks for a free place when all are taken.
const CROWDED: Duration = Duration::from_millis(20);

/// A listening server of a published tree.
pub struct Web {
    listener: TcpListener,
    address: SocketAddr,
    tls: Option<tls::Tls>,
    router: Router,
    limits: Limits,
}

impl Web {
    /// Takes the address and reads the certificate. Connections wait in the kernel's queue until [`Web::run`].
    ///
    /// # Errors
    /// When the address cannot be had or the certificate cannot be used.
    pub async fn bind(options: Options) -> Result<Self, Error> {
        let Options { root, listen, certificate, limits, desk } = options;
        let tls = certificate.map(tls::Tls::new).transpose().map_err(Error::Certificate)?;
        let failed = |source| Error::Listen { address: listen, source };
        let listener = TcpListener::bind(listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address, tls, router: router(Path::new(&root), desk), limits })
    }

    /// Where it listens, such as `https://127.0.0.1:8443`.
    pub fn url(&self) -> String {
        format!("{}://{}", if self.tls.is_some() { "https" } else { "http" }, self.address)
    }

    /// Answers until `stop` is ready; then lets answers under way end, and returns.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let (farewell, ended) = watch::channel(());
        let house = Arc::new(House {
            acceptor: self.tls.as_ref().map(tls::Tls::acceptor),
            service: TowerToHyperService::new(self.router),
            limits: self.limits,
            crowded: Notify::new(),
            ended,
        });
        let slots = Arc::new(Semaphore::new(self.limits.connections));
        let mut stop = pin!(stop);
        let renewal = async {
            match &self.tls {
                Some(tls) => tls.keep_current().await,
                None => std::future::pending().await,
            }
        };
        let mut renewal = pin!(renewal);
        loop {
            let next = admit(&self.listener, &slots, &house);
            tokio::select! {
                () = &mut stop => break,
                () = &mut renewal => break,
                (connection, slot) = next => {
                    let house = Arc::clone(&house);
                    tokio::spawn(async move { house.receive(connection, slot).await });
                }
            }
        }
        drop(self.listener);
        drop(house);
        farewell.send_replace(());
        // Every connection holds a receiver of `farewell` until it has ended.
        drop(tokio::time::timeout(self.limits.farewell, farewell.closed()).await);
    }
}

/// How many connections this process can hold: each may need a socket and a file. Raises the process' own limit of open
/// files to what the system allows it.
pub(super) fn affordable() -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    const MOST: u64 = 4096;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = maximum.unwrap_or(u64::MAX).min(2 * MOST + 256);
    if current.is_some_and(|current| current < wanted)
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum })
    {
        log::warn!("cannot raise the number of open files to {wanted}: {error}");
    }
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from((files.saturating_sub(256) / 2).clamp(16, MOST)).unwrap_or(16)
}

/// The next connection, once there is room for it.
async fn admit(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
    house: &House,
) -> (TcpStream, OwnedSemaphorePermit) {
    loop {
        let Ok(slot) = Arc::clone(slots).try_acquire_owned() else {
            house.crowded.notify_waiters();
            tokio::time::sleep(CROWDED).await;
            continue;
        };
        match listener.accept().await {
            Ok((connection, _)) => return (connection, slot),
            Err(error) if is_of_the_client(&error) => {}
            Err(error) => {
                log::warn!("cannot accept a connection: {error}");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

/// Whether accepting failed because the client was gone already.
fn is_of_the_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

/// What all connections share.
struct House {
    acceptor: Option<TlsAcceptor>,
    service: TowerToHyperService<Router>,
    limits: Limits,
    /// Somebody waits for a place: who rests is asked to leave.
    crowded: Notify,
    /// Changes when everybody has to leave.
    ended: watch::Receiver<()>,
}

impl House {
    async fn receive(&self, connection: TcpStream, slot: OwnedSemaphorePermit) {
        // An answer is one write; waiting for more to send would only delay it.
        drop(connection.set_nodelay(true));
        let asked = Arc::new(AtomicBool::new(false));
        let body = Asked::default();
        let connection = Patient::new(connection, self.limits, Arc::clone(&asked), Arc::clone(&body.0));
        match &self.acceptor {
            None => self.talk(connection, asked, body).await,
            Some(acceptor) => match acceptor.accept(connection).await {
                Ok(connection) => self.talk(connection, asked, body).await,
                Err(error) => log::debug!("TLS handshake failed: {error}"),
            },
        }
        drop(slot);
    }

    async fn talk(
        &self,
        connection: impl AsyncRead + AsyncWrite + Unpin,
        asked: Arc<AtomicBool>,
        body: Asked,
    ) {
        let served = AtomicBool::new(false);
        let service = service_fn(|mut request: Request<Incoming>| {
            request.extensions_mut().insert(body.clone());
            asked.store(true, Ordering::Relaxed);
            served.store(true, Ordering::Relaxed);
            let answer = self.service.call(request);
            async move { Ok::<_, Infallible>(answer.await.unwrap_or_else(|never| match never {})) }
        });
        let talk = http1::Builder::new()
            .header_read_timeout(None)
            .max_headers(HEADERS)
            .max_buf_size(HEAD_BYTES)
            .serve_connection(TokioIo::new(connection), service);
        let mut talk = pin!(talk);
        let mut ended = self.ended.clone();
        loop {
            tokio::select! {
                outcome = &mut talk => {
                    if let Err(error) = outcome {
                        log::debug!("a connection ended: {error}");
                    }
                    return;
                }
                () = self.crowded.notified() => {
                    // Who has not asked yet is given the time of a head to do so.
                    if served.load(Ordering::Relaxed) {
                        talk.as_mut().graceful_shutdown();
                    }
                }
                _ = ended.changed() => {
                    talk.as_mut().graceful_shutdown();
                    drop(talk.await);
                    return;
                }
            }
        }
    }
}
