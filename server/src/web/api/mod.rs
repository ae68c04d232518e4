//! `/api/v1`: what pipelines hand in and ask. The OpenAPI document is made from this code and served beside it.
//!
//! Never here: what is done with it (`turn`'s desk takes everything), or anything that a device asks for.

mod asked;
mod said;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use serde::Serialize;
use tidelock_protocol::digest::Digest;
use tidelock_protocol::limits::INDEX_BYTES;
use tidelock_protocol::names::{AppName, EnvironmentName, Version};
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) use asked::Asked;
use asked::token;
use said::{
    EnvironmentAnswer, HandedIn, LackingAnswer, Problem, PushAnswer, PushTaken, PushWish, ReleaseAnswer,
    ReleaseWish, SoakAnswer, Stored, failed,
};

use crate::store::{NewHanded, NewPush, Wants};
use crate::turn::Desk;

/// Most bytes of blocks in one request.
const BLOCKS_BYTES: usize = 16 << 20;
/// Most bytes of a description; an SBOM may be long.
const WORDS_BYTES: usize = 8 << 20;

#[derive(OpenApi)]
#[openapi(
    info(title = "tidelock-server", description = "Hands in releases, and moves environments that are owned by push."),
    modifiers(&Bearer)
)]
struct Document;

/// Every operation but the document itself asks for a token.
struct Bearer;

impl utoipa::Modify for Bearer {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("token", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
    }
}

/// The addresses below `/api/v1`.
pub(super) fn router(desk: Desk) -> Router {
    let (router, document) = operations().split_for_parts();
    // It is the same for as long as this program runs.
    let document = document.to_json().unwrap_or_default();
    let text = move || async move { answer(StatusCode::OK, document) };
    router.route("/api/v1/openapi.json", get(text)).with_state(desk)
}

fn operations() -> OpenApiRouter<Desk> {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(begin))
        .routes(routes!(begin_from))
        .routes(routes!(blocks))
        .routes(routes!(parts))
        .routes(routes!(hand_in))
        .routes(routes!(handed))
        .routes(routes!(release))
        .routes(routes!(environment))
        .routes(routes!(soaks))
        .routes(routes!(push))
        .routes(routes!(pushed))
}

/// Begins the upload of a bundle by its index, or takes it up again; the answer says which blocks are lacking.
#[utoipa::path(
    put, path = "/api/v1/apps/{app}/uploads/{index}", security(("token" = [])),
    params(("app" = String, Path, pattern = "^[a-z0-9][a-z0-9-]{0,62}$"), ("index" = String, Path, pattern = "^[0-9a-f]{64}$", description = "SHA-256 of the index as sent")),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses(
        (status = 200, body = LackingAnswer), (status = 400, body = Problem), (status = 401, body = Problem),
        (status = 403, body = Problem), (status = 404, body = Problem), (status = 408, body = Problem),
        (status = 413, body = Problem), (status = 503, body = Problem)
    )
)]
async fn begin(
    State(desk): State<Desk>,
    Path((app, index)): Path<(String, String)>,
    request: Request,
) -> Response {
    let token = token(&request);
    let body = asked::body(&desk, request, usize::try_from(INDEX_BYTES).unwrap_or(usize::MAX)).await;
    work(move || {
        let (app, digest) = (asked::name::<AppName>(&app)?, asked::name::<Digest>(&index)?);
        desk.admit(&token, Wants::HandIn(&app))?;
        let lacking = desk.begin(&app, &digest, &body?)?;
        Ok((StatusCode::OK, LackingAnswer::of(lacking)))
    })
    .await
}

