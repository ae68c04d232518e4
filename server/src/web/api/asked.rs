//! What comes in: the token, names, and bodies that are neither too long nor too slow.

use std::fmt::Display;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::{Bytes, to_bytes};
use axum::extract::Request;
use axum::http::StatusCode;
use axum::http::header::{AUTHORIZATION, CONTENT_LENGTH};
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;

use super::said::Failure;

/// Longest that one body may take: at the largest it must come with 140 kB/s.
const BODY: Duration = Duration::from_secs(120);
/// Bodies that are held in memory at once.
static ROOM: Semaphore = Semaphore::const_new(8);

/// Set while a body is received: a connection is then judged by its bytes, not by its head.
#[derive(Clone, Debug, Default)]
pub(in crate::web) struct Asked(pub(in crate::web) Arc<AtomicBool>);

struct Receiving(Asked);

impl Receiving {
    fn begin(asked: Asked) -> Self {
        asked.0.store(true, Ordering::Relaxed);
        Self(asked)
    }
}

impl Drop for Receiving {
    fn drop(&mut self) {
        self.0.0.store(false, Ordering::Relaxed);
    }
}

/// The bearer's token; empty without one.
pub(super) fn token(request: &Request) -> String {
    let header = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let (scheme, token) = header.and_then(|header| header.split_once(' ')).unwrap_or_default();
    if scheme.eq_ignore_ascii_case("bearer") { token.trim().to_owned() } else { String::new() }
}

/// The body, whole.
pub(super) async fn body(request: Request, most: usize) -> Result<Bytes, Failure> {
    let too_long =
        || Failure::new(StatusCode::PAYLOAD_TOO_LARGE, format!("at most {most} bytes are taken at once"));
    let stated =
        request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if stated.is_some_and(|stated| usize::try_from(stated).map_or(true, |stated| stated > most)) {
        return Err(too_long());
    }
    let Ok(_room) = ROOM.try_acquire() else {
        let text = "others are uploading: try again in a moment";
        return Err(Failure::new(StatusCode::SERVICE_UNAVAILABLE, text.to_owned()));
    };
    let asked = request.extensions().get::<Asked>().cloned().unwrap_or_default();
    let _receiving = Receiving::begin(asked);
    match tokio::time::timeout(BODY, to_bytes(request.into_body(), most)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) if is_too_long(&error) => Err(too_long()),
        Ok(Err(error)) => Err(Failure::new(StatusCode::BAD_REQUEST, format!("the body broke off: {error}"))),
        Err(_) => {
            let text = format!("the body did not come within {} s", BODY.as_secs());
            Err(Failure::new(StatusCode::REQUEST_TIMEOUT, text))
        }
    }
}

fn is_too_long(error: &axum::Error) -> bool {
    let mut next: Option<&dyn std::error::Error> = Some(error);
    while let Some(one) = next {
        if one.to_string().contains("length limit exceeded") {
            return true;
        }
        next = one.source();
    }
    false
}

/// A name, digest or number.
pub(super) fn name<T: FromStr>(text: &str) -> Result<T, Failure>
where
    T::Err: Display,
{
    text.parse().map_err(|error: T::Err| Failure::new(StatusCode::BAD_REQUEST, format!("{text:?}: {error}")))
}

/// A body of JSON.
pub(super) fn json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(bytes)
        .map_err(|error| Failure::new(StatusCode::BAD_REQUEST, format!("the body cannot be read: {error}")))
}
