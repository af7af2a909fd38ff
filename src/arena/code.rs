//! The code arena: bytecode by hash, analysed once, kept across blocks.
//!
//! In: code bytes. Out: [`CodeId`]s and [`Code`]s at stable addresses. A code is padded so that a loop may read past
//! its end, and its jump destinations are a bit set. Codes are interned by hash: an entry may exist before its bytes
//! are known (an account names a hash; the bytes are wanted only if something reads them).
//! Relies on: entries are only appended while a block runs; [`CodeArena::evict`] needs exclusive access.
//! Not here: decoding for a particular dispatch loop (the loops keep theirs in [`Code::decoded`]).

use super::keccak::{keccak256, keccak256_many};
use super::store::{KECCAK_EMPTY, StoreError};
use super::{CodeId, Id};
use ahash::RandomState;
use alloy_primitives::{Address, B256, Bytes};
use core::any::Any;
use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};
use hashbrown::HashMap;
use std::sync::{Arc, OnceLock, RwLock};

/// Zero bytes (STOP) behind every code: a PUSH32 in the last byte takes 32 of them, then comes the STOP that ends the
/// run, and its own successor, which a loop may read as an immediate before it knows the opcode.
pub const CODE_PADDING: usize = 34;

/// Prefix of an EIP-7702 delegation designator; 20 bytes of address follow.
pub const DELEGATION_PREFIX: [u8; 3] = [0xef, 0x01, 0x00];

/// The empty code: every arena's first entry.
pub const EMPTY_CODE: CodeId = CodeId(0);

/// One analysed code.
#[derive(Debug)]
pub struct Code {
    hash: B256,
    /// The bytes, then [`CODE_PADDING`] zeros.
    padded: Vec<u8>,
    jumpdests: Vec<u64>,
    /// The jump destinations that were run, one bit per byte of code, and how many they are.
    reached: Vec<AtomicU64>,
    reached_count: AtomicU32,
    delegation: Option<Address>,
    decoded: [OnceLock<Box<dyn Any + Send + Sync>>; DECODED_SLOTS],
    work: AtomicU64,
    /// Where an arena counts what its codes hold.
    meter: Option<Arc<AtomicUsize>>,
}

/// How many forms of a code dispatch loops may keep beside it; the last one is the reference loop's.
pub const DECODED_SLOTS: usize = 4;

impl Code {
    /// Analyses `bytes`. The hash is the caller's word.
    pub fn new(hash: B256, bytes: &[u8]) -> Self {
        let mut code = Self {
            hash,
            padded: Vec::new(),
            jumpdests: Vec::new(),
            reached: Vec::new(),
            reached_count: Default::default(),
            delegation: None,
            decoded: Default::default(),
            work: Default::default(),
            meter: None,
        };
        code.refill(hash, bytes);
        code
    }

    /// Becomes the code `bytes`, in the memory of the old one: init codes come and go.
    pub fn refill(&mut self, hash: B256, bytes: &[u8]) {
        self.hash = hash;
        self.padded.clear();
        self.padded.reserve_exact(bytes.len() + CODE_PADDING);
        self.padded.extend_from_slice(bytes);
        self.padded.resize(bytes.len() + CODE_PADDING, 0);
        mark_jumpdests(bytes, &mut self.jumpdests);
        self.reached.clear();
        self.reached.resize_with(self.jumpdests.len(), AtomicU64::default);
        self.reached_count = Default::default();
        self.delegation = delegation(bytes);
        self.decoded = Default::default();
        self.work = Default::default();
    }

    /// Bytes of memory that the code and its marks have room for, decoded forms not counted.
    pub fn room(&self) -> usize {
        self.padded.capacity() + 8 * (self.jumpdests.capacity() + self.reached.capacity())
    }

    /// keccak256 of the code; zero for init code, whose hash nobody asks for.
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

