//! What comes in: the token, names, and bodies that are neither too long nor too slow.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::future::poll_fn;
use std::pin::Pin;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::http::header::{AUTHORIZATION, CONTENT_LENGTH};
use hyper::body::Body as _;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout_at};

use super::said::Failure;
use crate::store::Wants;
use crate::turn::Desk;

/// So long a body may last whatever it brings.
const GRACE: Duration = Duration::from_secs(10);
/// Beyond, it must have come with so many bytes per second.
const SLOWEST: u64 = 64 << 10;
/// Bodies that are held in memory at once.
const PLACES: usize = 8;
/// And of one token, so that nobody takes all of them.
const PLACES_OF_ONE: usize = 4;
/// The places that are taken, by the token's name.
static TAKEN: Mutex<BTreeMap<String, usize>> = Mutex::new(BTreeMap::new());

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

/// The body, whole, once its sender is known: nobody else is listened to for so long. The token's scope is not judged
/// here; it may depend on what the body says.
pub(super) async fn body(desk: &Desk, request: Request, most: usize) -> Result<Vec<u8>, Failure> {
    let too_long =
        || Failure::new(StatusCode::PAYLOAD_TOO_LARGE, format!("at most {most} bytes are taken at once"));
    let (desk, token) = (desk.clone(), token(&request));
    let known = tokio::task::spawn_blocking(move || desk.admit(&token, Wants::Look)).await;
    let name = known.map_err(|_| Failure::ours("the server failed; its journal says why"))??;
    let stated =
        request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if stated.is_some_and(|stated| usize::try_from(stated).map_or(true, |stated| stated > most)) {
        return Err(too_long());
    }
    let Some(_place) = Place::take(name) else {
        let text = "others are uploading: try again in a moment";
        return Err(Failure::new(StatusCode::SERVICE_UNAVAILABLE, text.to_owned()));
    };
    let asked = request.extensions().get::<Asked>().cloned().unwrap_or_default();
    let _receiving = Receiving::begin(asked);
    let begun = Instant::now();
    let (mut body, mut bytes) = (request.into_body(), Vec::new());
    loop {
        let worth = u64::try_from(bytes.len()).unwrap_or(u64::MAX) / SLOWEST;
        match timeout_at(begun + GRACE + Duration::from_secs(worth), frame(&mut body)).await {
            Ok(Some(Ok(data))) if bytes.len() + data.len() > most => return Err(too_long()),
            Ok(Some(Ok(data))) => bytes.extend_from_slice(&data),
            Ok(Some(Err(error))) => {
                return Err(Failure::new(StatusCode::BAD_REQUEST, format!("the body broke off: {error}")));
            }
            Ok(None) => return Ok(bytes),
            Err(_) => {
                let text = format!(
                    "the body is too slow: {} bytes in {} s, at least {SLOWEST} bytes per second are asked for",
                    bytes.len(),
                    begun.elapsed().as_secs()
                );
                return Err(Failure::new(StatusCode::REQUEST_TIMEOUT, text));
            }
        }
    }
}

/// What comes next of a body; trailers are nothing.
async fn frame(body: &mut Body) -> Option<Result<axum::body::Bytes, axum::Error>> {
    let next = poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await?;
    Some(next.map(|frame| frame.into_data().unwrap_or_default()))
}

/// A body that is held in memory.
struct Place(String);

impl Place {
    fn take(token: String) -> Option<Self> {
        let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
        let total: usize = taken.values().sum();
        let own = taken.entry(token.clone()).or_default();
        if total >= PLACES || *own >= PLACES_OF_ONE {
            return None;
        }
        *own += 1;
        Some(Self(token))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = taken.get_mut(&self.0) {
            *own -= 1;
        }
        taken.retain(|_, own| *own > 0);
    }
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
