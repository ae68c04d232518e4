//! What the service manager hears of the daemon: that it is ready, what it is doing, that it still goes on.
//!
//! One per process, like the log. Fed from where the main loop comes by (each step, each piece of a wait, each block),
//! never by a thread of its own, which would go on when the loop hangs. Never here: what is said.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use super::clock;

static VOICE: OnceLock<Voice> = OnceLock::new();

/// The longest that a wait lasts in one piece when nobody watches.
const UNWATCHED: Duration = Duration::from_secs(24 * 3600);
/// systemd keeps about as much of a status.
const STATUS_BYTES: usize = 1024;

struct Voice {
    socket: UnixDatagram,
    manager: SocketAddr,
    /// Time between two signs of life, where the manager waits for any.
    watchdog: Option<Duration>,
    /// When the last one was sent, since boot.
    fed: Mutex<Duration>,
    said: Mutex<String>,
}

/// Speaks to whoever `NOTIFY_SOCKET` names from now on; without one, to nobody.
pub fn begin() {
    if let Ok(Some(voice)) = Voice::of_environment() {
        // A second call finds the first voice in place.
        let _ = VOICE.set(voice);
    }
}

/// The service is up.
pub fn ready() {
    tell("READY=1");
}

/// The service ends because it was asked to.
pub fn stopping() {
    tell("STOPPING=1");
}

/// What the service is doing, in plain words on one line; told when it changed.
pub fn status(text: &str) {
    let Some(voice) = VOICE.get() else { return };
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let mut end = line.len().min(STATUS_BYTES);
    while !line.is_char_boundary(end) {
        end -= 1;
    }
    let Ok(mut said) = voice.said.lock() else { return };
    if *said != line[..end] {
        line[..end].clone_into(&mut said);
        voice.send(&format!("STATUS={said}"));
    }
}

/// A sign of life from the main loop; sent when one is due.
pub fn alive() {
    let Some(voice) = VOICE.get() else { return };
    let Some(watchdog) = voice.watchdog else { return };
    let now = clock::since_boot();
    let Ok(mut fed) = voice.fed.lock() else { return };
    if now.saturating_sub(*fed) >= watchdog / 4 {
        *fed = now;
        voice.send("WATCHDOG=1");
    }
}

/// The longest that a wait may last without a sign of life.
pub fn piece() -> Duration {
    VOICE.get().and_then(|voice| voice.watchdog).map_or(UNWATCHED, |watchdog| watchdog / 3)
}

fn tell(state: &str) {
    if let Some(voice) = VOICE.get() {
        voice.send(state);
    }
}

impl Voice {
    fn of_environment() -> io::Result<Option<Self>> {
        let Some(place) = std::env::var_os("NOTIFY_SOCKET") else { return Ok(None) };
        let mine = |pid: String| pid.parse() == Ok(std::process::id());
        let watched = std::env::var("WATCHDOG_PID").map_or(true, mine);
        let micros = std::env::var("WATCHDOG_USEC").ok().and_then(|micros| micros.parse().ok());
        let watchdog = micros.filter(|micros| watched && *micros > 0).map(Duration::from_micros);
        Self::to(place.as_bytes(), watchdog).map(Some)
    }

    /// `place`: a path, or `@` and an abstract name.
    fn to(place: &[u8], watchdog: Option<Duration>) -> io::Result<Self> {
        let manager = match place.strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(place))?,
        };
        let socket = UnixDatagram::unbound()?;
        // Nobody who fails to listen may keep the agent waiting.
        socket.set_nonblocking(true)?;
        Ok(Self { socket, manager, watchdog, fed: Mutex::default(), said: Mutex::default() })
    }

    fn send(&self, state: &str) {
        // A sign that gets lost is followed by others; a manager that hears none of them acts.
        let _ = self.socket.send_to_addr(state.as_bytes(), &self.manager);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::room::Room;

    fn heard(listener: &UnixDatagram) -> String {
        let mut buffer = [0; 4096];
        let read = listener.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..read]).into_owned()
    }

    #[test]
    fn a_manager_is_reached_by_path_and_by_abstract_name() {
        let room = Room::new();
        let path = room.path().join("notify");
        let listener = UnixDatagram::bind(&path).unwrap();
        Voice::to(path.as_os_str().as_bytes(), None).unwrap().send("READY=1");
        assert_eq!(heard(&listener), "READY=1");
        let name = format!("tidelock-{}", room.path().display());
        let address = SocketAddr::from_abstract_name(name.as_bytes()).unwrap();
        let listener = UnixDatagram::bind_addr(&address).unwrap();
        Voice::to(format!("@{name}").as_bytes(), None).unwrap().send("STATUS=x");
        assert_eq!(heard(&listener), "STATUS=x");
    }

    #[test]
    fn nobody_who_listens_costs_nothing() {
        let room = Room::new();
        let gone = room.path().join("gone");
        Voice::to(gone.as_os_str().as_bytes(), Some(Duration::from_secs(1))).unwrap().send("WATCHDOG=1");
        status("no voice was begun in this process");
        alive();
        assert_eq!(piece(), UNWATCHED);
    }
}
