//! A part of a file as a response body: read as it is sent, in chunks of 64 KiB, never as a whole.
//!
//! Never here: which part.

use std::fs::File;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, ReadBuf};

/// Up to here an answer is read at once; beyond, it is streamed in chunks of this size.
pub(super) const SMALL: u64 = 64 * 1024;

/// The next `left` bytes of a file.
pub(super) struct FileBody {
    file: tokio::fs::File,
    left: u64,
    chunk: Vec<u8>,
}

impl FileBody {
    /// The next `length` bytes of `file`.
    pub(super) fn new(file: File, length: u64) -> Self {
        Self { file: tokio::fs::File::from_std(file), left: length, chunk: Vec::new() }
    }
}

impl Body for FileBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = self.get_mut();
        if this.left == 0 {
            return Poll::Ready(None);
        }
        let size = usize::try_from(this.left.min(SMALL)).unwrap_or_default();
        this.chunk.resize(size, 0);
        let mut buffer = ReadBuf::new(&mut this.chunk);
        ready!(Pin::new(&mut this.file).poll_read(cx, &mut buffer))?;
        let read = buffer.filled().len();
        if read == 0 {
            // The length was promised: the connection breaks rather than end as if all were there.
            return Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into())));
        }
        this.chunk.truncate(read);
        this.left -= u64::try_from(read).unwrap_or(this.left);
        Poll::Ready(Some(Ok(Frame::data(Bytes::from(std::mem::take(&mut this.chunk))))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
