//! Requests and answers, one JSON text a line, over a Unix socket: qemu's own monitor, and the agent inside the guest.
//!
//! Never here: what is asked.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{BufRead, BufReader, Error, ErrorKind, Result, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// A conversation.
#[derive(Debug)]
pub(super) struct Talk(BufReader<UnixStream>);

impl Talk {
    /// Speaks to qemu itself.
    pub(super) fn with_qemu(socket: &Path) -> Result<Self> {
        let mut talk = Self::open(socket, Duration::from_secs(60))?;
        talk.line()?;
        talk.ask("qmp_capabilities", json!({}))?;
        Ok(talk)
    }

    /// Speaks to the agent in the guest, which must answer within `patience`; and goes on answering within a minute.
    pub(super) fn with_guest(socket: &Path, patience: Duration) -> Result<Self> {
        let mut talk = Self::open(socket, patience)?;
        // Answers to whoever spoke before may still be on their way: ours begin with this number.
        let number = RandomState::new().build_hasher().finish() >> 16;
        talk.say("guest-sync", json!({ "id": number }))?;
        while talk.line()?["return"] != number {}
        talk.0.get_ref().set_read_timeout(Some(Duration::from_secs(60)))?;
        Ok(talk)
    }

    fn open(socket: &Path, patience: Duration) -> Result<Self> {
        let stream = connect(socket)?;
        stream.set_read_timeout(Some(patience))?;
        Ok(Self(BufReader::new(stream)))
    }

    /// What comes back for a request.
    pub(super) fn ask(&mut self, request: &str, arguments: Value) -> Result<Value> {
        self.say(request, arguments)?;
        loop {
            let mut answer = self.line()?;
            if let Some(error) = answer.get("error") {
                return Err(Error::other(format!("{request}: {error}")));
            }
            // Everything else is an event.
            if let Some(found) = answer.get_mut("return") {
                return Ok(found.take());
            }
        }
    }

    fn say(&mut self, request: &str, arguments: Value) -> Result<()> {
        let request = json!({ "execute": request, "arguments": arguments });
        self.0.get_mut().write_all(format!("{request}\n").as_bytes())
    }

    fn line(&mut self) -> Result<Value> {
        let mut line = String::new();
        if self.0.read_line(&mut line)? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        serde_json::from_str(&line).map_err(Error::other)
    }
}

/// The name of a socket is there a moment before anybody listens.
fn connect(socket: &Path) -> Result<UnixStream> {
    let end = Instant::now() + Duration::from_secs(5);
    loop {
        match UnixStream::connect(socket) {
            Err(error) if error.kind() == ErrorKind::ConnectionRefused && Instant::now() < end => {
                std::thread::sleep(Duration::from_millis(20));
            }
            connected => return connected,
        }
    }
}
