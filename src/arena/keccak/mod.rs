//! Keccak-256, one message or many at a time.
//!
//! In: messages. Out: digests.
//! A single message is hashed with the state in vector registers where AVX-512VL is available (183
//! ns per permutation; scalar assembly takes 215 ns), otherwise by the assembly that
//! `alloy-primitives` links. Many messages are hashed by a kernel that permutes eight (AVX-512) or
//! four (AVX2) independent states at once, one per 64-bit lane. Per message this is about nine
//! times (three times) as fast. A permutation of eight lanes costs about as much as one of a single
//! message, so with eight lanes a partly filled batch loses little.
//!
//! ```
//! use balustrade::arena::keccak::{self, Batch, Width};
//! use alloy_primitives::B256;
//!
//! let messages: Vec<Vec<u8>> = (0..20u8).map(|n| vec![n; 40]).collect();
//! let mut digests = vec![B256::ZERO; messages.len()];
//! let mut batch = Batch::new(Width::detect());
//! for (row, message) in messages.iter().enumerate() {
//!     batch.push(message, row, &mut digests);
//! }
//! batch.finish(&mut digests);
//! assert_eq!(digests[7], keccak::keccak256(&messages[7]));
//! ```
//!
//! Relies on: CPU features detected at run time; build flags do not select kernels.
//! Not here: the meaning of the messages (trie nodes, keys, codes), and threads.

mod batch;
mod kernel;
mod padded;
#[cfg(target_arch = "x86_64")]
mod rounds;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod x1;
#[cfg(target_arch = "x86_64")]
mod x4;
#[cfg(target_arch = "x86_64")]
mod x8;

pub(crate) use batch::hash_fixed;
pub use batch::{Batch, hash_addresses, hash_slots, hash_words, keccak256_many};
pub(crate) use kernel::hash_eight_blocks;
pub use padded::{Lanes, PaddedBlocks};

use alloy_primitives::B256;

/// The rate of Keccak-256: bytes that one permutation absorbs.
pub const RATE: usize = 136;

/// Largest number of messages that a kernel permutes at once.
pub const LANES_MAX: usize = 8;

/// Number of messages permuted at once, and the instruction set used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Width {
    /// One message at a time, scalar assembly.
    One,
    /// Four lanes of AVX2.
    Four,
    /// Eight lanes of AVX-512.
    Eight,
}

impl Width {
    /// The widest kernel that this machine supports.
    pub fn detect() -> Self {
        [Self::Eight, Self::Four].into_iter().find(|width| width.is_supported()).unwrap_or(Self::One)
    }

    /// Whether this machine has the required instructions.
    pub fn is_supported(self) -> bool {
        match self {
            Self::One => true,
            #[cfg(target_arch = "x86_64")]
            Self::Four => is_x86_feature_detected!("avx2"),
            #[cfg(target_arch = "x86_64")]
            Self::Eight => is_x86_feature_detected!("avx512f"),
            #[cfg(not(target_arch = "x86_64"))]
            _ => false,
        }
    }

    /// Every width that this machine supports, narrowest first.
    pub fn supported() -> impl Iterator<Item = Self> {
        [Self::One, Self::Four, Self::Eight].into_iter().filter(|width| width.is_supported())
    }

    /// Name of the instruction set: `portable`, `avx2` or `avx512`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::One => "portable",
            Self::Four => "avx2",
            Self::Eight => "avx512",
        }
    }

    /// The width with this name; `None` if it is unknown or this machine does not support it.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::supported().find(|width| width.name() == name)
    }

    /// Number of messages per kernel call.
    pub const fn lanes(self) -> usize {
        match self {
            Self::One => 1,
            Self::Four => 4,
            Self::Eight => 8,
        }
    }
}

/// Keccak-256 of one message.
#[inline]
pub fn keccak256(message: impl AsRef<[u8]>) -> B256 {
    #[cfg(target_arch = "x86_64")]
    if x1::is_supported() {
        return x1::hash(message.as_ref());
    }
    scalar(message.as_ref())
}

/// [`keccak256`] without vector instructions.
#[inline]
fn scalar(message: &[u8]) -> B256 {
    alloy_primitives::keccak256(message)
}

/// Number of permutations for a message of `len_bytes` bytes (the padding takes at least one more
/// byte).
#[inline]
pub const fn block_count(len_bytes: usize) -> usize {
    len_bytes / RATE + 1
}
