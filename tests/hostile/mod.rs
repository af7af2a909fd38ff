//! Hostile blocks: valid blocks of the shared folder with one change each, resealed and executed in all modes.
//!
//! In: fixtures and bundles, a seed. Out: [`report::Report`]: how many mutants each check refused, and every finding.
//! Not here: hand-written cases (the fixtures have them), coverage-guided fuzzing (`fuzz/`).

#![allow(dead_code, unreachable_pub, reason = "each test and example that includes this uses a part of it")]

pub mod cases;
pub mod list;
pub mod mutators;
pub mod report;
pub mod trial;

/// SplitMix64 (Steele, Lea, Flood 2014).
#[derive(Clone, Debug)]
pub struct Rng(pub u64);

impl Rng {
    /// The next 64-bit word.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which is not 0.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// A 256-bit word.
    pub fn word(&mut self) -> alloy_primitives::U256 {
        alloy_primitives::U256::from_limbs([self.next(), self.next(), self.next(), self.next()])
    }

    /// A random position in a slice; `None` if it is empty.
    pub fn pick<T>(&mut self, items: &[T]) -> Option<usize> {
        (!items.is_empty()).then(|| self.below(items.len()))
    }
}
