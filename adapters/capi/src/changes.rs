//! State changes as the columns of the header.
//!
//! In: [`StateChanges`]. Out: columns of plain bytes, and the struct with pointers to them.

#![allow(unsafe_code, reason = "a struct of pointers is shared between threads")]

use crate::types::{
    BAL_BALANCE, BAL_CODE, BAL_DELETED, BAL_KEPT, BAL_NONCE, BAL_STORAGE_CLEARED, BalBytes, BalChanges,
};
use alloy_primitives::{Bytes, U256};
use balustrade::{AccountStatus, StateChanges};

/// The columns that `view` points into. Vectors do not move when the struct does.
#[derive(Debug)]
pub(crate) struct Columns {
    pub(crate) view: BalChanges,
    _addresses: Vec<[u8; 20]>,
    _statuses: Vec<u8>,
    _fields: Vec<u8>,
    _nonces: Vec<u64>,
    _words: [Vec<[u8; 32]>; 5],
    _slot_starts: Vec<u32>,
    _codes: Vec<Bytes>,
    _code_bytes: Vec<BalBytes>,
}

// SAFETY: the pointers lead into vectors that the struct owns and never changes.
unsafe impl Send for Columns {}
// SAFETY: as above.
unsafe impl Sync for Columns {}

impl Columns {
    pub(crate) fn new(changes: &StateChanges) -> Self {
        let addresses: Vec<[u8; 20]> = changes.addresses.iter().map(|address| address.0.0).collect();
        let status = |status: &AccountStatus| match status {
            AccountStatus::Kept => BAL_KEPT,
            AccountStatus::StorageCleared => BAL_STORAGE_CLEARED,
            AccountStatus::Deleted => BAL_DELETED,
        };
        let statuses: Vec<u8> = changes.statuses.iter().map(status).collect();
        let field = |row: usize| {
            let bit = |is_changed: bool, bit: u8| if is_changed { bit } else { 0 };
            bit(changes.nonces[row].is_some(), BAL_NONCE)
                | bit(changes.balances[row].is_some(), BAL_BALANCE)
                | bit(changes.code_hashes[row].is_some(), BAL_CODE)
        };
        let fields: Vec<u8> = (0..changes.len()).map(field).collect();
        let nonces: Vec<u64> = changes.nonces.iter().map(|nonce| nonce.unwrap_or_default()).collect();
        let words = |words: &[U256]| -> Vec<[u8; 32]> { words.iter().map(U256::to_be_bytes).collect() };
        let balances = changes.balances.iter().map(|balance| balance.unwrap_or_default().to_be_bytes()).collect();
        let code_hashes = changes.code_hashes.iter().map(|hash| hash.unwrap_or_default().0).collect();
        let new_code_hashes = changes.codes.iter().map(|(hash, _)| hash.0).collect();
        let words: [Vec<[u8; 32]>; 5] =
            [balances, code_hashes, words(&changes.slot_keys), words(&changes.slot_values), new_code_hashes];
        // Without accounts the library's column may be empty.
        let slot_starts = if changes.is_empty() { vec![0] } else { changes.slot_starts.clone() };
        let codes: Vec<Bytes> = changes.codes.iter().map(|(_, code)| code.clone()).collect();
        let code_bytes: Vec<BalBytes> = codes.iter().map(|code| bytes_of(code)).collect();
        let view = BalChanges {
            size: size_of::<BalChanges>() as u32,
            reserved: 0,
            accounts: changes.len(),
            slots: changes.slot_keys.len(),
            codes: codes.len(),
            addresses: addresses.as_ptr(),
            statuses: statuses.as_ptr(),
            fields: fields.as_ptr(),
            nonces: nonces.as_ptr(),
            balances: words[0].as_ptr(),
            code_hashes: words[1].as_ptr(),
            slot_starts: slot_starts.as_ptr(),
            slot_keys: words[2].as_ptr(),
            slot_values: words[3].as_ptr(),
            new_code_hashes: words[4].as_ptr(),
            new_codes: code_bytes.as_ptr(),
        };
        Self {
            view,
            _addresses: addresses,
            _statuses: statuses,
            _fields: fields,
            _nonces: nonces,
            _words: words,
            _slot_starts: slot_starts,
            _codes: codes,
            _code_bytes: code_bytes,
        }
    }
}

/// Bytes that the caller keeps alive.
pub(crate) fn bytes_of(bytes: &[u8]) -> BalBytes {
    BalBytes { ptr: bytes.as_ptr(), len: bytes.len() }
}
