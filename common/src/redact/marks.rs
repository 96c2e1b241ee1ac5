//! What is to be masked, as ranges of offsets. Bytes that follow each other become one range.

use std::ops::Range;

/// Collects what is to be masked, relative to the byte that is looked at.
pub(super) struct Marks<'a> {
    /// The offset of the byte that is looked at.
    pub(super) at: u64,
    span: Range<u64>,
    tell: &'a mut dyn FnMut(Range<u64>),
}

impl<'a> Marks<'a> {
    /// Nothing yet.
    pub(super) fn new(at: u64, tell: &'a mut dyn FnMut(Range<u64>)) -> Self {
        Self { at, span: at..at, tell }
    }

    /// Masks this byte.
    #[inline]
    pub(super) fn this(&mut self) {
        self.add(self.at..self.at + 1);
    }

    /// Masks so many bytes that end with this one.
    pub(super) fn last(&mut self, count: u32) {
        self.add((self.at + 1).saturating_sub(count.into())..self.at + 1);
    }

    /// Masks so many bytes that end before this one.
    pub(super) fn before(&mut self, count: u32) {
        self.add(self.at.saturating_sub(count.into())..self.at);
    }

    /// Masks the bytes before this one, from so many before it to so many before it.
    pub(super) fn between(&mut self, first: u32, but: u32) {
        self.add(self.at.saturating_sub(first.into())..self.at.saturating_sub(but.into()));
    }

    fn add(&mut self, range: Range<u64>) {
        if range.is_empty() {
        } else if range.start >= self.span.start && range.start <= self.span.end {
            self.span.end = self.span.end.max(range.end);
        } else {
            self.flush();
            self.span = range;
        }
    }

    /// Tells what was not told yet.
    pub(super) fn flush(&mut self) {
        if !self.span.is_empty() {
            (self.tell)(self.span.clone());
        }
        self.span = self.at..self.at;
    }
}
