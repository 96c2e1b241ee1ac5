//! Finds many words at once, one byte at a time: Aho and Corasick's automaton as a dense table.
//!
//! A step is two look-ups, whatever the words are, so that no text can slow it down; the states in which
//! a word has just ended are numbered last, so that one comparison tells them apart. At each byte the
//! longest word that ends there is found. Words may be taken with or without regard to case.
//!
//! Not here: what follows from a word.

use std::collections::{BTreeMap, VecDeque};

/// A state, as the place of its row in the table.
pub(super) type State = u32;
/// Where every text begins.
pub(super) const START: State = 0;

/// Words and what they stand for.
#[derive(Debug, Clone)]
pub(super) struct Automaton {
    /// The column of each byte; all that are in no word share the first.
    columns: [u16; 256],
    width: u32,
    table: Vec<State>,
    accepting_from: State,
    found: Vec<Option<u16>>,
    depths: Vec<u16>,
}

/// A state while the words are put together.
#[derive(Default)]
struct Node {
    children: BTreeMap<u16, usize>,
    found: Option<u16>,
    depth: u16,
    fallback: usize,
}

impl Automaton {
    /// An automaton of words, each with what it stands for; of equal words the first counts.
    pub(super) fn new<'a>(words: impl IntoIterator<Item = (&'a [u8], u16)>, ignore_case: bool) -> Self {
        let words: Vec<(&[u8], u16)> = words.into_iter().collect();
        let (columns, width) = columns(words.iter().map(|(word, _)| *word), ignore_case);
        let mut nodes = vec![Node::default()];
        for (word, meaning) in words {
            insert(&mut nodes, &columns, word, meaning);
        }
        let order = link(&mut nodes);
        let (plain, accepting): (Vec<usize>, Vec<usize>) = order.iter().partition(|n| nodes[**n].found.is_none());
        let mut rows = vec![0; nodes.len()];
        for (row, node) in (0u32..).zip(plain.iter().chain(&accepting)) {
            rows[*node] = row * width;
        }
        let mut automaton = Self {
            columns,
            width,
            table: vec![START; nodes.len() * width as usize],
            accepting_from: u32::try_from(plain.len()).unwrap_or(u32::MAX).saturating_mul(width),
            found: plain.iter().chain(&accepting).map(|node| nodes[*node].found).collect(),
            depths: plain.iter().chain(&accepting).map(|node| nodes[*node].depth).collect(),
        };
        for node in order {
            automaton.fill(&nodes, &rows, node);
        }
        automaton
    }

    /// Fills a state's row; those of shorter words are filled already.
    fn fill(&mut self, nodes: &[Node], rows: &[State], node: usize) {
        let row = rows[node] as usize;
        if node != 0 {
            let fallback = rows[nodes[node].fallback] as usize;
            self.table.copy_within(fallback..fallback + self.width as usize, row);
        }
        for (column, child) in &nodes[node].children {
            self.table[row + usize::from(*column)] = rows[*child];
        }
    }

    /// The state after one more byte.
    #[inline]
    pub(super) fn step(&self, state: State, byte: u8) -> State {
        self.table[state as usize + usize::from(self.columns[usize::from(byte)])]
    }

    /// Whether a word has just ended.
    #[inline]
    pub(super) fn accepts(&self, state: State) -> bool {
        state >= self.accepting_from
    }

    /// What the longest word stands for that has just ended.
    pub(super) fn found(&self, state: State) -> Option<u16> {
        self.found[(state / self.width) as usize]
    }

    /// How many of the last bytes may be the beginning of a word.
    pub(super) fn depth(&self, state: State) -> usize {
        usize::from(self.depths[(state / self.width) as usize])
    }
}

fn columns<'a>(words: impl Iterator<Item = &'a [u8]>, ignore_case: bool) -> ([u16; 256], u32) {
    let fold = |byte: u8| if ignore_case { byte.to_ascii_lowercase() } else { byte };
    let mut used = [false; 256];
    for byte in words.flatten() {
        used[usize::from(fold(*byte))] = true;
    }
    let mut of = [0u16; 256];
    let mut width = 1;
    for byte in 0..=u8::MAX {
        if used[usize::from(byte)] {
            of[usize::from(byte)] = width;
            width += 1;
        }
    }
    let columns = std::array::from_fn(|byte| of[usize::from(fold(u8::try_from(byte).unwrap_or(0)))]);
    (columns, u32::from(width))
}

