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
        while let Some(question) = Question::read(&mut reader)? {
            let (mut status, mut bytes) = self.answer(&question.path);
            let etag = format!("\"{}\"", Digest::of(&bytes).short());
            let tagged = status == 200 && self.tagged.load(Ordering::Relaxed);
            let same = tagged && question.tag.as_deref() == Some(&etag);
            self.asked.lock().unwrap().push(named(&question.path, same));
            let mut lines = if tagged { format!("ETag: {etag}\r\n") } else { String::new() };
            if same {
                (status, bytes) = (304, Vec::new());
            } else if let (200, Some((first, last))) = (status, question.range) {
                status = if first < bytes.len() { 206 } else { 416 };
                let last = last.min(bytes.len().saturating_sub(1));
                lines += &format!("Content-Range: bytes {first}-{last}/{}\r\n", bytes.len());
                bytes = bytes.get(first..=last).unwrap_or_default().to_vec();
            }
            if !same {
                lines += &format!("Content-Length: {}\r\n", bytes.len());
            }
            // In one piece: of two, the second would wait for the acknowledgement of the first.
            let head = format!("HTTP/1.1 {status} So\r\n{lines}\r\n");
            reader.get_mut().write_all(&[head.as_bytes(), &bytes].concat())?;
            if question.last {
                break;
            }
        }
        Ok(())
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

/// A request, as far as a static server cares.
#[derive(Default)]
struct Question {
    path: String,
    tag: Option<String>,
    range: Option<(usize, usize)>,
    /// The client wants the connection closed after it.
    last: bool,
}

impl Question {
    /// `None` at the end of the connection.
    fn read(from: &mut impl BufRead) -> std::io::Result<Option<Self>> {
        let (mut question, mut line) = (Self::default(), String::new());
        loop {
            line.clear();
            if from.read_line(&mut line)? == 0 {
                return Ok(None);
            }
            let header =
                line.trim_end().split_once(": ").map(|(name, value)| (name.to_ascii_lowercase(), value));
            match header.as_ref().map(|(name, value)| (name.as_str(), *value)) {
                Some(("if-none-match", tag)) => question.tag = Some(tag.to_owned()),
                Some(("connection", word)) => question.last = word.eq_ignore_ascii_case("close"),
                Some(("range", range)) => {
                    let range = range.trim_start_matches("bytes=").split_once('-');
                    question.range =
                        range.and_then(|(first, last)| Some((first.parse().ok()?, last.parse().ok()?)));
                }
                Some(_) => {}
                None if line.trim_end().is_empty() => return Ok(Some(question)),
                None => {
                    question.path =
                        line.split(' ').nth(1).unwrap_or_default().trim_start_matches('/').to_owned()
                }
            }
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
