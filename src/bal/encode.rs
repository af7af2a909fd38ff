//! Encodes columns as canonical RLP.
//!
//! In: columns. Out: RLP; `decode` turns it back into equal columns.
//! Spec: EIP-7928, RLP data structures.
//! Relies on: the columns being sorted as EIP-7928 requires.
//! Not here: hashing.
//!
//! An RLP header contains the length of the content after it. So the list is written backwards:
//! each header is written after its content, and no length is computed in advance. All bytes are
//! reversed once at the end. A reversed big-endian integer is its little-endian form.

use super::{BalColumns, Changes};
use crate::arena::{AccountId, BlockAccessIndex, Id, SlotId};
use alloy_primitives::{Bytes, U256};

/// The canonical RLP of a list.
pub fn encode(columns: &BalColumns) -> Bytes {
    let mut out = Vec::new();
    encode_into(columns, &mut out);
    out.into()
}

/// Like [`encode`], into an existing buffer. Replaces the content of `out` and reuses its memory.
pub fn encode_into(columns: &BalColumns, out: &mut Vec<u8>) {
    out.clear();
    let mut reversed = Reversed { out };
    for account in (0..columns.account_count()).rev().map(AccountId::new) {
        reversed.account(columns, account);
    }
    reversed.list_header(0);
    out.reverse();
}

/// RLP written backwards.
struct Reversed<'a> {
    out: &'a mut Vec<u8>,
}

impl Reversed<'_> {
    fn account(&mut self, columns: &BalColumns, account: AccountId) {
        let start = self.out.len();
        self.changes(&columns.codes, account, |this, range| {
            let code = &columns.blob[range.start as usize..(range.start + range.len) as usize];
            this.string(code);
        });
        self.changes(&columns.nonces, account, |this, nonce| this.uint64(*nonce));
        self.changes(&columns.balances, account, |this, balance| this.word(balance));

        let slots = columns.slot_offsets.range(account);
        let reads_start = self.out.len();
        for slot in slots.clone().rev().map(SlotId::new) {
            if columns.is_read_only(slot) {
                self.word(&columns.slot_keys[slot]);
            }
        }
        self.list_header(reads_start);
        let changes_start = self.out.len();
        for slot in slots.rev().map(SlotId::new) {
            if !columns.is_read_only(slot) {
                let slot_start = self.out.len();
                self.changes(&columns.storage, slot, |this, value| this.word(value));
                self.word(&columns.slot_keys[slot]);
                self.list_header(slot_start);
            }
        }
        self.list_header(changes_start);
        self.string(columns.addresses[account].as_slice());
        self.list_header(start);
    }

    fn changes<P: Id, V>(&mut self, changes: &Changes<P, V>, parent: P, mut value: impl FnMut(&mut Self, &V)) {
        let list_start = self.out.len();
        for row in changes.rows(parent).rev() {
            let start = self.out.len();
            value(self, &changes.values[row]);
            let BlockAccessIndex(index) = changes.indices[row];
            self.uint64(u64::from(index));
            self.list_header(start);
        }
        self.list_header(list_start);
    }

    /// A minimal integer, given by its little-endian bytes without leading zeros.
    #[inline]
    fn integer(&mut self, le: &[u8]) {
        self.out.extend_from_slice(le);
        if le.len() != 1 || le[0] >= 0x80 {
            self.out.push(0x80 + le.len() as u8);
        }
    }

    #[inline]
    fn word(&mut self, value: &U256) {
        self.integer(&value.to_le_bytes::<32>()[..value.byte_len()]);
    }

    #[inline]
    fn uint64(&mut self, value: u64) {
        let len = (u64::BITS - value.leading_zeros()).div_ceil(8) as usize;
        self.integer(&value.to_le_bytes()[..len]);
    }

    fn string(&mut self, bytes: &[u8]) {
        self.out.extend(bytes.iter().rev());
        if bytes.len() != 1 || bytes[0] >= 0x80 {
            self.header(bytes.len(), 0x80);
        }
    }

    /// Writes the header of the list whose content begins at `start` of the reversed bytes.
    fn list_header(&mut self, start: usize) {
        self.header(self.out.len() - start, 0xc0);
    }

    fn header(&mut self, len: usize, short: u8) {
        if len < 56 {
            self.out.push(short + len as u8);
        } else {
            let width = (usize::BITS - len.leading_zeros()).div_ceil(8) as usize;
            self.out.extend_from_slice(&len.to_le_bytes()[..width]);
            self.out.push(short + 55 + width as u8);
        }
    }
}
