//! Looks at output byte by byte and says what of it is to be masked.
//!
//! Everything that may be under way at once (a value behind a name, letters behind a mark, a key in PEM,
//! a known secret) is followed by itself, and each may only add to what is masked. What is decided about
//! a byte depends on the bytes before it and on at most [`Scanner::held`] bytes after it, never on how they
//! were cut into chunks. Memory is bounded whatever comes. Where nothing is under way, most of the output is
//! not looked at byte by byte at all ([`skim`]).

use std::ops::Range;

use super::automaton::{START, State};
use super::block::{Block, Label, Labelled};
use super::known::KnownSecrets;
use super::marks::Marks;
use super::run::{Authority, Run};
use super::skim::{self, Skim};
use super::value::{Line, Lines, Name, Next, Value};
use super::words::{self, Word};

/// Bytes that are remembered to know what stands before a mark, or a name on its line.
const LOOK_BACK: usize = 96;
/// So far back from a name the beginning of its line is looked for; with the name it is remembered.
const LINE_BACK: usize = 64;
/// Most letters of an escape: `\u003d`.
const ESCAPE: usize = 6;
/// So much of a known secret, cut off by the end of the output, is masked.
const WORTH_HIDING: usize = 4;

/// Follows one output.
#[derive(Debug, Clone)]
pub struct Scanner {
    at: u64,
    in_any_case: State,
    as_they_are: State,
    known: Option<(KnownSecrets, State)>,
    recent: Vec<u8>,
    lowered: Vec<u8>,
    busy: Busy,
}

/// What is under way.
#[derive(Debug, Clone, Default)]
struct Busy {
    name: Option<Name>,
    value: Option<Value>,
    lines: Option<Lines>,
    runs: Vec<Run>,
    authority: Option<Authority>,
    label: Option<Label>,
    block: Option<Block>,
}

impl Scanner {
    /// At the beginning of an output, or of what is looked at of it; knows the form of secrets, and these.
    pub(super) fn new(at: u64, known: Option<KnownSecrets>) -> Self {
        Self {
            at,
            in_any_case: START,
            as_they_are: START,
            known: known.map(|known| (known, START)),
            recent: Vec::with_capacity(2 * LOOK_BACK),
            lowered: Vec::new(),
            busy: Busy::default(),
        }
    }

    /// The offset of the next byte.
    #[must_use]
    pub fn at(&self) -> u64 {
        self.at
    }

    /// Looks at the next bytes. The ranges that it tells are to be masked; they may reach back over the
    /// bytes that were held before. Newlines in them are to be kept.
    pub fn scan(&mut self, input: &[u8], tell: &mut dyn FnMut(Range<u64>)) {
        let mut marks = Marks::new(self.at, tell);
        for piece in input.chunks(skim::MOST) {
            self.look_at(piece, &mut marks);
            self.at += piece.len() as u64;
            self.remember(piece);
        }
        marks.flush();
    }

    fn look_at(&mut self, piece: &[u8], marks: &mut Marks<'_>) {
        let known = self.known.as_ref().map(|(known, _)| known.clone());
        let by_prefix = known.as_ref().map(KnownSecrets::by_prefix);
        let mut skim = match by_prefix {
            // There are too many: every byte is looked at.
            Some(None) => None,
            by_prefix => Skim::over(piece, &mut self.lowered, by_prefix.flatten()),
        };
        let mut at = 0;
        while at < piece.len() {
            let range = match &mut skim {
                None => at..piece.len(),
                Some(skim) if self.is_idle() => skim.next(piece, at),
                Some(_) => at..at,
            };
            at = self.walk(piece, range, marks);
        }
        self.lowered = skim.map(Skim::into_buffer).unwrap_or_default();
    }

    fn is_idle(&self) -> bool {
        let known = self.known.as_ref().map_or(START, |(_, state)| *state);
        known == START && self.in_any_case == START && self.as_they_are == START && !self.busy.is_busy()
    }

