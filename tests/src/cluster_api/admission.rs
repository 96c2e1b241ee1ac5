//! What is refused although it is allowed: missing namespaces, insecure pods, policies, what schemas
//! and validation would find.

use serde_json::Value;

use super::cluster::Cluster;
use super::request::Request;
use super::status::{Refused, Reply};

/// Namespaces that RKE's admission configuration leaves alone.
const EXEMPT: &[&str] = &["kube-system", "ingress-nginx", "cattle-system"];
const LEVEL_LABEL: &str = "pod-security.kubernetes.io/enforce";

impl Cluster {
    pub(crate) fn admit(&self, request: &Request, object: &Value) -> Refused<()> {
        let exists = self.existing(request).is_ok();
        if let Some(namespace) = request.namespace.as_deref().filter(|_| !exists) {
            let Some(found) = self.get("", "namespaces", None, namespace) else {
                return Err(Reply::failure(404, "NotFound", format!("namespaces {namespace:?} not found")));
            };
            if !found["metadata"]["deletionTimestamp"].is_null() {
                return Err(request.forbidden(&format!(
                    "unable to create new content in namespace {namespace} because it is being terminated"
                )));
            }
        }
        self.validate(request, object)?;
        self.check_pod_security(request, object)?;
        self.check_quotas(request, object)?;
        let operation = if exists { "UPDATE" } else { "CREATE" };
        self.check_policies(request, object, operation)
    }

    pub(crate) fn admit_deletion(&self, request: &Request, object: &Value) -> Refused<()> {
        let protected = ["default", "kube-system", "kube-public", "kube-node-lease"];
        if request.kind.plural == "namespaces" && protected.contains(&request.name()) {
            return Err(request.forbidden("this namespace may not be deleted"));
        }
        self.check_policies(request, object, "DELETE")
    }

    /// The few faults that tests provoke.
    fn validate(&self, request: &Request, object: &Value) -> Refused<()> {
        let (kind, spec) = (request.kind.kind.as_str(), &object["spec"]);
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let invalid = |fault: &str| Err(Reply::invalid(kind, &request.kind.group, name, fault));
        let lower = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b);
        if !request.kind.group.starts_with("rbac.") && !name.bytes().all(lower) {
            return invalid(&format!(
                "metadata.name: Invalid value: {name:?}: a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.'"
            ));
        }
        match kind {
            "Deployment" | "StatefulSet" | "DaemonSet" => {
                if !spec["selector"]["matchLabels"].is_object() {
                    return invalid("spec.selector: Required value");
                }
                if let Ok(before) = self.existing(request)
                    && before["spec"]["selector"] != spec["selector"]
                {
                    return invalid("spec.selector: Invalid value: field is immutable");
                }
            }
            "ConfigMap" | "Secret" => {
                let values = object["data"].as_object().into_iter().flat_map(|map| map.values());
                if values.into_iter().any(|value| !value.is_string()) {
                    return Err(Reply::bad_request(format!(
                        "{kind} in version \"v1\" cannot be handled as a {kind}: json: cannot unmarshal number into Go struct field {kind}.data of type string"
                    )));
                }
            }
            "Service" if !spec["ports"].is_array() && spec["type"] != "ExternalName" => {
                return invalid("spec.ports: Required value");
            }
            _ => {}
        }
        Ok(())
    }

    fn check_pod_security(&self, request: &Request, object: &Value) -> Refused<()> {
        if request.kind.plural != "pods" {
            return Ok(());
        }
        let namespace = request.namespace.as_deref().unwrap_or_default();
        let labels = self.get("", "namespaces", None, namespace).map(|n| n["metadata"]["labels"].clone());
        let labelled = labels.as_ref().and_then(|labels| labels[LEVEL_LABEL].as_str());
        let default = self.pod_security.as_deref().filter(|_| !EXEMPT.contains(&namespace));
        let level = labelled.or(default).unwrap_or("privileged");
        let faults = pod_faults(&object["spec"], level);
        if faults.is_empty() {
            return Ok(());
        }
        Err(request.forbidden(&format!("violates PodSecurity \"{level}:latest\": {}", faults.join(", "))))
    }

    /// Quotas of the three sorts that are known here: no more of them than the quota says.
    fn check_quotas(&self, request: &Request, object: &Value) -> Refused<()> {
        let Some(namespace) = request.namespace.as_deref() else { return Ok(()) };
        let is_balanced = |service: &Value| service["spec"]["type"] == "LoadBalancer";
        let counts = |object: &Value| request.kind.plural != "services" || is_balanced(object);
        let name = match request.kind.plural.as_str() {
            "services" => "services.loadbalancers",
            "persistentvolumeclaims" => "persistentvolumeclaims",
            "ingresses" => "count/ingresses.networking.k8s.io",
            _ => return Ok(()),
        };
        // Whatever uses no more than before is let through.
        if !counts(object) || self.existing(request).is_ok_and(counts) {
            return Ok(());
        }
        let used = self.list(&request.kind.group, &request.kind.plural, Some(namespace)).filter(|o| counts(o)).count();
        for quota in self.list("", "resourcequotas", Some(namespace)) {
            let hard = quota["spec"]["hard"][name].as_str().and_then(|text| text.parse::<usize>().ok());
            if let Some(hard) = hard.filter(|hard| used + 1 > *hard) {
                let by = quota["metadata"]["name"].as_str().unwrap_or_default();
                return Err(request.forbidden(&format!(
                    "exceeded quota: {by}, requested: {name}=1, used: {name}={used}, limited: {name}={hard}"
                )));
            }
        }
        Ok(())
    }

    /// Policies that are bound with `Deny`. Expressions are of the few forms that [`holds`] knows.
    fn check_policies(&self, request: &Request, object: &Value, operation: &str) -> Refused<()> {
        let group = "admissionregistration.k8s.io";
        for binding in self.list(group, "validatingadmissionpolicybindings", None) {
            let actions = binding["spec"]["validationActions"].as_array();
            if !actions.is_some_and(|actions| actions.iter().any(|action| action == "Deny")) {
                continue;
            }
            let name = binding["spec"]["policyName"].as_str().unwrap_or_default();
            let Some(policy) = self.get(group, "validatingadmissionpolicies", None, name) else { continue };
            if !concerns(policy, request, operation) {
                continue;
            }
            for validation in policy["spec"]["validations"].as_array().into_iter().flatten() {
                let expression = validation["expression"].as_str().unwrap_or_default();
                let before = self.existing(request).unwrap_or(&Value::Null);
                if !holds(expression, object, before) {
                    let why = validation["message"]
                        .as_str()
                        .map_or_else(|| format!("failed expression: {expression}"), ToOwned::to_owned);
                    let by = binding["metadata"]["name"].as_str().unwrap_or_default();
                    let message =
                        format!("ValidatingAdmissionPolicy '{name}' with binding '{by}' denied request: {why}");
                    return Err(Reply { code: 422, ..request.forbidden(&message) });
                }
            }
        }
        Ok(())
    }
}

