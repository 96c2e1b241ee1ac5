//! Answers, and the Status objects that say why there is none.

use serde_json::{Value, json};

/// What is sent back.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Reply {
    pub(crate) code: u16,
    /// JSON, or text when it is a string.
    pub(crate) body: Value,
}

impl Reply {
    pub(crate) fn ok(body: Value) -> Reply {
        Reply { code: 200, body }
    }

    pub(crate) fn created(body: Value) -> Reply {
        Reply { code: 201, body }
    }

    pub(crate) fn text(code: u16, text: &str) -> Reply {
        Reply { code, body: json!(text) }
    }

    /// A failure.
    pub(crate) fn failure(code: u16, reason: &str, message: impl Into<String>) -> Reply {
        Reply {
            code,
            body: json!({
                "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                "message": message.into(), "reason": reason, "code": code,
            }),
        }
    }

    pub(crate) fn with_details(mut self, details: Value) -> Reply {
        self.body["details"] = details;
        self
    }

    /// A success without an object.
    pub(crate) fn success() -> Reply {
        Reply::ok(json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}))
    }

    pub(crate) fn no_route() -> Reply {
        Reply::failure(404, "NotFound", "the server could not find the requested resource")
    }

    pub(crate) fn unauthorized() -> Reply {
        Reply::failure(401, "Unauthorized", "Unauthorized")
    }

    pub(crate) fn bad_request(why: impl Into<String>) -> Reply {
        Reply::failure(400, "BadRequest", why)
    }

    pub(crate) fn invalid(kind: &str, group: &str, name: &str, fault: &str) -> Reply {
        let kind = if group.is_empty() { kind.to_owned() } else { format!("{kind}.{group}") };
        Reply::failure(422, "Invalid", format!("{kind} {name:?} is invalid: {fault}"))
    }
}

/// Why a request is not done.
pub(crate) type Refused<T> = Result<T, Reply>;
