//! The code arena: contract codes by hash, kept across blocks together with their analysis.
//!
//! In: code bytes. Out: [`CodeId`]s, and [`Code`]s at stable addresses.
//! A code is padded with zeros so that a dispatch loop may read past its end. Its jump destinations
//! are a bit set that is computed lazily, for the destinations that jumps have needed. Codes are interned by
//! hash: an entry may exist before its bytes are known, because an account holds a code hash and
//! the bytes are loaded only when something reads them.
//! Relies on: entries are only appended while a block runs; [`CodeArena::evict`] needs exclusive access.
//! Not here: decoding for a particular dispatch loop; each loop stores its decoded form through
//! [`Code::decoded`].

use super::keccak::{keccak256, keccak256_many};
use super::store::{KECCAK_EMPTY, StoreError};
use super::{CodeId, Id};
use ahash::RandomState;
use alloy_primitives::{Address, B256, Bytes};
use core::any::Any;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize};
use hashbrown::HashMap;
use std::sync::{Arc, OnceLock, RwLock};

/// Number of zero bytes (STOP) after every code. A PUSH32 in the last byte of code reads 32 of
/// them; the next one is the STOP that ends the frame; one more, because a loop may read the byte
/// after an opcode as its immediate before it decodes the opcode.
pub const CODE_PADDING: usize = 34;

/// Prefix of an EIP-7702 delegation designator; 20 bytes of address follow.
pub const DELEGATION_PREFIX: [u8; 3] = [0xef, 0x01, 0x00];

/// Id of the empty code, the first entry of every arena.
pub const EMPTY_CODE: CodeId = CodeId(0);

/// One code with its analysis.
#[derive(Debug)]
pub struct Code {
    hash: B256,
    /// The code, followed by [`CODE_PADDING`] zero bytes.
    padded: Vec<u8>,
    /// Jump destinations, one bit per byte of code: all below `searched`, and those further on that jumps have needed. A
    /// set bit is final.
    jumpdests: Vec<AtomicU64>,
    /// Position at which the search for jump destinations continues: the start of an instruction,
    /// or at or past the end of the code.
    searched: AtomicUsize,
    /// The jump destinations that were executed, one bit per byte of code, and their number. Empty
    /// for init code.
    reached: Vec<AtomicU64>,
    reached_count: AtomicU32,
    delegation: Option<Address>,
    decoded: [OnceLock<Box<dyn Any + Send + Sync>>; DECODED_SLOTS],
    work: AtomicU64,
    /// The arena's counter of bytes held; `None` outside an arena.
    meter: Option<Arc<AtomicUsize>>,
}

/// Number of decoded forms that dispatch loops may store with a code; the last slot is the
/// reference loop's.
pub const DECODED_SLOTS: usize = 4;

impl Code {
    /// Takes a copy of `bytes`, whose keccak256 is `hash` (not checked here).
    pub fn new(hash: B256, bytes: &[u8]) -> Self {
        let mut code = Self::init(bytes);
        code.hash = hash;
        code.reached.resize_with(code.jumpdests.len(), AtomicU64::default);
        code
    }

    /// Init code: it has no hash. Its executed jump destinations are not recorded, because it is
    /// never decoded.
    pub fn init(bytes: &[u8]) -> Self {
        let mut code = Self {
            hash: B256::ZERO,
            padded: Vec::new(),
            jumpdests: Vec::new(),
            searched: Default::default(),
            reached: Vec::new(),
            reached_count: Default::default(),
            delegation: None,
            decoded: Default::default(),
            work: Default::default(),
            meter: None,
        };
        code.refill_init(bytes);
        code
    }

