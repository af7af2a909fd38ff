//! Leaves: accounts and slots by hashed key, as pages hold them.
//!
//! In: values, or the bytes of a page. Out: bytes of a page, or the RLP of a trie's leaf.
//! An account with at most [`INLINE_SLOTS`] slots holds them itself; of a larger storage it holds the
//! root, and the slots have units of their own.
//! Layout, numbers without leading zeros:
//!
//! ```text
//! account | key without the bytes of its unit's path | flags | nonce length, nonce | balance length, balance |
//!         | code hash if flag 1 | storage root if flag 2 | slot count if flag 4, then per slot key 32, length, value |
//! slot    | key without the bytes of its unit's path | value length, value |
//! ```

use crate::arena::input::Input;
use crate::arena::node::LeafAccount;
use crate::arena::path::NodePath;
use crate::arena::store::{EMPTY_ROOT, KECCAK_EMPTY, StoreError};
use crate::trie::{put_account_leaf, put_slot_leaf};
use alloy_primitives::{B256, U256};

/// Most slots that lie with their account.
pub(super) const INLINE_SLOTS: usize = 24;

const HAS_CODE: u8 = 1;
const HAS_ROOT: u8 = 2;
const HAS_SLOTS: u8 = 4;

/// A storage slot; its value is not zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SlotLeaf {
    pub(super) key: B256,
    pub(super) value: U256,
}

/// An account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AccountLeaf {
    pub(super) key: B256,
    pub(super) nonce: u64,
    pub(super) balance: U256,
    pub(super) code_hash: B256,
    /// Root of its storage trie. Zero in an account with `slots` that was just read, until it is computed.
    pub(super) storage_root: B256,
    /// Its slots by key, if there are at most [`INLINE_SLOTS`].
    pub(super) slots: Vec<SlotLeaf>,
}

impl AccountLeaf {
    /// Whether its slots have units of their own.
    pub(super) fn has_large_storage(&self) -> bool {
        self.slots.is_empty() && self.storage_root != EMPTY_ROOT
    }
}

/// What accounts and slots have in common.
pub(super) trait Leaf: Clone + Send + Sync {
    fn key(&self) -> &B256;
    /// Bytes in a page if the whole key is written.
    fn page_len(&self) -> usize;
    /// Appends the bytes for a page; the unit's path gives the key's bytes before `from`.
    fn write(&self, from: usize, out: &mut Vec<u8>);
    /// Reads a leaf of a unit at `path`.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`].
    fn read(path: &NodePath, input: &mut Input<'_>) -> Result<Self, StoreError>;
    /// Appends the RLP of the leaf `depth` nibbles below its root.
    fn put_rlp(&self, depth: usize, out: &mut Vec<u8>);
}

pub(super) fn corrupt(what: &str) -> StoreError {
    StoreError::Corrupt(format!("page: {what}"))
}

/// What was read from a page.
///
/// # Errors
/// [`StoreError::Corrupt`] if the page ended within it.
pub(super) fn whole<T>(read: Option<T>) -> Result<T, StoreError> {
    read.ok_or_else(|| corrupt("ends within an item"))
}

fn put_number(number: &[u8], out: &mut Vec<u8>) {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    out.push((number.len() - zeros) as u8);
    out.extend_from_slice(&number[zeros..]);
}

fn take_number<const N: usize>(input: &mut Input<'_>) -> Result<[u8; N], StoreError> {
    let len = whole(input.u8())?;
    let digits = whole(input.take(len as usize))?;
    if digits.len() > N || digits.first() == Some(&0) {
        return Err(corrupt("a number has leading zeros or too many bytes"));
    }
    let mut number = [0; N];
    number[N - digits.len()..].copy_from_slice(digits);
    Ok(number)
}

fn take_key(path: &NodePath, input: &mut Input<'_>) -> Result<B256, StoreError> {
    let from = path.len as usize / 2;
    let mut key = path.nibbles;
    key[from..].copy_from_slice(whole(input.take(32 - from))?);
    if NodePath::new(&key, path.len as usize) != *path {
        return Err(corrupt("a key does not begin with the path of its unit"));
    }
    Ok(B256::from(key))
}

fn take_value(input: &mut Input<'_>) -> Result<U256, StoreError> {
    let value = U256::from_be_bytes(take_number::<32>(input)?);
    if value.is_zero() { Err(corrupt("a slot is zero")) } else { Ok(value) }
}

impl Leaf for SlotLeaf {
    fn key(&self) -> &B256 {
        &self.key
    }

