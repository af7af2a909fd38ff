//! Cache of senders by transaction hash.
//!
//! In: senders that the caller has already recovered, for example when transactions entered its mempool. Out: senders
//! without recovery. A cache is used only if the caller supplies one; benchmarks supply none.
//! Relies on: the hash being that of the whole signed transaction. Entries are not verified: insert only senders that
//! [`super::recover_batch`], or an equally strict check, has returned.
//! Not here: transactions and their hashes.

use std::sync::{Mutex, MutexGuard, PoisonError};

use alloy_primitives::{Address, B256, map::B256Map};

use super::Signature;

/// Number of shards, each with its own lock, so that threads seldom contend.
const SHARDS: usize = 64;
/// Maximum number of missing senders that are recovered in one batch.
const BATCH: usize = 64;

/// A bounded map from transaction hash to sender, shared between threads.
///
/// Each shard has two generations: when the younger one is full, it replaces the older one. So at least the newest half
/// of a shard's capacity is always kept.
#[derive(Debug)]
pub struct SenderCache {
    shards: Box<[Mutex<Generations>]>,
    /// Maximum number of entries per generation and shard.
    generation_len_max: usize,
}

#[derive(Debug, Default)]
struct Generations {
    young: B256Map<Address>,
    old: B256Map<Address>,
}

impl SenderCache {
    /// An empty cache for about `len_max` transactions (rounded up to a multiple of 128).
    pub fn new(len_max: usize) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { shards, generation_len_max: len_max.div_ceil(2 * SHARDS).max(1) }
    }

    /// Stores the sender of a transaction.
    pub fn insert(&self, transaction_hash: B256, sender: Address) {
        let mut shard = self.shard(&transaction_hash);
        if shard.young.len() >= self.generation_len_max && !shard.young.contains_key(&transaction_hash) {
            shard.old = core::mem::take(&mut shard.young);
        }
        shard.young.insert(transaction_hash, sender);
    }

    /// The sender of a transaction; `None` if the cache does not have it.
    pub fn get(&self, transaction_hash: &B256) -> Option<Address> {
        let shard = self.shard(transaction_hash);
        shard.young.get(transaction_hash).or_else(|| shard.old.get(transaction_hash)).copied()
    }

    /// Fills `out` with senders from the cache, and from `recover` for transactions that the cache does not have.
    /// `recover` is [`super::recover_batch`] or an equivalent. The three slices correspond by position; only the
    /// length of the shortest is processed. Recovered senders are not added to the cache, because a transaction is
    /// executed once.
    pub(crate) fn recover_missing(
        &self,
        transaction_hashes: &[B256],
        signatures: &[Signature],
        out: &mut [Option<Address>],
        recover: impl Fn(&[Signature], &mut [Option<Address>]),
    ) {
        let mut rows = [0; BATCH];
        let mut missing = Vec::with_capacity(BATCH.min(signatures.len()));
        let mut found = [None; BATCH];
        let len = transaction_hashes.len().min(signatures.len()).min(out.len());
        for row in 0..len {
            out[row] = self.get(&transaction_hashes[row]);
            if out[row].is_none() {
                rows[missing.len()] = row;
                missing.push(signatures[row]);
            }
            if missing.len() == BATCH || row + 1 == len {
                recover(&missing, &mut found);
                for (row, found) in rows.iter().zip(found).take(missing.len()) {
                    out[*row] = found;
                }
                missing.clear();
            }
        }
    }

    fn shard(&self, transaction_hash: &B256) -> MutexGuard<'_, Generations> {
        let shard = &self.shards[usize::from(transaction_hash[31]) % SHARDS];
        // The maps are consistent even if a thread panicked while it held the lock.
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{random, reference::Numbers};
    use super::super::{recover_batch, recover_scalar};
    use super::*;

    #[test]
    fn known_transactions_are_not_recovered_and_unknown_ones_are() {
        let mut numbers = Numbers(31);
        let cache = SenderCache::new(1000);
        for count in [0, 1, 63, 64, 65, 200] {
            let hashes: Vec<B256> = (0..count).map(|_| numbers.word().into()).collect();
            let signatures: Vec<_> = (0..count).map(|_| random(&mut numbers)).collect();
            let mut wanted: Vec<_> = signatures.iter().map(recover_scalar).collect();
            for row in (0..count).step_by(3) {
                // An address that recovery cannot return shows that the sender came from the cache.
                let marker = Address::with_last_byte(row as u8);
                cache.insert(hashes[row], marker);
                wanted[row] = Some(marker);
            }
            let mut out = vec![None; count];
            cache.recover_missing(&hashes, &signatures, &mut out, recover_batch);
            assert_eq!(out, wanted);
        }
    }

    #[test]
    fn the_newest_half_is_kept_and_memory_is_bounded() {
        let cache = SenderCache::new(128 * 16);
        let mut numbers = Numbers(32);
        let hashes: Vec<B256> = (0..20_000).map(|_| numbers.word().into()).collect();
        for (i, hash) in hashes.iter().enumerate() {
            cache.insert(*hash, Address::from_word(*hash));
            assert_eq!(cache.get(hash), Some(Address::from_word(*hash)));
            assert_eq!(cache.get(&hashes[i - i.min(200)]), Some(Address::from_word(hashes[i - i.min(200)])));
        }
        let kept = hashes.iter().filter(|hash| cache.get(hash).is_some()).count();
        assert!((1024..=2048).contains(&kept), "{kept}");
    }

    #[test]
    fn threads_insert_and_read_concurrently() {
        let cache = SenderCache::new(100_000);
        std::thread::scope(|scope| {
            for seed in 1..=4 {
                let cache = &cache;
                scope.spawn(move || {
                    let mut numbers = Numbers(seed);
                    for _ in 0..5_000 {
                        let hash: B256 = numbers.word().into();
                        cache.insert(hash, Address::from_word(hash));
                        assert_eq!(cache.get(&hash), Some(Address::from_word(hash)));
                    }
                });
            }
        });
    }
}