    /// Replaces this code by another init code and reuses the memory, so that creations do not
    /// allocate in steady state.
    pub fn refill_init(&mut self, bytes: &[u8]) {
        self.hash = B256::ZERO;
        self.padded.clear();
        self.padded.reserve_exact(bytes.len() + CODE_PADDING);
        self.padded.extend_from_slice(bytes);
        self.padded.resize(bytes.len() + CODE_PADDING, 0);
        self.jumpdests.clear();
        self.jumpdests.resize_with(bytes.len().div_ceil(64), AtomicU64::default);
        self.searched = Default::default();
        self.reached.clear();
        self.reached_count = Default::default();
        self.delegation = delegation(bytes);
        self.decoded = Default::default();
        self.work = Default::default();
    }

    /// Allocated bytes of the code and its bit sets, without decoded forms.
    pub fn room(&self) -> usize {
        self.padded.capacity() + 8 * (self.jumpdests.capacity() + self.reached.capacity())
    }

    /// keccak256 of the code; zero for init code.
    #[inline]
    pub fn hash(&self) -> B256 {
        self.hash
    }

    /// The code as deployed.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        &self.padded[..self.len()]
    }

    /// The code followed by [`CODE_PADDING`] zero bytes.
    #[inline]
    pub fn padded(&self) -> &[u8] {
        &self.padded
    }

    /// Length of the code in bytes, padding not counted.
    #[inline]
    pub fn len(&self) -> usize {
        self.padded.len() - CODE_PADDING
    }

    /// Whether there is no code.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether `pc` is a valid jump destination. Extends the search if it has not reached `pc` yet.
    #[inline(always)]
    pub fn is_jumpdest(&self, pc: usize) -> bool {
        self.is_marked(pc) || self.find_jumpdest(pc)
    }

    /// Whether `pc` is already known to be a valid jump destination. `false` also when the search
    /// has not reached `pc` yet.
    #[inline(always)]
    pub fn is_marked(&self, pc: usize) -> bool {
        self.jumpdests.get(pc / 64).is_some_and(|word| word.load(Relaxed) >> (pc % 64) & 1 == 1)
    }

    /// Whether `pc`, whose bit is not set so far, is a valid jump destination.
    #[cold]
    #[inline(never)]
    fn find_jumpdest(&self, pc: usize) -> bool {
        if self.bytes().get(pc) != Some(&JUMPDEST) {
            return false;
        }
        if let Some(found) = begins_instruction(self.bytes(), pc) {
            if found {
                self.jumpdests[pc / 64].fetch_or(1 << (pc % 64), Relaxed);
            }
            return found;
        }
        self.search_to(pc + 1);
        self.is_marked(pc)
    }

    /// Sets the bits of all jump destinations below `end`, and possibly more. Several threads may
    /// do so at once: they write the same bits.
    fn search_to(&self, end: usize) {
        let mut next = self.searched.load(Acquire);
        while next < end.min(self.len()) {
            let word = next / 64;
            let rest = &self.padded[64 * word..];
            let (marks, len) = match rest.first_chunk() {
                Some(bytes) => jumpdests_of(bytes, next % 64),
                None => {
                    let mut bytes = [0; 64];
                    bytes[..rest.len()].copy_from_slice(rest);
                    jumpdests_of(&bytes, next % 64)
                }
            };
            self.jumpdests[word].store(marks, Relaxed);
            next = 64 * word + len;
        }
        // Release: a thread that loads `searched` with Acquire also sees the bits below it.
        self.searched.fetch_max(next, Release);
    }

    /// All jump destinations, one bit per byte of code.
    pub fn jumpdest_bits(&self) -> impl ExactSizeIterator<Item = u64> {
        self.search_to(self.len());
        self.jumpdests.iter().map(|word| word.load(Relaxed))
    }

    /// Records that the jump destination at `pc` was executed; does nothing for init code.
    #[inline(always)]
    pub fn mark_reached(&self, pc: usize) {
        let Some(word) = self.reached.get(pc / 64) else { return };
        let bit = 1 << (pc % 64);
        // Load before the write: most bits are already set, and a write would take the cache line
        // from other threads.
        if word.load(Relaxed) & bit == 0 && word.fetch_or(bit, Relaxed) & bit == 0 {
            self.reached_count.fetch_add(1, Relaxed);
        }
    }

    /// The jump destinations executed so far, one bit per byte of code.
    pub fn reached_bits(&self) -> impl ExactSizeIterator<Item = u64> {
        self.reached.iter().map(|word| word.load(Relaxed))
    }

    /// Number of jump destinations executed so far.
    #[inline]
    pub fn reached_count(&self) -> u32 {
        self.reached_count.load(Relaxed)
    }

    /// The target of the EIP-7702 delegation designator, if this code is one.
    #[inline]
    pub fn delegation(&self) -> Option<Address> {
        self.delegation
    }

    /// A dispatch loop's decoded form of this code, created by `make` at first use. `slot` is the
    /// loop's slot number, below [`DECODED_SLOTS`]; `bytes_of` returns the form's size in bytes of
    /// memory. `None` when `slot` is out of range or holds a form of another type.
    pub fn decoded<T: Any + Send + Sync>(
        &self,
        slot: usize,
        make: impl FnOnce(&Self) -> T,
        bytes_of: impl FnOnce(&T) -> usize,
    ) -> Option<&T> {
        let make = || {
            let form = make(self);
            if let Some(meter) = &self.meter {
                meter.fetch_add(bytes_of(&form), Relaxed);
            }
            Box::new(form) as Box<dyn Any + Send + Sync>
        };
        self.decoded.get(slot)?.get_or_init(make).downcast_ref()
    }

    /// The form in `slot` if [`Self::decoded`] has created it.
    #[inline]
    pub fn decoded_if_made<T: Any + Send + Sync>(&self, slot: usize) -> Option<&T> {
        self.decoded.get(slot)?.get()?.downcast_ref()
    }

    /// Adds to the gas spent in this code since [`Self::forget_work`]. Dispatch loops use the sum
    /// to decide when decoding pays off.
    #[inline]
    pub fn count_work(&self, gas: u64) {
        self.work.fetch_add(gas, Relaxed);
    }

    /// Gas added by [`Self::count_work`] since [`Self::forget_work`].
    #[inline]
    pub fn work(&self) -> u64 {
        self.work.load(Relaxed)
    }

    /// Resets [`Self::work`] to zero.
    pub fn forget_work(&self) {
        self.work.store(0, Relaxed);
    }
}

