//! A repository on a real socket of 127.0.0.1; one thread per connection, ends on drop.
//!
//! It answers as a plain static server does, with entity tags or without. `faults` breaks the answers on their way.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tidelock_protocol::digest::Digest;

use super::Repository;

/// A running server.
pub struct Site {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    repository: Mutex<Repository>,
    asked: Mutex<Vec<String>>,
    replies: Mutex<Vec<(String, Reply)>>,
    tagged: AtomicBool,
    ended: AtomicBool,
}

/// What is said instead of the truth.
#[derive(Clone, Debug)]
pub enum Reply {
    /// This status.
    Status(u16),
    /// These bytes, with status 200.
    Bytes(Vec<u8>),
}

impl Site {
    /// Serves `repository`.
    ///
    /// # Panics
    /// When it cannot listen.
    pub fn serve(repository: Repository) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            repository: Mutex::new(repository),
            asked: Mutex::default(),
            replies: Mutex::default(),
            tagged: AtomicBool::new(true),
            ended: AtomicBool::new(false),
        });
        let of_thread = Arc::clone(&shared);
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                if of_thread.ended.load(Ordering::Relaxed) {
                    return;
                }
                let shared = Arc::clone(&of_thread);
                // A client that hangs up is no failure of the server's.
                std::thread::spawn(move || drop(shared.receive(connection)));
            }
        });
        Self { address, shared }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Such as `http://127.0.0.1:40123`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The repository, to be changed between two questions.
    ///
    /// # Panics
    /// When a thread of the server panicked.
    pub fn repository(&self) -> MutexGuard<'_, Repository> {
        self.shared.repository.lock().unwrap()
    }

    /// What was asked so far, such as `2.root` and `timestamp`, targets by their name; 304 is marked `=`. Forgets it.
    ///
    /// # Panics
    /// When a thread of the server panicked.
    pub fn take_asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.shared.asked.lock().unwrap())
    }

    /// From now on paths that contain `part` are answered so.
    ///
    /// # Panics
    /// When a thread of the server panicked.
    pub fn lie(&self, part: &str, reply: Reply) {
        self.shared.replies.lock().unwrap().push((part.to_owned(), reply));
    }

    /// Only the truth again.
    ///
    /// # Panics
    /// When a thread of the server panicked.
    pub fn repent(&self) {
        self.shared.replies.lock().unwrap().clear();
    }

    /// Whether answers carry entity tags, as they do at first.
    pub fn tag(&self, tagged: bool) {
        self.shared.tagged.store(tagged, Ordering::Relaxed);
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        // Wakes the thread that accepts.
        drop(TcpStream::connect(self.address));
    }
}

impl Shared {
    fn receive(&self, connection: TcpStream) -> std::io::Result<()> {
        connection.set_read_timeout(Some(Duration::from_secs(30)))?;
        let mut reader = BufReader::new(connection);
        loop {
            let (mut path, mut tag, mut line) = (String::new(), None, String::new());
            loop {
                line.clear();
                if reader.read_line(&mut line)? == 0 {
                    return Ok(());
                }
                match line.trim_end() {
                    "" => break,
                    line if path.is_empty() => {
                        path = line.split(' ').nth(1).unwrap_or_default().trim_start_matches('/').to_owned();
                    }
                    line => {
                        let header = line.split_once(": ");
                        tag = header
                            .filter(|(name, _)| name.eq_ignore_ascii_case("if-none-match"))
                            .map(|(_, tag)| tag.to_owned())
                            .or(tag);
                    }
                }
            }
            let (status, bytes) = self.answer(&path);
            let etag = format!("\"{}\"", Digest::of(&bytes).short());
            let tagged = status == 200 && self.tagged.load(Ordering::Relaxed);
            let same = tagged && tag.as_deref() == Some(&etag);
            self.asked.lock().unwrap().push(named(&path, same));
            let stream = reader.get_mut();
            if same {
                write!(stream, "HTTP/1.1 304 Not Modified\r\nETag: {etag}\r\n\r\n")?;
                continue;
            }
            let etag = if tagged { format!("ETag: {etag}\r\n") } else { String::new() };
            let head = format!("HTTP/1.1 {status} So\r\n{etag}Content-Length: {}\r\n\r\n", bytes.len());
            // In one piece: of two, the second would wait for the acknowledgement of the first.
            stream.write_all(&[head.as_bytes(), &bytes].concat())?;
        }
    }

    fn answer(&self, path: &str) -> (u16, Vec<u8>) {
        let lie = self.replies.lock().unwrap().iter().rev().find(|(part, _)| path.contains(part)).cloned();
        match lie {
            Some((_, Reply::Status(status))) => (status, b"no\n".to_vec()),
            Some((_, Reply::Bytes(bytes))) => (200, bytes),
            None => match self.repository.lock().unwrap().files.get(path) {
                Some(bytes) => (200, bytes.clone()),
                None => (404, b"not found\n".to_vec()),
            },
        }
    }
}

/// A path as tests write it.
fn named(path: &str, same: bool) -> String {
    let short = match path.strip_prefix("metadata/") {
        Some(file) => file.trim_end_matches(".json"),
        // The digest before the name tells nothing.
        None => path.trim_start_matches("targets/").split_once('.').map_or(path, |(_, name)| name),
    };
    if same { format!("{short}=") } else { short.to_owned() }
}
