//! What the service manager is told, where one started this process and listens.
//!
//! Never here: words for people (`say`), though these are read by people too.

use std::ffi::OsStr;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The way to it (sd_notify(3)).
#[derive(Debug, Default)]
pub struct Notify {
    to: Option<(UnixDatagram, SocketAddr)>,
    is_ready: bool,
    status: String,
}

impl Notify {
    /// The one that the environment names; without one nothing is ever told.
    pub fn from_environment() -> Self {
        let to = std::env::var_os("NOTIFY_SOCKET")
            .and_then(|name| Some((UnixDatagram::unbound().ok()?, address(&name)?)));
        Self { to, ..Self::default() }
    }

    /// A turn ended with `status`: the first one makes the service ready, since all the rest is up by then.
    pub fn turned(&mut self, status: &str) {
        let status = status.lines().next().unwrap_or_default();
        if self.is_ready && status == self.status {
            return;
        }
        let ready = if self.is_ready { "" } else { "READY=1\n" };
        self.tell(&format!("{ready}STATUS={status}\n"));
        (self.is_ready, self.status) = (true, status.to_owned());
    }

    fn tell(&self, words: &str) {
        if let Some((socket, address)) = &self.to {
            // Nobody listens any more: then nobody has to be told.
            let _ = socket.send_to_addr(words.as_bytes(), address);
        }
    }
}

/// A path, or after `@` a name that no file system holds.
fn address(name: &OsStr) -> Option<SocketAddr> {
    match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name).ok(),
        _ => SocketAddr::from_pathname(name).ok(),
    }
}