/// The target of an EIP-7702 delegation designator; `None` unless `code` is one, 23 bytes long.
pub fn delegation(code: &[u8]) -> Option<Address> {
    let target = code.strip_prefix(&DELEGATION_PREFIX)?;
    (target.len() == 20).then(|| Address::from_slice(target))
}

const JUMPDEST: u8 = 0x5b;

/// Bytes before a position in which [`begins_instruction`] looks for the start of an instruction.
const LOOK_BACK: usize = 96;

/// Whether an instruction begins at `pc`, found without the code further in front; `None` if the bytes before `pc` do not
/// tell.
///
/// A push covers at most the 32 bytes after it. So a position that none of the 32 bytes before it would cover, if it were
/// a push, is the start of an instruction, whatever these bytes are. The instructions are followed from the last such
/// position up to `pc`. A contract runs about a tenth of its code; the rest need not be read to find its jump
/// destinations.
fn begins_instruction(code: &[u8], pc: usize) -> Option<bool> {
    if code[..pc].last_chunk().is_some_and(covers_nothing_behind) {
        return Some(true);
    }
    let from = pc.saturating_sub(LOOK_BACK);
    // The first position that no byte read so far would cover, and the last position known to be a start.
    let (mut free, mut start) = (0, None);
    for (at, byte) in (from..).zip(&code[from..pc]) {
        if at >= free && (from == 0 || at >= from + PUSH_MAX) {
            start = Some(at);
        }
        free = free.max(at + 1 + push_len(*byte));
    }
    if pc >= free {
        return Some(true);
    }
    let mut next = start?;
    while next < pc {
        next += 1 + push_len(code[next]);
    }
    Some(next == pc)
}

