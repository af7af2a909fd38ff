//! Typed 4-byte ids: a row number together with the family of columns that it indexes.
//!
//! A `SlotId` cannot index an account column. An id is half the size of a 64-bit pointer.

/// A 4-byte position that indexes one family of columns.
pub trait Id: Copy + Eq + Ord + core::fmt::Debug {
    /// The id of row `index`.
    ///
    /// # Panics
    /// When `index` does not fit 32 bits, in every build. Blocks that large are rejected before any
    /// id is assigned.
    fn new(index: usize) -> Self;
    /// The row number of this id.
    fn index(self) -> usize;
}

#[cold]
#[inline(never)]
fn too_large(index: usize) -> ! {
    panic!("row {index} does not fit a 32-bit id")
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[cfg_attr(feature = "serde", derive(serde::Serialize))]
        #[repr(transparent)]
        pub struct $name(pub u32);

        impl Id for $name {
            #[inline(always)]
            fn new(index: usize) -> Self {
                match u32::try_from(index) {
                    Ok(index) => Self(index),
                    Err(_) => too_large(index),
                }
            }
            #[inline(always)]
            fn index(self) -> usize {
                self.0 as usize
            }
        }
    )*};
}

ids! {
    /// An account of the current block. With a block access list, ids are ranks by address.
    AccountId,
    /// A storage slot of the current block. With a block access list, ids are ranks by account,
    /// then by key; changed and read slots share one numbering.
    SlotId,
    /// A code's position in the code arena.
    CodeId,
    /// A transaction's position in its block, from 0.
    TxIndex,
    /// EIP-7928's block access index: 0 before the transactions, `1..=n` the transactions, `n + 1` after them.
    BlockAccessIndex,
}

impl TxIndex {
    /// The block access index of this transaction (EIP-7928: counted from 1).
    #[inline]
    pub const fn access_index(self) -> BlockAccessIndex {
        BlockAccessIndex(self.0 + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_row_has_an_id() {
        assert_eq!(SlotId::new(u32::MAX as usize), SlotId(u32::MAX));
    }

    #[test]
    #[should_panic(expected = "does not fit a 32-bit id")]
    #[cfg(target_pointer_width = "64")]
    fn a_row_beyond_32_bits_panics() {
        AccountId::new(1 << 32);
    }
}
