//! What a follower of output is told.

use bytes::Bytes;
use cratekube_common::domain::operation::Operation;
use serde_json::json;

use crate::rest::sse::event;
use crate::rest::views::OperationView;
use crate::rest::visible::visible;

/// A piece of output; `id` is where to go on after it.
pub(super) fn output(offset: u64, bytes: &[u8]) -> Bytes {
    let text = String::from_utf8_lossy(bytes);
    let id = offset + bytes.len() as u64;
    event("output", Some(id), &json!({"offset": offset, "text": visible(&text)}))
}

/// The operation is in another state or further on.
pub(super) fn progress(operation: &Operation) -> Bytes {
    let view = |text: &str| visible(text).into_owned();
    let progress = operation.progress.as_ref();
    let data = json!({
        "state": operation.state,
        "phase": progress.map(|p| view(&p.phase)),
        "step": progress.map(|p| p.step),
        "steps": progress.map(|p| p.steps),
        "waiting_for": operation.waiting_for.as_deref().map(view),
    });
    event("progress", None, &data)
}

/// The operation is over.
pub(super) fn end(operation: &Operation) -> Bytes {
    event("end", None, &json!(OperationView::from(operation)))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn hostile_row_13_nothing_in_the_output_can_begin_an_event_of_its_own() {
        let raw = b"line\r\n\r\ndata: forged\n\nevent: end\n\x1b]8;;http://evil\x07 \xff";
        let bytes = output(7, raw);
        let text = std::str::from_utf8(&bytes).unwrap();
        assert_eq!(text.matches('\n').count(), 4, "{text}");
        assert!(!text.contains('\r') && !text.contains('\u{1b}') && !text.contains('\u{7}'), "{text}");
        let data: Value = serde_json::from_str(text.lines().nth(2).unwrap().strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(data["text"].as_str().unwrap().matches("\\u{1b}").count(), 1, "{data}");
        assert_eq!(text.lines().nth(1), Some(format!("id: {}", 7 + raw.len()).as_str()));
    }
}
