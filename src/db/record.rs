//! The log record of a block: what brings the state before it to the state after it, and back.
//!
//! In: a block with its outcome. Out: byte strings for the log, and from them the changes again.
//! The first three parts are as they are in the protocol: RLP of the block, RLP of its block access
//! list, and the existence log of blocks before Cancun. The list needs no other columns: it holds all
//! values after the block (EIP-7928). The fourth part holds the values before the block:
//!
//! ```text
//! account count u32 | per account: address 20, status, field mask, [nonce 8], [balance 32], [code hash 32],
//!                     slot count u32, per slot: key 32, value 32,
//!                     count of cleared slots u32, per slot: keccak256 of the key 32, value 32
//! ```
//!
//! Integers of the format are little-endian. A record with two parts is the start of a store: RLP of
//! the header, and the hashes of its ancestors.

use crate::arena::changes::{AccountStatus, StateChanges};
use crate::arena::input::Input;
use crate::arena::keccak::{Width, hash_addresses, hash_slots};
use crate::arena::store::{ParentAccount, StateStore};
use crate::arena::{BlockAccessIndex, Column};
use crate::bal::{self, ExistenceLog, Limits, ListedChanges};
use alloy_primitives::{Address, B256, Bytes, U256};

use super::DbError;

/// State changes with the hashes of all keys.
#[derive(Debug, Default)]
pub(super) struct Hashed {
    pub(super) changes: StateChanges,
    pub(super) addresses: Vec<B256>,
    pub(super) slots: Vec<B256>,
}

impl Hashed {
    pub(super) fn of(changes: StateChanges) -> Self {
        let mut addresses = vec![B256::ZERO; changes.addresses.len()];
        hash_addresses(Width::detect(), &changes.addresses, &mut addresses);
        let mut slots = vec![B256::ZERO; changes.slot_keys.len()];
        hash_slots(Width::detect(), &changes.slot_keys, &mut slots);
        Self { changes, addresses, slots }
    }
}

fn damaged(what: &str) -> DbError {
    DbError::Record(what.to_owned())
}

/// What was read from a record.
///
/// # Errors
/// [`DbError::Record`] if the record ended within it.
fn whole<T>(read: Option<T>) -> Result<T, DbError> {
    read.ok_or_else(|| damaged("it ends within a value"))
}

fn count(input: &mut Input<'_>, least: usize) -> Result<usize, DbError> {
    let count = whole(input.u32())? as usize;
    if count > input.0.len() / least { Err(damaged("a number of rows exceeds its length")) } else { Ok(count) }
}

fn word(input: &mut Input<'_>) -> Result<U256, DbError> {
    Ok(U256::from_be_bytes(whole(input.array::<32>())?))
}

/// Encodes the values before a block. `cleared` returns the slots, by hashed key, that an account had before the block
/// and that the block removed with its storage.
pub(super) fn encode_before(
    before: &StateChanges,
    mut cleared: impl FnMut(&Address) -> Result<Vec<(B256, U256)>, DbError>,
) -> Result<Vec<u8>, DbError> {
    let mut out = Vec::with_capacity(100 * before.len() + 64 * before.slot_keys.len() + 4);
    out.extend((before.len() as u32).to_le_bytes());
    for (row, address) in before.addresses.iter().enumerate() {
        let (nonce, balance, code_hash) = (before.nonces[row], before.balances[row], before.code_hashes[row]);
        out.extend(address);
        out.push(match before.statuses[row] {
            AccountStatus::Kept => 0,
            AccountStatus::StorageCleared => 1,
            AccountStatus::Deleted => 2,
        });
        let mask = [nonce.is_some(), balance.is_some(), code_hash.is_some()];
        out.push(mask.iter().rev().fold(0, |mask, bit| mask << 1 | u8::from(*bit)));
        out.extend(nonce.iter().flat_map(|nonce| nonce.to_be_bytes()));
        out.extend(balance.iter().flat_map(|balance| balance.to_be_bytes::<32>()));
        out.extend(code_hash.iter().flat_map(|hash| hash.0));
        let slots = before.slots(row);
        out.extend((slots.len() as u32).to_le_bytes());
        for (key, value) in slots {
            out.extend(key.to_be_bytes::<32>());
            out.extend(value.to_be_bytes::<32>());
        }
        let is_cleared = before.statuses[row] == AccountStatus::StorageCleared;
        let cleared = if is_cleared { cleared(address)? } else { Vec::new() };
        out.extend((cleared.len() as u32).to_le_bytes());
        for (key, value) in cleared {
            out.extend(key);
            out.extend(value.to_be_bytes::<32>());
        }
    }
    Ok(out)
}

