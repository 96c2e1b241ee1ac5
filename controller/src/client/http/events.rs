//! Server-sent events, taken apart as they come, wherever the pieces are cut.

/// Longest event that is read; the controller's are a few kilobytes.
const MOST_BYTES: usize = 4 * 1024 * 1024;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::client) struct Event {
    /// What it is about.
    pub(in crate::client) name: String,
    /// Where to go on after it.
    pub(in crate::client) id: Option<String>,
    /// Its data.
    pub(in crate::client) data: String,
}

/// The beginning of an event whose end has not come.
#[derive(Debug, Default)]
pub(in crate::client) struct Decoder(Vec<u8>);

impl Decoder {
    /// Takes a piece; answers the events that it completes.
    ///
    /// # Errors
    /// When what comes is no event stream.
    pub(in crate::client) fn push(&mut self, piece: &[u8]) -> Result<Vec<Event>, &'static str> {
        self.0.extend_from_slice(piece);
        let mut events = Vec::new();
        while let Some(end) = self.0.windows(2).position(|two| two == b"\n\n") {
            let block: Vec<u8> = self.0.drain(..end + 2).collect();
            let block = std::str::from_utf8(&block).map_err(|_| "an event is not UTF-8")?;
            events.extend(parse(block));
        }
        if self.0.len() > MOST_BYTES { Err("an event has no end") } else { Ok(events) }
    }
}

/// The event in a block; none in a comment or a mere `retry`.
fn parse(block: &str) -> Option<Event> {
    let mut event = Event::default();
    for line in block.lines() {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut event.name),
            "id" => event.id = Some(value.to_owned()),
            "data" => event.data.push_str(value),
            _ => {}
        }
    }
    (event != Event::default()).then_some(event)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const STREAM: &str =
        "retry: 2000\n\nevent: output\nid: 7\ndata: {\"text\":\"ü\"}\n\n: still here\n\nevent: end\ndata: {}\n\n";

    #[test]
    fn comments_are_no_events_and_an_event_without_end_is_refused() {
        let events = Decoder::default().push(STREAM.as_bytes()).unwrap();
        assert_eq!(events.len(), 2);
        assert_eq!((events[0].name.as_str(), events[0].id.as_deref()), ("output", Some("7")));
        assert_eq!((events[1].name.as_str(), events[1].id.as_deref(), events[1].data.as_str()), ("end", None, "{}"));
        assert!(Decoder::default().push(&vec![b'x'; MOST_BYTES + 1]).is_err());
        assert!(Decoder::default().push(b"data: \xff\n\n").is_err());
    }

    proptest! {
        #[test]
        fn events_are_the_same_wherever_the_stream_is_cut(cuts in prop::collection::vec(0usize..STREAM.len(), 0..6)) {
            let whole = Decoder::default().push(STREAM.as_bytes()).unwrap();
            let mut cuts = cuts;
            cuts.extend([0, STREAM.len()]);
            cuts.sort_unstable();
            let mut decoder = Decoder::default();
            let pieces = cuts.windows(2).map(|two| &STREAM.as_bytes()[two[0]..two[1]]);
            let events: Vec<_> = pieces.flat_map(|piece| decoder.push(piece).unwrap()).collect();
            prop_assert_eq!(events, whole);
        }
    }
}
