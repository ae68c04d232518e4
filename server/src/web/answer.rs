//! One request for one file → one response: validators, conditions, ranges, caching.
//!
//! Never here: sockets, and which names exist (`published`). Few headers, each for a reason: the idle poll of ten
//! thousand devices is one 304, and its bytes are what the fleet costs at rest.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use axum::body::Body;
use axum::http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderName,
    IF_NONE_MATCH, IF_RANGE, RANGE,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::Response;
use data_encoding::BASE64URL_NOPAD;
use sha2::{Digest, Sha256};

use super::body::{FileBody, SMALL};
use super::published::Published;
use super::range::{self, Wanted};

/// The answer to a request for `file`; `None` is a name that is not published.
pub(super) async fn to(
    root: Arc<Path>,
    method: &Method,
    file: Option<Published>,
    asked: HeaderMap,
) -> Response {
    let Some(file) = file else { return missing(None) };
    // Range is defined for GET alone (RFC 9110 §14.2).
    let ranges = if method == Method::GET { Ranges::Honoured } else { Ranges::Ignored };
    let read = tokio::task::spawn_blocking(move || {
        let found = read(&root, &file, &asked, ranges);
        (file, found)
    });
    match read.await {
        Ok((file, Ok(found))) => found.response(&file),
        Ok((file, Err(error))) => failed(&file, &error),
        Err(_) => {
            plain(StatusCode::INTERNAL_SERVER_ERROR, "no-store", "the server failed; its journal says why\n")
        }
    }
}

/// The answer when there is no such file. A root that is not there yet may be there soon, and a cache in between must
/// not hide it for long.
pub(super) fn missing(file: Option<&Published>) -> Response {
    let caching = if matches!(file, Some(Published::Root(_))) { "max-age=10" } else { "no-cache" };
    plain(StatusCode::NOT_FOUND, caching, "not published here\n")
}

enum Ranges {
    Honoured,
    Ignored,
}

/// What was found on disk, before it is said in HTTP.
enum Found {
    Unchanged { etag: String },
    Whole { etag: String, length: u64, body: Body },
    Part { etag: String, range: Range<u64>, total: u64, body: Body },
    OutOfRange { total: u64 },
}

fn read(root: &Path, file: &Published, asked: &HeaderMap, ranges: Ranges) -> io::Result<Found> {
    let (mut handle, total) = file.open(root)?;
    let etag = etag(file, &mut handle)?;
    // If-None-Match comes before Range (RFC 9110 §13.2.2).
    if asked.get_all(IF_NONE_MATCH).iter().any(|list| range::names(&text(list), &etag)) {
        return Ok(Found::Unchanged { etag });
    }
    let same = asked.get(IF_RANGE).is_none_or(|one| text(one).trim() == etag);
    let wanted = match (ranges, asked.get(RANGE)) {
        (Ranges::Honoured, Some(header)) if same => range::wanted(&text(header), total),
        _ => Wanted::Whole,
    };
    Ok(match wanted {
        Wanted::Whole => Found::Whole { body: body(handle, 0..total)?, length: total, etag },
        Wanted::Part(range) => Found::Part { body: body(handle, range.clone())?, range, total, etag },
        Wanted::Nothing => Found::OutOfRange { total },
    })
}

/// A strong validator: 96 bits of the content's SHA-256. A target's name carries its digest; metadata is hashed, since
/// a repository that was set up anew has the old names with other bytes, and two timestamps may share a second.
fn etag(file: &Published, handle: &mut File) -> io::Result<String> {
    if let Published::Target { sha256, .. } = file {
        return Ok(format!("\"{}\"", &sha256[..24]));
    }
    let mut hasher = Sha256::new();
    let mut chunk = [0; 16 * 1024];
    loop {
        match handle.read(&mut chunk)? {
            0 => break,
            n => hasher.update(&chunk[..n]),
        }
    }
    Ok(format!("\"{}\"", BASE64URL_NOPAD.encode(&hasher.finalize()[..12])))
}

/// The bytes of `range`: read here and now when they are few, otherwise as they are sent.
fn body(mut handle: File, range: Range<u64>) -> io::Result<Body> {
    handle.seek(SeekFrom::Start(range.start))?;
    let length = range.end - range.start;
    if length > SMALL {
        return Ok(Body::new(FileBody::new(handle, length)));
    }
    let mut bytes = Vec::new();
    handle.take(length).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()) == Ok(length) {
        Ok(Body::from(bytes))
    } else {
        Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file became shorter while it was read"))
    }
}

impl Found {
    fn response(self, file: &Published) -> Response {
        let caching = match file {
            Published::Timestamp => "no-cache",
            // Never written again under this name, so nobody needs to ask twice.
            _ => "public, max-age=31536000, immutable",
        };
        let described = |mut response: Response, length: u64| {
            put(&mut response, CONTENT_TYPE, file.content_type());
            put(&mut response, CONTENT_LENGTH, &length.to_string());
            response
        };
        match self {
            Self::Unchanged { etag } => about(StatusCode::NOT_MODIFIED, caching, Some(&etag), Body::empty()),
            Self::Whole { etag, length, body } => {
                let mut response = about(StatusCode::OK, caching, Some(&etag), body);
                put(&mut response, ACCEPT_RANGES, "bytes");
                described(response, length)
            }
            Self::Part { etag, range, total, body } => {
                let mut response = about(StatusCode::PARTIAL_CONTENT, caching, Some(&etag), body);
                let last = range.end - 1;
                put(&mut response, CONTENT_RANGE, &format!("bytes {}-{last}/{total}", range.start));
                described(response, range.end - range.start)
            }
            Self::OutOfRange { total } => {
                let words = "the range lies behind the end of the file\n";
                let mut response = plain(StatusCode::RANGE_NOT_SATISFIABLE, "no-cache", words);
                put(&mut response, CONTENT_RANGE, &format!("bytes */{total}"));
                response
            }
        }
    }
}

fn failed(file: &Published, error: &io::Error) -> Response {
    match error.kind() {
        io::ErrorKind::NotFound => missing(Some(file)),
        _ => {
            log::warn!("cannot serve {file:?}: {error}");
            plain(
                StatusCode::INTERNAL_SERVER_ERROR,
                "no-store",
                "the file cannot be read; the server's journal says why\n",
            )
        }
    }
}

fn plain(status: StatusCode, caching: &str, words: &'static str) -> Response {
    let mut response = about(status, caching, None, Body::from(words));
    put(&mut response, CONTENT_TYPE, "text/plain");
    response
}

fn about(status: StatusCode, caching: &str, etag: Option<&str>, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    put(&mut response, CACHE_CONTROL, caching);
    if let Some(etag) = etag {
        put(&mut response, ETAG, etag);
    }
    response
}

fn put(response: &mut Response, name: HeaderName, value: &str) {
    // Every value is made above, of ASCII; one that is not a header value would be left out, not sent half.
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

/// A header that is not ASCII matches nothing.
fn text(value: &HeaderValue) -> String {
    value.to_str().unwrap_or_default().to_owned()
}
