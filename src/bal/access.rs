//! `AccessSet`: a bit set of accessed ids.
//!
//! In: accessed ids, in any order; sets of several workers are united. Out: membership, counts, ids
//! in ascending order.
//! Not here: which transaction made an access; a block access list does not contain it for reads.

use crate::arena::Id;
use crate::arena::heap::HeapBytes;
use core::marker::PhantomData;

/// A set of ids that grows as needed; memory is one bit per id up to the highest one.
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

impl<I> HeapBytes for AccessSet<I> {
    fn heap_bytes(&self) -> usize {
        self.words.heap_bytes()
    }
}

impl<I: Id> AccessSet<I> {
    /// An empty set with capacity for ids below `count`.
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

    /// Whether the set contains `id`.
    #[inline]
    pub fn contains(&self, id: I) -> bool {
        self.words.get(id.index() / 64).is_some_and(|word| word >> (id.index() % 64) & 1 == 1)
    }

    /// Number of ids in the set.
    pub fn count(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Adds all ids of another set, such as one worker's accesses to those of the block.
    pub fn union_with(&mut self, other: &Self) {
        if self.words.len() < other.words.len() {
            self.words.resize(other.words.len(), 0);
        }
        for (word, more) in self.words.iter_mut().zip(&other.words) {
            *word |= more;
        }
    }

    /// The ids in the set, ascending.
    pub fn iter(&self) -> impl Iterator<Item = I> {
        self.words.iter().enumerate().flat_map(|(at, word)| Bits(*word).map(move |bit| I::new(at * 64 + bit)))
    }

    /// The lowest id below `count` that is not in the set: the first listed item without an access.
    pub fn first_missing(&self, count: usize) -> Option<I> {
        (0..count).map(I::new).find(|id| !self.contains(*id))
    }

    /// Removes all ids and keeps the allocated memory.
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
