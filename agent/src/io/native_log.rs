//! Log lines with fields, as the journal of systemd takes them from programs that speak its own protocol.
//!
//! Never here: what is logged, or at which level.

use std::io;
use std::os::unix::net::UnixDatagram;

use rustix::fs::fstat;

/// Where the journal listens.
const SOCKET: &str = "/run/systemd/journal/socket";

/// The journal that this process's standard error leads to.
#[derive(Debug)]
pub struct NativeLog {
    socket: UnixDatagram,
}

/// Whether standard error leads to the journal: then lines on it may begin with their priority.
pub fn is_stderr() -> bool {
    let Ok(told) = std::env::var("JOURNAL_STREAM") else { return false };
    fstat(io::stderr()).is_ok_and(|file| told == format!("{}:{}", file.st_dev, file.st_ino))
}

impl NativeLog {
    /// Connects to the journal.
    ///
    /// # Errors
    /// There is none.
    pub fn connect() -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.connect(SOCKET)?;
        Ok(Self { socket })
    }

    /// Sends one entry; `fields` are names in capitals, and values.
    ///
    /// # Errors
    /// The journal is away, or the entry too long for one datagram.
    pub fn send(&self, priority: u8, message: &str, fields: &[(String, String)]) -> io::Result<()> {
        let mut entry = format!("PRIORITY={priority}\nSYSLOG_IDENTIFIER=tidelock\n").into_bytes();
        field(&mut entry, "MESSAGE", message);
        fields.iter().for_each(|(name, value)| field(&mut entry, name, value));
        self.socket.send(&entry).map(drop)
    }
}

/// `NAME=value`, or, for a value of several lines, the name, its length in eight bytes, and the value.
fn field(entry: &mut Vec<u8>, name: &str, value: &str) {
    entry.extend_from_slice(name.as_bytes());
    if value.contains('\n') {
        entry.push(b'\n');
        entry.extend_from_slice(&u64::try_from(value.len()).unwrap_or(0).to_le_bytes());
    } else {
        entry.push(b'=');
    }
    entry.extend_from_slice(value.as_bytes());
    entry.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_of_several_lines_cannot_forge_a_field() {
        let mut entry = Vec::new();
        field(&mut entry, "MESSAGE", "one\nPRIORITY=0");
        field(&mut entry, "TIDELOCK_APP", "web");
        assert_eq!(entry, b"MESSAGE\n\x0e\0\0\0\0\0\0\0one\nPRIORITY=0\nTIDELOCK_APP=web\n");
    }

    #[test]
    fn an_entry_is_one_datagram() {
        let (socket, journal) = UnixDatagram::pair().unwrap();
        NativeLog { socket }.send(4, "words", &[("TIDELOCK_REASON".into(), "disk".into())]).unwrap();
        let mut buffer = [0; 200];
        let read = journal.recv(&mut buffer).unwrap();
        let entry = "PRIORITY=4\nSYSLOG_IDENTIFIER=tidelock\nMESSAGE=words\nTIDELOCK_REASON=disk\n";
        assert_eq!(std::str::from_utf8(&buffer[..read]).unwrap(), entry);
    }
}
