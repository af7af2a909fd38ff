//! Layout of nodes in memory, and their RLP encoding.
//!
//! ```text
//! Branch   | mask, embedded, born, touched | refs of present children | padded RLP message |   3, 5, 8 or 10 lines
//! Slot     | hashed key 32 | value 32 |                                                        one cache line
//! Plain    | hashed key 32 | nonce 8 | balance 24 |                                            one cache line
//! Contract | hashed key 32 | balance 32 | storage root 32 | code hash 32 | nonce | storage |   three cache lines
//! ```
//! `Plain` is an account without code and storage and with a balance below 2^192 wei, as most
//! accounts are. Balances and references are little-endian, slot values big-endian.
//!
//! A branch comes in four sizes, by the number of Keccak blocks of its message: at most 3, 7, 12 or
//! 16 children. In the message every present child takes 33 bytes, `0xa0` and its hash. A child
//! whose RLP is shorter than 32 bytes is *embedded*: its RLP is at the start of the 33 bytes, its
//! bit in `embedded` is set, and for hashing the message is packed into a separate buffer. Leaves
//! hold whole keys, and extensions hold their nibbles at the position that these have in a key, so
//! a node that moves up or down is not rewritten.
//! Source: Yellow Paper, appendix D.
//! Not here: allocation of nodes (`shard.rs`).

use super::EMPTY_ROOT;
use crate::arena::keccak::RATE;
use crate::arena::node::nibble;
use crate::arena::store::KECCAK_EMPTY;
use alloy_primitives::{B256, U256};

/// Kind of a node, as stored in a reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// No node: the trie has no key with this prefix.
    None = 0,
    /// Branches, by the number of Keccak blocks of their message.
    Branch1,
    Branch2,
    Branch3,
    Branch4,
    Extension,
    Slot,
    Plain,
    Contract,
    /// A storage trie distributed over all shards; the row is its number in `WideTries`.
    Wide,
    /// A node of which only the hash is known; the hash is stored in the parent.
    Stub,
}

const KINDS: [Kind; 16] = [
    Kind::None,
    Kind::Branch1,
    Kind::Branch2,
    Kind::Branch3,
    Kind::Branch4,
    Kind::Extension,
    Kind::Slot,
    Kind::Plain,
    Kind::Contract,
    Kind::Wide,
    Kind::Stub,
    Kind::None,
    Kind::None,
    Kind::None,
    Kind::None,
    Kind::None,
];

impl Kind {
    #[inline(always)]
    pub(super) fn is_branch(self) -> bool {
        matches!(self, Self::Branch1 | Self::Branch2 | Self::Branch3 | Self::Branch4)
    }

    #[inline(always)]
    pub(super) fn is_leaf(self) -> bool {
        matches!(self, Self::Slot | Self::Plain | Self::Contract)
    }
}

/// Reference to a node: four bits of kind, 28 bits of row (number of its first cache line in the
/// shard).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub(super) struct Ref(u32);

const ROW_BITS: u32 = 28;

impl Ref {
    pub(super) const NONE: Self = Self(0);
    pub(super) const STUB: Self = Self((Kind::Stub as u32) << ROW_BITS);

    #[inline(always)]
    pub(super) fn new(kind: Kind, row: u32) -> Self {
        assert!(row < 1 << ROW_BITS, "more than 2^28 nodes of one kind in a shard");
        Self((kind as u32) << ROW_BITS | row)
    }

    #[inline(always)]
    pub(super) fn kind(self) -> Kind {
        KINDS[(self.0 >> ROW_BITS) as usize]
    }

    #[inline(always)]
    pub(super) fn row(self) -> u32 {
        self.0 & ((1 << ROW_BITS) - 1)
    }
}

/// A child as encoded in its parent's message: `0xa0` and a hash, or the RLP of an embedded node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Item(pub(super) [u8; 33]);

impl Default for Item {
    fn default() -> Self {
        Self::hash(&B256::ZERO)
    }
}

