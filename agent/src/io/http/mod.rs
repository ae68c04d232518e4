//! The publisher over HTTP: one conversation per question, every answer bounded in size and time.
//!
//! The connection is kept between questions; where the server closes it, the TLS session is resumed. Never here: what the
//! bytes mean, whether they are trusted, or how long to wait after a failure.

mod body;
mod error;
mod tls;

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tidelock_protocol::time::Now;
use ureq::http::header::{CONTENT_ENCODING, CONTENT_RANGE, ETAG, LOCATION, RETRY_AFTER};
use ureq::http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, Uri};
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{ConnectProxyConnector, Connector, NextTimeout, TcpConnector};

use super::{clock, notify};
use crate::config::Connection;

pub use body::{Body, Pace};
pub use error::{Error, Kind};

/// Redirects that one question follows.
const REDIRECTS: usize = 5;
/// Longest status line and headers, together.
const HEADER_BYTES: usize = 16 * 1024;
/// Time to find the host, connect and agree on TLS.
const CONNECT: Duration = Duration::from_secs(30);
/// How long an idle connection is kept for the next poll.
const KEPT: Duration = Duration::from_secs(3600);

/// A question.
#[derive(Clone, Debug, Default)]
pub struct Ask {
    /// The entity tag of the bytes already here: the answer may be [`Answer::NotModified`].
    pub etag: Option<String>,
    /// The bytes wanted of the file, not empty.
    pub range: Option<Range<u64>>,
    /// Longest body that is read; longer is an error, not a part.
    pub limit: u64,
    /// Time for the whole of it, redirects and body included.
    pub deadline: Duration,
}

/// What the server said, where it said something that makes sense.
#[derive(Debug)]
pub enum Answer {
    /// 304: use the stored bytes.
    NotModified,
    /// 403 or 404: there is no such file (object stores that do not list say 403).
    Missing,
    /// 200: the whole file, also where a range was asked.
    Whole {
        /// Its entity tag.
        etag: Option<String>,
        /// Its length, when stated.
        length: Option<u64>,
        /// Its bytes.
        body: Body,
    },
    /// 206: the part that was asked, or its beginning.
    Part {
        /// What it is of the file; starts where the question starts and ends no later.
        range: Range<u64>,
        /// The file's length, when stated.
        total: Option<u64>,
        /// Its bytes; exactly as many as `range` says.
        body: Body,
    },
    /// 416: the file is shorter than the range.
    OutOfRange,
}

/// One publisher, and the connection to it.
#[derive(Debug)]
pub struct Http {
    agent: ureq::Agent,
    base: String,
    origin: Origin,
    credential: Option<(HeaderName, HeaderValue)>,
    time: Arc<tls::Time>,
    pace: Pace,
}

/// Scheme, host and port: what credentials are bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Origin {
    secure: bool,
    host: String,
    port: u16,
}

impl Origin {
    /// `None` for other schemes, no host, or a name and password before the host.
    fn of(url: &Uri) -> Option<Self> {
        let secure = match url.scheme_str()? {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let authority = url.authority().filter(|authority| !authority.as_str().contains('@'))?;
        let port = authority.port_u16().unwrap_or(if secure { 443 } else { 80 });
        Some(Self { secure, host: authority.host().to_ascii_lowercase(), port })
    }
}

impl Http {
    /// Prepares to ask the publisher of `connection`; nothing is sent yet. Secrets are read from their files now.
    ///
    /// # Errors
    /// A URL that is not plain `http(s)://host/path`; certificate, key or header files that cannot be read.
    pub fn new(connection: &Connection, now: Now) -> Result<Self, Error> {
        let bad = |reason| Error::Address { url: shown(&connection.url), reason };
        let url: Uri = connection.url.parse().map_err(|_| bad("it is not a URL"))?;
        let origin = Origin::of(&url).ok_or_else(|| {
            bad("expected http(s)://host/path; a name and password belong into a file that header_file names")
        })?;
        if url.query().is_some() {
            return Err(bad("it has a query, to which no path can be added"));
        }
        let time = Arc::new(tls::Time::at(now));
        let tls = tls::Connect::new(connection, origin.clone(), &time)?;
        let chain = ().chain(ConnectProxyConnector::default()).chain(TcpConnector::default()).chain(tls);
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            // No name in every poll: 28 bytes of the 388 that an idle poll of nginx took (360 without).
            .user_agent("")
            .accept("")
            .accept_encoding("identity")
            .max_response_header_size(HEADER_BYTES)
            .input_buffer_size(2 * HEADER_BYTES)
            .output_buffer_size(HEADER_BYTES)
            .max_idle_connections(2)
            .max_idle_connections_per_host(1)
            .max_idle_age(KEPT)
            .timeout_connect(Some(CONNECT))
            .build();
        Ok(Self {
            agent: ureq::Agent::with_parts(config, chain, Lookup::default()),
            base: connection.url.trim_end_matches('/').to_owned(),
            origin,
            credential: connection.header_file.as_deref().map(read_header).transpose()?,
            time,
            pace: Pace::default(),
        })
    }

