//! RLP of single nodes, for holders of nodes outside of these tries.
//!
//! In: keys, values, the items of children (0xa0 and a hash, or the RLP of an embedded node). Out: RLP.
//! Source: Yellow Paper, appendix D.

use super::node::{Account, Extension, Item, LEAF_BYTES, Ref, Span, encode_account, encode_slot, put};
use crate::arena::keccak::RATE;
use crate::arena::node::LeafAccount;
use alloy_primitives::{B256, U256};

/// A child as encoded in its parent: 0xa0 and its hash, or its RLP if that is shorter than 32 bytes.
pub type ItemBytes = [u8; 33];

/// Appends the RLP of a storage leaf `depth` nibbles below its root; the value is not zero.
pub(crate) fn put_slot_leaf(key: &B256, value: &U256, depth: usize, out: &mut Vec<u8>) {
    let mut slot = [0; 64];
    put(&mut slot, 0, &key.0);
    put(&mut slot, 32, &value.to_be_bytes::<32>());
    let mut bytes = [0; LEAF_BYTES];
    let Span { start, len } = encode_slot(&slot, depth, &mut bytes);
    out.extend_from_slice(&bytes[start..start + len]);
}

/// Appends the RLP of an account leaf `depth` nibbles below the state root.
pub(crate) fn put_account_leaf(key: &B256, account: &LeafAccount, depth: usize, out: &mut Vec<u8>) {
    let LeafAccount { nonce, balance, storage_root, code_hash } = *account;
    let account = Account { nonce, balance, storage_root, code_hash, storage: Ref::NONE };
    let mut bytes = [0; LEAF_BYTES];
    let Span { start, len } = encode_account(&key.0, &account, depth, &mut bytes);
    out.extend_from_slice(&bytes[start..start + len]);
}

/// Appends the RLP of an extension over the nibbles `start..end` of `key`, not empty.
pub(crate) fn put_extension(key: &[u8; 32], start: usize, end: usize, child: &ItemBytes, out: &mut Vec<u8>) {
    let extension = Extension { key: *key, start: start as u8, end: end as u8, child: Ref::NONE, item: Item(*child) };
    let mut bytes = [0; RATE];
    let len = extension.encode(start, &mut bytes);
    out.extend_from_slice(&bytes[..len]);
}

/// Appends the RLP of a branch; `children` in the order of their nibbles.
pub(crate) fn put_branch<'a>(children: impl Iterator<Item = (u8, &'a ItemBytes)>, out: &mut Vec<u8>) {
    let mut payload = [0x80u8; 16 * 33 + 1];
    let (mut at, mut next) = (0, 0);
    for (nibble, item) in children {
        at += (nibble - next) as usize;
        next = nibble + 1;
        let rlp = Item(*item);
        let rlp = rlp.as_rlp();
        payload[at..at + rlp.len()].copy_from_slice(rlp);
        at += rlp.len();
    }
    at += 16 - next as usize + 1;
    alloy_rlp::Header { list: true, payload_length: at }.encode(out);
    out.extend_from_slice(&payload[..at]);
}