impl Item {
    #[inline(always)]
    pub(super) fn hash(hash: &B256) -> Self {
        let mut item = [0xa0; 33];
        put(&mut item, 1, &hash.0);
        Self(item)
    }

    /// The item of an embedded node; `rlp` is a complete list of fewer than 32 bytes.
    pub(super) fn embedded(rlp: &[u8]) -> Self {
        let mut item = [0; 33];
        item[..rlp.len()].copy_from_slice(rlp);
        Self(item)
    }

    /// The hash; `None` if the child is embedded.
    #[inline(always)]
    pub(super) fn as_hash(&self) -> Option<&B256> {
        if self.0[0] == 0xa0 { self.0[1..].try_into().ok() } else { None }
    }

    /// The encoding of the child in its parent's RLP.
    pub(super) fn as_rlp(&self) -> &[u8] {
        if self.0[0] == 0xa0 { &self.0 } else { &self.0[..1 + (self.0[0] - 0xc0) as usize] }
    }
}

/// Bytes before a branch's references: mask, embedded children, epoch of creation, commit interval
/// of the last visit.
pub(super) const HEAD: usize = 12;

/// Size of a node in cache lines, by kind.
const LINES: [u8; 16] = [0, 3, 5, 8, 10, 2, 1, 1, 3, 0, 0, 0, 0, 0, 0, 0];
/// How many of these lines a descent reads: branches of one to three blocks have all references in
/// the first one.
const HEAD_LINES: [u8; 16] = [0, 1, 1, 1, 2, 2, 1, 1, 3, 0, 0, 0, 0, 0, 0, 0];
const MESSAGE_AT: [u8; 4] = [HEAD as u8 + 3 * 4, HEAD as u8 + 7 * 4, HEAD as u8 + 12 * 4, HEAD as u8 + 16 * 4];

impl Kind {
    /// Size of a node of this kind in cache lines; 0 for kinds without a node in memory.
    #[inline(always)]
    pub(super) fn lines(self) -> usize {
        LINES[self as usize] as usize
    }

    /// Number of cache lines that a descent reads: a branch's head and references, or a whole leaf
    /// or extension.
    #[inline(always)]
    pub(super) fn head_lines(self) -> usize {
        HEAD_LINES[self as usize] as usize
    }

    /// Number of Keccak blocks of a branch's message.
    #[inline(always)]
    pub(super) const fn blocks(self) -> usize {
        self as usize - Self::Branch1 as usize + 1
    }

    /// Offset of a branch's message in bytes.
    #[inline(always)]
    pub(super) fn message_at(self) -> usize {
        MESSAGE_AT[(self as usize - Self::Branch1 as usize) & 3] as usize
    }

    /// Bytes of a branch up to the end of its message.
    #[inline(always)]
    pub(super) fn branch_len(self) -> usize {
        self.message_at() + self.blocks() * RATE
    }
}

/// The branch kind for a number of children.
#[inline(always)]
pub(super) const fn branch_kind(children: u32) -> Kind {
    match children {
        0..=3 => Kind::Branch1,
        4..=7 => Kind::Branch2,
        8..=12 => Kind::Branch3,
        _ => Kind::Branch4,
    }
}

/// Number of present children with a nibble lower than `nibble`.
#[inline(always)]
pub(super) fn rank(mask: u16, nibble: u8) -> usize {
    (mask & ((1u32 << nibble) - 1) as u16).count_ones() as usize
}

/// Offset of the 33 bytes of child `nibble` in the message of a branch with these children.
#[inline(always)]
pub(super) fn item_at(kind: Kind, mask: u16, nibble: u8) -> usize {
    item_of_rank(kind, nibble, rank(mask, nibble))
}

/// As [`item_at`], for a known number `rank` of children before `nibble`.
#[inline(always)]
pub(super) fn item_of_rank(kind: Kind, nibble: u8, rank: usize) -> usize {
    header_len(kind) + nibble as usize + 32 * rank
}