    /// From now on certificates are judged at `now`: called at the start of each turn.
    pub fn set_now(&self, now: Now) {
        self.time.set(now);
    }

    /// The same, but asking another pace of the server.
    #[must_use]
    pub fn with_pace(mut self, pace: Pace) -> Self {
        self.pace = pace;
        self
    }

    /// Asks for `<base>/<path>`; `path` is percent-encoded where it needs to be.
    ///
    /// # Errors
    /// Whatever kept a usable answer from coming, by [`Kind`]; the body can fail later, with the same kinds.
    pub fn get(&self, path: &str, ask: &Ask) -> Result<Answer, Error> {
        let mut url = format!("{}/{path}", self.base);
        let end = clock::since_boot() + ask.deadline;
        for _ in 0..=REDIRECTS {
            notify::alive();
            let response = self.send(&url, ask, end.saturating_sub(clock::since_boot()))?;
            match response.status().as_u16() {
                301 | 302 | 303 | 307 | 308 => {
                    url = self.redirected(&url, response.headers())?;
                    body::drain(response.into_body());
                }
                _ => return self.answer(&url, ask, response),
            }
        }
        Err(Error::get(&url, Kind::Redirect("more redirects than are followed")))
    }

    /// One request. A kept connection may have died unseen, so one that ends before any answer is tried once more.
    fn send(&self, url: &str, ask: &Ask, time: Duration) -> Result<Response<ureq::Body>, Error> {
        let once = || {
            let mut request = self.agent.get(url);
            if let Some(etag) = &ask.etag {
                request = request.header("if-none-match", etag);
            }
            if let Some(range) = &ask.range {
                request =
                    request.header("range", format!("bytes={}-{}", range.start, range.end.saturating_sub(1)));
            }
            let ours = url.parse().ok().and_then(|url| Origin::of(&url)).as_ref() == Some(&self.origin);
            if let Some((name, value)) = self.credential.as_ref().filter(|_| ours) {
                request = request.header(name.clone(), value.clone());
            }
            let config = request.config().timeout_global(Some(time));
            let config =
                config.timeout_recv_response(Some(self.pace.head)).timeout_per_read(Some(self.pace.window));
            config.build().call().map_err(|found| Error::from_ureq(url, found))
        };
        once().or_else(|error| if matches!(error.kind(), Some(Kind::Cut)) { once() } else { Err(error) })
    }

    /// Where to go on; only to the same scheme, so that nobody leads from https to http.
    fn redirected(&self, from: &str, headers: &HeaderMap) -> Result<String, Error> {
        let refused = |why| Error::get(from, Kind::Redirect(why));
        let location = text(headers, LOCATION).ok_or_else(|| refused("a redirect to nowhere"))?;
        let (scheme, rest) = from.split_once("://").ok_or_else(|| refused("no scheme"))?;
        let host = rest.split('/').next().unwrap_or_default();
        let url = if location.contains("://") {
            location
        } else if let Some(rest) = location.strip_prefix("//") {
            format!("{scheme}://{rest}")
        } else if location.starts_with('/') {
            format!("{scheme}://{host}{location}")
        } else {
            let directory = rest.split(['?', '#']).next().and_then(|path| path.rsplit_once('/'));
            format!("{scheme}://{}/{location}", directory.map_or(host, |(directory, _)| directory))
        };
        let target = url.parse().ok().and_then(|url| Origin::of(&url));
        match target {
            Some(origin) if origin.secure == self.origin.secure => Ok(url),
            Some(_) => {
                Err(refused("a redirect between http and https; set the URL that it leads to as `url`"))
            }
            None => Err(refused("a redirect to something that is not a plain http(s) URL")),
        }
    }

