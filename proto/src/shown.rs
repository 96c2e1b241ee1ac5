//! Messages that hold secrets, as they are printed: without.

use std::fmt;

use crate::v1;

impl fmt::Debug for v1::EnrollRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EnrollRequest")
            .field("name", &self.name)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for v1::Assignment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Assignment");
        shown.field("attempt", &self.attempt).field("fence", &self.fence).field("kind", &self.kind);
        shown.field("environment", &self.environment).field("name", &self.name).finish_non_exhaustive()
    }
}

impl fmt::Debug for v1::Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").field("id", &self.id).finish_non_exhaustive()
    }
}

impl fmt::Debug for v1::answer::Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutputJson(_) => f.write_str("OutputJson(…)"),
            Self::Failure(failure) => f.debug_tuple("Failure").field(failure).finish(),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::v1;

    #[test]
    fn hostile_row_78_messages_with_secrets_print_without_them() {
        let token = v1::EnrollRequest { join_token: "canary-1".into(), name: "b".into(), ..Default::default() };
        let work = v1::Assignment { spec_json: "{\"password\":\"canary-2\"}".into(), ..Default::default() };
        let message = v1::controller_message::Message::Assignment(work);
        let outcome = v1::answer::Outcome::OutputJson("canary-3".into());
        let answer =
            v1::agent_message::Message::Answer(v1::Answer { id: String::new(), outcome: Some(outcome.clone()) });
        assert!(!format!("{token:?} {message:?} {answer:?} {outcome:?}").contains("canary"));
    }
}
