//! Decoding of trie nodes from RLP, and look-ups along hashed keys.
//!
//! In: RLP of a node whose keccak has been checked. Out: [`Node`], which borrows from the input.
//! Every form that cannot occur in a trie of 32-byte keys is an error: non-canonical RLP, a branch
//! with a value or fewer than two children, an empty extension, an embedded node of 32 bytes or
//! more.
//! Source: Yellow Paper, appendices B (RLP), C (hex prefix) and D (trie).
//! Not here: fetching nodes, and the in-memory nodes of the `trie` module.

use super::path::{KEY_NIBBLES, NodePath, NodeQuery};
use super::rlp::{Item, RlpFault, item};
use super::store::{EMPTY_ROOT, StoreError};
use alloy_primitives::{B256, Bytes, U256};

/// A node's reference to one child.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Child<'a> {
    /// No child: no key continues with this nibble.
    #[default]
    Empty,
    /// keccak256 of the child's RLP, which has 32 bytes or more.
    Hash(&'a B256),
    /// RLP of the child itself: a list of at most 31 bytes, header included.
    Embedded(&'a [u8]),
}

/// Part of a hashed key: at most 64 nibbles, two per byte, the first in the upper half of the first
/// byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Path {
    packed: [u8; 32],
    len: u8,
}

impl Path {
    /// Number of nibbles.
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether there is no nibble.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Nibble `i`; `i` is below [`Self::len`].
    pub fn nibble(&self, i: usize) -> u8 {
        nibble(&self.packed, i)
    }
}

/// A decoded node.
#[expect(clippy::large_enum_variant, reason = "short-lived stack value; boxing the branch would allocate per node")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node<'a> {
    /// Sixteen children by nibble, at least two of them present.
    Branch([Child<'a>; 16]),
    /// A path that all keys below share.
    Extension {
        /// At least one nibble.
        path: Path,
        /// The branch node at the end of the path; never [`Child::Empty`].
        child: Child<'a>,
    },
    /// The remaining nibbles of one key, and its value.
    Leaf {
        /// Nibbles from this node to the end of the key.
        path: Path,
        /// RLP of the account or slot value; never empty.
        value: &'a [u8],
    },
}

/// An account, decoded from its leaf value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeafAccount {
    /// Nonce: number of transactions sent by the account, or of contracts created by it.
    pub nonce: u64,
    /// Balance in wei.
    pub balance: U256,
    /// Root of its storage trie.
    pub storage_root: B256,
    /// keccak256 of its code.
    pub code_hash: B256,
}

/// Nibble `i`, below 64, of a packed key.
#[inline(always)]
pub fn nibble(key: &[u8; 32], i: usize) -> u8 {
    let byte = key[i / 2];
    if i.is_multiple_of(2) { byte >> 4 } else { byte & 0xf }
}

fn corrupt(what: &str) -> StoreError {
    StoreError::Corrupt(format!("trie node: {what}"))
}

/// The first RLP item of some bytes: whether it is a list, its payload, the whole item, and the
/// bytes after it.
struct Rlp<'a> {
    list: bool,
    payload: &'a [u8],
    whole: &'a [u8],
    rest: &'a [u8],
}

fn rlp(bytes: &[u8]) -> Result<Rlp<'_>, StoreError> {
    let Item { is_list, payload } = item(bytes, 0, bytes.len()).map_err(|fault| {
        corrupt(match fault {
            RlpFault::Truncated => "RLP ends early",
            RlpFault::Length => "RLP length not minimal",
            RlpFault::Byte => "a single byte in long form",
        })
    })?;
    let end = payload.end;
    Ok(Rlp { list: is_list, payload: &bytes[payload], whole: &bytes[..end], rest: &bytes[end..] })
}

/// Reads a string item as an integer of at most `bytes_max` bytes without leading zeros; also
/// returns the rest of `bytes`.
fn number(bytes: &[u8], bytes_max: usize) -> Result<(U256, &[u8]), StoreError> {
    let item = rlp(bytes)?;
    if item.list || item.payload.len() > bytes_max || item.payload.first() == Some(&0) {
        return Err(corrupt("not a minimal number"));
    }
    Ok((U256::from_be_slice(item.payload), item.rest))
}

fn word(bytes: &[u8]) -> Result<(B256, &[u8]), StoreError> {
    let item = rlp(bytes)?;
    if item.list || item.payload.len() != 32 {
        return Err(corrupt("not a 32-byte string"));
    }
    Ok((B256::from_slice(item.payload), item.rest))
}

