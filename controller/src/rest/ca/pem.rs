//! `GET /ca.pem`: whom to trust.

use axum::extract::{OriginalUri, State};
use axum::response::{IntoResponse, Response};
use http::header;

use crate::rest::problem::Problem;
use crate::rest::query::Params;
use crate::rest::state::RestState;

/// The certificates that this service is to be trusted under: one, and two while the CA is rotated. Believe it
/// only where the connection itself is trusted, or compare its fingerprint.
#[utoipa::path(get, path = "/ca.pem", tag = "install", security(()),
    responses((status = 200, description = "PEM", body = String, content_type = "application/x-pem-file")))]
pub(in crate::rest) async fn pem(
    State(state): State<RestState>,
    OriginalUri(uri): OriginalUri,
) -> Result<Response, Problem> {
    Params::read(&uri, &[])?;
    Ok(([(header::CONTENT_TYPE, "application/x-pem-file")], state.changeover.authority().pem()).into_response())
}