    fn page_len(&self) -> usize {
        33 + self.value.byte_len()
    }

    fn write(&self, from: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.key[from..]);
        put_number(&self.value.to_be_bytes::<32>(), out);
    }

    fn read(path: &NodePath, input: &mut Input<'_>) -> Result<Self, StoreError> {
        Ok(Self { key: take_key(path, input)?, value: take_value(input)? })
    }

    fn put_rlp(&self, depth: usize, out: &mut Vec<u8>) {
        put_slot_leaf(&self.key, &self.value, depth, out);
    }
}

impl Leaf for AccountLeaf {
    fn key(&self) -> &B256 {
        &self.key
    }

    fn page_len(&self) -> usize {
        let slots: usize = self.slots.iter().map(Leaf::page_len).sum();
        32 + 1 + 9 + 33 + 32 + 32 + 1 + slots
    }

    fn write(&self, from: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.key[from..]);
        let has_code = self.code_hash != KECCAK_EMPTY;
        let has_root = self.has_large_storage();
        let has_slots = !self.slots.is_empty();
        let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
        out.push(flag(has_code, HAS_CODE) | flag(has_root, HAS_ROOT) | flag(has_slots, HAS_SLOTS));
        put_number(&self.nonce.to_be_bytes(), out);
        put_number(&self.balance.to_be_bytes::<32>(), out);
        if has_code {
            out.extend_from_slice(&self.code_hash.0);
        }
        if has_root {
            out.extend_from_slice(&self.storage_root.0);
        }
        if has_slots {
            out.push(self.slots.len() as u8);
            self.slots.iter().for_each(|slot| slot.write(0, out));
        }
    }

    fn read(path: &NodePath, input: &mut Input<'_>) -> Result<Self, StoreError> {
        let key = take_key(path, input)?;
        let flags = whole(input.u8())?;
        if flags > (HAS_CODE | HAS_ROOT | HAS_SLOTS) || flags & HAS_ROOT != 0 && flags & HAS_SLOTS != 0 {
            return Err(corrupt("unknown flags of an account"));
        }
        let nonce = u64::from_be_bytes(take_number(input)?);
        let balance = U256::from_be_bytes(take_number::<32>(input)?);
        let code_hash = if flags & HAS_CODE != 0 { whole(input.hash())? } else { KECCAK_EMPTY };
        let mut storage_root = if flags & HAS_ROOT != 0 { whole(input.hash())? } else { EMPTY_ROOT };
        let mut slots = Vec::new();
        if flags & HAS_SLOTS != 0 {
            let count = whole(input.u8())?;
            if count == 0 || usize::from(count) > INLINE_SLOTS {
                return Err(corrupt("an account with a wrong number of slots"));
            }
            slots.reserve_exact(usize::from(count));
            for _ in 0..count {
                slots.push(SlotLeaf::read(&NodePath::default(), input)?);
            }
            if !slots.is_sorted_by(|a, b| a.key < b.key) {
                return Err(corrupt("slots out of order"));
            }
            storage_root = B256::ZERO;
        }
        Ok(Self { key, nonce, balance, code_hash, storage_root, slots })
    }

    fn put_rlp(&self, depth: usize, out: &mut Vec<u8>) {
        let Self { key, nonce, balance, code_hash, storage_root, .. } = *self;
        put_account_leaf(&key, &LeafAccount { nonce, balance, storage_root, code_hash }, depth, out);
    }
}