/// Bytes of the list header: payloads of up to seven children are shorter than 256 bytes.
#[inline(always)]
pub(super) const fn header_len(kind: Kind) -> usize {
    if matches!(kind, Kind::Branch1 | Kind::Branch2) { 2 } else { 3 }
}

/// Length of the message of a branch without embedded children.
#[inline(always)]
pub(super) fn message_len(mask: u16) -> usize {
    let children = mask.count_ones() as usize;
    header_len(branch_kind(children as u32)) + 17 + 32 * children
}

/// Writes the list header of a branch without embedded children.
#[inline(always)]
pub(super) fn put_header(mask: u16, message: &mut [u8]) {
    let children = mask.count_ones() as usize;
    let payload = 17 + 32 * children;
    if header_len(branch_kind(children as u32)) == 2 {
        put(message, 0, &[0xf8, payload as u8]);
    } else {
        put(message, 0, &[0xf9, (payload >> 8) as u8, payload as u8]);
    }
}

/// Padded messages by number of children: header, padding, and 0x80 for all bytes between them.
static FRAMES: [[u8; 4 * RATE]; 17] = {
    let mut frames = [[0; 4 * RATE]; 17];
    let mut children = 0;
    while children <= 16 {
        let frame = &mut frames[children];
        let (kind, payload) = (branch_kind(children as u32), 17 + 32 * children);
        let header = header_len(kind);
        let mut at = header;
        while at < header + payload {
            frame[at] = 0x80;
            at += 1;
        }
        frame[at] = 0x01;
        frame[kind.blocks() * RATE - 1] |= 0x80;
        if header == 2 {
            (frame[0], frame[1]) = (0xf8, payload as u8);
        } else {
            (frame[0], frame[1], frame[2]) = (0xf9, (payload >> 8) as u8, payload as u8);
        }
        children += 1;
    }
    frames
};

/// Writes a branch's message except for the hashes, padding included; `message` has the length of
/// the branch's kind.
pub(super) fn write_frame(mask: u16, message: &mut [u8]) {
    let frame = &FRAMES[mask.count_ones() as usize];
    // Most new branches have two children and so one block; its constant length makes the copy
    // faster.
    match message.first_chunk_mut::<RATE>() {
        Some(block) if message_len(mask) < RATE => *block = *field(frame, 0),
        _ => message.copy_from_slice(&frame[..message.len()]),
    }
    let start = header_len(branch_kind(mask.count_ones()));
    let (mut left, mut before) = (mask, 0);
    while left != 0 {
        message[start + left.trailing_zeros() as usize + 32 * before] = 0xa0;
        left &= left - 1;
        before += 1;
    }
}

/// Packs the RLP of a branch with embedded children into `out`; returns its length.
pub(super) fn pack_branch(kind: Kind, mask: u16, message: &[u8], out: &mut [u8; 4 * RATE]) -> usize {
    let mut at = 3;
    for nibble in 0..16u8 {
        if mask >> nibble & 1 == 0 {
            out[at] = 0x80;
            at += 1;
            continue;
        }
        let start = item_at(kind, mask, nibble);
        let len = match message[start] {
            0xa0 => 33,
            list => 1 + (list - 0xc0) as usize,
        };
        out[at..at + len].copy_from_slice(&message[start..start + len]);
        at += len;
    }
    out[at] = 0x80;
    at += 1;
    close_list(out, at)
}

/// Writes a list header before the payload in `out[3..end]`, moves both to the front, and returns
/// their length.
fn close_list(out: &mut [u8], end: usize) -> usize {
    let payload = end - 3;
    let start = match payload {
        0..56 => {
            out[2] = 0xc0 + payload as u8;
            2
        }
        56..256 => {
            out[1] = 0xf8;
            out[2] = payload as u8;
            1
        }
        _ => {
            out[0] = 0xf9;
            out[1] = (payload >> 8) as u8;
            out[2] = payload as u8;
            0
        }
    };
    out.copy_within(start..end, 0);
    end - start
}