/// The values before a block, as they were decoded.
#[derive(Debug, Default)]
pub(super) struct Before {
    changes: StateChanges,
    /// Rows of slots of which only the hashed key is known, and this key.
    hashed: Vec<(usize, B256)>,
}

impl Before {
    /// Decodes the values before a block.
    ///
    /// # Errors
    /// [`DbError::Record`].
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, DbError> {
        let input = &mut Input(bytes);
        let Self { mut changes, mut hashed } = Self::default();
        for _ in 0..count(input, 30)? {
            let address = Address::from(whole(input.array())?);
            let status = match whole(input.u8())? {
                0 => AccountStatus::Kept,
                1 => AccountStatus::StorageCleared,
                2 => AccountStatus::Deleted,
                _ => return Err(damaged("unknown status of an account")),
            };
            let mask = whole(input.u8())?;
            let nonce = if mask & 1 != 0 { Some(u64::from_be_bytes(whole(input.array())?)) } else { None };
            let balance = if mask & 2 != 0 { Some(word(input)?) } else { None };
            let code_hash = if mask & 4 != 0 { Some(whole(input.hash())?) } else { None };
            changes.push_account(address, status, nonce, balance, code_hash);
            for _ in 0..count(input, 64)? {
                let key = word(input)?;
                changes.push_slot(key, word(input)?);
            }
            for _ in 0..count(input, 64)? {
                hashed.push((changes.slot_keys.len(), whole(input.hash())?));
                changes.push_slot(U256::ZERO, word(input)?);
            }
        }
        if !input.0.is_empty() {
            return Err(damaged("bytes follow the values before the block"));
        }
        Ok(Self { changes, hashed })
    }

    /// The values with the hashes of all keys.
    pub(super) fn hash(self) -> Hashed {
        let mut hashed = Hashed::of(self.changes);
        self.hashed.into_iter().for_each(|(row, key)| hashed.slots[row] = key);
        hashed
    }
}

/// Encodes an existence log.
pub(super) fn encode_existence(log: &ExistenceLog) -> Vec<u8> {
    let mut out = Vec::with_capacity(25 * log.existence.len());
    for (address, index, exists) in &log.existence {
        out.extend(address);
        out.extend(index.to_le_bytes());
        out.push(u8::from(*exists));
    }
    out
}

/// Decodes an existence log.
///
/// # Errors
/// [`DbError::Record`].
pub(super) fn decode_existence(bytes: &[u8]) -> Result<ExistenceLog, DbError> {
    let mut input = Input(bytes);
    let mut log = ExistenceLog::default();
    while !input.0.is_empty() {
        let address = Address::from(whole(input.array())?);
        let index = whole(input.u32())?;
        log.existence.push((address, index, whole(input.u8())? != 0));
    }
    Ok(log)
}

/// The changes of a block from its list; nothing is executed. `store` is the state before it.
///
/// # Errors
/// [`DbError::Record`] if the list or the log does not decode; [`DbError::Store`].
pub(super) fn changes_of(
    list: &Bytes,
    existence: &[u8],
    clears_storage: bool,
    store: &dyn StateStore,
) -> Result<StateChanges, DbError> {
    let columns = bal::decode(list, &Limits::format_only()).map_err(|error| damaged(&error.to_string()))?;
    let existence_log = decode_existence(existence)?
        .resolve(&columns, BlockAccessIndex(u32::MAX))
        .map_err(|error| damaged(&error.to_string()))?;
    let mut parents = vec![ParentAccount::default(); columns.account_count()];
    store.accounts(columns.addresses().as_slice(), &mut parents)?;
    Ok(bal::reduce(&ListedChanges {
        bal: &columns,
        existence_log: &existence_log,
        parents: &Column::from(parents),
        code_hashes: &bal::code_hashes(&columns),
        clears_storage,
    }))
}

/// Encodes the hashes of ancestors.
pub(super) fn encode_hashes<'a>(hashes: impl Iterator<Item = (&'a u64, &'a B256)>) -> Vec<u8> {
    hashes.flat_map(|(number, hash)| number.to_le_bytes().into_iter().chain(hash.0)).collect()
}

/// Decodes the hashes of ancestors.
///
/// # Errors
/// [`DbError::Record`].
pub(super) fn decode_hashes(bytes: &[u8]) -> Result<Vec<(u64, B256)>, DbError> {
    let mut input = Input(bytes);
    let mut hashes = Vec::new();
    while !input.0.is_empty() {
        hashes.push((whole(input.u64())?, whole(input.hash())?));
    }
    Ok(hashes)
}
