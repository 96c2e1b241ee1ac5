//! Questions to agents and their answers.

use std::time::Duration;

use cratekube_common::domain::failure::{Failure, FailureClass};
use cratekube_common::domain::id::QueryId;
use cratekube_common::domain::query::{Answer, Query, QueryKind, Subject};
use cratekube_common::domain::secret::Secret;

use super::{Malformed, parse, present};
use crate::v1;
use v1::answer::Outcome;

/// Longest answer. A kubeconfig is a few kilobytes, a list of orphans is bounded to a little less than this.
const MOST_BYTES: usize = 1024 * 1024;
/// More kinds than any release answers.
const MOST_KINDS: usize = 100;

impl From<Query> for v1::Query {
    fn from(query: Query) -> Self {
        let about = query.about.as_ref();
        let told = |what: fn(&Subject) -> String| about.map(what).unwrap_or_default();
        Self {
            id: query.id.to_string(),
            kind: query.kind.to_string(),
            cluster: told(|about| about.cluster.to_string()),
            environment: told(|about| about.environment.to_string()),
            name: told(|about| about.name.to_string()),
            volume: told(|about| about.volume.to_string()),
            input_json: query.input.to_string(),
            patience_ms: u64::try_from(query.patience.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

impl TryFrom<v1::Query> for Query {
    type Error = Malformed;
    fn try_from(wire: v1::Query) -> Result<Self, Malformed> {
        let input = serde_json::from_str(&wire.input_json);
        let kind: QueryKind = parse("kind", &wire.kind)?;
        Ok(Self {
            id: parse("id", &wire.id)?,
            kind,
            about: kind.about_cluster().then(|| subject(&wire)).transpose()?,
            input: input.map_err(|_| Malformed { field: "input_json", fault: "is not JSON".into() })?,
            patience: Duration::from_millis(wire.patience_ms).min(kind.most_patience()),
        })
    }
}

fn subject(wire: &v1::Query) -> Result<Subject, Malformed> {
    Ok(Subject {
        cluster: parse("cluster", &wire.cluster)?,
        environment: parse("environment", &wire.environment)?,
        name: parse("name", &wire.name)?,
        volume: parse("volume", &wire.volume)?,
    })
}

/// An answer as it is sent. One that is too long is a failure of its own.
#[must_use]
pub fn answer(id: &str, answer: Answer) -> v1::Answer {
    let outcome = match answer {
        Ok(output) if output.expose().len() <= MOST_BYTES => Outcome::OutputJson(output.expose().to_owned()),
        Ok(_) => Outcome::Failure(too_long().into()),
        Err(failure) => Outcome::Failure(failure.into()),
    };
    v1::Answer { id: id.to_owned(), outcome: Some(outcome) }
}

fn too_long() -> Failure {
    Failure {
        class: FailureClass::Internal,
        message: format!("the answer has more than {MOST_BYTES} bytes"),
        line: None,
        retryable: false,
        remedy: "Ask an operator of the service.".into(),
    }
}

/// An answer as it is read. What is wrong with it is told without any of it.
///
/// # Errors
/// [`Malformed`].
pub fn read_answer(wire: v1::Answer) -> Result<(QueryId, Answer), Malformed> {
    let id = parse("answer.id", &wire.id)?;
    let answer = match present("answer.outcome", wire.outcome)? {
        Outcome::OutputJson(output) if output.len() > MOST_BYTES => {
            return Err(Malformed { field: "answer.output_json", fault: format!("is longer than {MOST_BYTES} bytes") });
        }
        Outcome::OutputJson(output) => Ok(Secret::new(output)),
        Outcome::Failure(failure) => Err(failure.try_into()?),
    };
    Ok((id, answer))
}

/// The kinds that an agent answers; what this release does not know, it does not ask.
///
/// # Errors
/// [`Malformed`] when there are more than can be.
pub fn kinds(wire: &[String]) -> Result<Vec<QueryKind>, Malformed> {
    if wire.len() > MOST_KINDS {
        return Err(Malformed { field: "answers", fault: format!("more than {MOST_KINDS}") });
    }
    Ok(wire.iter().filter_map(|kind| kind.parse().ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use uuid::Uuid;

    fn query() -> Query {
        Query {
            id: Uuid::from_u128(1).into(),
            kind: QueryKind::Kubeconfig,
            about: Some(Subject {
                cluster: Uuid::from_u128(2).into(),
                environment: "prod".parse().unwrap(),
                name: "web".parse().unwrap(),
                volume: Uuid::from_u128(3).into(),
            }),
            input: json!({"role": "view"}),
            patience: Duration::from_secs(20),
        }
    }

    #[test]
    fn a_scan_for_orphans_is_about_no_cluster_and_may_take_its_time() {
        let patience = Duration::from_secs(600);
        let scan = Query { kind: QueryKind::OrphanScan, about: None, patience, ..query() };
        assert_eq!(Query::try_from(v1::Query::from(scan.clone())), Ok(scan.clone()));
        let nameless = Query { kind: QueryKind::Kubeconfig, ..scan };
        assert_eq!(Query::try_from(v1::Query::from(nameless)).unwrap_err().field, "cluster");
    }

    #[test]
    fn questions_and_answers_come_over_as_they_were_sent() {
        assert_eq!(Query::try_from(v1::Query::from(query())), Ok(query()));
        let impatient = v1::Query { patience_ms: u64::MAX, ..query().into() };
        assert_eq!(Query::try_from(impatient).map(|q| q.patience), Ok(query().kind.most_patience()));
        for answered in [Ok(Secret::new("{}")), Err(too_long())] {
            let wire = answer(&query().id.to_string(), answered.clone());
            assert_eq!(read_answer(wire), Ok((query().id, answered)));
        }
        let kinds = kinds(&["kubeconfig".into(), "horoscope".into()]);
        assert_eq!(kinds, Ok(vec![QueryKind::Kubeconfig]));
    }

    #[test]
    fn hostile_row_52_what_is_no_question_or_no_answer_is_refused_without_quoting_it() {
        for broken in [
            v1::Query { kind: "horoscope".into(), ..query().into() },
            v1::Query { environment: "../x".into(), ..query().into() },
            v1::Query { input_json: "{canary".into(), ..query().into() },
        ] {
            let fault = Query::try_from(broken).unwrap_err();
            assert!(!fault.to_string().contains("canary"), "{fault}");
        }
        let id = query().id.to_string();
        let long = Outcome::OutputJson("canary".repeat(MOST_BYTES));
        for broken in [
            v1::Answer { id: id.clone(), outcome: None },
            v1::Answer { id: "?".into(), outcome: Some(Outcome::OutputJson("{}".into())) },
            v1::Answer { id: id.clone(), outcome: Some(long) },
        ] {
            let fault = read_answer(broken).unwrap_err();
            assert!(!fault.to_string().contains("canary"), "{fault}");
        }
        let sent = answer(&id, Ok(Secret::new("x".repeat(MOST_BYTES + 1))));
        assert!(matches!(sent.outcome, Some(Outcome::Failure(_))));
    }
}
