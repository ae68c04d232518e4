//! The publisher's own web room, serving a tree inside the test's process.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::mpsc;
use std::thread::JoinHandle;

use tidelock_server::web::{Certificate, Error, Limits, Options, Web};
use tokio::sync::oneshot;

use crate::authority::Pair;

/// A running server; ends on drop.
pub struct Served {
    url: String,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Served {
    /// Serves `root` on a free port of 127.0.0.1; with a certificate by HTTPS.
    ///
    /// # Errors
    /// What the web room says.
    ///
    /// # Panics
    /// When the runtime cannot be made.
    pub fn start(root: &Path, certificate: Option<&Pair>) -> Result<Self, Error> {
        let certificate =
            certificate.map(|pair| Certificate { chain: pair.chain.clone(), key: pair.key.clone() });
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let options =
            Options { root: root.to_owned(), listen, certificate, limits: Limits::default(), desk: None };
        let (stop, stopped) = oneshot::channel();
        let (tell, told) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let mut runtime = tokio::runtime::Builder::new_multi_thread();
            runtime.worker_threads(2).enable_all().build().unwrap().block_on(async {
                match Web::bind(options).await {
                    Err(error) => tell.send(Err(error)).unwrap(),
                    Ok(web) => {
                        tell.send(Ok(web.url())).unwrap();
                        web.run(async { drop(stopped.await) }).await;
                    }
                }
            });
        });
        Ok(Self { url: told.recv().unwrap()?, stop: Some(stop), thread: Some(thread) })
    }

    /// Such as `http://127.0.0.1:40123`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Where it listens.
    ///
    /// # Panics
    /// Never: the URL is made of it.
    pub fn address(&self) -> SocketAddr {
        self.url.rsplit('/').next().unwrap().parse().unwrap()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}