fn pod_faults(spec: &Value, level: &str) -> Vec<&'static str> {
    let containers = || spec["containers"].as_array().into_iter().flatten();
    let any = |is: &dyn Fn(&Value) -> bool| containers().any(is);
    let mut faults = Vec::new();
    let mut note = |is: bool, fault| {
        if is {
            faults.push(fault);
        }
    };
    if level == "privileged" {
        return Vec::new();
    }
    note(any(&|c| c["securityContext"]["privileged"] == true), "privileged");
    note(["hostNetwork", "hostPID", "hostIPC"].iter().any(|key| spec[*key] == true), "host namespaces");
    let volumes = spec["volumes"].as_array();
    note(volumes.is_some_and(|v| v.iter().any(|v| !v["hostPath"].is_null())), "hostPath volumes");
    if level == "restricted" {
        note(any(&|c| c["securityContext"]["allowPrivilegeEscalation"] != false), "allowPrivilegeEscalation != false");
        let non_root = spec["securityContext"]["runAsNonRoot"] == true;
        note(!non_root && any(&|c| c["securityContext"]["runAsNonRoot"] != true), "runAsNonRoot != true");
    }
    faults
}

fn concerns(policy: &Value, request: &Request, operation: &str) -> bool {
    let rules = policy["spec"]["matchConstraints"]["resourceRules"].as_array();
    rules.into_iter().flatten().any(|rule| {
        let has = |key: &str, wanted: &str| rule[key].as_array().into_iter().flatten().any(|v| v == "*" || v == wanted);
        has("apiGroups", &request.kind.group) && has("operations", operation) && has("resources", &request.kind.plural)
    })
}

/// `false`, `true`, `object.a.b == 'x'` and `!=`, `oldObject != null`, with `has(object.a.b)`, joined by `||` and
/// `&&`; parentheses are not looked at.
fn holds(expression: &str, object: &Value, before: &Value) -> bool {
    expression.split("||").any(|either| either.split("&&").all(|term| term_holds(term.trim(), object, before)))
}

fn term_holds(term: &str, object: &Value, before: &Value) -> bool {
    let term = term.trim_matches(|c| c == '(' || c == ')' && !term.starts_with("has(") && !term.starts_with("!has("));
    let at = |path: &str| {
        let path = path.trim();
        let (root, path) = match path.strip_prefix("oldObject.") {
            Some(rest) => (before, rest),
            None => (object, path.trim_start_matches("object.")),
        };
        path.split('.').fold(root, |value, part| &value[part]).clone()
    };
    let has = |text: &str| !at(text.trim_end_matches(')')).is_null();
    if term == "oldObject != null" {
        return !before.is_null();
    }
    if let Some(path) = term.strip_prefix("!has(") {
        return !has(path);
    }
    if let Some(path) = term.strip_prefix("has(") {
        return has(path);
    }
    let word = |text: &str| text.trim().trim_matches(['\'', '"']).to_owned();
    if let Some((path, value)) = term.split_once("!=") {
        return at(path) != word(value).as_str();
    }
    if let Some((path, value)) = term.split_once("==") {
        return at(path) == word(value).as_str();
    }
    term == "true"
}