    fn answer(&self, url: &str, ask: &Ask, response: Response<ureq::Body>) -> Result<Answer, Error> {
        let (parts, body) = response.into_parts();
        let (status, headers) = (parts.status, &parts.headers);
        let failed = |kind| Err(Error::get(url, kind));
        let encoding = text(headers, CONTENT_ENCODING).filter(|name| !name.eq_ignore_ascii_case("identity"));
        let etag = text(headers, ETAG);
        match status {
            StatusCode::NOT_MODIFIED if ask.etag.is_some() => Ok(Answer::NotModified),
            StatusCode::FORBIDDEN | StatusCode::NOT_FOUND => {
                body::drain(body);
                Ok(Answer::Missing)
            }
            StatusCode::RANGE_NOT_SATISFIABLE if ask.range.is_some() => {
                body::drain(body);
                Ok(Answer::OutOfRange)
            }
            StatusCode::OK | StatusCode::PARTIAL_CONTENT if encoding.is_some() => {
                failed(Kind::Encoded(encoding.unwrap_or_default()))
            }
            StatusCode::OK => {
                let body = Body::new(url, body, ask.limit, None, self.pace)?;
                Ok(Answer::Whole { etag, length: body.length(), body })
            }
            StatusCode::PARTIAL_CONTENT => {
                let part = text(headers, CONTENT_RANGE).as_deref().and_then(content_range);
                let (Some(asked), Some((range, total))) = (&ask.range, part) else {
                    return failed(Kind::Range);
                };
                if range.start != asked.start || range.end > asked.end {
                    return failed(Kind::Range);
                }
                let length = range.end - range.start;
                let body = Body::new(url, body, ask.limit, Some(length), self.pace)?;
                Ok(Answer::Part { range, total, body })
            }
            _ => {
                let wait = text(headers, RETRY_AFTER).and_then(|value| self.time.retry_after(&value));
                failed(Kind::Status { code: status.as_u16(), retry_after: wait })
            }
        }
    }
}

/// The system's resolver, whose failures keep their kind.
#[derive(Debug, Default)]
struct Lookup(DefaultResolver);

impl Resolver for Lookup {
    fn resolve(
        &self,
        url: &Uri,
        config: &ureq::config::Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        self.0.resolve(url, config, timeout).map_err(|error| match error {
            ureq::Error::Io(error) => ureq::Error::Other(Box::new(error::Unresolved(error))),
            other => other,
        })
    }
}

/// A header's value where it is text.
fn text(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

/// `bytes 0-99/1234` or `bytes 0-99/*`, as a half-open range and the whole length.
fn content_range(value: &str) -> Option<(Range<u64>, Option<u64>)> {
    let (range, total) = value.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
    let total = if total == "*" { None } else { Some(total.parse().ok()?) };
    let sound = first <= last && last < u64::MAX && total.is_none_or(|total| last < total);
    sound.then(|| (first..last + 1, total))
}

/// A URL as it may be logged: without name and password, and without the query, where object stores put signatures.
fn shown(url: &str) -> String {
    let plain = url.split(['?', '#']).next().unwrap_or_default();
    match plain.split_once("://") {
        Some((scheme, rest)) => {
            let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            format!("{scheme}://{}{path}", host.rsplit('@').next().unwrap_or_default())
        }
        None => plain.rsplit('@').next().unwrap_or_default().to_owned(),
    }
}

/// The one line `Name: value` of a header file.
fn read_header(path: &Path) -> Result<(HeaderName, HeaderValue), Error> {
    let line = std::fs::read_to_string(path).map_err(Error::setup("read the header file", path))?;
    let parsed = line.trim_end_matches(['\r', '\n']).split_once(':').and_then(|(name, value)| {
        let mut value = HeaderValue::from_str(value.trim()).ok()?;
        value.set_sensitive(true);
        Some((name.trim().parse().ok()?, value))
    });
    let wrong = || std::io::Error::other("expected one line `Name: value`");
    parsed.ok_or_else(|| Error::setup("use the header file", path)(wrong()))
}

#[cfg(test)]
mod tests;