fn child(bytes: &[u8]) -> Result<(Child<'_>, &[u8]), StoreError> {
    let item = rlp(bytes)?;
    let child = match (item.list, item.payload.len()) {
        (false, 0) => Child::Empty,
        (false, 32) => Child::Hash(item.payload.try_into().map_err(|_| corrupt("not a 32-byte string"))?),
        (true, _) if item.whole.len() < 32 => Child::Embedded(item.whole),
        _ => return Err(corrupt("a child that is neither a hash nor an embedded node")),
    };
    Ok((child, item.rest))
}

/// Decodes the hex prefix encoding: the nibbles, and whether the node is a leaf.
fn path(compact: &[u8]) -> Result<(Path, bool), StoreError> {
    let first = *compact.first().ok_or_else(|| corrupt("empty path"))?;
    if first >> 4 > 3 || (first & 0x10 == 0 && first & 0xf != 0) {
        return Err(corrupt("wrong hex prefix"));
    }
    let odd = usize::from(first & 0x10 != 0);
    let len = (compact.len() - 1) * 2 + odd;
    if len > KEY_NIBBLES {
        return Err(corrupt("path longer than a key"));
    }
    let mut path = Path { packed: [0; 32], len: len as u8 };
    if odd == 0 {
        path.packed[..len / 2].copy_from_slice(&compact[1..]);
    } else {
        for (i, pair) in compact.windows(2).enumerate() {
            path.packed[i] = pair[0] << 4 | pair[1] >> 4;
        }
        path.packed[len / 2] = compact[compact.len() - 1] << 4;
    }
    Ok((path, first & 0x20 != 0))
}

/// Decodes one node.
///
/// # Errors
/// [`StoreError::Corrupt`] when the bytes are not a node of a trie with 32-byte keys.
pub fn decode(bytes: &[u8]) -> Result<Node<'_>, StoreError> {
    let node = rlp(bytes)?;
    if !node.list || !node.rest.is_empty() {
        return Err(corrupt("not one RLP list"));
    }
    let first = rlp(node.payload)?;
    let second = rlp(first.rest)?;
    if second.rest.is_empty() {
        if first.list {
            return Err(corrupt("path is a list"));
        }
        let (path, leaf) = path(first.payload)?;
        if leaf {
            if second.list || second.payload.is_empty() {
                return Err(corrupt("leaf without a value"));
            }
            return Ok(Node::Leaf { path, value: second.payload });
        }
        let (child, _) = child(first.rest)?;
        if path.is_empty() || child == Child::Empty {
            return Err(corrupt("extension without path or child"));
        }
        return Ok(Node::Extension { path, child });
    }
    let mut children = [Child::Empty; 16];
    let mut rest = node.payload;
    for slot in &mut children {
        (*slot, rest) = child(rest)?;
    }
    if rest != [0x80] || children.iter().filter(|child| **child != Child::Empty).count() < 2 {
        return Err(corrupt("branch with a value or without two children"));
    }
    Ok(Node::Branch(children))
}

/// Decodes the value of an account leaf.
///
/// # Errors
/// [`StoreError::Corrupt`] when it is not `[nonce, balance, storage root, code hash]` in canonical
/// RLP.
pub fn decode_account(value: &[u8]) -> Result<LeafAccount, StoreError> {
    let list = rlp(value)?;
    if !list.list || !list.rest.is_empty() {
        return Err(corrupt("account is not one list"));
    }
    let (nonce, rest) = number(list.payload, 8)?;
    let (balance, rest) = number(rest, 32)?;
    let (storage_root, rest) = word(rest)?;
    let (code_hash, rest) = word(rest)?;
    if !rest.is_empty() {
        return Err(corrupt("account with more than four fields"));
    }
    Ok(LeafAccount { nonce: nonce.to(), balance, storage_root, code_hash })
}

/// Decodes the value of a storage leaf, which is never zero.
///
/// # Errors
/// [`StoreError::Corrupt`] when it is not a canonical RLP integer above zero.
pub fn decode_slot(value: &[u8]) -> Result<U256, StoreError> {
    let (number, rest) = number(value, 32)?;
    if number.is_zero() || !rest.is_empty() {
        return Err(corrupt("slot value zero or followed by bytes"));
    }
    Ok(number)
}