/// An extension node: nibbles `start..end`, which all keys below share.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Extension {
    /// Only the nibbles `start..end` are meaningful.
    pub(super) key: [u8; 32],
    pub(super) start: u8,
    pub(super) end: u8,
    /// The branch below.
    pub(super) child: Ref,
    pub(super) item: Item,
}

impl Extension {
    /// Writes the padded RLP to the front of `out`.
    pub(super) fn encode_padded(&self, out: &mut [u8; LEAF_BYTES]) -> Span {
        let mut rlp = [0; RATE];
        let len = self.encode(self.start as usize, &mut rlp);
        out[..RATE].fill(0);
        out[..len].copy_from_slice(&rlp[..len]);
        out[len] = 0x01;
        out[RATE - 1] |= 0x80;
        Span { start: 0, len }
    }

    /// Writes the RLP to the front of `out` and returns its length. `start` is used instead of
    /// [`Self::start`].
    pub(super) fn encode(&self, start: usize, out: &mut [u8; RATE]) -> usize {
        let end = self.end as usize;
        let len = end - start;
        let mut compact = [0u8; 33];
        let bytes = 1 + len / 2;
        let odd = len % 2;
        if odd == 1 {
            compact[0] = 0x10 | nibble(&self.key, start);
        }
        for (i, byte) in compact[1..bytes].iter_mut().enumerate() {
            let at = start + odd + 2 * i;
            *byte = nibble(&self.key, at) << 4 | nibble(&self.key, at + 1);
        }
        let mut at = 3;
        if bytes > 1 {
            out[at] = 0x80 + bytes as u8;
            at += 1;
        }
        out[at..at + bytes].copy_from_slice(&compact[..bytes]);
        at += bytes;
        let item = self.item.as_rlp();
        out[at..at + item.len()].copy_from_slice(item);
        close_list(out, at + item.len())
    }
}

/// Sets nibble `i` of a packed key.
pub(super) fn set_nibble(key: &mut [u8; 32], i: usize, nibble: u8) {
    let byte = &mut key[i / 2];
    *byte = if i.is_multiple_of(2) { *byte & 0x0f | nibble << 4 } else { *byte & 0xf0 | nibble };
}

/// The fields of an account, independent of the layout of its leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) nonce: u64,
    pub(super) balance: U256,
    pub(super) storage_root: B256,
    pub(super) code_hash: B256,
    pub(super) storage: Ref,
}

impl Default for Account {
    fn default() -> Self {
        Self { nonce: 0, balance: U256::ZERO, storage_root: EMPTY_ROOT, code_hash: KECCAK_EMPTY, storage: Ref::NONE }
    }
}

/// Sizes of the three kinds of leaf and of an extension, in bytes.
pub(super) const SLOT: usize = 64;
pub(super) const PLAIN: usize = 64;
pub(super) const CONTRACT: usize = 192;
pub(super) const EXTENSION: usize = 128;

/// Writes `N` bytes from `at` on.
#[inline(always)]
pub(super) fn put<const N: usize>(bytes: &mut [u8], at: usize, field: &[u8; N]) {
    *bytes[at..].first_chunk_mut().expect("a field is within its node") = *field;
}

/// The `N` bytes from `at` on.
#[inline(always)]
pub(super) fn field<const N: usize>(bytes: &[u8], at: usize) -> &[u8; N] {
    bytes[at..].first_chunk().expect("a field is within its node")
}

impl Ref {
    #[inline(always)]
    pub(super) fn from_bytes(bytes: &[u8; 4]) -> Self {
        Self(u32::from_le_bytes(*bytes))
    }

    #[inline(always)]
    pub(super) fn to_bytes(self) -> [u8; 4] {
        self.0.to_le_bytes()
    }
}

