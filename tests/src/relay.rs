//! A wire between a device and its server: bytes pass as they are, are counted, and stop where a test says so.
//!
//! Never here: HTTP or TLS (`faults` breaks answers; this breaks the wire below them). Ends on drop.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A running relay on 127.0.0.1.
pub struct Relay {
    address: SocketAddr,
    wire: Arc<Wire>,
}

struct Wire {
    upstream: Mutex<SocketAddr>,
    up: AtomicU64,
    down: AtomicU64,
    /// How many bytes may have come down in all before the wire falls silent.
    silent_at: AtomicU64,
    ended: AtomicBool,
    open: Mutex<Vec<TcpStream>>,
}

impl Relay {
    /// A relay to `upstream`.
    ///
    /// # Panics
    /// When it cannot listen.
    pub fn to(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let wire = Arc::new(Wire {
            upstream: Mutex::new(upstream),
            up: AtomicU64::new(0),
            down: AtomicU64::new(0),
            silent_at: AtomicU64::new(u64::MAX),
            ended: AtomicBool::new(false),
            open: Mutex::new(Vec::new()),
        });
        let of_thread = Arc::clone(&wire);
        std::thread::spawn(move || {
            for device in listener.incoming().flatten() {
                if of_thread.ended.load(Ordering::Relaxed) {
                    return;
                }
                of_thread.connect(device);
            }
        });
        Self { address, wire }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Leads somewhere else from the next connection on.
    ///
    /// # Panics
    /// When a thread of the relay panicked.
    pub fn lead_to(&self, upstream: SocketAddr) {
        *self.wire.upstream.lock().unwrap() = upstream;
    }

    /// Bytes that came down to devices so far.
    pub fn down(&self) -> u64 {
        self.wire.down.load(Ordering::Relaxed)
    }

    /// Bytes that went up to the server so far.
    pub fn up(&self) -> u64 {
        self.wire.up.load(Ordering::Relaxed)
    }

    /// After `bytes` more nothing comes down, and connections stay open.
    pub fn fall_silent_after(&self, bytes: u64) {
        self.wire.silent_at.store(self.down() + bytes, Ordering::Relaxed);
    }

    /// Whether the point of silence was reached.
    pub fn is_silent(&self) -> bool {
        self.down() >= self.wire.silent_at.load(Ordering::Relaxed)
    }

    /// Bytes pass again.
    pub fn speak(&self) {
        self.wire.silent_at.store(u64::MAX, Ordering::Relaxed);
    }

    /// Breaks every connection that is open now.
    ///
    /// # Panics
    /// When a thread of the relay panicked.
    pub fn cut(&self) {
        for connection in self.wire.open.lock().unwrap().drain(..) {
            drop(connection.shutdown(Shutdown::Both));
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.wire.ended.store(true, Ordering::Relaxed);
        self.cut();
        // Wakes the thread that accepts.
        drop(TcpStream::connect(self.address));
    }
}

impl Wire {
    /// Joins a device to the server; when the server is down the device sees a connection that ends at once.
    fn connect(self: &Arc<Self>, device: TcpStream) {
        let upstream = *self.upstream.lock().unwrap();
        let Ok(server) = TcpStream::connect(upstream) else { return };
        let ends = [device.try_clone(), device.try_clone(), server.try_clone(), server.try_clone()];
        let [Ok(from_device), Ok(to_device), Ok(from_server), Ok(to_server)] = ends else { return };
        self.open.lock().unwrap().extend([device, server]);
        let (up, down) = (Arc::clone(self), Arc::clone(self));
        std::thread::spawn(move || up.pass(from_device, to_server, &up.up, &AtomicU64::new(u64::MAX)));
        std::thread::spawn(move || down.pass(from_server, to_device, &down.down, &down.silent_at));
    }

    fn pass(&self, mut from: TcpStream, mut to: TcpStream, passed: &AtomicU64, silent_at: &AtomicU64) {
        let mut chunk = [0; 16 * 1024];
        while !self.ended.load(Ordering::Relaxed) {
            let left = silent_at.load(Ordering::Relaxed).saturating_sub(passed.load(Ordering::Relaxed));
            let size = usize::try_from(left).unwrap_or(usize::MAX).min(chunk.len());
            if size == 0 {
                std::thread::sleep(Duration::from_millis(5));
                continue;
            }
            match from.read(&mut chunk[..size]) {
                Ok(read) if read > 0 => {
                    passed.fetch_add(read as u64, Ordering::Relaxed);
                    if to.write_all(&chunk[..read]).is_err() {
                        break;
                    }
                }
                _ => break,
            }
        }
        drop(to.shutdown(Shutdown::Write));
        drop(from.shutdown(Shutdown::Read));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that sends `bytes` to whoever connects.
    fn server(bytes: Vec<u8>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten().take(2) {
                drop((&client).write_all(&bytes));
            }
        });
        address
    }

    #[test]
    fn the_wire_falls_silent_where_it_is_told_and_speaks_again() {
        let relay = Relay::to(server(vec![7; 100_000]));
        relay.fall_silent_after(60_000);
        let mut device = TcpStream::connect(relay.address()).unwrap();
        device.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        let mut said = Vec::new();
        assert_eq!(device.read_to_end(&mut said).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
        assert_eq!((said.len(), relay.down(), relay.is_silent()), (60_000, 60_000, true));
        relay.speak();
        device.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        device.read_to_end(&mut said).unwrap();
        assert_eq!((said.len(), relay.down()), (100_000, 100_000));
    }

    #[test]
    fn a_cut_breaks_open_connections_and_not_the_next_one() {
        let relay = Relay::to(server(vec![7; 100_000]));
        relay.fall_silent_after(10);
        let mut device = TcpStream::connect(relay.address()).unwrap();
        let mut first = [0; 10];
        device.read_exact(&mut first).unwrap();
        relay.cut();
        let mut rest = Vec::new();
        drop(device.read_to_end(&mut rest));
        assert!(rest.is_empty());
        relay.speak();
        let mut said = Vec::new();
        TcpStream::connect(relay.address()).unwrap().read_to_end(&mut said).unwrap();
        assert_eq!(said.len(), 100_000);
    }
}
