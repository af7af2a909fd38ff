//! Trie nodes as a store gives them: strict RLP in, borrowed parts out; and walks along hashed keys.
//!
//! In: bytes whose keccak has been checked. Out: [`Node`]. Every form that no honest trie of 32-byte keys holds is
//! an error: non-canonical RLP, a branch with a value or fewer than two children, an empty extension, an embedded
//! node of 32 bytes or more.
//! Source: Yellow Paper, appendices B (RLP), C (hex prefix) and D (trie).
//! Not here: who fetches nodes, and the nodes that the `trie` room keeps in memory.

use super::store::{EMPTY_ROOT, StoreError};
use alloy_primitives::{B256, Bytes, U256};

/// Nibbles of a hashed key.
pub const KEY_NIBBLES: usize = 64;

/// What a node says about one child.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Child<'a> {
    /// No key lies below.
    #[default]
    Empty,
    /// keccak256 of the child, which takes 32 bytes or more.
    Hash(&'a B256),
    /// The child itself: RLP of a list of at most 31 bytes, header included.
    Embedded(&'a [u8]),
}

/// A piece of a hashed key: at most 64 nibbles, packed from the first nibble on.
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

    /// Nibble `i`, below [`Self::len`].
    pub fn nibble(&self, i: usize) -> u8 {
        nibble(&self.packed, i)
    }
}

/// A decoded node.
#[expect(clippy::large_enum_variant, reason = "lives on the stack for one match")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node<'a> {
    /// Sixteen children by nibble, at least two of them present.
    Branch([Child<'a>; 16]),
    /// A path that all keys below share.
    Extension {
        /// At least one nibble.
        path: Path,
        /// The branch below; never [`Child::Empty`].
        child: Child<'a>,
    },
    /// The rest of one key, and its value.
    Leaf {
        /// Nibbles from this node to the end of the key.
        path: Path,
        /// Never empty.
        value: &'a [u8],
    },
}

/// An account's leaf value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeafAccount {
    /// Transactions sent, or contracts created.
    pub nonce: u64,
    /// Wei.
    pub balance: U256,
    /// Root of its storage trie.
    pub storage_root: B256,
    /// keccak256 of its code.
    pub code_hash: B256,
}

/// Nibble `i` of a packed key.
#[inline(always)]
pub fn nibble(key: &[u8; 32], i: usize) -> u8 {
    let byte = key[i / 2];
    if i.is_multiple_of(2) { byte >> 4 } else { byte & 0xf }
}

fn corrupt(what: &str) -> StoreError {
    StoreError::Corrupt(format!("trie node: {what}"))
}

/// One RLP item off the front of `bytes`: whether it is a list, its payload, the whole item, and what follows.
struct Rlp<'a> {
    list: bool,
    payload: &'a [u8],
    whole: &'a [u8],
    rest: &'a [u8],
}

fn rlp(bytes: &[u8]) -> Result<Rlp<'_>, StoreError> {
    let first = *bytes.first().ok_or_else(|| corrupt("RLP ends early"))?;
    let (list, header, len) = match first {
        0..0x80 => (false, 0, 1),
        0x80..0xb8 => (false, 1, first as usize - 0x80),
        0xb8..0xc0 => long(bytes, first as usize - 0xb7).map(|(header, len)| (false, header, len))?,
        0xc0..0xf8 => (true, 1, first as usize - 0xc0),
        0xf8.. => long(bytes, first as usize - 0xf7).map(|(header, len)| (true, header, len))?,
    };
    let end = header + len;
    let whole = bytes.get(..end).ok_or_else(|| corrupt("RLP ends early"))?;
    let payload = &whole[header..];
    if first == 0x81 && payload[0] < 0x80 {
        return Err(corrupt("a single byte in long form"));
    }
    Ok(Rlp { list, payload, whole, rest: &bytes[end..] })
}

/// Header size and payload length of an item with `count` length bytes.
fn long(bytes: &[u8], count: usize) -> Result<(usize, usize), StoreError> {
    let len = bytes.get(1..1 + count).ok_or_else(|| corrupt("RLP ends early"))?;
    if len[0] == 0 || count > 4 {
        return Err(corrupt("RLP length not minimal or too large"));
    }
    let len = len.iter().fold(0usize, |len, byte| len << 8 | *byte as usize);
    if len < 56 {
        return Err(corrupt("RLP length not minimal or too large"));
    }
    Ok((1 + count, len))
}

/// A string item as a number without leading zeros, at most `N` bytes.
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

/// Undoes the hex prefix: the nibbles, and whether the node is a leaf.
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

/// Decodes a whole node.
///
/// # Errors
/// [`StoreError::Corrupt`] where the bytes are no node of a trie with 32-byte keys.
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

/// Decodes an account leaf's value.
///
/// # Errors
/// [`StoreError::Corrupt`] where it is not `[nonce, balance, storage root, code hash]` in canonical RLP.
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

/// Decodes a storage leaf's value, never zero.
///
/// # Errors
/// [`StoreError::Corrupt`] where it is not a canonical RLP number above zero.
pub fn decode_slot(value: &[u8]) -> Result<U256, StoreError> {
    let (number, rest) = number(value, 32)?;
    if number.is_zero() || !rest.is_empty() {
        return Err(corrupt("slot value zero or followed by bytes"));
    }
    Ok(number)
}

/// Where one step along a key leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// The key is not in the trie.
    Absent,
    /// Below another node, `depth` nibbles consumed.
    Below {
        /// That node's keccak.
        hash: &'a B256,
        /// Nibbles from the root to it.
        depth: usize,
    },
    /// The key's value.
    Value(&'a [u8]),
}

/// Follows `key` through the node `bytes` that lies `depth` nibbles below the root, embedded nodes included.
///
/// # Errors
/// [`StoreError::Corrupt`] where the node does not decode or does not fit a 32-byte key.
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

/// How far a walk along one key has come.
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

/// A walk along one hashed key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Walk {
    /// The hashed key.
    pub key: B256,
    /// Where the walk stands.
    pub at: At,
}

impl Walk {
    /// A walk that starts at the root node of a trie.
    pub fn from_root(root: &B256, key: B256) -> Self {
        let at = if *root == EMPTY_ROOT { At::Absent } else { At::Below { hash: *root, depth: 0 } };
        Self { key, at }
    }
}

/// Takes all walks to their ends, one level of all of them per call of `fetch` (which answers in order, with nodes
/// that hash to what was asked for). Walks in key order share fetches.
///
/// # Errors
/// Those of `fetch`, and [`StoreError::Corrupt`] for nodes that do not decode.
pub fn walk_all(
    walks: &mut [Walk],
    mut fetch: impl FnMut(&[B256], &mut [Bytes]) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut asked: Vec<B256> = Vec::new();
    let mut nodes: Vec<Bytes> = Vec::new();
    loop {
        asked.clear();
        for walk in walks.iter() {
            if let At::Below { hash, .. } = &walk.at
                && asked.last() != Some(hash)
            {
                asked.push(*hash);
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
            while asked[node] != hash {
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
