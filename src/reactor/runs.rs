//! What sessions have pending of the shared encodings: a list of ranges for each, all in one pool.
//!
//! A list of a session's own would be two more places in memory that every delivery touches, far
//! from all else. The pool's nodes are a cache line each, of a few ranges, and the next free one
//! was used last: a client that gets little has one node, one that gets much walks along few.

use super::encodings::Range;

const NONE: u32 = u32::MAX;

/// Ranges in a node.
const RANGES: usize = 5;

/// One session's pending ranges; its nodes are in the [`Runs`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct List {
    first: u32,
    last: u32,
    bytes: u32,
    /// Ranges in the last node; all before it are full.
    filled: u32,
}

impl Default for List {
    fn default() -> Self {
        List { first: NONE, last: NONE, bytes: 0, filled: 0 }
    }
}

impl List {
    /// Bytes of all its ranges.
    pub(crate) fn len(&self) -> usize {
        self.bytes as usize
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.first == NONE
    }
}

#[repr(align(64))]
#[derive(Clone, Copy, Debug)]
struct Node {
    ranges: [Range; RANGES],
    next: u32,
}

const _: () = assert!(size_of::<Node>() == 64);

const EMPTY: Node = Node { ranges: [Range { chunk: 0, start: 0, len: 0 }; RANGES], next: NONE };

/// The pool.
#[derive(Debug)]
pub(crate) struct Runs {
    nodes: Vec<Node>,
    free: u32,
}

/// Nodes that are kept for reuse when none is in use.
const KEPT_NODES: usize = 1 << 14;

impl Runs {
    pub(crate) fn new() -> Self {
        Runs { nodes: Vec::new(), free: NONE }
    }

    /// Appends a range, merged with the last one where it can be.
    pub(crate) fn append(&mut self, list: &mut List, range: Range) {
        list.bytes += range.len;
        let filled = list.filled as usize;
        if let Some(last) = self.nodes.get_mut(list.last as usize) {
            if last.ranges[filled - 1].merge(range) {
                return;
            }
            if filled < RANGES {
                last.ranges[filled] = range;
                list.filled += 1;
                return;
            }
        }
        let at = self.take_node();
        self.nodes[at as usize].ranges[0] = range;
        match self.nodes.get_mut(list.last as usize) {
            Some(last) => last.next = at,
            None => list.first = at,
        }
        (list.last, list.filled) = (at, 1);
    }

    /// A node with nothing behind it.
    fn take_node(&mut self) -> u32 {
        let at = self.free;
        match self.nodes.get_mut(at as usize) {
            Some(node) => {
                self.free = std::mem::replace(&mut node.next, NONE);
                at
            }
            None => {
                self.nodes.push(EMPTY);
                self.nodes.len() as u32 - 1
            }
        }
    }

    /// Empties a list.
    pub(crate) fn forget(&mut self, list: &mut List) {
        if let Some(last) = self.nodes.get_mut(list.last as usize) {
            last.next = self.free;
            self.free = list.first;
        }
        *list = List::default();
    }

    /// The ranges of a list, oldest first.
    pub(crate) fn iter(&self, list: &List) -> impl Iterator<Item = Range> + '_ {
        let List { first, last, filled, .. } = *list;
        let mut at = first;
        let nodes = std::iter::from_fn(move || {
            let node = self.nodes.get(at as usize)?;
            let count = if at == last { filled as usize } else { RANGES };
            at = if at == last { NONE } else { node.next };
            Some(&node.ranges[..count])
        });
        nodes.flatten().copied()
    }

    /// The range of a list that has just one.
    pub(crate) fn only(&self, list: &List) -> Option<Range> {
        let one = list.first == list.last && list.filled == 1;
        one.then(|| self.nodes[list.first as usize].ranges[0])
    }

    /// No list has anything: memory of a burst is given back.
    pub(crate) fn reset(&mut self) {
        if self.nodes.len() > KEPT_NODES {
            *self = Runs::new();
        }
    }

    /// Bytes held.
    pub(crate) fn held(&self) -> usize {
        self.nodes.capacity() * size_of::<Node>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn range(chunk: u32, start: u32, len: u32) -> Range {
        Range { chunk, start, len }
    }

    proptest! {
        #[test]
        fn lists_keep_to_themselves(steps in prop::collection::vec((0..5usize, 0..4u32, any::<bool>()), 0..300)) {
            let mut runs = Runs::new();
            let mut lists = [List::default(); 5];
            let mut expected: [Vec<Range>; 5] = Default::default();
            for (i, (which, chunk, forget)) in steps.into_iter().enumerate() {
                if forget {
                    runs.forget(&mut lists[which]);
                    expected[which].clear();
                } else {
                    // Apart from each other: nothing merges.
                    let next = range(chunk, 10 * i as u32, 3);
                    runs.append(&mut lists[which], next);
                    expected[which].push(next);
                }
                for (list, expected) in lists.iter().zip(&expected) {
                    prop_assert_eq!(&runs.iter(list).collect::<Vec<_>>(), expected);
                    prop_assert_eq!(list.len(), 3 * expected.len());
                    prop_assert_eq!(list.is_empty(), expected.is_empty());
                }
            }
            prop_assert!(runs.nodes.len() <= 300);
            lists.iter_mut().for_each(|list| runs.forget(list));
            let nodes = runs.nodes.len();
            for i in 0..nodes * RANGES {
                runs.append(&mut lists[0], range(0, 10 * i as u32, 3));
            }
            prop_assert_eq!(runs.nodes.len(), nodes, "a freed node is used again");
        }
    }

    #[test]
    fn neighbours_are_one() {
        let mut runs = Runs::new();
        let mut list = List::default();
        runs.append(&mut list, range(0, 0, 5));
        runs.append(&mut list, range(0, 5, 5));
        runs.append(&mut list, range(1, 10, 5));
        assert_eq!(runs.iter(&list).collect::<Vec<_>>(), [range(0, 0, 10), range(1, 10, 5)]);
    }
}