/// Takes blocks that follow each other; the end of the bundle is the number after the last block.
#[utoipa::path(
    put, path = "/api/v1/apps/{app}/uploads/{index}/blocks/{first}", security(("token" = [])),
    params(
        ("app" = String, Path, pattern = "^[a-z0-9][a-z0-9-]{0,62}$"), ("index" = String, Path, pattern = "^[0-9a-f]{64}$", description = "SHA-256 of the index that began the upload"),
        ("first" = u64, Path, description = "the number of the first of these blocks")
    ),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses(
        (status = 200, body = Stored), (status = 400, body = Problem), (status = 401, body = Problem),
        (status = 403, body = Problem), (status = 404, body = Problem), (status = 408, body = Problem),
        (status = 413, body = Problem), (status = 503, body = Problem)
    )
)]
async fn blocks(
    State(desk): State<Desk>,
    Path((app, index, first)): Path<(String, String, String)>,
    request: Request,
) -> Response {
    let token = token(&request);
    let body = asked::body(&desk, request, BLOCKS_BYTES).await;
    work(move || {
        let (app, digest) = (asked::name::<AppName>(&app)?, asked::name::<Digest>(&index)?);
        let first = asked::name::<u64>(&first)?;
        desk.admit(&token, Wants::HandIn(&app))?;
        let stored = desk.blocks(&digest, first, &body?)?;
        Ok((StatusCode::OK, Stored { stored }))
    })
    .await
}

/// Begins an upload as its index does, where that is told by the index of a registered release of the app: gzip of lines,
/// `FIRST COUNT` for lines of that text and `+LINE` for a new one.
#[utoipa::path(
    put, path = "/api/v1/apps/{app}/uploads/{index}/from/{earlier}", security(("token" = [])),
    params(
        ("app" = String, Path, pattern = "^[a-z0-9][a-z0-9-]{0,62}$"), ("index" = String, Path, pattern = "^[0-9a-f]{64}$", description = "SHA-256 of the index that comes of it, as served"),
        ("earlier" = String, Path, pattern = "^[0-9a-f]{64}$", description = "SHA-256 of the index of the registered release, as served")
    ),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses(
        (status = 200, body = LackingAnswer), (status = 400, body = Problem), (status = 401, body = Problem),
        (status = 403, body = Problem), (status = 404, body = Problem), (status = 408, body = Problem),
        (status = 413, body = Problem), (status = 503, body = Problem)
    )
)]
async fn begin_from(
    State(desk): State<Desk>,
    Path((app, index, earlier)): Path<(String, String, String)>,
    request: Request,
) -> Response {
    let token = token(&request);
    let body = asked::body(&desk, request, usize::try_from(INDEX_BYTES).unwrap_or(usize::MAX)).await;
    work(move || {
        let app = asked::name::<AppName>(&app)?;
        let (digest, earlier) = (asked::name::<Digest>(&index)?, asked::name::<Digest>(&earlier)?);
        desk.admit(&token, Wants::HandIn(&app))?;
        let lacking = desk.begin_from(&app, (&digest, &earlier), &body?)?;
        Ok((StatusCode::OK, LackingAnswer::of(lacking)))
    })
    .await
}

/// Takes blocks, and shared blocks told by the files of them that are lacking: one gzip stream of lines, `block N` before
/// the bytes of a block, `files N` before those files, `file ORDINAL` before the content of each.
#[utoipa::path(
    put, path = "/api/v1/apps/{app}/uploads/{index}/parts", security(("token" = [])),
    params(("app" = String, Path, pattern = "^[a-z0-9][a-z0-9-]{0,62}$"), ("index" = String, Path, pattern = "^[0-9a-f]{64}$", description = "SHA-256 of the index that began the upload")),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses(
        (status = 200, body = Stored), (status = 400, body = Problem), (status = 401, body = Problem),
        (status = 403, body = Problem), (status = 404, body = Problem), (status = 408, body = Problem),
        (status = 413, body = Problem), (status = 503, body = Problem)
    )
)]
async fn parts(
    State(desk): State<Desk>,
    Path((app, index)): Path<(String, String)>,
    request: Request,
) -> Response {
    let token = token(&request);
    let body = asked::body(&desk, request, BLOCKS_BYTES).await;
    work(move || {
        let (app, digest) = (asked::name::<AppName>(&app)?, asked::name::<Digest>(&index)?);
        desk.admit(&token, Wants::HandIn(&app))?;
        let stored = desk.parts(&app, &digest, &body?)?;
        Ok((StatusCode::OK, Stored { stored }))
    })
    .await
}