/// Whether none of these bytes, as a push, would cover the byte behind all of them. The compiler makes vector code of it.
fn covers_nothing_behind(bytes: &[u8; PUSH_MAX]) -> bool {
    let mut covers = false;
    for (byte, distance) in bytes.iter().zip((0..PUSH_MAX as u8).rev()) {
        // As in `push_len`.
        let len = byte.wrapping_sub(0x5f);
        covers |= (len > distance) & (len <= PUSH_MAX as u8);
    }
    !covers
}

/// The most bytes of data that follow a push.
const PUSH_MAX: usize = 32;

/// Number of data bytes after this opcode: 1 to 32 for PUSH1 to PUSH32, else 0.
#[inline]
fn push_len(opcode: u8) -> usize {
    // Below PUSH1 the difference wraps around and is large, above PUSH32 it is above 32.
    let len = opcode.wrapping_sub(0x5f);
    if usize::from(len) <= PUSH_MAX { usize::from(len) } else { 0 }
}

/// The jump destinations among 64 bytes of code, one bit per byte; and the offset, from the first
/// of these bytes, of the first instruction after them. The first `data` bytes are data of an
/// earlier push.
fn jumpdests_of(bytes: &[u8; 64], data: usize) -> (u64, usize) {
    let (mut jumpdests, mut pushes) = (0_u64, 0_u64);
    for (at, eight) in bytes.as_chunks().0.iter().enumerate() {
        let eight = u64::from_le_bytes(*eight);
        jumpdests |= zero_bytes(eight ^ u64::from_ne_bytes([JUMPDEST; 8])) << (8 * at);
        // PUSH1 to PUSH32 share their upper three bits.
        let upper = eight & u64::from_ne_bytes([0xe0; 8]);
        pushes |= zero_bytes(upper ^ u64::from_ne_bytes([0x60; 8])) << (8 * at);
    }
    jumpdests &= u64::MAX << data;
    // Candidates by ascending position. Most are pushes and not push data, so the branch predicts
    // well and does not wait for the previous push's length.
    let mut next = data;
    while pushes != 0 {
        let at = pushes.trailing_zeros() as usize;
        pushes &= pushes - 1;
        if at < next {
            continue;
        }
        next = at + 1 + usize::from(bytes[at] - 0x5f);
        jumpdests &= !(((1 << (next - at)) - 1) << at);
    }
    (jumpdests, next.max(64))
}

/// One bit per byte of `eight`, the lowest byte first, set if the byte is zero.
fn zero_bytes(eight: u64) -> u64 {
    const LOW: u64 = u64::from_ne_bytes([0x7f; 8]);
    // The top bit of each byte remains set if the byte is zero; no addition carries into the next
    // byte.
    let zero = !(((eight & LOW) + LOW) | eight | LOW);
    (zero >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56
}

struct Entry {
    hash: B256,
    code: OnceLock<Box<Code>>,
}

const SHARDS: usize = 64;

/// Bytes counted for an interned hash without its code: its entry in the arena and in the map of
/// hashes.
const ENTRY_BYTES: usize = 2 * size_of::<Entry>() + 64;

/// All codes of a chain that were seen so far, by hash. Ids are positions in order of arrival.
///
/// Look-ups by id are lock-free. A look-up by hash takes one of 64 read locks, a new hash one write
/// lock.
pub struct CodeArena {
    entries: boxcar::Vec<Entry>,
    shards: Box<[RwLock<HashMap<B256, CodeId, RandomState>>]>,
    bytes_held: Arc<AtomicUsize>,
}

impl core::fmt::Debug for CodeArena {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("CodeArena").field("codes", &self.entries.count()).finish_non_exhaustive()
    }
}

