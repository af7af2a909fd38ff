//! Trie nodes that a block's deletions need and that proofs of what it touched lack: the last child of a branch that
//! collapses.
//!
//! In: the missing nodes, each with something that the block touched next to it. Out: the nodes. Two ways:
//! - A leaf or an extension has become a part of the node above it, which is the last one of a proof after the block. Its
//!   path, shortened nibble by nibble, gives the node before the block, when the hash fits.
//! - A branch does not appear there. A key is searched whose hash begins with the node's path; the proof of that account
//!   or slot at the parent has the node.
//!
//! Not here: which nodes are missing (the update of the tries asks for them).

use super::node::Node;
use super::proof::{ProofJson, proof_call};
use super::rpc::{Call, RpcError};
use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_rlp::Encodable;
use balustrade::NodeQuery;
use balustrade::arena::keccak::{Width, hash_addresses, hash_slots, keccak256};
use balustrade::arena::node::{self, Child, Path};
use rayon::prelude::*;
use std::collections::HashMap;

/// Longest path below which a key is searched: 16^8 keys take minutes.
const SEARCHED_MAX: u8 = 8;
/// Keys that are hashed before the result is looked at.
const CHUNK: u64 = 1 << 12;

/// An account, or one of its slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The account.
    pub address: Address,
    /// The key of the slot, not hashed.
    pub slot: Option<U256>,
}

impl Place {
    fn proof(&self, number: u64) -> Call {
        proof_call(&self.address, self.slot.as_slice(), number)
    }

    /// The nodes of the trie that the place is in.
    fn nodes(&self, proof: ProofJson) -> Vec<Bytes> {
        match self.slot {
            None => proof.account_proof,
            Some(_) => proof.storage_proof.into_iter().flat_map(|slot| slot.proof).collect(),
        }
    }
}

/// A node that is missing.
#[derive(Clone, Copy, Debug)]
pub struct Missing {
    /// Its position and its hash.
    pub node: NodeQuery,
    /// The account of the storage trie; `None` for the account trie.
    pub owner: Option<Address>,
    /// Something that the block touched below the parent of the node.
    pub touched: Option<Place>,
}

/// Finds the nodes for block `number`.
///
/// # Errors
/// [`RpcError`]: a call failed, or the last one does not give the node.
pub fn find(node: &Node, number: u64, missing: &[Missing]) -> Result<Vec<Bytes>, RpcError> {
    let mut found: HashMap<B256, Bytes> = HashMap::new();
    let places: Vec<(&Missing, Place)> =
        missing.iter().filter_map(|missing| Some((missing, missing.touched?))).collect();
    let calls: Vec<Call> = places.iter().map(|(_, place)| place.proof(number)).collect();
    let proofs: Vec<ProofJson> = node.client.calls(&calls)?;
    for ((missing, place), proof) in places.iter().zip(proofs) {
        let nodes = place.nodes(proof);
        if let Some(rlp) = nodes.iter().rev().find_map(|rlp| shortened_to(rlp, &missing.node.hash)) {
            found.insert(missing.node.hash, rlp);
        }
    }
    let left: Vec<&Missing> = missing.iter().filter(|missing| !found.contains_key(&missing.node.hash)).collect();
    let Some(first) = left.first() else { return Ok(found.into_values().collect()) };
    let too_deep = left.iter().find(|missing| missing.node.path.len > SEARCHED_MAX);
    if let Some(missing) = too_deep {
        let call = missing.touched.map_or_else(|| proof_call(&Address::ZERO, &[], number), |place| place.proof(number));
        return Err(call.wrong(format!(
            "neither this proof nor those at the parent have the trie node {}, which the state root needs; it is {} \
             nibbles deep, too deep to search a key below it; --strategy witness needs no such search",
            missing.node.hash, missing.node.path.len
        )));
    }
    let searched = search(&left).ok_or_else(|| {
        proof_call(&Address::ZERO, &[], number).wrong(format!("no key was found below the node {}", first.node.hash))
    })?;
    let calls: Vec<Call> = searched.iter().map(|place| place.proof(number - 1)).collect();
    let proofs: Vec<ProofJson> = node.client.calls(&calls)?;
    for (((missing, place), call), proof) in left.iter().zip(&searched).zip(&calls).zip(proofs) {
        let nodes = place.nodes(proof);
        let rlp = nodes.into_iter().find(|rlp| keccak256(rlp) == missing.node.hash);
        let rlp = rlp.ok_or_else(|| call.wrong(format!("the proof lacks the trie node {}", missing.node.hash)))?;
        found.insert(missing.node.hash, rlp);
    }
    Ok(found.into_values().collect())
}

/// The leaf or extension `rlp` with so many leading nibbles left out of its path that it has this hash.
fn shortened_to(rlp: &[u8], hash: &B256) -> Option<Bytes> {
    let node = node::decode(rlp).ok()?;
    let path = match &node {
        node::Node::Leaf { path, .. } | node::Node::Extension { path, .. } => path,
        node::Node::Branch(_) => return None,
    };
    (0..=path.len()).filter_map(|skipped| without(&node, path, skipped)).find(|rlp| keccak256(rlp) == *hash)
}