    /// Whether a jump may land on `pc`.
    #[inline(always)]
    pub fn is_jumpdest(&self, pc: usize) -> bool {
        self.jumpdests.get(pc / 64).is_some_and(|word| word >> (pc % 64) & 1 == 1)
    }

    /// The jump destinations, one bit per byte of code.
    #[inline]
    pub fn jumpdest_bits(&self) -> &[u64] {
        &self.jumpdests
    }

    /// Notes that the jump destination at `pc` was run.
    #[inline(always)]
    pub fn mark_reached(&self, pc: usize) {
        let Some(word) = self.reached.get(pc / 64) else { return };
        let bit = 1 << (pc % 64);
        // Looked at first: most are noted already, and the line may be another thread's.
        if word.load(Relaxed) & bit == 0 && word.fetch_or(bit, Relaxed) & bit == 0 {
            self.reached_count.fetch_add(1, Relaxed);
        }
    }

    /// The jump destinations noted so far, one bit per byte of code.
    pub fn reached_bits(&self) -> impl ExactSizeIterator<Item = u64> {
        self.reached.iter().map(|word| word.load(Relaxed))
    }

    /// How many jump destinations are noted.
    #[inline]
    pub fn reached_count(&self) -> u32 {
        self.reached_count.load(Relaxed)
    }

    /// Where an EIP-7702 designator points, if this code is one.
    #[inline]
    pub fn delegation(&self) -> Option<Address> {
        self.delegation
    }

    /// A dispatch loop's own form of this code, made at first use. `slot` is the loop's, below [`DECODED_SLOTS`]; `bytes_of`
    /// says how much memory the form holds.
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

    /// The form that [`Self::decoded`] made, if it did.
    #[inline]
    pub fn decoded_if_made<T: Any + Send + Sync>(&self, slot: usize) -> Option<&T> {
        self.decoded.get(slot)?.get()?.downcast_ref()
    }

    /// Adds to the gas that was spent in this code before it had another form.
    #[inline]
    pub fn count_work(&self, gas: u64) {
        self.work.fetch_add(gas, Relaxed);
    }

    /// Gas counted by [`Self::count_work`].
    #[inline]
    pub fn work(&self) -> u64 {
        self.work.load(Relaxed)
    }

    /// Starts [`Self::work`] over.
    pub fn forget_work(&self) {
        self.work.store(0, Relaxed);
    }
}

/// Where a 23-byte EIP-7702 designator points.
pub fn delegation(code: &[u8]) -> Option<Address> {
    let target = code.strip_prefix(&DELEGATION_PREFIX)?;
    (target.len() == 20).then(|| Address::from_slice(target))
}

/// Sets one bit per byte of code: a JUMPDEST that is not push data.
fn mark_jumpdests(code: &[u8], bits: &mut Vec<u64>) {
    bits.clear();
    bits.resize(code.len().div_ceil(64), 0);
    let mut pc = 0;
    while let Some(&opcode) = code.get(pc) {
        match opcode {
            0x5b => bits[pc / 64] |= 1 << (pc % 64),
            0x60..=0x7f => pc += usize::from(opcode - 0x5f),
            _ => {}
        }
        pc += 1;
    }
}

struct Entry {
    hash: B256,
    code: OnceLock<Box<Code>>,
}

const SHARDS: usize = 64;

/// What a code takes besides its bytes and marks: its place in the arena and in the map of hashes.
const ENTRY_BYTES: usize = size_of::<Code>() + 2 * size_of::<Entry>() + 64;

