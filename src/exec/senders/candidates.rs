//! Signatures that the transactions of a block may pass to the ECRECOVER precompile, found in their calldata.
//!
//! In: calldata. Out: for a signature that was found, the public key of the signer at less than a fifth of the time.
//! Contracts hash a message (EIP-712, EIP-191) and call ECRECOVER with the hash and a signature from calldata. The hash is
//! known only then; but most of a recovery, the multiple s / r of the nonce point, needs the signature alone. It is
//! computed ahead, eight signatures at a time, together with the senders. A candidate that no call uses costs a few
//! microseconds; so only words in the positions of the usual encodings count, and their number is bounded.
//! Results do not depend on candidates: a call whose signature is not among them, or not computed yet, recovers it alone.
//! Relies on: AVX-512 IFMA. Without it there are no candidates.
//! Not here: when batches run (`executor`).

use super::{HALF_ORDER, ecrecover_point};
use crate::arena::{Id, TxIndex};
use crate::exec::wire::Transactions;
use ahash::RandomState;
use alloy_primitives::{B256, U256};
use hashbrown::HashMap;
use std::sync::OnceLock;

/// Maximum candidates of a block: together they take a few milliseconds of one thread.
const COUNT_MAX: usize = 512;
/// Minimum candidates of a block: eight lanes take as long for one signature as one signature alone.
const COUNT_MIN: usize = 2;
/// Maximum length of concatenated signatures, such as those of several owners.
const SIGNATURES_MAX: usize = 16;
/// Maximum length of an array of r: that of the bytes v in one word.
const ARRAY_MAX: usize = 32;
/// Zero bytes in front of a number below 2^16 in its word; one more in front of a number below 2^8.
const ZEROS_MIN: usize = 30;
/// Length of r, s and v as bytes.
const SIGNATURE_LEN: usize = 65;

/// A signature without its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Candidate {
    /// x coordinate of the nonce point.
    pub(super) r: U256,
    /// s of the signature.
    pub(super) s: U256,
}

/// The part of a recovery that needs no message hash.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "computed by AVX-512 instructions"))]
pub(super) struct Multiple {
    /// s / r times the nonce point with an even y coordinate, as words, least significant first.
    pub(super) x: [u64; 4],
    pub(super) y: [u64; 4],
    /// 2^256 / r modulo the group order.
    pub(super) r_inverse: [u64; 4],
}

/// The candidates of a block, in batches that threads compute.
#[derive(Debug, Default)]
pub struct Candidates {
    found: Vec<Candidate>,
    places: HashMap<Candidate, u32, RandomState>,
    batch_len: usize,
    multiples: Vec<OnceLock<Vec<Option<Multiple>>>>,
}

impl Candidates {
    /// Finds the candidates of these transactions. `batch_len` returns the number per batch, at least one, from that of
    /// all candidates.
    pub fn find(transactions: &Transactions, batch_len: impl FnOnce(usize) -> usize) -> Self {
        let mut candidates = Self::default();
        if !is_available() {
            return candidates;
        }
        for tx in (0..transactions.len()).map(TxIndex::new) {
            candidates.add(transactions.input(tx));
        }
        if candidates.found.len() < COUNT_MIN {
            return Self::default();
        }
        candidates.batch_len = batch_len(candidates.found.len()).max(1);
        let batches = candidates.found.len().div_ceil(candidates.batch_len);
        candidates.multiples.resize_with(batches, OnceLock::new);
        candidates
    }

    /// Adds the candidates of one transaction's calldata, at any byte offset:
    ///
    /// - `v, r, s` and `r, s, v` as words, v 27 or 28;
    /// - bytes of length 65 k: k times r, s and a byte v; of length 64: r, and s with the parity in its top bit (EIP-2098);
    /// - an array of n words r, and after it one of n words s, each with its length in front;
    /// - r and s between two bytes v, 27 or 28, and their neighbours: packed signatures without a length.
    ///
    /// Eight bytes at a time are skipped if none of them is v and no long run of zeros ends in them.
    fn add(&mut self, calldata: &[u8]) {
        let (chunks, rest) = calldata.as_chunks::<8>();
        let mut zeros = 0;
        for (number, chunk) in chunks.iter().enumerate() {
            let word = u64::from_le_bytes(*chunk);
            if word == 0 {
                zeros += 8;
            } else if zeros + 7 < ZEROS_MIN && !has_byte(word, 27) && !has_byte(word, 28) {
                zeros = word.leading_zeros() as usize / 8;
            } else {
                (0..8).for_each(|place| self.look_at(calldata, 8 * number + place, &mut zeros));
            }
        }
        (calldata.len() - rest.len()..calldata.len()).for_each(|at| self.look_at(calldata, at, &mut zeros));
    }