impl Default for CodeArena {
    fn default() -> Self {
        let arena = Self {
            entries: boxcar::Vec::new(),
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
            bytes_held: Default::default(),
        };
        let empty = arena.insert(KECCAK_EMPTY, []);
        debug_assert_eq!(empty, EMPTY_CODE);
        arena
    }
}

impl CodeArena {
    fn shard(&self, hash: &B256) -> &RwLock<HashMap<B256, CodeId, RandomState>> {
        &self.shards[usize::from(hash[0]) % SHARDS]
    }

    /// The id of the code with this hash, whether or not its bytes are known yet.
    pub fn intern(&self, hash: B256) -> CodeId {
        if hash == KECCAK_EMPTY && self.entries.count() > 0 {
            return EMPTY_CODE;
        }
        let shard = self.shard(&hash);
        if let Some(id) = shard.read().unwrap_or_else(|poisoned| poisoned.into_inner()).get(&hash) {
            return *id;
        }
        let mut shard = shard.write().unwrap_or_else(|poisoned| poisoned.into_inner());
        *shard.entry(hash).or_insert_with(|| {
            let index = self.entries.push(Entry { hash, code: OnceLock::new() });
            self.bytes_held.fetch_add(ENTRY_BYTES, Relaxed);
            CodeId::new(index)
        })
    }

    /// Adds a code whose keccak256 is `hash` (not checked here). A known code is not stored again.
    pub fn insert(&self, hash: B256, bytes: impl AsRef<[u8]>) -> CodeId {
        let id = self.intern(hash);
        self.provide(id, bytes);
        id
    }

    /// Hashes a code and adds it.
    pub fn insert_hashing(&self, bytes: impl AsRef<[u8]>) -> CodeId {
        let bytes = bytes.as_ref();
        if bytes.is_empty() {
            return EMPTY_CODE;
        }
        self.insert(keccak256(bytes), bytes)
    }

    /// Sets the bytes of an interned hash (their hash is not checked here). Does nothing if the
    /// bytes are known, or if `id` is not from this arena.
    pub fn provide(&self, id: CodeId, bytes: impl AsRef<[u8]>) {
        if let Some(entry) = self.entries.get(id.0 as usize) {
            entry.code.get_or_init(|| {
                let mut code = Box::new(Code::new(entry.hash, bytes.as_ref()));
                self.bytes_held.fetch_add(size_of::<Code>() + code.room(), Relaxed);
                code.meter = Some(Arc::clone(&self.bytes_held));
                code
            });
        }
    }

    /// Sets the bytes that a store returned for interned hashes, after checking their hashes. The
    /// hashes are computed in batches.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] for the first code whose bytes have another hash; all codes with the
    /// right hash are set.
    pub fn provide_checked(&self, codes: &[(CodeId, Bytes)]) -> Result<(), StoreError> {
        let new: Vec<&(CodeId, Bytes)> = codes.iter().filter(|(id, _)| self.get(*id).is_none()).collect();
        let bytes: Vec<&[u8]> = new.iter().map(|(_, bytes)| &bytes[..]).collect();
        let mut hashes = vec![B256::ZERO; new.len()];
        keccak256_many(&bytes, &mut hashes);
        let mut result = Ok(());
        for ((id, bytes), actual) in new.into_iter().zip(hashes) {
            let expected = self.hash(*id);
            if expected == actual {
                self.provide(*id, bytes);
            } else if result.is_ok() {
                result = Err(StoreError::Corrupt(format!("the code given for {expected} hashes to {actual}")));
            }
        }
        result
    }

    /// The code, if its bytes are known.
    #[inline]
    pub fn get(&self, id: CodeId) -> Option<&Code> {
        self.entries.get(id.0 as usize)?.code.get().map(|code| &**code)
    }