/// Hands in a release whose upload is whole. 200: it is registered already. 202: the next turn registers it.
#[utoipa::path(
    post, path = "/api/v1/apps/{app}/releases", security(("token" = [])),
    params(("app" = String, Path, pattern = "^[a-z0-9][a-z0-9-]{0,62}$")), request_body = ReleaseWish,
    responses(
        (status = 200, body = HandedIn), (status = 202, body = HandedIn), (status = 400, body = Problem),
        (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem),
        (status = 408, body = Problem), (status = 409, body = Problem), (status = 413, body = Problem),
        (status = 503, body = Problem)
    )
)]
async fn hand_in(State(desk): State<Desk>, Path(app): Path<String>, request: Request) -> Response {
    let token = token(&request);
    let body = asked::body(&desk, request, WORDS_BYTES).await;
    work(move || {
        let app = asked::name::<AppName>(&app)?;
        let token = desk.admit(&token, Wants::HandIn(&app))?;
        let ReleaseWish { version, platform, tree, index, source, provenance, sbom, role } =
            asked::json(&body?)?;
        let text = |value: Option<serde_json::Value>| value.map(|value| value.to_string());
        let new = NewHanded {
            app,
            version: asked::name(&version)?,
            platform: asked::name(&platform)?,
            tree: asked::name(&tree)?,
            index: asked::name(&index)?,
            source: source.unwrap_or_default(),
            provenance: text(provenance),
            sbom,
            role,
            token,
        };
        let id = desk.hand_in(&new)?;
        let status = if id.is_some() { StatusCode::ACCEPTED } else { StatusCode::OK };
        Ok((status, HandedIn { id, refused: None }))
    })
    .await
}

/// Whether a release that was handed in was refused since.
#[utoipa::path(
    get, path = "/api/v1/apps/{app}/handed/{id}", security(("token" = [])),
    params(("app" = String, Path, pattern = "^[a-z0-9][a-z0-9-]{0,62}$"), ("id" = i64, Path)),
    responses(
        (status = 200, body = HandedIn), (status = 400, body = Problem), (status = 401, body = Problem),
        (status = 403, body = Problem), (status = 503, body = Problem)
    )
)]
async fn handed(
    State(desk): State<Desk>,
    Path((app, id)): Path<(String, String)>,
    request: Request,
) -> Response {
    let token = token(&request);
    work(move || {
        let (app, id) = (asked::name::<AppName>(&app)?, asked::name::<i64>(&id)?);
        desk.admit(&token, Wants::HandIn(&app))?;
        Ok((StatusCode::OK, HandedIn { id: Some(id), refused: desk.refused(id)? }))
    })
    .await
}

/// The registered builds of a version, by platform; empty while there are none.
#[utoipa::path(
    get, path = "/api/v1/apps/{app}/releases/{version}", security(("token" = [])),
    params(("app" = String, Path, pattern = "^[a-z0-9][a-z0-9-]{0,62}$"), ("version" = String, Path, pattern = "^[0-9a-z][0-9a-z._-]{0,63}$")),
    responses(
        (status = 200, body = ReleaseAnswer), (status = 400, body = Problem), (status = 401, body = Problem),
        (status = 403, body = Problem), (status = 503, body = Problem)
    )
)]
async fn release(
    State(desk): State<Desk>,
    Path((app, version)): Path<(String, String)>,
    request: Request,
) -> Response {
    let token = token(&request);
    work(move || {
        let (app, version) = (asked::name::<AppName>(&app)?, asked::name::<Version>(&version)?);
        desk.admit(&token, Wants::HandIn(&app))?;
        Ok((StatusCode::OK, ReleaseAnswer::of(&desk.release(&app, &version)?)))
    })
    .await
}

/// An environment: who owns it, what is published, and what waits.
#[utoipa::path(
    get, path = "/api/v1/environments/{environment}", security(("token" = [])),
    params(("environment" = String, Path, pattern = "^[a-z0-9][a-z0-9-]{0,62}$")),
    responses(
        (status = 200, body = EnvironmentAnswer), (status = 400, body = Problem), (status = 401, body = Problem),
        (status = 404, body = Problem), (status = 503, body = Problem)
    )
)]
async fn environment(State(desk): State<Desk>, Path(name): Path<String>, request: Request) -> Response {
    let token = token(&request);
    work(move || {
        let name = asked::name::<EnvironmentName>(&name)?;
        desk.admit(&token, Wants::Look)?;
        Ok((StatusCode::OK, EnvironmentAnswer::of(desk.environment(&name)?)))
    })
    .await
}

