//! Whether accounts can do what they should and nothing more: questions to the cluster itself.

use cratekube_common::domain::cluster::access::AccessRole;
use serde_json::{Value, json};

use super::api::Api;
use super::fault::ApiFault;

/// One question, and the answer that it should have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Question {
    account: String,
    namespace: String,
    verb: &'static str,
    group: &'static str,
    resource: &'static str,
    /// Where it wants to do it; everywhere when none.
    within: Option<String>,
    allowed: bool,
}

impl std::fmt::Display for Question {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let place = self.within.as_ref().map_or_else(|| "everywhere".to_owned(), |n| format!("in {n}"));
        let can = if self.allowed { "cannot" } else { "can" };
        write!(f, "{}/{} {can} {} {} {place}", self.namespace, self.account, self.verb, self.resource)
    }
}

/// What is asked about a namespace of users.
pub(super) fn questions(namespace: &str) -> Vec<Question> {
    const APPS: &str = "apps";
    const RBAC: &str = "rbac.authorization.k8s.io";
    let mut all = Vec::new();
    for role in AccessRole::NAMESPACED {
        let mut ask = |verb, group, resource, within: Option<&str>, allowed| {
            all.push(Question {
                account: role.service_account().to_owned(),
                namespace: namespace.to_owned(),
                verb,
                group,
                resource,
                within: within.map(ToOwned::to_owned),
                allowed,
            });
        };
        let (edits, grants) = (role != AccessRole::View, role == AccessRole::Admin);
        ask("list", "", "pods", Some(namespace), true);
        ask("create", APPS, "deployments", Some(namespace), edits);
        ask("get", "", "secrets", Some(namespace), edits);
        ask("create", RBAC, "rolebindings", Some(namespace), grants);
        ask("get", "", "secrets", Some("kube-system"), false);
        ask("list", "", "secrets", None, false);
        ask("list", "", "nodes", None, false);
        ask("create", RBAC, "clusterrolebindings", None, false);
    }
    all.extend(nothing_for_default(namespace));
    all
}

/// Pods that name no account run as `default`, which has no rights.
pub(super) fn nothing_for_default(namespace: &str) -> Vec<Question> {
    let ask = |verb, resource| Question {
        account: "default".to_owned(),
        namespace: namespace.to_owned(),
        verb,
        group: "",
        resource,
        within: Some(namespace.to_owned()),
        allowed: false,
    };
    vec![ask("get", "secrets"), ask("list", "pods"), ask("create", "pods")]
}

/// Asks; answers the questions whose answer is not what it should be.
///
/// # Errors
/// When the cluster does not answer.
pub(super) async fn ask(api: &Api, questions: &[Question]) -> Result<Vec<String>, ApiFault> {
    let mut wrong = Vec::new();
    for question in questions {
        let answer = api.create("/apis/authorization.k8s.io/v1/subjectaccessreviews", &review(question)).await?;
        if answer["status"]["allowed"] != question.allowed {
            wrong.push(question.to_string());
        }
    }
    Ok(wrong)
}

fn review(question: &Question) -> Value {
    let Question { account, namespace, verb, group, resource, within, .. } = question;
    json!({
        "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
        "spec": {
            "user": format!("system:serviceaccount:{namespace}:{account}"),
            "groups": ["system:serviceaccounts", format!("system:serviceaccounts:{namespace}"), "system:authenticated"],
            "resourceAttributes": {"namespace": within.as_deref().unwrap_or_default(), "verb": verb, "group": group, "resource": resource},
        },
    })
}