    /// Adds the candidates of [`Self::add`] that the byte at `at` tells of; `zeros` is the number of zero bytes before it.
    fn look_at(&mut self, calldata: &[u8], at: usize, zeros: &mut usize) {
        let byte = calldata[at];
        if byte == 0 {
            *zeros += 1;
            return;
        }
        let before = core::mem::take(zeros);
        let is_v = |at: usize| matches!(calldata.get(at), Some(27 | 28));
        if is_v(at) && is_v(at + SIGNATURE_LEN) {
            for offset in [0, SIGNATURE_LEN, 2 * SIGNATURE_LEN] {
                self.add_at(calldata, (at + 1 + offset).wrapping_sub(SIGNATURE_LEN));
            }
        }
        if before > ZEROS_MIN {
            if is_v(at) {
                self.add_at(calldata, at + 1);
                self.add_at(calldata, at.wrapping_sub(31 + 64));
            }
            self.add_bytes(calldata, at + 1, usize::from(byte));
            self.add_arrays(calldata, at + 1, usize::from(byte));
        }
        if before >= ZEROS_MIN
            && let Some(low) = calldata.get(at + 1)
        {
            self.add_bytes(calldata, at + 2, usize::from(u16::from_be_bytes([byte, *low])));
        }
    }

    /// Adds the pairs of two arrays of this length, the first of which starts here.
    fn add_arrays(&mut self, calldata: &[u8], start: usize, len: usize) {
        let distance = 32 * (len + 1);
        let second = calldata.get(start + 32 * len..start + distance).map(U256::from_be_slice);
        if len <= ARRAY_MAX && second == Some(U256::from(len)) {
            (0..len).for_each(|k| self.add_words(calldata, start + 32 * k, start + 32 * k + distance));
        }
    }

    /// Adds the signatures in bytes of this length.
    fn add_bytes(&mut self, calldata: &[u8], start: usize, len: usize) {
        let count = if len == 64 { 1 } else { len / SIGNATURE_LEN };
        if count <= SIGNATURES_MAX && (len == 64 || len == count * SIGNATURE_LEN) {
            (0..count).for_each(|k| self.add_at(calldata, start + k * SIGNATURE_LEN));
        }
    }

    /// Adds r, and s behind it.
    fn add_at(&mut self, calldata: &[u8], start: usize) {
        self.add_words(calldata, start, start.wrapping_add(32));
    }

    /// Adds r and s at these offsets, unless they cannot be a signature or look like other numbers. The top bit of s may
    /// be a parity: a valid s with this bit would be above half the order, and wallets make no such signature.
    fn add_words(&mut self, calldata: &[u8], r: usize, s: usize) {
        let word = |at: usize| calldata.get(at..at.checked_add(32)?).map(U256::from_be_slice);
        let Some((r, s)) = word(r).zip(word(s)) else { return };
        let s = s & (U256::MAX >> 1);
        let is_number = |word: &U256| word.as_limbs()[3] >> 32 == 0 || word.as_limbs()[1] == 0;
        if self.found.len() < COUNT_MAX && !is_number(&r) && !is_number(&s) && s <= HALF_ORDER {
            let candidate = Candidate { r, s };
            self.places.entry(candidate).or_insert_with(|| {
                self.found.push(candidate);
                (self.found.len() - 1) as u32
            });
        }
    }

    /// Number of batches.
    pub fn batch_count(&self) -> usize {
        self.multiples.len()
    }

    /// Computes a batch; does nothing if there is no such batch or it is computed.
    pub fn compute(&self, batch: usize) {
        let Some(out) = self.multiples.get(batch) else { return };
        let start = batch * self.batch_len;
        let candidates = &self.found[start..self.found.len().min(start + self.batch_len)];
        out.get_or_init(|| {
            let mut multiples = vec![None; candidates.len()];
            multiply(candidates, &mut multiples);
            multiples
        });
    }

    /// Public key of the signer, as [`ecrecover_point`] returns it.
    pub fn recover(&self, hash: &B256, r: &U256, s: &U256, y_parity: bool) -> Option<[u8; 64]> {
        let known = || {
            let place = *self.places.get(&Candidate { r: *r, s: *s })? as usize;
            let multiples = self.multiples.get(place / self.batch_len)?.get()?;
            complete(multiples[place % self.batch_len].as_ref()?, hash, y_parity)
        };
        known().or_else(|| ecrecover_point(hash, r, s, y_parity))
    }
}

/// Whether one of the eight bytes of `word` is `byte`.
fn has_byte(word: u64, byte: u8) -> bool {
    const LOW: u64 = u64::from_ne_bytes([1; 8]);
    // A byte of the difference is zero if it is the one searched for; the subtraction then sets its top bit, which was not set.
    let difference = word ^ (LOW * u64::from(byte));
    difference.wrapping_sub(LOW) & !difference & (LOW << 7) != 0
}

#[cfg(target_arch = "x86_64")]
fn is_available() -> bool {
    super::ifma::available()
}

#[cfg(not(target_arch = "x86_64"))]
fn is_available() -> bool {
    false
}

/// Computes the multiples of the nonce points.
#[cfg(target_arch = "x86_64")]
fn multiply(candidates: &[Candidate], out: &mut [Option<Multiple>]) {
    super::ifma::multiply(candidates, out);
}

#[cfg(not(target_arch = "x86_64"))]
fn multiply(_: &[Candidate], _: &mut [Option<Multiple>]) {}