    /// The hash of an id of this arena; [`KECCAK_EMPTY`] for an unknown id.
    #[inline]
    pub fn hash(&self, id: CodeId) -> B256 {
        self.entries.get(id.0 as usize).map_or(KECCAK_EMPTY, |entry| entry.hash)
    }

    /// Number of hashes interned.
    pub fn len(&self) -> usize {
        self.entries.count()
    }

    /// Always `false`: the empty code is always interned. Exists beside [`Self::len`] by
    /// convention.
    pub fn is_empty(&self) -> bool {
        self.entries.count() == 0
    }

    /// Bytes of memory held by codes, hashes and decoded forms.
    pub fn bytes_held(&self) -> usize {
        self.bytes_held.load(Relaxed)
    }

    /// Removes all codes if they hold more than `bytes_max` bytes. All earlier ids are then
    /// invalid.
    pub fn evict(&mut self, bytes_max: usize) {
        if self.bytes_held() > bytes_max {
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::{bytes, hex};

    #[test]
    fn push_data_is_no_jump_destination() {
        let code = Code::new(B256::ZERO, &bytes!("5b605b615b5b5b00"));
        let marks: Vec<_> = (0..code.len() + 4).filter(|pc| code.is_jumpdest(*pc)).collect();
        assert_eq!(marks, [0, 6]);
        assert_eq!(code.padded().len(), 8 + CODE_PADDING);
    }

    /// Reference implementation: jump destinations byte by byte, as in the Yellow Paper.
    fn jumpdests_by_byte(code: &[u8]) -> Vec<usize> {
        let (mut marks, mut pc) = (Vec::new(), 0);
        while let Some(&opcode) = code.get(pc) {
            match opcode {
                JUMPDEST => marks.push(pc),
                0x60..=0x7f => pc += usize::from(opcode - 0x5f),
                _ => {}
            }
            pc += 1;
        }
        marks
    }

    #[test]
    fn the_bytes_before_a_position_tell_whether_an_instruction_begins_there() {
        let starts = |code: &[u8]| {
            let (mut starts, mut pc) = (Vec::new(), 0);
            while pc < code.len() {
                starts.push(pc);
                pc += 1 + push_len(code[pc]);
            }
            starts
        };
        let mut state = 11_u64;
        let mut random = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize
        };
        let (mut told, mut untold) = (0, 0);
        for round in 0..300 {
            // From code without pushes to code of pushes alone, short ones first.
            let (pushes, longest) = (round % 10, 1 + round / 10);
            let byte =
                |number: usize| if number % 10 < pushes { 0x60 + (number / 10 % longest) as u8 } else { JUMPDEST };
            let code: Vec<u8> = (0..500).map(|_| byte(random())).collect();
            let expected = starts(&code);
            for pc in 0..code.len() {
                match begins_instruction(&code, pc) {
                    Some(found) => {
                        assert_eq!(found, expected.contains(&pc), "{pc} in {code:02x?}");
                        told += 1;
                    }
                    None => untold += 1,
                }
            }
        }
        assert!(told > 50_000 && untold > 1_000, "{told} {untold}");
    }

    #[test]
    fn jump_destinations_match_the_reference_in_any_query_order() {
        // Bytes that are mostly JUMPDEST and pushes of every length, from a linear congruential generator.
        let mut state = 7_u64;
        let mut random = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize
        };
        for round in 0..600 {
            let len = random() % 400;
            let kinds = 1 + round % 40;
            let byte = |number: usize| match number % (kinds + 2) {
                0 => JUMPDEST,
                1 => (number / 64) as u8,
                push => 0x5f + (push as u8 - 1).min(32),
            };
            let bytes: Vec<u8> = (0..len).map(|_| byte(random())).collect();
            let expected = jumpdests_by_byte(&bytes);
            let code = Code::new(B256::ZERO, &bytes);
            for _ in 0..10 {
                let pc = random() % (len + 70);
                assert_eq!(code.is_jumpdest(pc), expected.contains(&pc), "{pc} in {bytes:02x?}");
            }
            let bits: Vec<u64> = code.jumpdest_bits().collect();
            let marks: Vec<usize> = (0..64 * bits.len()).filter(|pc| bits[pc / 64] >> (pc % 64) & 1 == 1).collect();
            assert_eq!(marks, expected, "{bytes:02x?}");
        }
    }

