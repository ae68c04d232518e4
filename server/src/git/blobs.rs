//! Raw blobs, one after the other, from one `git cat-file --batch`; a blob of any size goes through a small buffer.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::time::Duration;

use super::command::{Git, end, readable, words_of};
use super::{Error, ObjectId};

const WHAT: &str = "read an object";
/// Longest that git may be silent while an object is read.
const SILENCE: Duration = Duration::from_secs(120);

/// A running `git cat-file --batch`; ended when dropped.
#[derive(Debug)]
pub struct Blobs {
    git: Git,
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<Patient>,
    /// Bytes of the last object that nobody has read, its final newline included.
    unread: u64,
    /// What comes next is not known.
    has_failed: bool,
}

/// One blob being read: exactly [`Blob::size`] bytes.
pub struct Blob<'a> {
    blobs: &'a mut Blobs,
    size: u64,
    left: u64,
}

impl Blobs {
    pub(super) fn start(git: &Git) -> Result<Self, Error> {
        let mut child = git.spawn(WHAT, &["cat-file", "--batch"], Stdio::piped())?;
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(git.io(WHAT, io::Error::other("no pipes")));
        };
        let stdout = BufReader::with_capacity(128 * 1024, Patient(stdout));
        Ok(Self { git: git.clone(), child, stdin, stdout, unread: 0, has_failed: false })
    }

    /// Whether nothing more can be read from it.
    pub(super) fn has_failed(&self) -> bool {
        self.has_failed
    }

    /// The blob `id`, to be read.
    ///
    /// # Errors
    /// It does not exist, is no blob, or git failed.
    pub fn open(&mut self, id: &ObjectId) -> Result<Blob<'_>, Error> {
        let header = self.header(id).map_err(|source| self.explain(source))?;
        let mut fields = header.split(' ').skip(1);
        let size = match (fields.next(), fields.next().and_then(|size| size.parse::<u64>().ok())) {
            (Some("blob"), Some(size)) => size,
            _ => {
                self.has_failed = true;
                return Err(self.git.unexpected(WHAT, header.as_bytes()));
            }
        };
        self.unread = size + 1;
        Ok(Blob { blobs: self, size, left: size })
    }

    /// The whole blob `id`, which must not be longer than `limit`; `None` when it is.
    ///
    /// # Errors
    /// As [`Blobs::open`].
    pub fn read(&mut self, id: &ObjectId, limit: u64) -> Result<Option<Vec<u8>>, Error> {
        let mut blob = self.open(id)?;
        if blob.size > limit {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        match blob.read_to_end(&mut bytes) {
            Ok(_) => Ok(Some(bytes)),
            Err(source) => Err(self.explain(source)),
        }
    }

    fn header(&mut self, id: &ObjectId) -> io::Result<String> {
        let skipped = io::copy(&mut (&mut self.stdout).take(self.unread), &mut io::sink())?;
        if skipped != self.unread {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.unread = 0;
        self.stdin.write_all(format!("{id}\n").as_bytes())?;
        self.stdin.flush()?;
        let mut line = String::new();
        (&mut self.stdout).take(1024).read_line(&mut line)?;
        if line.is_empty() {
            Err(io::ErrorKind::UnexpectedEof.into())
        } else {
            Ok(line.trim_end().to_owned())
        }
    }

    /// An error of the pipe, in git's own words when git ended.
    fn explain(&mut self, source: io::Error) -> Error {
        self.has_failed = true;
        match source.kind() {
            io::ErrorKind::TimedOut => {
                Error::TimedOut { what: WHAT, repository: self.git.label().to_owned(), limit: SILENCE }
            }
            io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe => {
                self.git.failed(WHAT, words_of(self.child.stderr.take()))
            }
            _ => self.git.io(WHAT, source),
        }
    }
}

impl Drop for Blobs {
    fn drop(&mut self) {
        end(&mut self.child);
        // Nothing waits for its status: what was asked for has been answered or has failed.
        let _ = self.child.wait();
    }
}

impl Blob<'_> {
    /// Its length in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }
}

impl Read for Blob<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 || buffer.is_empty() {
            return Ok(0);
        }
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let n = self.blobs.stdout.read(&mut buffer[..most]).inspect_err(|_| self.blobs.has_failed = true)?;
        if n == 0 {
            self.blobs.has_failed = true;
            let said = words_of(self.blobs.child.stderr.take());
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, format!("git ended early: {said}")));
        }
        let read = u64::try_from(n).unwrap_or(u64::MAX);
        self.left -= read;
        self.blobs.unread -= read;
        Ok(n)
    }
}

/// The pipe from git, which must not be silent for longer than [`SILENCE`].
#[derive(Debug)]
struct Patient(ChildStdout);

impl Read for Patient {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if !readable(&self.0, None::<&ChildStdout>, SILENCE)?.0 {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.0.read(buffer)
    }
}
