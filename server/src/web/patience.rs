//! A connection that does not wait for ever: for a request's head, for the next request, for a client to take bytes.
//!
//! Never here: HTTP, TLS. It lies below both, where every byte is seen.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

use super::Limits;

/// Time spent waiting for the client after which its speed is judged.
const WINDOW: Duration = Duration::from_secs(60);

/// A TCP connection whose reads and writes fail with `TimedOut` when the other side is too slow.
pub(super) struct Patient {
    inner: TcpStream,
    limits: Limits,
    /// Set by the service when a request's head is complete.
    asked: Arc<AtomicBool>,
    /// Set while somebody receives a request's body.
    body: Arc<AtomicBool>,
    /// Since when a head is awaited; `None` while the connection rests or an answer is on its way.
    head_since: Option<Instant>,
    /// Last byte in either direction.
    active: Instant,
    /// Since when the client takes nothing.
    blocked_since: Option<Instant>,
    blocked: Duration,
    taken: u64,
    alarm: Pin<Box<Sleep>>,
}

impl Patient {
    /// Watches `inner`. Whoever parses its requests sets `asked` at the end of each head.
    pub(super) fn new(
        inner: TcpStream,
        limits: Limits,
        asked: Arc<AtomicBool>,
        body: Arc<AtomicBool>,
    ) -> Self {
        let now = Instant::now();
        Self {
            inner,
            limits,
            asked,
            body,
            head_since: Some(now),
            active: now,
            blocked_since: None,
            blocked: Duration::ZERO,
            taken: 0,
            alarm: Box::pin(tokio::time::sleep_until(now + limits.head)),
        }
    }

    fn deadline(&self) -> Instant {
        if self.body.load(Ordering::Relaxed) {
            return self.active + self.limits.stall;
        }
        match (self.blocked_since, self.head_since) {
            (Some(since), _) => since + self.limits.stall,
            (None, Some(since)) => since + self.limits.head,
            (None, None) => self.active + self.limits.rest,
        }
    }

    /// What a read or write that cannot go on now gives back: an error once the deadline has passed.
    fn wait<T>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        let deadline = self.deadline();
        if deadline < self.alarm.deadline() {
            self.alarm.as_mut().reset(deadline);
        }
        while self.alarm.as_mut().poll(cx).is_ready() {
            if Instant::now() >= deadline {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            self.alarm.as_mut().reset(deadline);
        }
        Poll::Pending
    }

    /// Judges a write: progress ends a stall and is weighed against the time it took.
    fn written(&mut self, cx: &mut Context<'_>, outcome: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        let now = Instant::now();
        let Poll::Ready(outcome) = outcome else {
            self.blocked_since.get_or_insert(now);
            return self.wait(cx);
        };
        let bytes = outcome?;
        self.active = now;
        self.taken += u64::try_from(bytes).unwrap_or(0);
        if let Some(since) = self.blocked_since.take() {
            self.blocked += now - since;
        }
        if self.blocked >= WINDOW {
            if self.taken / self.blocked.as_secs().max(1) < self.limits.speed {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            (self.blocked, self.taken) = (Duration::ZERO, 0);
        }
        Poll::Ready(Ok(bytes))
    }
}

impl AsyncRead for Patient {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.asked.swap(false, Ordering::Relaxed) {
            this.head_since = None;
        }
        let before = buffer.filled().len();
        let outcome = Pin::new(&mut this.inner).poll_read(cx, buffer);
        if outcome.is_pending() {
            return this.wait(cx);
        }
        if buffer.filled().len() > before {
            this.active = Instant::now();
            if this.body.load(Ordering::Relaxed) {
                this.head_since = None;
            } else {
                this.head_since.get_or_insert(this.active);
            }
        }
        outcome
    }
}

impl AsyncWrite for Patient {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let outcome = Pin::new(&mut this.inner).poll_write(cx, bytes);
        this.written(cx, outcome)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let outcome = Pin::new(&mut this.inner).poll_write_vectored(cx, parts);
        this.written(cx, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}
