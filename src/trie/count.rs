//! What an update hashes, counted.

/// What an update hashed: the measure of the work that no implementation can avoid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HashCount {
    /// Messages: nodes and keys.
    pub hashes: u64,
    /// Keccak permutations that they take.
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

    /// Takes back one leaf, which was hashed for a place that it did not keep.
    pub(super) fn remove_leaf(&mut self) {
        self.hashes = self.hashes.saturating_sub(1);
        self.permutations = self.permutations.saturating_sub(1);
    }
}