fn insert(nodes: &mut Vec<Node>, columns: &[u16; 256], word: &[u8], meaning: u16) {
    let mut at = 0;
    for byte in word {
        let column = columns[usize::from(*byte)];
        at = match nodes[at].children.get(&column) {
            Some(child) => *child,
            None => {
                let depth = nodes[at].depth.saturating_add(1);
                let child = nodes.len();
                nodes.push(Node { depth, ..Node::default() });
                nodes[at].children.insert(column, child);
                child
            }
        };
    }
    if at != 0 {
        nodes[at].found.get_or_insert(meaning);
    }
}

/// Finds for each state the one to fall back to, and what it finds there. Answers the states in the order
/// of their depth.
fn link(nodes: &mut [Node]) -> Vec<usize> {
    let mut order = Vec::with_capacity(nodes.len());
    let mut waiting = VecDeque::from([0]);
    while let Some(node) = waiting.pop_front() {
        order.push(node);
        let children: Vec<(u16, usize)> =
            nodes[node].children.iter().map(|(column, child)| (*column, *child)).collect();
        for (column, child) in children {
            let fallback = if node == 0 { 0 } else { fall_back(nodes, nodes[node].fallback, column) };
            nodes[child].fallback = fallback;
            nodes[child].found = nodes[child].found.or(nodes[fallback].found);
            waiting.push_back(child);
        }
    }
    order
}

fn fall_back(nodes: &[Node], mut from: usize, column: u16) -> usize {
    loop {
        match nodes[from].children.get(&column) {
            Some(child) => return *child,
            None if from == 0 => return 0,
            None => from = nodes[from].fallback,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ends(automaton: &Automaton, text: &[u8]) -> Vec<(usize, u16)> {
        let mut state = START;
        let mut found = Vec::new();
        for (at, byte) in text.iter().enumerate() {
            state = automaton.step(state, *byte);
            assert_eq!(automaton.accepts(state), automaton.found(state).is_some());
            found.extend(automaton.found(state).map(|word| (at + 1, word)));
        }
        found
    }

    #[test]
    fn words_within_words_are_found_and_the_longest_counts() {
        let automaton = Automaton::new([(&b"he"[..], 2), (b"she", 3), (b"hers", 4), (b"his", 33)], false);
        assert_eq!(ends(&automaton, b"ushers"), [(4, 3), (6, 4)]);
        assert_eq!(ends(&automaton, b"HE he"), [(5, 2)]);
        let folded = Automaton::new([(&b"he"[..], 2)], true);
        assert_eq!(ends(&folded, b"HE he"), [(2, 2), (5, 2)]);
        assert!(ends(&Automaton::new([], false), b"anything").is_empty());
    }

    proptest! {
        #[test]
        fn everything_is_found_that_a_search_word_by_word_finds(
            words in prop::collection::vec(prop::collection::vec(0u8..3, 1..5), 1..8),
            text in prop::collection::vec(0u8..4, 0..60),
        ) {
            let meanings: Vec<(&[u8], u16)> = words.iter().map(|w| (&w[..], u16::try_from(w.len()).unwrap())).collect();
            let automaton = Automaton::new(meanings, false);
            let longest = |end: usize| words.iter().filter(|w| text[..end].ends_with(w)).map(Vec::len).max();
            let expected: Vec<(usize, u16)> = (1..=text.len())
                .filter_map(|end| longest(end).map(|length| (end, u16::try_from(length).unwrap())))
                .collect();
            prop_assert_eq!(ends(&automaton, &text), expected);
            let begun = (1..=text.len()).rev().find(|n| words.iter().any(|w| w.starts_with(&text[text.len() - n..])));
            let state = text.iter().fold(START, |state, byte| automaton.step(state, *byte));
            prop_assert_eq!(automaton.depth(state), begun.unwrap_or(0));
        }
    }
}
