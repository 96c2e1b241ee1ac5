//! `GET /v1/operations/{id}`: one operation; with `?wait=` when it ends or the time is over.

use std::time::Duration;

use axum::Json;
use axum::extract::{OriginalUri, Path, State};
use cratekube_common::domain::operation::Operation;
use cratekube_common::runtime::settings::parse_duration;

use super::visible_operation;
use crate::rest::caller::Caller;
use crate::rest::limits::MAX_WAIT;
use crate::rest::problem::{Kind, Problem};
use crate::rest::query::{Params, invalid};
use crate::rest::state::RestState;
use crate::rest::views::{AttemptView, OperationDetail, TaskView};

/// One operation with its tasks, each with what it found and what blocks it, and its attempts.
#[utoipa::path(get, path = "/v1/operations/{id}", tag = "operations",
    params(("id" = String, Path, description = "Operation"),
        ("wait" = Option<String>, Query, description = "Answer when it has ended, or after this time: `30s`, at most `60s`")),
    responses((status = 200, description = "The operation", body = OperationDetail)))]
pub(in crate::rest) async fn show(
    State(state): State<RestState>,
    caller: Caller,
    Path(id): Path<String>,
    OriginalUri(uri): OriginalUri,
) -> Result<Json<OperationDetail>, Problem> {
    let wait = read_wait(&Params::read(&uri, &["wait"])?)?;
    let operation = visible_operation(&state, &caller, &id).await?;
    let operation = wait_for(&state, &caller, operation, wait).await?;
    let attempts = state.service.attempts(operation.id).await?;
    let tasks = state.service.tasks(operation.id).await?;
    let tasks = TaskView::all(&operation, &tasks, &attempts);
    let attempts = attempts.iter().map(AttemptView::from).collect();
    Ok(Json(OperationDetail { operation: (&operation).into(), tasks, attempts }))
}

async fn wait_for(
    state: &RestState,
    caller: &Caller,
    operation: Operation,
    wait: Duration,
) -> Result<Operation, Problem> {
    if wait.is_zero() || operation.state.is_terminal() {
        return Ok(operation);
    }
    let _place = state.gate.stream(&caller.actor().subject)?;
    tokio::select! {
        biased;
        ended = state.service.wait(operation.id, wait) => Ok(ended?),
        () = state.shutdown.cancelled() => Ok(operation),
        why = caller.over(state) => Err(Problem::new(Kind::Unauthorized, why)),
    }
}

fn read_wait(params: &Params) -> Result<Duration, Problem> {
    let Some(text) = params.text("wait") else { return Ok(Duration::ZERO) };
    match parse_duration(text) {
        Ok(wait) if wait <= MAX_WAIT => Ok(wait),
        Ok(_) => Err(invalid("wait", format!("may be at most {}s", MAX_WAIT.as_secs()))),
        Err(fault) => Err(invalid("wait", fault)),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use cratekube_common::domain::failure::{Failure, FailureClass};
    use cratekube_common::domain::run::RunOutcome;
    use http::StatusCode;

    use crate::rest::testing::World;

    #[tokio::test]
    async fn a_failed_operation_says_why_and_what_to_do_and_hides_nothing_hostile() {
        let world = World::new().await;
        world.create("web").await;
        let work = world.work().await;
        let failure = Failure {
            class: FailureClass::Auth,
            message: "SSH refused".into(),
            line: Some("\u{1b}[31mFATA\u{202e}".into()),
            retryable: false,
            remedy: "Add the key.".into(),
        };
        let id = world.settle(&work, RunOutcome::Failed(failure)).await;
        let body = world.get(&format!("/v1/operations/{id}")).await.json();
        assert_eq!((&body["state"], &body["failure"]["class"]), (&"failed".into(), &"auth".into()));
        assert_eq!(body["failure"]["line"], "\\u{1b}[31mFATA\\u{202e}");
        assert_eq!(body["links"]["output"], format!("/v1/operations/{id}/output"));
        let attempt = &body["attempts"][1];
        assert_eq!((&attempt["state"], &attempt["failure"]["class"]), (&"exited".into(), &"auth".into()));
        assert_eq!(attempt["rke"]["rehearsal"], false);
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_ends_with_the_operation_or_with_the_time() {
        let world = World::new().await;
        let id = world.create("web").await;
        let path = format!("/v1/operations/{id}?wait=30s");
        let began = tokio::time::Instant::now();
        assert_eq!(world.get(&path).await.json()["state"], "queued");
        assert_eq!(began.elapsed(), Duration::from_secs(30));
        let work = world.work().await;
        let end = async {
            tokio::time::sleep(Duration::from_secs(7)).await;
            world.settle(&work, RunOutcome::Succeeded).await;
        };
        let began = tokio::time::Instant::now();
        let (answer, ()) = tokio::join!(world.get(&path), end);
        assert_eq!(answer.json()["state"], "succeeded");
        assert_eq!(began.elapsed(), Duration::from_secs(7));
        world.get(&path).await;
        assert_eq!(began.elapsed(), Duration::from_secs(7), "what has ended is not waited for");
        assert_eq!(world.watch.watched(), 0, "no watch is left behind");
    }

    #[tokio::test(start_paused = true)]
    async fn a_stopping_controller_answers_those_who_wait() {
        let world = World::new().await;
        let id = world.create("web").await;
        world.shutdown.cancel();
        let began = tokio::time::Instant::now();
        assert_eq!(world.get(&format!("/v1/operations/{id}?wait=60s")).await.status, StatusCode::OK);
        assert_eq!(began.elapsed(), Duration::ZERO);
    }

    #[tokio::test]
    async fn waits_that_are_none_are_refused() {
        let world = World::new().await;
        let id = world.create("web").await;
        for wait in ["61s", "2m", "30", "-1s", "99999999999999999999s", ""] {
            let answer = world.get(&format!("/v1/operations/{id}?wait={wait}")).await;
            assert_eq!(
                (answer.status, answer.problem().as_str()),
                (StatusCode::BAD_REQUEST, "invalid-parameter"),
                "{wait}"
            );
        }
        for none in ["nope", "00000000-0000-0000-0000-000000000000", "..%2f"] {
            let answer = world.get(&format!("/v1/operations/{none}")).await;
            assert_eq!((answer.status, answer.problem().as_str()), (StatusCode::NOT_FOUND, "not-found"), "{none}");
        }
    }
}
