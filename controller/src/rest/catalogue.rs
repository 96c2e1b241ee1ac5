//! `GET /v1/catalogue`: what is known of RKE: releases, versions, images, floors and ends.

use axum::Json;
use axum::extract::OriginalUri;
use cratekube_common::rke::catalogue::Catalogue;

use super::caller::Caller;
use super::problem::Problem;
use super::query::Params;

/// What is known of RKE: its lines with their floor of security, releases with the Kubernetes versions
/// that each offers, versions whose images need a subscription, and when its life ended.
#[utoipa::path(get, path = "/v1/catalogue", tag = "catalogue",
    responses((status = 200, description = "The catalogue of this release of the service", body = Object)))]
pub(super) async fn show(_caller: Caller, OriginalUri(uri): OriginalUri) -> Result<Json<&'static Catalogue>, Problem> {
    Params::read(&uri, &[])?;
    Ok(Json(Catalogue::get()))
}

#[cfg(test)]
mod tests {
    use crate::rest::testing::World;

    #[tokio::test]
    async fn the_catalogue_tells_of_floors_and_ends() {
        let world = World::new().await;
        let catalogue = world.get("/v1/catalogue").await.json();
        assert_eq!(catalogue["end_of_life"], "2025-07-31");
        let lines = catalogue["lines"].as_array().unwrap();
        let floor = |series: &str| lines.iter().find(|line| line["series"] == series).unwrap()["floor"].clone();
        assert_eq!((floor("1.4"), floor("1.5"), floor("1.6")), ("1.4.19".into(), "1.5.10".into(), "1.6.0".into()));
        assert_eq!(catalogue["releases"][0]["version"], "1.8.14");
        assert_eq!(world.get("/v1/catalogue?x=1").await.problem(), "invalid-parameter");
    }
}