/// Result of following a key through one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// The key is not in the trie.
    Absent,
    /// The look-up continues at another node.
    Below {
        /// keccak256 of that node.
        hash: &'a B256,
        /// Nibbles from the root to it.
        depth: usize,
    },
    /// The key's value.
    Value(&'a [u8]),
}

/// Follows `key` through the node `bytes`, `depth` nibbles below the root, and through the nodes
/// embedded in it.
///
/// # Errors
/// [`StoreError::Corrupt`] when the node does not decode or does not fit a 32-byte key.
pub fn step<'a>(mut bytes: &'a [u8], key: &B256, mut depth: usize) -> Result<Step<'a>, StoreError> {
    loop {
        let child = match decode(bytes)? {
            Node::Leaf { path, value } => {
                if depth + path.len() != KEY_NIBBLES {
                    return Err(corrupt("leaf path of the wrong length"));
                }
                let equal = (0..path.len()).all(|i| path.nibble(i) == nibble(key, depth + i));
                return Ok(if equal { Step::Value(value) } else { Step::Absent });
            }
            Node::Extension { path, child } => {
                if depth + path.len() >= KEY_NIBBLES {
                    return Err(corrupt("extension path too long"));
                }
                if !(0..path.len()).all(|i| path.nibble(i) == nibble(key, depth + i)) {
                    return Ok(Step::Absent);
                }
                depth += path.len();
                child
            }
            Node::Branch(children) => {
                if depth >= KEY_NIBBLES {
                    return Err(corrupt("branch below the end of a key"));
                }
                depth += 1;
                children[nibble(key, depth - 1) as usize]
            }
        };
        match child {
            Child::Empty => return Ok(Step::Absent),
            Child::Hash(hash) => return Ok(Step::Below { hash, depth }),
            Child::Embedded(inner) => bytes = inner,
        }
    }
}

/// Position of the look-up of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum At {
    /// At the node of that hash, `depth` nibbles below the root.
    Below {
        /// keccak256 of the node.
        hash: B256,
        /// Nibbles from the root to it.
        depth: usize,
    },
    /// The key is not in the trie.
    Absent,
    /// The value of the key's leaf.
    Value(Bytes),
}

/// The look-up of one hashed key in a trie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Walk {
    /// Hashed address of the storage trie's account; zero for the account trie.
    pub owner: B256,
    /// The hashed key.
    pub key: B256,
    /// Its current position.
    pub at: At,
}

impl Walk {
    /// A look-up that starts at the trie's root node.
    pub fn from_root(owner: B256, root: &B256, key: B256) -> Self {
        let at = if *root == EMPTY_ROOT { At::Absent } else { At::Below { hash: *root, depth: 0 } };
        Self { owner, key, at }
    }
}

/// Completes all look-ups, with one call of `fetch` per trie level. `fetch` fills its second
/// argument with the given nodes, in order, and must check that they hash to the hashes of the queries.
/// Look-ups sorted by key share fetched nodes.
///
/// # Errors
/// Those of `fetch`, and [`StoreError::Corrupt`] when a node does not decode.
pub fn walk_all(
    walks: &mut [Walk],
    mut fetch: impl FnMut(&[NodeQuery], &mut [Bytes]) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut asked: Vec<NodeQuery> = Vec::new();
    let mut nodes: Vec<Bytes> = Vec::new();
    loop {
        asked.clear();
        for walk in walks.iter() {
            if let At::Below { hash, depth } = walk.at
                && asked.last().is_none_or(|last| last.hash != hash)
            {
                asked.push(NodeQuery { owner: walk.owner, path: NodePath::new(&walk.key, depth), hash });
            }
        }
        if asked.is_empty() {
            return Ok(());
        }
        nodes.clear();
        nodes.resize(asked.len(), Bytes::new());
        fetch(&asked, &mut nodes)?;
        let mut node = 0;
        for walk in walks.iter_mut() {
            let At::Below { hash, depth } = walk.at else { continue };
            while asked[node].hash != hash {
                node += 1;
            }
            walk.at = match step(&nodes[node], &walk.key, depth)? {
                Step::Absent => At::Absent,
                Step::Below { hash, depth } => At::Below { hash: *hash, depth },
                Step::Value(value) => At::Value(Bytes(nodes[node].0.slice_ref(value))),
            };
        }
    }
}