    #[test]
    fn refilled_init_code_keeps_nothing_of_the_code_before() {
        let mut code = Code::init(&[JUMPDEST; 100]);
        assert!(code.is_jumpdest(99));
        code.mark_reached(99);
        assert_eq!(code.reached_count(), 0, "not recorded for init code");
        code.refill_init(&bytes!("605b5b"));
        assert_eq!([0, 1, 2, 3, 99].map(|pc| code.is_jumpdest(pc)), [false, false, true, false, false]);
    }

    #[test]
    fn provide_checked_skips_codes_with_a_wrong_hash() {
        let arena = CodeArena::default();
        let codes: Vec<(CodeId, Bytes)> = (0..20u8)
            .map(|number| {
                let right = Bytes::from(vec![number; 700]);
                let id = arena.intern(keccak256(&right));
                (id, if number % 8 == 5 { bytes!("5b") } else { right })
            })
            .collect();
        let name = arena.hash(codes[5].0).to_string();
        let Err(StoreError::Corrupt(text)) = arena.provide_checked(&codes) else { panic!("three are corrupt") };
        assert!(text.contains(&name), "the first one is reported: {text}");
        for (number, (id, _)) in codes.iter().enumerate() {
            assert_eq!(arena.get(*id).is_some(), number % 8 != 5, "{number}");
        }
        let good: Vec<_> = codes.into_iter().filter(|(id, _)| arena.get(*id).is_some()).collect();
        assert_eq!(arena.provide_checked(&good), Ok(()));
    }

    #[test]
    fn a_designator_is_exactly_23_bytes() {
        let mut designator = hex!("ef0100").to_vec();
        designator.extend([7; 20]);
        assert_eq!(delegation(&designator), Some(Address::repeat_byte(7)));
        designator.push(0);
        assert_eq!(delegation(&designator), None);
    }

    #[test]
    fn memory_of_codes_and_decoded_forms_is_counted_and_bounded() {
        let mut arena = CodeArena::default();
        let empty = arena.bytes_held();
        let id = arena.insert_hashing([0x5b; 1_000]);
        let held = arena.bytes_held();
        assert!(held >= empty + 1_000 + CODE_PADDING + 2 * 128);
        let code = arena.get(id).expect("it was just inserted");
        let form = |_: &Code| vec![0_u8; 40_000];
        assert_eq!(code.decoded(0, form, Vec::len).map(Vec::len), Some(40_000));
        assert_eq!(code.decoded(0, form, Vec::len).map(Vec::len), Some(40_000));
        assert_eq!(arena.bytes_held(), held + 40_000, "a form is made and counted once");
        arena.evict(held + 40_000);
        assert_eq!(arena.len(), 2);
        arena.evict(held + 39_999);
        assert_eq!((arena.len(), arena.bytes_held()), (1, empty));
        arena.intern(B256::repeat_byte(1));
        assert!(arena.bytes_held() > empty, "a hash counts before its code is there");
    }

    #[test]
    fn a_hash_keeps_its_id_when_its_bytes_arrive() {
        let arena = CodeArena::default();
        let bytes = bytes!("6001");
        let id = arena.intern(keccak256(&bytes));
        assert!(arena.get(id).is_none());
        assert_eq!(arena.insert_hashing(bytes.clone()), id);
        assert_eq!(arena.get(id).map(Code::bytes), Some(&bytes[..]));
        assert_eq!(arena.intern(KECCAK_EMPTY), EMPTY_CODE);
    }
}
