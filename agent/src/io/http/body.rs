//! The bytes of an answer, with a limit, a minimum speed and an end that is checked.

use std::fmt;
use std::io::{self, Read};
use std::time::Duration;

use super::super::{clock, notify};
use super::error::{Error, Kind};

/// The slowest server that is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Time over which speed is measured, and the longest silence.
    pub window: Duration,
    /// Bytes that each window must bring.
    pub bytes: u64,
    /// Time for the headers, once the question is sent.
    pub head: Duration,
}

impl Default for Pace {
    /// 256 bytes a second, over half a minute: a tenth of what GPRS brings.
    fn default() -> Self {
        Self { window: Duration::from_secs(30), bytes: 256 * 30, head: Duration::from_secs(60) }
    }
}

/// The body of an answer. Reading it to its end hands the connection back for the next question.
pub struct Body {
    url: String,
    reader: ureq::BodyReader<'static>,
    length: Option<u64>,
    limit: u64,
    read: u64,
    pace: Pace,
    /// Time spent waiting and bytes received since the speed was last judged.
    window: (Duration, u64),
}

impl Body {
    /// A body of at most `limit` bytes and, where `exact` is given, of exactly so many.
    pub(super) fn new(
        url: &str,
        body: ureq::Body,
        limit: u64,
        exact: Option<u64>,
        pace: Pace,
    ) -> Result<Self, Error> {
        let stated = body.content_length();
        if let (Some(exact), Some(stated)) = (exact, stated)
            && exact != stated
        {
            return Err(Error::get(url, Kind::Range));
        }
        let length = exact.or(stated);
        if length.is_some_and(|length| length > limit) {
            return Err(Error::get(url, Kind::TooLong { limit }));
        }
        let reader = body.into_with_config().limit(u64::MAX).reader();
        let url = url.to_owned();
        Ok(Self { url, reader, length, limit, read: 0, pace, window: (Duration::ZERO, 0) })
    }

    /// How many bytes will come, when the server stated it.
    pub(super) fn length(&self) -> Option<u64> {
        self.length
    }

    /// All of it, in memory.
    ///
    /// # Errors
    /// As of [`super::Http::get`].
    pub fn into_bytes(mut self) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        self.read_to_end(&mut bytes).map_err(|error| Error::from_io(&self.url, error))?;
        Ok(bytes)
    }

    fn checked_read(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        notify::alive();
        let before = clock::since_boot();
        let count = self.reader.read(buffer).map_err(|error| Error::from_io(&self.url, error))?;
        let bytes = u64::try_from(count).unwrap_or(u64::MAX);
        self.read = self.read.saturating_add(bytes);
        if self.read > self.limit {
            return Err(Error::get(&self.url, Kind::TooLong { limit: self.limit }));
        }
        match self.length {
            Some(length) if self.read > length => return Err(Error::get(&self.url, Kind::Range)),
            Some(length) if count == 0 && !buffer.is_empty() && self.read < length => {
                return Err(Error::get(&self.url, Kind::Cut));
            }
            _ => {}
        }
        // Only the waiting counts, not what the reader does with the bytes between two reads.
        let (waited, received) = &mut self.window;
        *waited += clock::since_boot().saturating_sub(before);
        *received += bytes;
        if count > 0 && *waited >= self.pace.window {
            if *received < self.pace.bytes {
                return Err(Error::get(&self.url, Kind::Slow));
            }
            self.window = (Duration::ZERO, 0);
        }
        Ok(count)
    }
}

/// Reads the few words that come with an answer which has no body for us: unread, they would cost the connection, and
/// with it a TLS handshake at the next question.
pub(super) fn drain(body: ureq::Body) {
    let mut reader = body.into_with_config().limit(WORDS).reader();
    // A failure costs the connection, no more.
    drop(io::copy(&mut reader, &mut io::sink()));
}

/// Longest page of an error that is worth a connection.
const WORDS: u64 = 4096;

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Body({}, {} of {:?} bytes)", super::shown(&self.url), self.read, self.length)
    }
}

impl Read for Body {
    /// Fails with an [`io::Error`] that holds an [`Error`]; [`Error::from_io`] takes it out again.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.checked_read(buffer).map_err(io::Error::other)
    }
}