    /// Takes byte by byte, at least those of the range, and on until nothing is under way.
    fn walk(&mut self, piece: &[u8], range: Range<usize>, marks: &mut Marks<'_>) -> usize {
        let (any, exact) = (&*words::IN_ANY_CASE, &*words::AS_THEY_ARE);
        let (mut in_any_case, mut as_they_are) = (self.in_any_case, self.as_they_are);
        let (mut busy, mut known) = (self.busy.is_busy(), self.known.as_ref().map_or(START, |(_, state)| *state));
        let mut at = range.start;
        while at < piece.len() && (at < range.end || busy || known.max(in_any_case).max(as_they_are) != START) {
            let byte = piece[at];
            in_any_case = any.step(in_any_case, byte);
            as_they_are = exact.step(as_they_are, byte);
            let ended = self.step_known(byte, &mut known);
            let (word, mark) = (any.accepts(in_any_case), exact.accepts(as_they_are));
            if busy || ended > 0 || word || mark {
                marks.at = self.at + at as u64;
                marks.last(ended.into());
                self.busy.step(byte, marks);
                let words = [word.then(|| any.found(in_any_case)), mark.then(|| exact.found(as_they_are))];
                self.begin(words.map(Option::flatten), piece, at);
                busy = self.busy.is_busy();
            }
            at += 1;
        }
        (self.in_any_case, self.as_they_are) = (in_any_case, as_they_are);
        at
    }

    /// The length of the longest known secret that ends with this byte.
    fn step_known(&mut self, byte: u8, now: &mut State) -> u16 {
        let Some((known, state)) = &mut self.known else { return 0 };
        *state = known.automaton().step(*state, byte);
        *now = *state;
        if known.automaton().accepts(*state) { known.automaton().found(*state).unwrap_or(0) } else { 0 }
    }

    /// Begins what the words announce that end with this byte.
    fn begin(&mut self, [word, mark]: [Option<u16>; 2], input: &[u8], i: usize) {
        if let Some((text, word)) = word.and_then(words::word) {
            self.announced(text, word, input, i);
        }
        if let Some((text, word)) = mark.and_then(words::mark) {
            self.announced(text, word, input, i);
        }
    }

    fn announced(&mut self, text: &str, word: Word, input: &[u8], i: usize) {
        let line = if matches!(word, Word::Name) { self.line(input, i, text.len()) } else { Line::Other };
        let busy = &mut self.busy;
        match word {
            Word::Name => busy.name = Some(Name::new(false, false, line)),
            Word::Header => busy.name = Some(Name::new(false, true, line)),
            Word::Flag => busy.name = Some(Name::new(true, false, line)),
            Word::Begin => (busy.block, busy.label) = (None, Some(Label::default())),
            Word::End => (busy.block, busy.label) = (None, None),
            Word::Encoded => busy.block = Some(Block::encoded()),
            Word::Authority => busy.authority = Some(Authority::default()),
            Word::Run(rule) => busy.run(rule),
            Word::Apart(rule) => {
                if self.stands_apart(input, i, text.len()) {
                    self.busy.run(rule);
                }
            }
        }
    }

    /// Whether a mark of this length, which ends here, is not the middle of a longer text.
    fn stands_apart(&self, input: &[u8], i: usize, length: usize) -> bool {
        let end = self.recent.len() + i + 1 - length;
        let start = end.saturating_sub(ESCAPE);
        let before: Vec<u8> = (start..end).map(|at| self.byte(input, at)).collect();
        let escaped = |digits: &[u8]| digits.iter().all(u8::is_ascii_hexdigit);
        match *before.as_slice() {
            [] => true,
            [.., last] if !words::is_token(last) || last == b'=' => true,
            [.., b'\\', b'n' | b'r' | b't'] => true,
            [.., b'%', a, b] => escaped(&[a, b]),
            [b'\\', b'u', ref digits @ ..] => digits.len() == ESCAPE - 2 && escaped(digits),
            _ => false,
        }
    }

    /// How the line begins on which a name of this length ends here.
    fn line(&self, input: &[u8], i: usize, length: usize) -> Line {
        let name = self.recent.len() + i + 1 - length;
        let before = |at: usize| at.checked_sub(1).map(|at| self.byte(input, at));
        let (mut begin, first) = (name, name.saturating_sub(LINE_BACK));
        let is_of_key = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
        while begin > first && before(begin).is_some_and(is_of_key) {
            begin -= 1;
        }
        let key = begin;
        while begin > first && before(begin).is_some_and(|byte| matches!(byte, b' ' | b'-')) {
            begin -= 1;
        }
        let escapes = |byte: Option<u8>| matches!(byte, Some(b'n' | b'r'));
        match before(begin) {
            // The beginning of the output: what is remembered goes further back than is looked.
            None | Some(b'\n' | b'\r') => Line::Key(u32::try_from(key - begin).unwrap_or(u32::MAX)),
            Some(b'\\') if begin < name && escapes(Some(self.byte(input, begin))) => Line::Escaped,
            last if escapes(last) && before(begin - 1) == Some(b'\\') => Line::Escaped,
            _ => Line::Other,
        }
    }

