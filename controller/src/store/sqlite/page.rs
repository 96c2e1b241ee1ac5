//! Keyset paging: a cursor is the key of the last item shown, so that a list stays stable while
//! others add to it, and page one thousand costs what page one does.
//!
//! Cursors are opaque to clients; the REST edge signs them. One that cannot be read here ends the list.

use crate::store::{Page, PageRequest};

/// Most items in one part, whatever is asked for.
const MAX_ITEMS: usize = 1_000;

/// What is read for a list that goes down from the newest number: the number to stay below, and how
/// many rows (one more than asked for, to see whether there is a next part).
pub(super) fn descending(page: &PageRequest) -> Option<(i64, i64)> {
    let before = match &page.after {
        None => i64::MAX,
        Some(cursor) => cursor.parse().ok()?,
    };
    Some((before, rows(page.limit)))
}

/// The same for a list by name; a name may have been used several times.
pub(super) fn by_name(page: &PageRequest) -> Option<(&str, i64, i64)> {
    let (name, seq) = match page.after.as_deref() {
        None => ("", -1),
        Some(cursor) => {
            let (name, seq) = cursor.split_once('/')?;
            (name, seq.parse().ok()?)
        }
    };
    Some((name, seq, rows(page.limit)))
}

/// A list with nothing in it.
pub(super) const fn empty<T>() -> Page<T> {
    Page { items: Vec::new(), next: None }
}

/// Makes a part of the rows that were read.
pub(super) fn cut<T>(mut items: Vec<T>, limit: usize, cursor: impl Fn(&T) -> String) -> Page<T> {
    let limit = bounded(limit);
    let more = items.len() > limit;
    items.truncate(limit);
    let next = items.last().filter(|_| more).map(cursor);
    Page { items, next }
}

fn bounded(limit: usize) -> usize {
    limit.clamp(1, MAX_ITEMS)
}

/// How many rows are read for a list: one more than asked for, to see whether there is a next part.
pub(super) fn rows(limit: usize) -> i64 {
    i64::try_from(bounded(limit) + 1).unwrap_or(i64::MAX)
}
