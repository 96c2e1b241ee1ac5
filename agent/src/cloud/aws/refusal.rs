//! What the codes mean with which AWS refuses a call.

use super::super::CloudFault;
use super::client::Service;
use super::xml::Node;

/// Why there is no answer to a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// AWS refused it, with a code and a sentence.
    Code { code: String, message: String },
    /// The agent has no keys.
    NoCredentials(String),
    /// There was no answer, or none that can be read.
    Unanswered(String),
}

/// Come back later.
const THROTTLED: [&str; 9] = [
    "RequestLimitExceeded",
    "Throttling",
    "ThrottlingException",
    "ThrottledException",
    "RequestThrottled",
    "TooManyRequestsException",
    "PriorRequestNotComplete",
    "BandwidthLimitExceeded",
    "SlowDown",
];
/// A fault on the other side that passes.
const PASSING: [&str; 5] = ["InternalError", "InternalFailure", "ServiceUnavailable", "Unavailable", "RequestTimeout"];
/// It is not there. Codes that end in `.NotFound` or `NotFound` mean the same.
const ABSENT: [&str; 1] = ["AccessPointNotFoundException"];
/// Something still holds it, or it is between two states.
const HELD: [&str; 6] =
    ["DependencyViolation", "ResourceInUse", "VolumeInUse", "IncorrectState", "CannotDelete", "OperationInProgress"];
/// Keys that have ended; new ones may be had.
const ENDED: [&str; 3] = ["ExpiredToken", "ExpiredTokenException", "RequestExpired"];
/// The keys are not good, or not for this.
const DENIED: [&str; 8] = [
    "UnauthorizedOperation",
    "AccessDenied",
    "AccessDeniedException",
    "AuthFailure",
    "InvalidClientTokenId",
    "UnrecognizedClientException",
    "SignatureDoesNotMatch",
    "OptInRequired",
];

impl Refusal {
    /// Reads the answer to a call that failed.
    pub(super) fn read(status: u16, body: &str) -> Self {
        let node = Node::read(body).ok();
        let error = node.as_ref().and_then(|node| node.find("Error"));
        let code = error.and_then(|error| error.at(&["Code"]));
        match (error, code) {
            (Some(error), Some(code)) => {
                let message = error.at(&["Message"]).unwrap_or_default();
                Self::Code { code: code.to_owned(), message: message.to_owned() }
            }
            _ => Self::Unanswered(format!("status {status}, and no word why")),
        }
    }

    fn code(&self) -> &str {
        match self {
            Self::Code { code, .. } => code,
            _ => "",
        }
    }

    /// True when the same call can go well a moment later. A call that got no answer may have been heard.
    pub(super) fn passes(&self) -> bool {
        matches!(self, Self::Unanswered(_)) || self.throttled() || PASSING.contains(&self.code())
    }

    /// True when the call was turned away unheard.
    pub(super) fn throttled(&self) -> bool {
        THROTTLED.contains(&self.code())
    }

    /// True when new keys may help.
    pub(super) fn ended(&self) -> bool {
        ENDED.contains(&self.code())
    }

    /// True when what was asked for is not there.
    pub(super) fn absent(&self) -> bool {
        let code = self.code();
        code.ends_with("NotFound") || ABSENT.contains(&code)
    }

    /// What it means behind the seam.
    pub(super) fn fault(self, service: Service, action: &str) -> CloudFault {
        let (code, message) = match self {
            Self::NoCredentials(why) => return CloudFault::NoCredentials(why),
            Self::Unanswered(why) => return CloudFault::Unavailable(format!("{action}: {why}")),
            Self::Code { code, message } => (code, message),
        };
        let told = format!("{code}: {message}");
        let known = |codes: &[&str]| codes.contains(&code.as_str());
        if known(&THROTTLED) || known(&PASSING) {
            CloudFault::Unavailable(format!("{action}: {told}"))
        } else if known(&DENIED) || known(&ENDED) {
            CloudFault::Denied { action: format!("{}:{action}", service.name()), message: told }
        } else if known(&HELD) || code.ends_with(".InUse") {
            CloudFault::InUse(told)
        } else if code == "OperationNotPermitted" {
            CloudFault::Protected(told)
        } else {
            CloudFault::Other(format!("{action}: {told}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: &str) -> Refusal {
        Refusal::read(
            400,
            &format!("<Response><Errors><Error><Code>{code}</Code><Message>m</Message></Error></Errors></Response>"),
        )
    }

    #[test]
    fn every_code_means_what_it_should() {
        for code in ["InvalidVolume.NotFound", "LoadBalancerNotFound", "InvalidGroup.NotFound"] {
            assert!(refused(code).absent(), "{code}");
        }
        for code in ["Throttling", "RequestLimitExceeded", "InternalError"] {
            assert!(refused(code).passes() && !refused(code).absent(), "{code}");
        }
        let fault = |code| refused(code).fault(Service::Ec2, "DeleteVolume");
        assert!(matches!(fault("DependencyViolation"), CloudFault::InUse(_)));
        assert!(matches!(fault("InvalidIPAddress.InUse"), CloudFault::InUse(_)));
        assert!(matches!(fault("OperationNotPermitted"), CloudFault::Protected(_)));
        assert!(
            matches!(fault("UnauthorizedOperation"), CloudFault::Denied { action, .. } if action == "ec2:DeleteVolume")
        );
        assert!(matches!(fault("Strange"), CloudFault::Other(_)));
        assert!(refused("ExpiredToken").ended());
        assert!(Refusal::read(502, "<html>").passes());
    }
}
