//! The disk for a virtual machine: an NBD server on a unix socket, for one client after the other.
//!
//! FLUSH and FUA are offered, TRIM and WRITE_ZEROES are not: the client then writes its zeroes. Never here: what a cut
//! loses; whoever kills the client says that to the disk.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread::JoinHandle;
use std::time::Duration;

use super::disk::{Operation, Shared, locked};

const FLAGS: u16 = 1 | 4 | 8;
/// No client asks for more at once (qemu: 32 MiB).
const LONGEST: u32 = 64 << 20;

/// A running server; ends on drop.
#[derive(Debug)]
pub struct Server {
    stop: Arc<AtomicBool>,
    ended: Receiver<Ended>,
    thread: Option<JoinHandle<()>>,
}

/// How a client went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It said good-bye; what it wrote was flushed.
    Well,
    /// It is gone: the power was cut. What it wrote since its last flush is pending.
    Cut,
}

impl Server {
    /// Serves `disk` at the path `socket`, which must not exist.
    ///
    /// # Panics
    /// When the socket cannot be made.
    pub fn start(disk: Shared, socket: &Path) -> Self {
        let listener = UnixListener::bind(socket).unwrap();
        listener.set_nonblocking(true).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let (tell, ended) = mpsc::channel();
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((stream, _)) => drop(tell.send(serve(&disk, stream, &stopped))),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        std::thread::sleep(Duration::from_millis(10));
                    }
                    Err(error) => panic!("cannot accept: {error}"),
                }
            }
        });
        Self { stop, ended, thread: Some(thread) }
    }

    /// Waits until the client is gone, at most `longest`.
    ///
    /// # Panics
    /// When it is not by then.
    pub fn ended(&self, longest: Duration) -> Ended {
        self.ended.recv_timeout(longest).expect("the client of the disk ends")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn serve(disk: &Shared, stream: UnixStream, stop: &AtomicBool) -> Ended {
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let mut wire = Wire { stream, stop };
    let size = locked(disk).size();
    let served =
        negotiate(&mut wire, size).and_then(|agreed| if agreed { obey(&mut wire, disk) } else { Ok(()) });
    if served.is_err() {
        return Ended::Cut;
    }
    locked(disk).flush().unwrap();
    Ended::Well
}

/// The handshake; false when the client only wanted to look.
fn negotiate(wire: &mut Wire<'_>, size: u64) -> io::Result<bool> {
    wire.send(&[b"NBDMAGIC", b"IHAVEOPT", &3_u16.to_be_bytes()])?;
    let plain = u32::from_be_bytes(wire.take()?) & 2 == 0;
    loop {
        wire.take::<8>()?;
        let option = u32::from_be_bytes(wire.take()?);
        let length = u32::from_be_bytes(wire.take()?);
        wire.bytes(length)?;
        let export = [&size.to_be_bytes()[..], &FLAGS.to_be_bytes()].concat();
        match option {
            // EXPORT_NAME, whose answer is padded for a client that did not agree to do without.
            1 => {
                let zeroes = if plain { &[0; 124][..] } else { &[] };
                wire.send(&[&export, zeroes])?;
                return Ok(true);
            }
            2 => {
                wire.reply(option, 1, &[])?;
                return Ok(false);
            }
            // INFO and GO.
            6 | 7 => {
                wire.reply(option, 3, &[&0_u16.to_be_bytes()[..], &export].concat())?;
                wire.reply(option, 1, &[])?;
                if option == 7 {
                    return Ok(true);
                }
            }
            _ => wire.reply(option, 0x8000_0001, &[])?,
        }
    }
}

fn obey(wire: &mut Wire<'_>, disk: &Shared) -> io::Result<()> {
    loop {
        wire.take::<4>()?;
        let through = u16::from_be_bytes(wire.take()?) & 1 == 1;
        let command = u16::from_be_bytes(wire.take()?);
        let cookie: [u8; 8] = wire.take()?;
        let offset = u64::from_be_bytes(wire.take()?);
        let length = u32::from_be_bytes(wire.take()?);
        let mut body = Vec::new();
        let done = match command {
            0 if length <= LONGEST => {
                body.resize(usize::try_from(length).unwrap(), 0);
                locked(disk).read(offset, &mut body)
            }
            1 => {
                let bytes = wire.bytes(length)?.into();
                let write = if through { Operation::WriteThrough } else { Operation::Write };
                locked(disk).perform(write(offset, bytes))
            }
            2 => return Ok(()),
            3 => locked(disk).flush(),
            _ => Err(ErrorKind::InvalidInput.into()),
        };
        let error: u32 = match done {
            Ok(()) => 0,
            Err(error) if error.kind() == ErrorKind::InvalidInput => 22,
            Err(_) => 5,
        };
        let body = if error == 0 { &body[..] } else { &[] };
        wire.send(&[&0x6744_6698_u32.to_be_bytes(), &error.to_be_bytes(), &cookie, body])?;
    }
}

/// A connection whose reads end when the server is to stop.
struct Wire<'a> {
    stream: UnixStream,
    stop: &'a AtomicBool,
}

impl Wire<'_> {
    fn fill(&mut self, mut bytes: &mut [u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.stream.read(bytes) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => bytes = &mut bytes[count..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if self.stop.load(Ordering::Relaxed) {
                        return Err(error);
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn take<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn bytes(&mut self, length: u32) -> io::Result<Vec<u8>> {
        if length > LONGEST {
            return Err(ErrorKind::InvalidData.into());
        }
        let mut bytes = vec![0; usize::try_from(length).unwrap()];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn send(&mut self, parts: &[&[u8]]) -> io::Result<()> {
        self.stream.write_all(&parts.concat())
    }

    fn reply(&mut self, option: u32, kind: u32, body: &[u8]) -> io::Result<()> {
        let length = u32::try_from(body.len()).unwrap();
        let head = [&0x0003_e889_0455_65a9_u64.to_be_bytes()[..], &option.to_be_bytes(), &kind.to_be_bytes()];
        self.send(&[&head.concat(), &length.to_be_bytes(), body])
    }
}