/// All codes of a chain that were seen, found by hash; ids are positions.
///
/// Look-ups by id are lock-free; a look-up by hash takes one of 64 read locks, a new hash one write lock.
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
            CodeId::new(index)
        })
    }

    /// Adds a code. Its hash is the caller's word. A code that is known costs no memory.
    pub fn insert(&self, hash: B256, bytes: impl AsRef<[u8]>) -> CodeId {
        let id = self.intern(hash);
        self.provide(id, bytes);
        id
    }

    /// Adds a code and hashes it.
    pub fn insert_hashing(&self, bytes: impl AsRef<[u8]>) -> CodeId {
        let bytes = bytes.as_ref();
        if bytes.is_empty() {
            return EMPTY_CODE;
        }
        self.insert(keccak256(bytes), bytes)
    }

    /// Supplies the bytes of an interned hash; a second supply is ignored.
    pub fn provide(&self, id: CodeId, bytes: impl AsRef<[u8]>) {
        if let Some(entry) = self.entries.get(id.0 as usize) {
            entry.code.get_or_init(|| {
                let mut code = Box::new(Code::new(entry.hash, bytes.as_ref()));
                self.bytes_held.fetch_add(code.room() + ENTRY_BYTES, Relaxed);
                code.meter = Some(Arc::clone(&self.bytes_held));
                code
            });
        }
    }

    /// Like [`Self::provide`], for bytes that a store gave: their hash is checked first.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] where they hash to something else.
    pub fn provide_checked(&self, id: CodeId, bytes: Bytes) -> Result<(), StoreError> {
        self.provide_all_checked(&[(id, bytes)])
    }

    /// The same for many, whose hashes are computed side by side.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] for the first one whose bytes hash to something else; those before it are provided.
    pub fn provide_all_checked(&self, codes: &[(CodeId, Bytes)]) -> Result<(), StoreError> {
        let new: Vec<&(CodeId, Bytes)> = codes.iter().filter(|(id, _)| self.get(*id).is_none()).collect();
        let bytes: Vec<&[u8]> = new.iter().map(|(_, bytes)| &bytes[..]).collect();
        let mut hashes = vec![B256::ZERO; new.len()];
        keccak256_many(&bytes, &mut hashes);
        for ((id, bytes), actual) in new.into_iter().zip(hashes) {
            let expected = self.hash(*id);
            if expected != actual {
                return Err(StoreError::Corrupt(format!("the code given for {expected} hashes to {actual}")));
            }
            self.provide(*id, bytes.clone());
        }
        Ok(())
    }

    /// The code, if its bytes are known.
    #[inline]
    pub fn get(&self, id: CodeId) -> Option<&Code> {
        self.entries.get(id.0 as usize)?.code.get().map(|code| &**code)
    }

    /// The hash behind an id of this arena.
    #[inline]
    pub fn hash(&self, id: CodeId) -> B256 {
        self.entries.get(id.0 as usize).map_or(KECCAK_EMPTY, |entry| entry.hash)
    }

    /// Number of hashes interned.
    pub fn len(&self) -> usize {
        self.entries.count()
    }

    /// Whether nothing is interned; never, as the empty code always is.
    pub fn is_empty(&self) -> bool {
        self.entries.count() == 0
    }

    /// Bytes of memory that the codes hold, their decoded forms included.
    pub fn bytes_held(&self) -> usize {
        self.bytes_held.load(Relaxed)
    }

    /// Forgets all codes when they hold more than `bytes_max` bytes. Ids from before are void after.
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

    #[test]
    fn a_designator_is_exactly_23_bytes() {
        let mut designator = hex!("ef0100").to_vec();
        designator.extend([7; 20]);
        assert_eq!(delegation(&designator), Some(Address::repeat_byte(7)));
        designator.push(0);
        assert_eq!(delegation(&designator), None);
    }

    #[test]
    fn what_codes_and_their_forms_hold_is_counted_and_bounded() {
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
    }

    #[test]
    fn a_hash_is_one_id_with_or_without_its_bytes() {
        let arena = CodeArena::default();
        let bytes = bytes!("6001");
        let id = arena.intern(keccak256(&bytes));
        assert!(arena.get(id).is_none());
        assert_eq!(arena.insert_hashing(bytes.clone()), id);
        assert_eq!(arena.get(id).map(Code::bytes), Some(&bytes[..]));
        assert_eq!(arena.intern(KECCAK_EMPTY), EMPTY_CODE);
    }
}
