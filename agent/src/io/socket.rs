//! Questions of local programs, over HTTP on a Unix socket: one at a time, each bounded in bytes and time.
//!
//! Never here: what is answered, or anything that changes something.

use std::fs::{File, Permissions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use super::{clock, user};

/// The name of the socket in the runtime directory.
pub const NAME: &str = "status.sock";
/// Who may ask besides the agent itself, where the machine has such a group.
const GROUP: &str = "tidelock";
/// Longest question: request line and headers.
const LONGEST: usize = 4096;
/// Time that a client has to ask, and again to take the answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// After the system refused a connection, such as for want of descriptors.
const AFTER_ERROR: Duration = Duration::from_secs(1);
/// Enough for a report; the default would be eight megabytes of address space.
const STACK: usize = 256 * 1024;

/// What is answered: the type of the content, and the content.
pub type Answer = (&'static str, String);

/// Answers questions at [`NAME`] in `directory` for as long as the process lives. `answer` gets the path that is asked
/// for; none: there is no such path.
///
/// # Errors
/// The socket cannot be made.
pub fn serve(
    directory: &Path,
    answer: impl Fn(&str) -> Option<Result<Answer, String>> + Send + 'static,
) -> io::Result<()> {
    let path = directory.join(NAME);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // The address of a socket is short; the name of a directory need not be.
    let handle = File::open(directory)?;
    let listener = UnixListener::bind(format!("/proc/self/fd/{}/{NAME}", handle.as_raw_fd()))?;
    if let (true, Some(group)) = (user::is_root(), user::group(GROUP)?) {
        chown(&path, None, Some(group))?;
    }
    std::fs::set_permissions(&path, Permissions::from_mode(0o660))?;
    let ask = move || {
        for client in listener.incoming() {
            match client {
                // A client that goes away has its answer.
                Ok(mut client) => drop(converse(&mut client, &answer)),
                Err(_) => std::thread::sleep(AFTER_ERROR),
            }
        }
    };
    std::thread::Builder::new().name("socket".into()).stack_size(STACK).spawn(ask).map(drop)
}

fn converse(
    client: &mut UnixStream,
    answer: &impl Fn(&str) -> Option<Result<Answer, String>>,
) -> io::Result<()> {
    client.set_write_timeout(Some(PATIENCE))?;
    let (status, (kind, body)) = match question(client)?.as_deref().map(path_of) {
        None => {
            ("431 Request Header Fields Too Large", plain("the question is too long, or came too slowly"))
        }
        Some(Err(status)) => (status, plain("only GET /status and GET /metrics are answered")),
        Some(Ok(path)) => match answer(path) {
            None => ("404 Not Found", plain("there are /status and /metrics")),
            Some(Err(problem)) => ("500 Internal Server Error", plain(&problem)),
            Some(Ok(answer)) => ("200 OK", answer),
        },
    };
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nCache-Control: no-store\r\n\
         Connection: close\r\n\r\n"
    );
    client.write_all(head.as_bytes())?;
    client.write_all(body.as_bytes())
}

/// The question up to its empty line; none when it is too long or comes too slowly.
fn question(client: &mut UnixStream) -> io::Result<Option<Vec<u8>>> {
    let until = clock::since_boot() + PATIENCE;
    let (mut asked, mut part) = (Vec::new(), [0; 1024]);
    while !asked.windows(4).any(|end| end == b"\r\n\r\n") {
        let left = until.saturating_sub(clock::since_boot());
        if left.is_zero() || asked.len() > LONGEST {
            return Ok(None);
        }
        client.set_read_timeout(Some(left))?;
        match client.read(&mut part) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(read) => asked.extend_from_slice(&part[..read]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return Ok(None);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Some(asked))
}

/// The path that is asked for, or the status that says why there is no answer.
fn path_of(asked: &[u8]) -> Result<&str, &'static str> {
    let line = asked.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let words: Vec<&str> = std::str::from_utf8(line).unwrap_or_default().split(' ').collect();
    match words[..] {
        ["GET", path, "HTTP/1.0" | "HTTP/1.1"] => Ok(path.split('?').next().unwrap_or_default()),
        [_, _, "HTTP/1.0" | "HTTP/1.1"] => Err("405 Method Not Allowed"),
        _ => Err("400 Bad Request"),
    }
}

fn plain(text: &str) -> Answer {
    ("text/plain; charset=utf-8", format!("{text}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::room::Room;

    fn ask(room: &Room, question: &[u8]) -> String {
        let handle = File::open(room.path()).unwrap();
        let path = format!("/proc/self/fd/{}/{NAME}", handle.as_raw_fd());
        let mut client = UnixStream::connect(path).unwrap();
        let _ = client.write_all(question);
        let mut said = String::new();
        let _ = client.read_to_string(&mut said);
        said
    }

    #[test]
    fn a_question_is_answered_and_everything_else_is_said_to_be_wrong() {
        let room = Room::new();
        std::fs::write(room.path().join(NAME), "left by an earlier process").unwrap();
        let answer = |path: &str| match path {
            "/status" => Some(Ok(("application/json", "{}".to_owned()))),
            "/broken" => Some(Err("the disk is gone".to_owned())),
            _ => None,
        };
        serve(room.path(), answer).unwrap();
        let mode = room.path().join(NAME).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o660);
        let said = ask(&room, b"GET /status?x HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert!(
            said.starts_with("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n")
        );
        assert!(said.ends_with("\r\n\r\n{}"), "{said}");
        for (question, status) in [
            (&b"GET /nothing HTTP/1.1\r\n\r\n"[..], "404"),
            (b"GET /broken HTTP/1.0\r\n\r\n", "500"),
            (b"POST /status HTTP/1.1\r\n\r\n", "405"),
            (b"GET /status\r\n\r\n", "400"),
            (b"\xff\xff\r\n\r\n", "400"),
            (&[b'x'; 9000], "431"),
        ] {
            let said = ask(&room, question);
            // A client that still writes while it is told so may lose the answer.
            assert!(said.starts_with(&format!("HTTP/1.1 {status} ")) || said.is_empty(), "{said}");
        }
        let silent = UnixStream::connect(room.path().join(NAME));
        assert!(
            ask(&room, b"GET /status HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 200"),
            "one after the other"
        );
        drop(silent);
    }
}
