//! A message that is longer than it may be ends as `RESOURCE_EXHAUSTED`, as everything that is too much does.
//! tonic says `OUT_OF_RANGE` for its length, and nothing else here does.

use axum::response::Response;
use cratekube_proto::status::Refusal;
use http::HeaderValue;
use tonic::{Code, Status};

const GRPC_STATUS: &str = "grpc-status";

/// What a stream of messages ended with, in our words.
pub fn of_stream(status: Status) -> Status {
    if status.code() == Code::OutOfRange { Refusal::Exhausted.status(status.message()) } else { status }
}

/// What a call ended with before it was ours to answer.
pub async fn of_call(mut response: Response) -> Response {
    let is = |value: &HeaderValue, code: Code| value.to_str().is_ok_and(|text| text == (code as i32).to_string());
    if response.headers().get(GRPC_STATUS).is_some_and(|value| is(value, Code::OutOfRange)) {
        response.headers_mut().insert(GRPC_STATUS, HeaderValue::from(Code::ResourceExhausted as i32));
    }
    response
}