#[cfg(target_arch = "x86_64")]
fn complete(multiple: &Multiple, hash: &B256, is_odd: bool) -> Option<[u8; 64]> {
    let (x, y) = super::ifma::complete(multiple, hash, is_odd)?;
    let mut point = [0; 64];
    point[..32].copy_from_slice(&U256::from_limbs(x).to_be_bytes::<32>());
    point[32..].copy_from_slice(&U256::from_limbs(y).to_be_bytes::<32>());
    Some(point)
}

#[cfg(not(target_arch = "x86_64"))]
fn complete(_: &Multiple, _: &B256, _: bool) -> Option<[u8; 64]> {
    None
}

#[cfg(test)]
mod tests {
    use super::super::tests::reference::{N, Numbers};
    use super::*;

    fn candidates_of(calldata: &[u8]) -> Candidates {
        let mut candidates = Candidates::default();
        candidates.add(calldata);
        candidates.batch_len = 3;
        candidates.multiples.resize_with(candidates.found.len().div_ceil(3), OnceLock::new);
        candidates
    }

    fn word(number: u64) -> [u8; 32] {
        U256::from(number).to_be_bytes()
    }

    /// r of a curve point and a low s.
    fn random(numbers: &mut Numbers) -> Candidate {
        Candidate { r: numbers.point().0 % N, s: numbers.scalar() >> 1 }
    }

    #[test]
    fn signatures_are_found_in_the_usual_encodings() {
        let mut numbers = Numbers(3);
        let [a, b, c, d, e, f, g, h, i, j, k] = core::array::from_fn(|_| random(&mut numbers));
        let pair = |of: Candidate| [of.r.to_be_bytes::<32>(), of.s.to_be_bytes()].concat();
        let compact = Candidate { s: f.s | U256::ONE << 255, ..f };
        let calldata = [
            &[1, 2, 3, 4][..],
            &word(77),
            &word(28),
            &pair(a),
            &word(5),
            &pair(b),
            &word(27),
            &word(130),
            &pair(c),
            &[27],
            &pair(d),
            &[28],
            &word(260),
            &pair(e),
            &[27],
            &[0; 3 * 65],
            &word(64),
            &pair(compact),
            &word(2),
            &g.r.to_be_bytes::<32>(),
            &h.r.to_be_bytes::<32>(),
            &word(2),
            &g.s.to_be_bytes::<32>(),
            &h.s.to_be_bytes::<32>(),
            &[1, 2, 27],
            &pair(i),
            &[28],
            &pair(j),
            &[27],
            &pair(k),
        ]
        .concat();
        let found = candidates_of(&calldata).found;
        // One more: the bytes in front of the first packed signature, which could be one.
        assert_eq!(found.len(), 12, "{found:?}");
        assert!([a, b, c, d, e, f, g, h, i, j, k].iter().all(|candidate| found.contains(candidate)), "{found:?}");
        // At every byte offset the same ones are found.
        for offset in 1..16 {
            let shifted = [&vec![9; offset][..], &calldata].concat();
            assert_eq!(candidates_of(&shifted).found, found, "{offset}");
        }
        // Every end of the calldata is allowed.
        for len in 0..calldata.len() {
            candidates_of(&calldata[..len]);
        }
    }

    #[test]
    fn numbers_and_addresses_are_no_signatures() {
        let mut calldata = Vec::new();
        for number in 0..300 {
            calldata.extend(word(number));
            calldata.extend((U256::from(number) << 80_u32 | U256::from(number)).to_be_bytes::<32>());
        }
        assert_eq!(candidates_of(&calldata).found, []);
    }

    #[test]
    fn recovered_keys_equal_those_of_libsecp256k1() {
        let mut numbers = Numbers(4);
        let mut calldata = Vec::new();
        // Every other r is no x coordinate of a curve point.
        let mut all: Vec<Candidate> = (0..200).map(|_| random(&mut numbers)).collect();
        all.iter_mut().step_by(5).for_each(|candidate| candidate.r = numbers.word());
        for candidate in &all {
            calldata.extend([word(27), candidate.r.to_be_bytes(), candidate.s.to_be_bytes()].concat());
        }
        let candidates = candidates_of(&calldata);
        let mut known = 0;
        for batch in 0..candidates.batch_count() + 1 {
            // The last but one batch is not computed.
            if batch + 2 != candidates.batch_count() {
                candidates.compute(batch);
            }
        }
        for (number, Candidate { r, s }) in all.iter().enumerate() {
            for odd in [false, true] {
                let hash = match number {
                    0 => B256::ZERO,
                    1 => N.into(),
                    2 => (N - U256::ONE).into(),
                    3 => B256::repeat_byte(0xff),
                    _ => B256::from(numbers.word()),
                };
                let point = candidates.recover(&hash, r, s, odd);
                assert_eq!(point, ecrecover_point(&hash, r, s, odd), "{number}");
                known += u32::from(point.is_some());
            }
        }
        assert!(known > 300, "{known}");
    }
}
