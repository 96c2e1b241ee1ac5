//! `GET /ui/`: a page for people who would rather look than read.
//!
//! A few static files that are part of the program: no build step, nothing from other hosts. They are open
//! to all, for they hold nothing: what they show they ask the API for, with the key or token that its
//! reader enters. The policy that goes along lets them run our script, ask this origin, and nothing else;
//! the browser itself refuses to read any text as HTML (trusted types).

use axum::extract::{OriginalUri, Path};
use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, StatusCode, header};

use super::problem::Problem;
use super::query::Params;

/// What the page may do, for browsers.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'; trusted-types 'none'";

const SCRIPT: &str = "text/javascript; charset=utf-8";
const PAGE: (&str, &str) = ("text/html; charset=utf-8", include_str!("index.html"));

/// What belongs to the page: name, media type, text.
const FILES: &[(&str, &str, &str)] = &[
    ("page.js", SCRIPT, include_str!("page.js")),
    ("api.js", SCRIPT, include_str!("api.js")),
    ("dom.js", SCRIPT, include_str!("dom.js")),
    ("overview.js", SCRIPT, include_str!("overview.js")),
    ("details.js", SCRIPT, include_str!("details.js")),
    ("page.css", "text/css; charset=utf-8", include_str!("page.css")),
    ("icon.svg", "image/svg+xml", include_str!("icon.svg")),
];

/// Leads to the page: its files lie beside it, so that its address ends with a slash.
#[utoipa::path(get, path = "/ui", tag = "page", security(()),
    responses((status = 308, description = "The page is at `/ui/`")))]
pub(super) async fn lead(OriginalUri(uri): OriginalUri) -> Result<Response, Problem> {
    Params::read(&uri, &[])?;
    Ok((StatusCode::PERMANENT_REDIRECT, [(header::LOCATION, "/ui/")]).into_response())
}

/// The page: what needs attention, clusters, agents, and operations as they go on. It only looks.
#[utoipa::path(get, path = "/ui/", tag = "page", security(()),
    responses((status = 200, description = "The page", body = String, content_type = "text/html")))]
pub(super) async fn page(OriginalUri(uri): OriginalUri) -> Result<Response, Problem> {
    Params::read(&uri, &[])?;
    Ok(answer(PAGE.0, PAGE.1))
}

/// A file of the page.
#[utoipa::path(get, path = "/ui/{file}", tag = "page", security(()),
    params(("file" = String, Path, description = "Its name")),
    responses((status = 200, description = "The file", content(
        (String = "text/javascript"), (String = "text/css"), (String = "image/svg+xml")))))]
pub(super) async fn file(Path(file): Path<String>, OriginalUri(uri): OriginalUri) -> Result<Response, Problem> {
    Params::read(&uri, &[])?;
    let found = FILES.iter().find(|(name, ..)| *name == file).ok_or_else(Problem::not_found)?;
    Ok(answer(found.1, found.2))
}

fn answer(media_type: &'static str, text: &'static str) -> Response {
    let mut response = text.into_response();
    let headers = [
        (header::CONTENT_TYPE, media_type),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=()"),
    ];
    for (name, value) in headers {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests;