/// The RLP of a leaf or an extension without the first `skipped` nibbles of its path; `None` for an extension without a
/// path.
fn without(node: &node::Node<'_>, path: &Path, skipped: usize) -> Option<Bytes> {
    let nibbles: Vec<u8> = (skipped..path.len()).map(|i| path.nibble(i)).collect();
    let mut payload = Vec::new();
    match node {
        node::Node::Leaf { value, .. } => {
            compact(&nibbles, true).as_slice().encode(&mut payload);
            (*value).encode(&mut payload);
        }
        node::Node::Extension { .. } if nibbles.is_empty() => return None,
        node::Node::Extension { child, .. } => {
            compact(&nibbles, false).as_slice().encode(&mut payload);
            match child {
                Child::Hash(hash) => hash.encode(&mut payload),
                Child::Embedded(rlp) => payload.extend_from_slice(rlp),
                Child::Empty => return None,
            }
        }
        node::Node::Branch(_) => return None,
    }
    let mut out = Vec::new();
    alloy_rlp::Header { list: true, payload_length: payload.len() }.encode(&mut out);
    out.extend(payload);
    Some(out.into())
}

/// The hex prefix encoding of a path (Yellow Paper, appendix C).
fn compact(nibbles: &[u8], is_leaf: bool) -> Vec<u8> {
    let odd = nibbles.len() % 2;
    let flag = if is_leaf { 0x20 } else { 0 };
    let first = if odd == 1 { flag | 0x10 | nibbles[0] } else { flag };
    let pairs = nibbles[odd..].chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]);
    std::iter::once(first).chain(pairs).collect()
}

/// For each node an account or a slot whose hashed key begins with the node's path. `None`: none was found in sixteen
/// times as many keys as it takes on average.
fn search(missing: &[&Missing]) -> Option<Vec<Place>> {
    missing.iter().map(|missing| search_one(missing)).collect()
}

fn search_one(missing: &Missing) -> Option<Place> {
    let path = &missing.node.path;
    let bits = 4 * u32::from(path.len);
    let mask = u64::MAX.checked_shl(64 - bits).unwrap_or(0);
    let wanted = u64::from_be_bytes(*path.nibbles.first_chunk()?) & mask;
    let fits = |key: &B256| key.first_chunk().is_some_and(|first| u64::from_be_bytes(*first) & mask == wanted);
    let chunks = 16u64.checked_pow(u32::from(path.len) + 1)? / CHUNK + 16;
    let width = Width::detect();
    (0..chunks).into_par_iter().find_map_any(|chunk| {
        let keys = (chunk * CHUNK..(chunk + 1) * CHUNK).map(|number| U256::from(number));
        let mut hashed = vec![B256::ZERO; CHUNK as usize];
        match missing.owner {
            None => {
                let addresses: Vec<Address> = keys.map(|key| Address::from_word(key.into())).collect();
                hash_addresses(width, &addresses, &mut hashed);
                let at = hashed.iter().position(fits)?;
                Some(Place { address: addresses[at], slot: None })
            }
            Some(address) => {
                let keys: Vec<U256> = keys.collect();
                hash_slots(width, &keys, &mut hashed);
                let at = hashed.iter().position(fits)?;
                Some(Place { address, slot: Some(keys[at]) })
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use balustrade::arena::path::NodePath;

    /// A leaf with the last `count` nibbles of a key.
    fn leaf(count: usize) -> Bytes {
        let nibbles: Vec<u8> = (0..64u8).map(|i| i % 16).collect();
        let mut payload = Vec::new();
        compact(&nibbles[64 - count..], true).as_slice().encode(&mut payload);
        [7u8; 40].as_slice().encode(&mut payload);
        let mut out = Vec::new();
        alloy_rlp::Header { list: true, payload_length: payload.len() }.encode(&mut out);
        out.extend(payload);
        out.into()
    }

    #[test]
    fn a_merged_leaf_is_shortened_until_its_hash_fits() {
        for count in [0, 1, 2, 31, 63] {
            let hash = keccak256(leaf(count));
            assert_eq!(shortened_to(&leaf(63), &hash), Some(leaf(count)));
            assert_eq!(shortened_to(&leaf(63), &B256::ZERO), None);
        }
        assert_eq!(shortened_to(&leaf(5), &keccak256(leaf(6))), None, "a path does not grow");
    }

    #[test]
    fn a_key_is_found_below_a_path() {
        let key = keccak256([1u8]);
        for owner in [None, Some(Address::repeat_byte(7))] {
            for len in [0, 1, 3] {
                let node = NodeQuery { path: NodePath::new(&key, len), ..NodeQuery::default() };
                let place = search_one(&Missing { node, owner, touched: None }).expect("found");
                let hashed = match place.slot {
                    None => keccak256(place.address),
                    Some(key) => keccak256(key.to_be_bytes::<32>()),
                };
                assert_eq!(NodePath::new(&hashed, len), node.path);
                assert_eq!(place.slot.is_some(), owner.is_some());
            }
        }
    }
}
