//! `Column<I, T>`: a vector indexed by ids of type `I` only.

use super::Id;
use super::heap::HeapBytes;
use core::marker::PhantomData;
use core::ops::{Index, IndexMut};

/// A dense column of `T`, one row per id of type `I`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column<I, T> {
    rows: Vec<T>,
    id: PhantomData<fn(I) -> I>,
}

impl<I, T> Default for Column<I, T> {
    fn default() -> Self {
        Self { rows: Vec::new(), id: PhantomData }
    }
}

impl<I, T> HeapBytes for Column<I, T> {
    fn heap_bytes(&self) -> usize {
        self.rows.heap_bytes()
    }
}

impl<I: Id, T> Column<I, T> {
    /// An empty column with capacity for `rows` rows.
    pub fn with_capacity(rows: usize) -> Self {
        Self::from(Vec::with_capacity(rows))
    }

    /// Number of rows.
    #[inline]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no row.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Appends a row and returns its id.
    #[inline]
    pub fn push(&mut self, value: T) -> I {
        let id = I::new(self.rows.len());
        self.rows.push(value);
        id
    }

    /// The row of `id`; `None` when `id` is not below [`Self::len`].
    #[inline]
    pub fn get(&self, id: I) -> Option<&T> {
        self.rows.get(id.index())
    }

    /// All rows in id order.
    #[inline]
    pub fn as_slice(&self) -> &[T] {
        &self.rows
    }

    /// All rows in id order, mutable.
    #[inline]
    pub fn as_mut_slice(&mut self) -> &mut [T] {
        &mut self.rows
    }

    /// Rows with their ids, in id order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (I, &T)> {
        self.rows.iter().enumerate().map(|(i, row)| (I::new(i), row))
    }

    /// Every id of this column, ascending.
    pub fn ids(&self) -> impl ExactSizeIterator<Item = I> + use<I, T> {
        (0..self.rows.len()).map(I::new)
    }

    /// Removes all rows and keeps the allocated memory.
    pub fn clear(&mut self) {
        self.rows.clear();
    }

    /// The underlying vector, in id order.
    pub fn as_mut_vec(&mut self) -> &mut Vec<T> {
        &mut self.rows
    }
}

impl<I: Id, T: Clone> Column<I, T> {
    /// Grows or shrinks to `rows` rows; new rows hold `value`.
    pub fn resize(&mut self, rows: usize, value: T) {
        self.rows.resize(rows, value);
    }
}

impl<I, T> From<Vec<T>> for Column<I, T> {
    fn from(rows: Vec<T>) -> Self {
        Self { rows, id: PhantomData }
    }
}

impl<I: Id, T> Index<I> for Column<I, T> {
    type Output = T;
    #[inline(always)]
    fn index(&self, id: I) -> &T {
        &self.rows[id.index()]
    }
}

impl<I: Id, T> IndexMut<I> for Column<I, T> {
    #[inline(always)]
    fn index_mut(&mut self, id: I) -> &mut T {
        &mut self.rows[id.index()]
    }
}