impl Extension {
    pub(super) fn to_bytes(self) -> [u8; EXTENSION] {
        let mut out = [0; EXTENSION];
        put(&mut out, 0, &self.key);
        put(&mut out, 32, &[self.start, self.end]);
        put(&mut out, 34, &self.child.to_bytes());
        put(&mut out, 38, &self.item.0);
        out
    }

    pub(super) fn from_bytes(bytes: &[u8; EXTENSION]) -> Self {
        let child = Ref::from_bytes(field(bytes, 34));
        Self { key: *field(bytes, 0), start: bytes[32], end: bytes[33], child, item: Item(*field(bytes, 38)) }
    }
}

impl Account {
    /// Layout of the leaf of an account for which [`Self::kind`] is [`Kind::Plain`].
    #[inline(always)]
    pub(super) fn to_plain(self, key: &[u8; 32]) -> [u8; PLAIN] {
        let mut out = [0; PLAIN];
        put(&mut out, 0, key);
        put(&mut out, 32, &self.nonce.to_le_bytes());
        put(&mut out, 40, field::<24>(&self.balance.to_le_bytes::<32>(), 0));
        out
    }

    #[inline(always)]
    pub(super) fn from_plain(bytes: &[u8; PLAIN]) -> Self {
        let [a, b, c] = [40, 48, 56].map(|at| u64::from_le_bytes(*field(bytes, at)));
        let balance = U256::from_limbs([a, b, c, 0]);
        Self { nonce: u64::from_le_bytes(*field(bytes, 32)), balance, ..Self::default() }
    }

    /// Layout of the leaf of any other account.
    pub(super) fn to_contract(self, key: &[u8; 32]) -> [u8; CONTRACT] {
        let mut out = [0; CONTRACT];
        put(&mut out, 0, key);
        put(&mut out, 32, &self.balance.to_le_bytes::<32>());
        put(&mut out, 64, &self.storage_root.0);
        put(&mut out, 96, &self.code_hash.0);
        put(&mut out, 128, &self.nonce.to_le_bytes());
        put(&mut out, 136, &self.storage.to_bytes());
        out
    }

    pub(super) fn from_contract(bytes: &[u8; CONTRACT]) -> Self {
        Self {
            balance: U256::from_le_bytes(*field::<32>(bytes, 32)),
            storage_root: B256::from(*field(bytes, 64)),
            code_hash: B256::from(*field(bytes, 96)),
            nonce: u64::from_le_bytes(*field(bytes, 128)),
            storage: Ref::from_bytes(field(bytes, 136)),
        }
    }

    /// The kind of leaf that can hold this account.
    #[inline(always)]
    pub(super) fn kind(&self) -> Kind {
        let plain = self.storage == Ref::NONE && self.balance.as_limbs()[3] == 0 && self.code_hash == KECCAK_EMPTY;
        if plain { Kind::Plain } else { Kind::Contract }
    }
}

/// Offset in its buffer at which every leaf's message ends. The message is written backwards from
/// there, since RLP lengths precede their contents. Numbers are written in full width; the leading
/// zeros are then overwritten by the item before. The largest leaf takes 148 bytes.
const LEAF_END: usize = 160;

/// Bytes of the buffer: the largest leaf and the padding of its last block.
pub(super) const LEAF_BYTES: usize = LEAF_END + RATE;

/// Position of an encoded leaf in its buffer, in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) start: usize,
    pub(super) len: usize,
}

/// Writes the compact encoding of `key` from nibble `depth` on, ending at `end`; returns its start.
#[inline(always)]
fn path_before(key: &[u8; 32], depth: usize, out: &mut [u8; LEAF_BYTES], end: usize) -> usize {
    put(out, end - 32, key);
    let odd = depth as u8 % 2;
    let whole = 32 - depth.div_ceil(2);
    let at = end - whole - 1;
    out[at] = 0x20 + odd * (0x10 | key[depth / 2 % 32] & 0xf);
    if whole == 0 {
        return at;
    }
    out[at - 1] = 0x81 + whole as u8;
    at - 1
}

