//! `AccessSet`: which ids were touched, one bit each.
//!
//! In: ids as they are touched, in any order and by any worker. Out: membership, counts, ids in ascending order.
//! Not here: what was touched by whom and when; an access list does not say it.

use crate::arena::Id;
use core::marker::PhantomData;

/// A growing set of ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessSet<I> {
    words: Vec<u64>,
    id: PhantomData<fn(I) -> I>,
}

impl<I> Default for AccessSet<I> {
    fn default() -> Self {
        Self { words: Vec::new(), id: PhantomData }
    }
}

impl<I: Id> AccessSet<I> {
    /// An empty set with room for ids below `count`.
    pub fn with_room_for(count: usize) -> Self {
        Self { words: vec![0; count.div_ceil(64)], id: PhantomData }
    }

    /// Adds an id; returns whether it is new.
    #[inline]
    pub fn insert(&mut self, id: I) -> bool {
        let (word, bit) = (id.index() / 64, 1u64 << (id.index() % 64));
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        let is_new = self.words[word] & bit == 0;
        self.words[word] |= bit;
        is_new
    }

    /// Whether the id was added.
    #[inline]
    pub fn contains(&self, id: I) -> bool {
        self.words.get(id.index() / 64).is_some_and(|word| word >> (id.index() % 64) & 1 == 1)
    }

    /// Number of ids added.
    pub fn count(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Adds all ids of another set: one worker's accesses to the block's.
    pub fn union_with(&mut self, other: &Self) {
        if self.words.len() < other.words.len() {
            self.words.resize(other.words.len(), 0);
        }
        for (word, more) in self.words.iter_mut().zip(&other.words) {
            *word |= more;
        }
    }

    /// The ids added, ascending.
    pub fn iter(&self) -> impl Iterator<Item = I> {
        self.words.iter().enumerate().flat_map(|(at, word)| Bits(*word).map(move |bit| I::new(at * 64 + bit)))
    }

    /// The lowest id below `count` that was not added: the first listed item that nobody touched.
    pub fn first_missing(&self, count: usize) -> Option<I> {
        (0..count).map(I::new).find(|id| !self.contains(*id))
    }

    /// Forgets all ids and keeps the memory.
    pub fn clear(&mut self) {
        self.words.fill(0);
    }
}

/// Positions of set bits, ascending.
struct Bits(u64);

impl Iterator for Bits {
    type Item = usize;
    fn next(&mut self) -> Option<usize> {
        let bit = self.0.trailing_zeros();
        self.0 &= self.0.wrapping_sub(1);
        (bit < 64).then_some(bit as usize)
    }
}