/// Since when environments are published with which trees: for whoever judges a commit before it is taken.
#[utoipa::path(
    get, path = "/api/v1/soaks", security(("token" = [])),
    responses(
        (status = 200, body = SoakAnswer), (status = 401, body = Problem), (status = 503, body = Problem)
    )
)]
async fn soaks(State(desk): State<Desk>, request: Request) -> Response {
    let token = token(&request);
    work(move || {
        desk.admit(&token, Wants::Look)?;
        let (soak, glass) = desk.soaks()?;
        Ok((StatusCode::OK, SoakAnswer { soak, glass }))
    })
    .await
}

/// Has an environment that is owned by push want a release. One that waits for the same app is superseded.
#[utoipa::path(
    post, path = "/api/v1/environments/{environment}/pushes", security(("token" = [])),
    params(("environment" = String, Path, pattern = "^[a-z0-9][a-z0-9-]{0,62}$")), request_body = PushWish,
    responses(
        (status = 202, body = PushTaken), (status = 400, body = Problem), (status = 401, body = Problem),
        (status = 403, body = Problem), (status = 404, body = Problem), (status = 408, body = Problem),
        (status = 413, body = Problem), (status = 503, body = Problem)
    )
)]
async fn push(State(desk): State<Desk>, Path(environment): Path<String>, request: Request) -> Response {
    let token = token(&request);
    let body = asked::body(&desk, request, WORDS_BYTES).await;
    work(move || {
        let environment = asked::name::<EnvironmentName>(&environment)?;
        let PushWish { app, version, pipeline } = asked::json(&body?)?;
        let (app, version) = (asked::name::<AppName>(&app)?, asked::name::<Version>(&version)?);
        let token = desk.admit(&token, Wants::Move(&environment, &app))?;
        let pipeline = pipeline.unwrap_or_default().chars().filter(|c| !c.is_control()).take(500).collect();
        let (id, queue) = desk.push(&NewPush { environment, app, version, token, pipeline })?;
        Ok((StatusCode::ACCEPTED, PushTaken { id, queue }))
    })
    .await
}

/// What became of a push.
#[utoipa::path(
    get, path = "/api/v1/environments/{environment}/pushes/{id}", security(("token" = [])),
    params(("environment" = String, Path, pattern = "^[a-z0-9][a-z0-9-]{0,62}$"), ("id" = i64, Path)),
    responses(
        (status = 200, body = PushAnswer), (status = 400, body = Problem), (status = 401, body = Problem),
        (status = 404, body = Problem), (status = 503, body = Problem)
    )
)]
async fn pushed(
    State(desk): State<Desk>,
    Path((environment, id)): Path<(String, String)>,
    request: Request,
) -> Response {
    let token = token(&request);
    work(move || {
        let (environment, id) = (asked::name::<EnvironmentName>(&environment)?, asked::name::<i64>(&id)?);
        desk.admit(&token, Wants::Look)?;
        Ok((StatusCode::OK, PushAnswer::of(desk.pushed(id)?, &environment)?))
    })
    .await
}

/// Does what touches the disk where it keeps no other connection waiting, and says how it went.
async fn work<T: Serialize + Send + 'static>(
    job: impl FnOnce() -> Result<(StatusCode, T), said::Failure> + Send + 'static,
) -> Response {
    match tokio::task::spawn_blocking(job).await {
        Ok(Ok((status, value))) => answer(status, serde_json::to_string(&value).unwrap_or_default()),
        Ok(Err(failure)) => failed(&failure),
        Err(_) => failed(&said::Failure::ours("the server failed; its journal says why")),
    }
}

fn answer(status: StatusCode, json: String) -> Response {
    use axum::http::HeaderValue;
    use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
    let mut response = Response::new(Body::from(json));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
