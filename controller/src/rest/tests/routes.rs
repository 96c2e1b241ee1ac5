//! Every route with who may use it: one line each. A route without a line here fails the tests of
//! [`super::access`].

use cratekube_common::domain::environment::Role::{self, Operator, Viewer};

use Needs::{AdminEverywhere, In, Nothing, Token};

/// What a route asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Needs {
    Nothing,
    Token,
    /// A role in the environment of the object.
    In(Role),
    AdminEverywhere,
}

/// One route.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    pub(super) needs: Needs,
    /// JSON that is sent to it; empty for none. Every request says `If-Match: "999"` too.
    pub(super) sends: &'static str,
    /// What those who may are answered. It must change nothing: the next line needs it.
    pub(super) answers: u16,
}

const fn row(method: &'static str, path: &'static str, needs: Needs, sends: &'static str, answers: u16) -> Row {
    Row { method, path, needs, sends, answers }
}

/// `{env}` is `prod`, `{name}` is `web`, `{resource}` is one that is not there, and `{id}` an operation there that has ended.
#[rustfmt::skip]
pub(super) const TABLE: &[Row] = &[
    row("GET", "/healthz", Nothing, "", 200),
    row("GET", "/readyz", Nothing, "", 200),
    row("GET", "/problems/{kind}", Nothing, "", 200),
    row("GET", "/ui", Nothing, "", 308),
    row("GET", "/ui/", Nothing, "", 200),
    row("GET", "/ui/{file}", Nothing, "", 404),
    row("GET", "/ca.pem", Nothing, "", 200),
    row("GET", "/install.sh", Nothing, "", 404),
    row("GET", "/install/agent/{file}", Nothing, "", 404),
    row("GET", "/openapi.json", Token, "", 200),
    row("POST", "/v1/auth/token", Nothing, "{}", 422),
    row("GET", "/v1/auth/whoami", Token, "", 200),
    row("POST", "/v1/auth/logout", Token, "", 204),
    row("GET", "/v1/catalogue", Token, "", 200),
    row("GET", "/v1/environments", Token, "", 200),
    row("GET", "/v1/environments/{env}/clusters", In(Viewer), "", 200),
    row("POST", "/v1/environments/{env}/clusters", In(Operator), "{}", 422),
    row("GET", "/v1/environments/{env}/clusters/{name}", In(Viewer), "", 200),
    row("PUT", "/v1/environments/{env}/clusters/{name}", In(Operator), r#"{"spec": {}}"#, 412),
    row("DELETE", "/v1/environments/{env}/clusters/{name}", In(Operator), r#"{"reason": "x"}"#, 412),
    row("PATCH", "/v1/environments/{env}/clusters/{name}", In(Operator), r#"{"deletion_protection": true}"#, 412),
    row("POST", "/v1/environments/{env}/clusters/{name}/force-unlock", In(Role::Admin), "{}", 422),
    row("GET", "/v1/environments/{env}/clusters/{name}/generations", In(Viewer), "", 200),
    row("GET", "/v1/environments/{env}/clusters/{name}/health", In(Viewer), "", 200),
    row("POST", "/v1/environments/{env}/clusters/{name}/kubeconfig", In(Viewer), "{}", 422),
    row("POST", "/v1/environments/{env}/clusters/{name}/plan", In(Operator), "{}", 422),
    row("POST", "/v1/environments/{env}/clusters/{name}/provision", In(Operator), "", 409),
    row("POST", "/v1/environments/{env}/clusters/{name}/recover-state", In(Operator), "{}", 422),
    row("GET", "/v1/environments/{env}/clusters/{name}/revisions", In(Viewer), "", 200),
    row("GET", "/v1/environments/{env}/clusters/{name}/resources", In(Viewer), "", 200),
    row("GET", "/v1/environments/{env}/clusters/{name}/resources/{resource}", In(Viewer), "", 404),
    row("PUT", "/v1/environments/{env}/clusters/{name}/resources/{resource}", In(Operator), "{}", 422),
    row("DELETE", "/v1/environments/{env}/clusters/{name}/resources/{resource}", In(Operator), "", 404),
    row("POST", "/v1/environments/{env}/clusters/{name}/rotate-certificates", In(Operator), "{}", 412),
    row("POST", "/v1/environments/{env}/clusters/{name}/verify", In(Operator), "", 412),
    row("GET", "/v1/environments/{env}/resources", In(Viewer), "", 200),
    row("GET", "/v1/environments/{env}/resources/{resource}", In(Viewer), "", 404),
    row("PUT", "/v1/environments/{env}/resources/{resource}", In(Role::Admin), "{}", 422),
    row("DELETE", "/v1/environments/{env}/resources/{resource}", In(Role::Admin), "", 404),
    row("GET", "/v1/events", Token, "", 200),
    row("GET", "/v1/operations", Token, "", 200),
    row("GET", "/v1/operations/{id}", In(Viewer), "", 200),
    row("POST", "/v1/operations/{id}/abandon", In(Role::Admin), r#"{"reason": "x"}"#, 409),
    row("GET", "/v1/operations/{id}/residue", In(Viewer), "", 409),
    row("POST", "/v1/operations/{id}/cancel", In(Operator), "", 409),
    row("GET", "/v1/operations/{id}/output", In(Viewer), "", 200),
    row("POST", "/v1/operations/{id}/retry", In(Operator), "", 409),
    row("GET", "/v1/admin/agents", AdminEverywhere, "", 200),
    row("GET", "/v1/admin/agents/{id}", AdminEverywhere, "", 404),
    row("GET", "/v1/admin/agents/{id}/history", AdminEverywhere, "", 404),
    row("GET", "/v1/admin/summary", AdminEverywhere, "", 200),
    row("GET", "/v1/admin/volumes", AdminEverywhere, "", 200),
    row("GET", "/v1/admin/volumes/{id}", AdminEverywhere, "", 404),
    row("POST", "/v1/admin/agents/{id}/cordon", AdminEverywhere, "", 404),
    row("POST", "/v1/admin/agents/{id}/drain", AdminEverywhere, "", 404),
    row("POST", "/v1/admin/agents/{id}/forget", AdminEverywhere, "{}", 422),
    row("POST", "/v1/admin/agents/{id}/uncordon", AdminEverywhere, "", 404),
    row("GET", "/v1/admin/quarantine", AdminEverywhere, "", 200),
    row("GET", "/v1/admin/orphan-scans", AdminEverywhere, "", 200),
    row("POST", "/v1/admin/orphan-scans", AdminEverywhere, r#"{"agent": 1}"#, 422),
    row("GET", "/v1/admin/orphan-scans/{id}", AdminEverywhere, "", 404),
    row("GET", "/v1/admin/orphans", AdminEverywhere, "", 200),
    row("GET", "/v1/admin/api-keys", AdminEverywhere, "", 200),
    row("POST", "/v1/admin/api-keys", AdminEverywhere, "{}", 422),
    row("DELETE", "/v1/admin/api-keys/{id}", AdminEverywhere, "", 404),
    row("GET", "/v1/admin/revocations", AdminEverywhere, "", 200),
    row("POST", "/v1/admin/revocations", AdminEverywhere, "{}", 422),
    row("GET", "/v1/admin/signing-keys", AdminEverywhere, "", 200),
    row("POST", "/v1/admin/signing-keys/rotate", AdminEverywhere, "{}", 422),
    row("GET", "/v1/admin/ca", AdminEverywhere, "", 200),
    row("POST", "/v1/admin/ca/rotate", AdminEverywhere, "{}", 422),
    row("POST", "/v1/admin/ca/switch", AdminEverywhere, r#"{"reason": "x"}"#, 409),
    row("POST", "/v1/admin/ca/roll-back", AdminEverywhere, r#"{"reason": "x"}"#, 409),
    row("POST", "/v1/admin/ca/finish", AdminEverywhere, r#"{"reason": "x"}"#, 409),
    row("GET", "/v1/admin/alarms", AdminEverywhere, "", 200),
    row("POST", "/v1/admin/alarms/{number}/acknowledge", AdminEverywhere, r#"{"reason": "x"}"#, 404),
    row("GET", "/v1/admin/audit", AdminEverywhere, "", 200),
    row("POST", "/v1/admin/agents/{id}/revoke", AdminEverywhere, r#"{"reason": "x"}"#, 404),
    row("POST", "/v1/admin/agents/{id}/ban", AdminEverywhere, r#"{"reason": "x"}"#, 404),
    row("POST", "/v1/admin/agents/{id}/unban", AdminEverywhere, r#"{"reason": "x"}"#, 404),
    row("GET", "/v1/admin/join-tokens", AdminEverywhere, "", 200),
    row("POST", "/v1/admin/join-tokens", AdminEverywhere, r#"{"lifetime": "25h"}"#, 422),
    row("DELETE", "/v1/admin/join-tokens/{id}", AdminEverywhere, "", 404),
];
