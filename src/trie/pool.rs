//! `Pool<T>`: rows of one node kind that never move, with a free list.
//!
//! Chunks double in size, so growth copies nothing and a small trie stays small. Rows are made on first use and
//! recycled afterwards; a recycled row keeps its old content until its new owner overwrites it.

/// log2 of the first chunk's rows.
const FIRST: u32 = 6;

/// A growing set of rows numbered by `u32`.
#[derive(Debug)]
pub(super) struct Pool<T> {
    chunks: Vec<Vec<T>>,
    free: Vec<u32>,
    len: u32,
}

impl<T> Default for Pool<T> {
    fn default() -> Self {
        Self { chunks: Vec::new(), free: Vec::new(), len: 0 }
    }
}

/// Chunk and row within it.
#[inline(always)]
fn place(index: u32) -> (usize, usize) {
    let shifted = index + (1 << FIRST);
    let log = 31 - shifted.leading_zeros();
    ((log - FIRST) as usize, (shifted - (1 << log)) as usize)
}

impl<T: Default> Pool<T> {
    /// A row to overwrite: recycled, or a new default one.
    #[inline]
    pub(super) fn alloc(&mut self) -> u32 {
        if let Some(index) = self.free.pop() {
            return index;
        }
        let index = self.len;
        let (chunk, _) = place(index);
        if chunk == self.chunks.len() {
            self.chunks.push(Vec::with_capacity(1 << (FIRST as usize + chunk)));
        }
        self.chunks[chunk].push(T::default());
        self.len += 1;
        index
    }

    /// Hands a row back.
    pub(super) fn free(&mut self, index: u32) {
        self.free.push(index);
    }

    #[inline(always)]
    pub(super) fn get(&self, index: u32) -> &T {
        let (chunk, row) = place(index);
        &self.chunks[chunk][row]
    }

    #[inline(always)]
    pub(super) fn get_mut(&mut self, index: u32) -> &mut T {
        let (chunk, row) = place(index);
        &mut self.chunks[chunk][row]
    }

    /// Rows in use.
    pub(super) fn used(&self) -> usize {
        self.len as usize - self.free.len()
    }
}
