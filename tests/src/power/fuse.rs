//! The disk for the host's kernel: one file that is served by FUSE, for a loop device.
//!
//! The file is opened for direct I/O, so no cache of the host's stands between the loop device and the disk, and a flush
//! of the loop device arrives as FSYNC. Never here: what is mounted from it.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use super::disk::{Shared, locked};

/// The longest write that the kernel may send at once.
const LONGEST: u32 = 1 << 20;
const HEADER: usize = 40;

/// The disk as a file; gone on drop.
#[derive(Debug)]
pub(super) struct DiskFile {
    path: PathBuf,
    thread: Option<JoinHandle<()>>,
}

impl DiskFile {
    /// Makes the file at `path`.
    ///
    /// # Panics
    /// When the kernel refuses; this takes root.
    pub(super) fn new(disk: Shared, path: &Path) -> Self {
        let device = OpenOptions::new().read(true).write(true).open("/dev/fuse");
        let device = device.unwrap_or_else(|error| panic!("this suite needs /dev/fuse: {error}"));
        File::create(path).unwrap();
        let options = format!("fd={},rootmode=100600,user_id=0,group_id=0", device.as_raw_fd());
        let options = std::ffi::CString::new(options).unwrap();
        let flags = MountFlags::NOSUID | MountFlags::NODEV;
        mount("tidelock-disk", path, "fuse", flags, options.as_c_str()).unwrap();
        let thread = std::thread::spawn(move || serve(&disk, device));
        Self { path: path.to_owned(), thread: Some(thread) }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for DiskFile {
    fn drop(&mut self) {
        // By force: whatever still waits for the disk gets an error, and the thread its end.
        unmount(&self.path, UnmountFlags::FORCE | UnmountFlags::DETACH).ok();
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// Answers the kernel until the file is gone.
fn serve(disk: &Shared, mut device: File) {
    let mut request = vec![0; usize::try_from(LONGEST).unwrap() + 4096];
    loop {
        match device.read(&mut request) {
            Ok(length) => {
                let Some((unique, answer)) = answer(disk, &request[..length]) else { continue };
                // The one who asked may have been killed meanwhile: then nobody wants the answer.
                drop(device.write(&message(unique, answer)));
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // The request was withdrawn before it was read.
            Err(error) if error.raw_os_error() == Some(Errno::NOENT.raw_os_error()) => {}
            Err(_) => return,
        }
    }
}

fn message(unique: u64, answer: io::Result<Vec<u8>>) -> Vec<u8> {
    let (error, body) = match answer {
        Ok(body) => (0, body),
        Err(error) => (-error.raw_os_error().unwrap_or(Errno::IO.raw_os_error()), Vec::new()),
    };
    let length = u32::try_from(16 + body.len()).unwrap();
    [&length.to_ne_bytes()[..], &error.to_ne_bytes(), &unique.to_ne_bytes(), &body].concat()
}

/// What a request is answered with; none where no answer is wanted.
fn answer(disk: &Shared, request: &[u8]) -> Option<(u64, io::Result<Vec<u8>>)> {
    let (code, unique) = (four(request, 4), eight(request, 8));
    let body = &request[HEADER..];
    let answer = match code {
        // FORGET, BATCH_FORGET, INTERRUPT
        2 | 42 | 36 => return None,
        // INIT
        26 => Ok(greeting()),
        // GETATTR, and SETATTR of the times
        3 | 4 => Ok([&[0; 16][..], &attributes(locked(disk).size())].concat()),
        // OPEN: direct I/O
        14 => Ok([0_u64.to_ne_bytes(), 1_u64.to_ne_bytes()].concat()),
        // READ
        15 => read(disk, eight(body, 8), four(body, 16)),
        // WRITE
        16 => write(disk, eight(body, 8), &body[40..]),
        // FSYNC
        20 => locked(disk).flush().map(|()| Vec::new()),
        // RELEASE, FLUSH (a close, no flush of the disk), DESTROY
        18 | 25 | 38 => Ok(Vec::new()),
        _ => Err(Errno::NOSYS.into()),
    };
    Some((unique, answer))
}

fn read(disk: &Shared, offset: u64, length: u32) -> io::Result<Vec<u8>> {
    let disk = locked(disk);
    let left = usize::try_from(disk.size().saturating_sub(offset)).unwrap();
    let mut bytes = vec![0; usize::try_from(length).unwrap().min(left)];
    disk.read(offset, &mut bytes)?;
    Ok(bytes)
}

fn write(disk: &Shared, offset: u64, bytes: &[u8]) -> io::Result<Vec<u8>> {
    locked(disk).write(offset, bytes)?;
    let count = u32::try_from(bytes.len()).unwrap();
    Ok([count.to_ne_bytes(), [0; 4]].concat())
}

/// The answer to INIT: protocol 7.31, large requests, nothing that caches.
fn greeting() -> Vec<u8> {
    const BIG_WRITES_AND_MAX_PAGES: u32 = 1 << 5 | 1 << 22;
    let pages = u16::try_from(LONGEST / 4096).unwrap();
    let mut answer = Vec::new();
    for word in [7, 31, LONGEST, BIG_WRITES_AND_MAX_PAGES, 0, LONGEST, 1] {
        answer.extend(word.to_ne_bytes());
    }
    answer.extend(pages.to_ne_bytes());
    answer.resize(64, 0);
    answer
}

/// A regular file of `size` bytes that belongs to root.
fn attributes(size: u64) -> Vec<u8> {
    let mut answer = Vec::new();
    for word in [1, size, size / 512, 0, 0, 0] {
        answer.extend(word.to_ne_bytes());
    }
    for word in [0_u32, 0, 0, 0o100_600, 1, 0, 0, 0, 4096, 0] {
        answer.extend(word.to_ne_bytes());
    }
    answer
}

fn four(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn eight(bytes: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap())
}
