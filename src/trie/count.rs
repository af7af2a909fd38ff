//! Count of the hashes that an update computes.

/// Hashes computed by an update: the part of the work that every implementation has to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HashCount {
    /// Number of hashed messages: nodes and keys.
    pub hashes: u64,
    /// Number of Keccak-f\[1600\] permutations for these messages.
    pub permutations: u64,
}

impl core::ops::AddAssign for HashCount {
    fn add_assign(&mut self, other: Self) {
        self.hashes += other.hashes;
        self.permutations += other.permutations;
    }
}

impl HashCount {
    #[inline(always)]
    pub(super) fn add(&mut self, messages: usize, blocks: usize) {
        self.hashes += messages as u64;
        self.permutations += (messages * blocks) as u64;
    }

    /// Subtracts one leaf that was hashed for a position in the trie from which it then moved.
    pub(super) fn remove_leaf(&mut self) {
        self.hashes = self.hashes.saturating_sub(1);
        self.permutations = self.permutations.saturating_sub(1);
    }
}
