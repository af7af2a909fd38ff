//! Bytes of heap memory that reused memory holds.
//!
//! In: a value that keeps its memory from block to block. Out: the capacity of its allocations in bytes.
//! Relies on: elements of the collections hold no heap memory themselves; where they do, their owner adds it.
//! Not here: memory that the allocator itself needs.

use core::hash::{BuildHasher, Hash};
use hashbrown::{HashMap, HashSet, HashTable};

/// Heap memory held by a value.
pub(crate) trait HeapBytes {
    /// Bytes of the value's allocations, used or not. O(1) in the number of elements.
    fn heap_bytes(&self) -> usize;
}

impl<T> HeapBytes for Vec<T> {
    fn heap_bytes(&self) -> usize {
        self.capacity() * size_of::<T>()
    }
}

impl<K: Eq + Hash, V, S: BuildHasher> HeapBytes for HashMap<K, V, S> {
    fn heap_bytes(&self) -> usize {
        self.allocation_size()
    }
}

impl<T: Eq + Hash, S: BuildHasher> HeapBytes for HashSet<T, S> {
    fn heap_bytes(&self) -> usize {
        self.allocation_size()
    }
}

impl<T> HeapBytes for HashTable<T> {
    fn heap_bytes(&self) -> usize {
        self.allocation_size()
    }
}

impl<T: HeapBytes> HeapBytes for Box<T> {
    fn heap_bytes(&self) -> usize {
        size_of::<T>() + (**self).heap_bytes()
    }
}

impl<T: HeapBytes> HeapBytes for Option<T> {
    fn heap_bytes(&self) -> usize {
        self.as_ref().map_or(0, T::heap_bytes)
    }
}

/// Sums the heap memory of values.
pub(crate) fn sum_heap_bytes<const N: usize>(parts: [&dyn HeapBytes; N]) -> usize {
    parts.iter().map(|part| part.heap_bytes()).sum()
}
