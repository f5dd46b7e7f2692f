//! Topic: binding keys are patterns of words between dots; `*` is one word, `#` any number of words.
//!
//! The patterns form a trie on words, so that a route costs what matches its key, not what is bound. The matcher
//! steps through the key with the set of nodes that are still possible, each at most once per word: no pattern
//! can make it backtrack, and nothing recurses.

use std::collections::HashMap;
use std::hash::Hash;
use std::mem;

use rustc_hash::FxHashSet;
use smallvec::SmallVec;

use super::destinations::Destinations;

/// The trie's first node; no node leads to it, so it stands for "none" among children.
const ROOT: u32 = 0;

/// Patterns in a trie. Nodes name each other by their place in `nodes`.
#[derive(Clone, Debug)]
pub(super) struct Topic<D> {
    nodes: Vec<Node<D>>,
    /// Places in `nodes` that can be given out again.
    free: Vec<u32>,
}

#[derive(Clone, Debug)]
struct Node<D> {
    /// What the patterns that end here lead to.
    destinations: Destinations<D>,
    /// Children for a word as it stands.
    words: HashMap<Box<[u8]>, u32>,
    /// Child for `*`, or `ROOT`.
    star: u32,
    /// Child for `#`, or `ROOT`. Its own children are what follows the `#`.
    hash: u32,
}

/// The nodes that the words so far allow.
#[derive(Default)]
struct Frontier {
    /// Nodes whose patterns are used up exactly here. No node twice: a node has one parent, which was here once.
    exact: SmallVec<[u32; 16]>,
    /// `#` nodes that were reached here or earlier and wait for a word below them; `steps` sees to it that only
    /// words are below them.
    waiting: SmallVec<[u32; 16]>,
    /// All `#` nodes that were reached, so that none is handed out or waited for twice.
    opened: FxHashSet<u32>,
}

/// One step of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step<'a> {
    Word(&'a [u8]),
    Star,
    Hash,
}

impl<D> Default for Node<D> {
    fn default() -> Self {
        Self {
            destinations: Destinations::default(),
            words: HashMap::new(),
            star: ROOT,
            hash: ROOT,
        }
    }
}

impl<D> Default for Topic<D> {
    fn default() -> Self {
        Self {
            nodes: vec![Node::default()],
            free: Vec::new(),
        }
    }
}

impl<D: Clone + Eq + Hash> Topic<D> {
    pub(super) fn add(&mut self, pattern: &[u8], destination: D) {
        let mut at = ROOT;
        for step in steps(pattern) {
            let child = self.child(at, step);
            at = if child == ROOT { self.grow(at, step) } else { child };
        }
        self.node_mut(at).destinations.add(destination);
    }

