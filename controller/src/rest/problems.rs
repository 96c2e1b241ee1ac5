//! `GET /problems/{kind}`: what a problem's `type` points at. Open to all: it says what the API's
//! description says, and who was refused a token needs it most.

use axum::Json;
use axum::extract::Path;
use serde::Serialize;
use utoipa::ToSchema;

use super::problem::{Kind, Problem};

/// A kind of problem.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ProblemKind {
    r#type: String,
    title: &'static str,
    status: u16,
    /// Whether the same request may succeed later.
    retryable: bool,
    /// What to do.
    remedy: &'static str,
}

/// What a kind of problem means.
#[utoipa::path(get, path = "/problems/{kind}", tag = "problems", security(()),
    params(("kind" = String, Path, description = "The last part of a problem's `type`")),
    responses((status = 200, description = "The kind of problem", body = ProblemKind)))]
pub(super) async fn show(Path(kind): Path<String>) -> Result<Json<ProblemKind>, Problem> {
    let kind = Kind::ALL.iter().find(|known| known.slug() == kind).ok_or_else(Problem::not_found)?;
    Ok(Json(ProblemKind {
        r#type: format!("/problems/{}", kind.slug()),
        title: kind.title(),
        status: kind.status().as_u16(),
        retryable: kind.retryable(),
        remedy: kind.remedy(),
    }))
}