/// Writes the RLP of a big-endian number, ending at `end`; returns its start.
#[inline(always)]
fn number_before(value: &[u8; 32], out: &mut [u8; LEAF_BYTES], end: usize) -> usize {
    let len = 32 - leading_zero_bytes(value);
    put(out, end - 32, value);
    if len == 1 && value[31] < 0x80 {
        return end - 1;
    }
    out[end - len - 1] = 0x80 + len as u8;
    end - len - 1
}

#[inline(always)]
fn leading_zero_bytes(value: &[u8; 32]) -> usize {
    for (i, word) in value.as_chunks::<8>().0.iter().enumerate() {
        let word = u64::from_be_bytes(*word);
        if word != 0 {
            return i * 8 + word.leading_zeros() as usize / 8;
        }
    }
    32
}

/// Writes the RLP of a nonce, ending at `end`; returns its start.
#[inline(always)]
fn nonce_before(value: u64, out: &mut [u8; LEAF_BYTES], end: usize) -> usize {
    put(out, end - 8, &value.to_be_bytes());
    if matches!(value, 1..0x80) {
        return end - 1;
    }
    let len = 8 - value.leading_zeros() as usize / 8;
    out[end - len - 1] = 0x80 + len as u8;
    end - len - 1
}

/// Writes the list header of a leaf whose body starts at `body`, and the padding after the leaf.
#[inline(always)]
fn close_leaf(out: &mut [u8; LEAF_BYTES], body: usize) -> Span {
    let payload = LEAF_END - body;
    let start = if payload < 56 {
        out[body - 1] = 0xc0 + payload as u8;
        body - 1
    } else {
        put(out, body - 2, &[0xf8, payload as u8]);
        body - 2
    };
    let len = LEAF_END - start;
    put(out, LEAF_END, &[0; RATE]);
    out[LEAF_END] = 0x01;
    out[start + (len / RATE + 1) * RATE - 1] |= 0x80;
    Span { start, len }
}

/// Splits a storage leaf into hashed key and value.
#[inline(always)]
pub(super) fn halves(slot: &[u8; 64]) -> (&[u8; 32], &[u8; 32]) {
    let Some((key, rest)) = slot.split_first_chunk() else { unreachable!("64 bytes") };
    (key, rest.first_chunk().expect("32 bytes are left"))
}

/// Encodes and pads a storage leaf `depth` nibbles below its storage root.
#[inline(always)]
pub(super) fn encode_slot(slot: &[u8; 64], depth: usize, out: &mut [u8; LEAF_BYTES]) -> Span {
    let (key, value) = halves(slot);
    let mut at = number_before(value, out, LEAF_END);
    if out[at] >= 0x80 {
        out[at - 1] = 0x80 + (LEAF_END - at) as u8;
        at -= 1;
    }
    let body = path_before(key, depth, out, at);
    close_leaf(out, body)
}

/// Encodes and pads an account leaf `depth` nibbles below the state root.
#[inline(always)]
pub(super) fn encode_account(key: &[u8; 32], account: &Account, depth: usize, out: &mut [u8; LEAF_BYTES]) -> Span {
    put(out, LEAF_END - 32, &account.code_hash.0);
    out[LEAF_END - 33] = 0xa0;
    put(out, LEAF_END - 65, &account.storage_root.0);
    out[LEAF_END - 66] = 0xa0;
    let at = number_before(&account.balance.to_be_bytes::<32>(), out, LEAF_END - 66);
    let at = nonce_before(account.nonce, out, at);
    let fields = LEAF_END - at;
    // The two hashes alone take 66 bytes, so both length fields take exactly one byte.
    put(out, at - 4, &[0xb8, fields as u8 + 2, 0xf8, fields as u8]);
    let body = path_before(key, depth, out, at - 4);
    close_leaf(out, body)
}
