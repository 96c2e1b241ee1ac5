//! A refusal as the API writes it (RFC 9457), read with forbearance: whatever is missing is left out.

use cratekube_common::visible::visible;
use http::StatusCode;
use serde_json::Value;

/// Longest text that is shown of an answer that is not a problem document.
const MOST_CHARACTERS: usize = 300;

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    /// The status it came with.
    pub(super) status: StatusCode,
    /// The last part of its type; empty when it has none.
    pub(super) kind: String,
    /// What kind of problem it is.
    pub(super) title: String,
    /// What is the matter this time.
    pub(super) detail: String,
    /// Every mistake: where, and what.
    pub(super) mistakes: Vec<(String, String)>,
    /// What to do.
    pub(super) remedy: String,
    /// The operation that is in the way.
    pub(super) operation: Option<String>,
    /// What to name when asking for help.
    pub(super) request_id: String,
}

impl Problem {
    /// Reads the body of an answer with this status.
    pub(super) fn read(status: StatusCode, body: &[u8]) -> Self {
        let document: Value = serde_json::from_slice(body).unwrap_or_default();
        if !document["title"].is_string() {
            return Self::unexplained(status, body);
        }
        let text = |key: &str| visible(document[key].as_str().unwrap_or_default()).into_owned();
        let mistakes = document["errors"].as_array().into_iter().flatten().map(mistake).collect();
        Self {
            status,
            kind: text("type").rsplit('/').next().unwrap_or_default().to_owned(),
            title: text("title"),
            detail: text("detail"),
            mistakes,
            remedy: text("remedy"),
            operation: document["operation"].as_str().map(|path| visible(path).into_owned()),
            request_id: text("request_id"),
        }
    }

    /// Something else than a controller answered.
    fn unexplained(status: StatusCode, body: &[u8]) -> Self {
        let text: String = String::from_utf8_lossy(body).chars().take(MOST_CHARACTERS).collect();
        Self {
            status,
            kind: String::new(),
            title: format!("the answer was {status}, without an explanation"),
            detail: visible(text.trim()).into_owned(),
            mistakes: Vec::new(),
            remedy: "Check that the address is a controller's, and what stands between.".into(),
            operation: None,
            request_id: String::new(),
        }
    }

    /// What people read, line by line; the first is the title.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut lines = vec![self.title.clone()];
        if self.mistakes.is_empty() {
            lines.extend([self.detail.clone()].into_iter().filter(|detail| !detail.is_empty()));
        }
        lines.extend(self.mistakes.iter().map(|(place, what)| match place.as_str() {
            "" => what.clone(),
            place => format!("{place}: {what}"),
        }));
        lines.extend(
            self.operation.iter().map(|path| format!("in the way: {}", path.rsplit('/').next().unwrap_or(path))),
        );
        lines.extend(
            [&self.remedy].into_iter().filter(|text| !text.is_empty()).map(|text| format!("what to do: {text}")),
        );
        let request = Some(&self.request_id).filter(|id| !id.is_empty());
        lines.extend(request.map(|id| format!("request: {id}")));
        lines
    }
}

/// Where a mistake is and what it is.
pub(super) fn mistake(entry: &Value) -> (String, String) {
    let text = |key: &str| entry[key].as_str().map(|text| visible(text).into_owned());
    let place = text("pointer").or_else(|| text("parameter")).unwrap_or_default();
    (place, text("detail").unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_problem_shows_its_title_every_fault_with_its_place_and_the_remedy() {
        let body = json!({
            "type": "/problems/validation", "title": "The request is understood but not acceptable", "status": 422,
            "detail": "the request has 2 mistake(s)", "instance": "/v1/x", "request_id": "r-1", "retryable": false,
            "remedy": "Correct what `errors` lists; it is complete.",
            "errors": [
                {"pointer": "/spec/nodes", "detail": "must have at least one node"},
                {"parameter": "Idempotency-Key", "detail": "must be\u{1b}[31m visible"},
                {"pointer": "", "detail": "must be an object"},
            ],
        });
        let problem = Problem::read(StatusCode::UNPROCESSABLE_ENTITY, body.to_string().as_bytes());
        assert_eq!(problem.kind, "validation");
        insta::assert_snapshot!("validation", problem.lines().join("\n"));
        let busy = json!({"title": "Another operation is at work on the cluster", "detail": "d", "remedy": "Wait.",
                          "operation": "/v1/operations/op-1"});
        let busy = Problem::read(StatusCode::CONFLICT, busy.to_string().as_bytes());
        insta::assert_snapshot!("busy", busy.lines().join("\n"));
    }

    #[test]
    fn hostile_row_13_what_is_no_problem_document_is_shown_harmless_and_short() {
        let page = format!("<html>\x1b]8;;http://evil\x07{}", "x".repeat(10_000));
        let problem = Problem::read(StatusCode::BAD_GATEWAY, page.as_bytes());
        let shown = problem.lines().join("\n");
        assert!(shown.contains("502") && !shown.contains('\u{1b}') && shown.len() < 600, "{shown}");
    }
}