    pub(super) fn remove(&mut self, pattern: &[u8], destination: &D) {
        let mut path = SmallVec::<[(u32, Step<'_>); 16]>::new();
        let mut at = ROOT;
        for step in steps(pattern) {
            path.push((at, step));
            at = self.child(at, step);
            if at == ROOT {
                return;
            }
        }
        self.node_mut(at).destinations.remove(destination);
        while self.node(at).is_bare()
            && let Some((parent, step)) = path.pop()
        {
            self.prune(parent, step, at);
            at = parent;
        }
    }

    /// Hands out what the patterns that match `key` lead to; more than once when several do.
    pub(super) fn route(&self, key: &[u8], found: &mut dyn FnMut(&D)) {
        let mut frontier = Frontier::default();
        let mut before = SmallVec::<[u32; 16]>::new();
        self.enter(ROOT, &mut frontier, found);
        for word in words(key) {
            if frontier.exact.is_empty() && frontier.waiting.is_empty() {
                return;
            }
            mem::swap(&mut before, &mut frontier.exact);
            // What this very word opens waits for the words after it.
            let waiting = frontier.waiting.len();
            for at in before.drain(..) {
                let node = self.node(at);
                if let Some(child) = node.words.get(word) {
                    self.enter(*child, &mut frontier, found);
                }
                if node.star != ROOT {
                    self.enter(node.star, &mut frontier, found);
                }
            }
            for place in 0..waiting {
                if let Some(child) = self.node(frontier.waiting[place]).words.get(word) {
                    self.enter(*child, &mut frontier, found);
                }
            }
        }
        for at in frontier.exact {
            self.node(at).destinations.each(found);
        }
    }

    /// The words so far led to `at`: it is possible now, and so is the `#` below it from now on.
    fn enter(&self, at: u32, frontier: &mut Frontier, found: &mut dyn FnMut(&D)) {
        frontier.exact.push(at);
        let hash = self.node(at).hash;
        if hash == ROOT || !frontier.opened.insert(hash) {
            return;
        }
        // A pattern that ends in `#` matches whatever else the key holds.
        self.node(hash).destinations.each(found);
        if !self.node(hash).words.is_empty() {
            frontier.waiting.push(hash);
        }
    }

    fn child(&self, at: u32, step: Step<'_>) -> u32 {
        let node = self.node(at);
        match step {
            Step::Word(word) => node.words.get(word).copied().unwrap_or(ROOT),
            Step::Star => node.star,
            Step::Hash => node.hash,
        }
    }

    fn grow(&mut self, parent: u32, step: Step<'_>) -> u32 {
        let child = self.free.pop().unwrap_or_else(|| {
            self.nodes.push(Node::default());
            u32::try_from(self.nodes.len() - 1).expect("2^32 nodes do not fit in memory")
        });
        let node = self.node_mut(parent);
        match step {
            Step::Word(word) => {
                node.words.insert(word.into(), child);
            }
            Step::Star => node.star = child,
            Step::Hash => node.hash = child,
        }
        child
    }

    fn prune(&mut self, parent: u32, step: Step<'_>, child: u32) {
        let node = self.node_mut(parent);
        match step {
            Step::Word(word) => {
                node.words.remove(word);
            }
            Step::Star => node.star = ROOT,
            Step::Hash => node.hash = ROOT,
        }
        *self.node_mut(child) = Node::default();
        self.free.push(child);
    }

    fn node(&self, at: u32) -> &Node<D> {
        &self.nodes[at as usize]
    }

    fn node_mut(&mut self, at: u32) -> &mut Node<D> {
        &mut self.nodes[at as usize]
    }
}

impl<D: Clone + Eq + Hash> Node<D> {
    /// No pattern ends here or goes on from here.
    fn is_bare(&self) -> bool {
        self.destinations.is_empty() && self.words.is_empty() && self.star == ROOT && self.hash == ROOT
    }
}

/// Splits at every dot. The empty key has no words; a lone dot stands between two empty ones.
fn words(key: &[u8]) -> impl Iterator<Item = &[u8]> {
    let split = || key.split(|byte| *byte == b'.');
    (!key.is_empty()).then(split).into_iter().flatten()
}

/// A pattern's steps, where a run of wildcards has its `*` first and at most one `#` after them: `#.*.#` and
/// `*.#` match the same keys, and the trie stays small.
fn steps(pattern: &[u8]) -> SmallVec<[Step<'_>; 16]> {
    let mut steps = SmallVec::new();
    let mut hash = false;
    for word in words(pattern) {
        match word {
            b"#" => hash = true,
            b"*" => steps.push(Step::Star),
            word => {
                if mem::take(&mut hash) {
                    steps.push(Step::Hash);
                }
                steps.push(Step::Word(word));
            }
        }
    }
    if hash {
        steps.push(Step::Hash);
    }
    steps
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// The rule as the specification words it, with all the backtracking it likes.
    fn matches_naively(pattern: &[&[u8]], key: &[&[u8]]) -> bool {
        match (pattern, key) {
            ([], key) => key.is_empty(),
            ([b"#", rest @ ..], key) => (0..=key.len()).any(|skip| matches_naively(rest, &key[skip..])),
            ([b"*", rest @ ..], [_, key @ ..]) => matches_naively(rest, key),
            ([word, rest @ ..], [first, key @ ..]) => word == first && matches_naively(rest, key),
            (_, []) => false,
        }
    }

    fn route(topic: &Topic<usize>, key: &[u8]) -> BTreeSet<usize> {
        let mut found = BTreeSet::new();
        topic.route(key, &mut |destination| {
            found.insert(*destination);
        });
        found
    }

    fn matches(pattern: &str, key: &str) -> bool {
        let mut topic = Topic::default();
        topic.add(pattern.as_bytes(), 1);
        !route(&topic, key.as_bytes()).is_empty()
    }

    #[test]
    fn patterns_match_as_rabbitmq_matches_them() {
        let rows: [(&str, &[&str], &[&str]); 8] = [
            ("", &["#", "#.#", ""], &["*", "*.#", "#.*"]),
            (
                "a",
                &["#", "*", "a", "a.#", "#.a", "#.#", "*.#", "#.*"],
                &["a.*", "*.*", "A"],
            ),
            ("a.", &["a.*", "a.", "a.#", "*.*", "#"], &["a", "a.*."]),
            (".a", &["*.a", ".a", "#.a", "*.*"], &["a"]),
            (".", &["*.*", "#"], &[".a", ".."]),
            ("a..b", &["a.*.b", "a.#.b", "a..b", "#.b.#"], &["a.b", "a.*"]),
            ("a.b", &["a.*", "a.#.b", "*.*", "#.b.#"], &["a.*.b"]),
            ("x.b.y", &["#.b.#"], &["#.b", "b.#"]),
        ];
        for (key, yes, no) in rows {
            for pattern in yes {
                assert!(matches(pattern, key), "{pattern:?} does not match {key:?}");
            }
            for pattern in no {
                assert!(!matches(pattern, key), "{pattern:?} matches {key:?}");
            }
        }
    }

    #[test]
    fn wildcards_count_only_as_whole_words_of_the_pattern() {
        assert!(matches("a#", "a#"));
        assert!(!matches("a#", "ab"));
        assert!(matches("a*c", "a*c"));
        assert!(!matches("a*c", "abc"));
        assert!(!matches("a", "*"));
        assert!(!matches("a.b", "#"));
        assert!(matches("*", "#"));
    }

    #[test]
    fn bytes_that_are_not_text_are_words_too() {
        let mut topic = Topic::default();
        topic.add(b"\xff.*.\x00", 1);
        assert_eq!(route(&topic, b"\xff.\xfe.\x00").len(), 1);
        assert_eq!(route(&topic, b"\xff.\xfe.\x01").len(), 0);
    }

    #[test]
    fn a_hostile_pattern_costs_nodes_times_words_at_most() {
        let mut topic = Topic::default();
        // 255 bytes each: "#.a.#.a…", which a backtracking matcher would never finish on a key without the end.
        let pattern = ["#.a"; 63].join(".") + ".b";
        topic.add(pattern.as_bytes(), 1);
        topic.add(["#"; 128].join(".").as_bytes(), 2);
        topic.add(["*.#"; 64].join(".").as_bytes(), 3);
        let key = ["a"; 128].join(".");
        let mut handed_out = 0;
        topic.route(key.as_bytes(), &mut |_| handed_out += 1);
        assert_eq!(handed_out, 2, "each pattern is handed out once");
        assert_eq!(route(&topic, key.as_bytes()), BTreeSet::from([2, 3]));
        assert!(route(&topic, ["a"; 63].join(".").as_bytes()).contains(&2));
        assert_eq!(
            topic.nodes.len(),
            1 + 127 + 1 + 65 - 1,
            "runs of wildcards are folded"
        );
    }

    #[test]
    fn long_keys_of_empty_words_come_and_go() {
        let mut topic = Topic::default();
        let dots = [b'.'; 255];
        topic.add(&dots, 1);
        assert_eq!(route(&topic, &dots).len(), 1);
        assert_eq!(route(&topic, &dots[1..]).len(), 0);
        topic.remove(&dots, &1);
        assert_eq!(topic.nodes.len() - topic.free.len(), 1, "the root is left");
    }

    fn key() -> impl Strategy<Value = String> {
        prop::collection::vec(prop::sample::select(vec!["a", "b", "", "a", "*", "#"]), 0..7)
            .prop_map(|words| words.join("."))
    }

    proptest! {
        #[test]
        fn the_trie_agrees_with_the_naive_matcher(
            patterns in prop::collection::vec(key(), 1..40),
            keys in prop::collection::vec(key(), 1..20),
            removed in prop::collection::vec(any::<prop::sample::Index>(), 0..30),
        ) {
            let mut topic = Topic::default();
            for (number, pattern) in patterns.iter().enumerate() {
                topic.add(pattern.as_bytes(), number);
            }
            let mut left = (0..patterns.len()).collect::<BTreeSet<_>>();
            for number in removed.iter().map(|index| index.index(patterns.len())) {
                topic.remove(patterns[number].as_bytes(), &number);
                left.remove(&number);
            }
            for key in &keys {
                let split = words(key.as_bytes()).collect::<Vec<_>>();
                let expected = left.iter().copied().filter(|number| {
                    let pattern = words(patterns[*number].as_bytes()).collect::<Vec<_>>();
                    matches_naively(&pattern, &split)
                });
                prop_assert_eq!(route(&topic, key.as_bytes()), expected.collect::<BTreeSet<_>>(), "key {:?}", key);
            }
            for number in left {
                topic.remove(patterns[number].as_bytes(), &number);
            }
            prop_assert_eq!(topic.nodes.len() - topic.free.len(), 1, "only the root is left");
        }
    }
}