    /// A byte of what is remembered and of what is looked at.
    fn byte(&self, input: &[u8], at: usize) -> u8 {
        match at.checked_sub(self.recent.len()) {
            Some(at) => input[at],
            None => self.recent[at],
        }
    }

    fn remember(&mut self, input: &[u8]) {
        let kept = self.recent.len().min(LOOK_BACK.saturating_sub(input.len()));
        self.recent.drain(..self.recent.len() - kept);
        self.recent.extend_from_slice(&input[input.len().saturating_sub(LOOK_BACK)..]);
    }

    /// How many of the last bytes are not decided: they may still be masked.
    #[must_use]
    pub fn held(&self) -> usize {
        let known = self.known.as_ref().map_or(0, |(known, state)| known.automaton().depth(*state));
        known.max(usize::try_from(self.busy.held()).unwrap_or(usize::MAX))
    }

    /// Decides about the bytes that are held: the output ends here.
    pub fn finish(&mut self, tell: &mut dyn FnMut(Range<u64>)) {
        let mut marks = Marks::new(self.at, tell);
        let known = self.known.as_ref().map_or(0, |(known, state)| known.automaton().depth(*state));
        if known >= WORTH_HIDING {
            marks.before(u32::try_from(known).unwrap_or(u32::MAX));
        }
        std::mem::take(&mut self.busy).finish(&mut marks);
        marks.flush();
        self.known.iter_mut().for_each(|(_, state)| *state = START);
        (self.in_any_case, self.as_they_are) = (START, START);
        self.recent.clear();
    }
}

impl Busy {
    fn is_busy(&self) -> bool {
        let Self { name, value, lines, runs, authority, label, block } = self;
        name.is_some()
            || value.is_some()
            || lines.is_some()
            || !runs.is_empty()
            || authority.is_some()
            || label.is_some()
            || block.is_some()
    }

    fn step(&mut self, byte: u8, marks: &mut Marks<'_>) {
        self.runs.retain_mut(|run| run.step(byte, marks));
        self.authority.take_if(|authority| !authority.step(byte, marks));
        self.block.take_if(|block| !block.step(byte, marks));
        self.lines.take_if(|lines| !lines.step(byte, marks));
        if let Some(value) = self.value.take_if(|value| !value.step(byte, marks)) {
            self.lines = self.lines.take().or(value.below(byte));
        }
        match self.name.as_mut().map(|name| name.step(byte)) {
            None | Some(Next::Wait) => {}
            Some(Next::Nothing) => self.name = None,
            Some(Next::Below(lines)) => {
                self.name = None;
                self.lines.get_or_insert(lines);
            }
            Some(Next::Behind(value)) => self.follow(value, None, marks),
            Some(Next::Here(value)) => self.follow(value, Some(byte), marks),
        }
        match self.label.as_mut().map(|label| label.step(byte)) {
            None | Some(Labelled::Wait) => {}
            Some(Labelled::Public) => self.label = None,
            Some(Labelled::Private) => (self.label, self.block) = (None, Some(Block::new())),
        }
    }

    /// Follows a value, unless it is within another one.
    fn follow(&mut self, mut value: Value, first: Option<u8>, marks: &mut Marks<'_>) {
        self.name = None;
        if self.value.as_ref().is_some_and(Value::is_quoted) {
            return;
        }
        if first.is_none_or(|byte| value.step(byte, marks)) {
            self.value = Some(value);
        }
    }

    /// Follows letters behind a mark; where the same are followed already, these are some of them.
    fn run(&mut self, rule: &'static super::run::Rule) {
        if !self.runs.iter().any(|run| run.is_of(rule)) {
            self.runs.push(Run::new(rule));
        }
    }

    fn held(&self) -> u32 {
        let runs = self.runs.iter().map(Run::held).max().unwrap_or(0);
        let name = self.name.as_ref().map_or(0, Name::held);
        let value = self.value.as_ref().map_or(0, Value::held);
        let authority = self.authority.as_ref().map_or(0, Authority::held);
        let block = self.block.as_ref().map_or(0, Block::held);
        [runs, name, value, authority, block].into_iter().max().unwrap_or(0)
    }

    fn finish(self, marks: &mut Marks<'_>) {
        self.runs.iter().for_each(|run| run.finish(marks));
        self.authority.iter().for_each(|authority| authority.finish(marks));
        self.value.into_iter().for_each(|mut value| value.finish(marks));
        self.block.into_iter().for_each(|mut block| block.finish(marks));
    }
}
