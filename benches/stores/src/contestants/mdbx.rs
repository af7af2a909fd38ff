//! MDBX with the tables of reth: plain rows for execution, hashed rows and branch nodes for the root.
//!
//! A block reads plain rows on many threads. Its root is found as reth finds it: hashed rows are
//! written, then each trie is walked from its stored branch nodes; subtries without a changed key give
//! their stored hash, leaves near changed ones are read from the hashed tables, and alloy-trie's
//! `HashBuilder` hashes what is left and returns the branch nodes to be stored. One transaction writes
//! all tables and syncs.
//! reth spreads the walk over threads. Here, if nothing is in memory, many threads walk the parts of the
//! tries first, so that the writing transaction, which has one thread, finds all pages in memory; the
//! time of both is measured. The workload creates and deletes no rows, so no branch node is deleted.

use super::{Contestant, Failure, READ_TOGETHER, readers};
use crate::workload::Rows;
use alloy_primitives::{B256, U256};
use alloy_trie::{BranchNodeCompact, EMPTY_ROOT_HASH, HashBuilder, Nibbles, TrieAccount};
use balustrade_cli::workload::state::{Leaf, PREFIXES, State};
use balustrade_cli::workload::state_changes::{AccountName, Changed, ChangingBlock, SlotName};
use rayon::ThreadPool;
use rayon::prelude::*;
use signet_libmdbx::{
    Cursor, Database, DatabaseFlags, Environment, EnvironmentFlags, Geometry, Mode, Ro, Rw, SyncMode, TransactionKind,
    TxUnsync, WriteFlags,
};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Largest size of a database in bytes.
const SIZE_MAX: usize = 64 << 30;
/// Bytes by which the file grows.
const GROWTH: isize = 256 << 20;
/// Bytes of the path of a storage node: 64 nibbles and their number.
const SUBKEY: usize = 65;

/// The handles of all tables.
#[derive(Clone, Copy)]
struct Tables {
    /// Address → account.
    plain_accounts: Database,
    /// Address → slots: key, value.
    plain_storages: Database,
    /// Hashed address → account.
    accounts: Database,
    /// Hashed address → slots: hashed key, value.
    storages: Database,
    /// Path → branch node.
    account_nodes: Database,
    /// Hashed address → branch nodes: path, node.
    storage_nodes: Database,
}

struct Opened {
    environment: Environment,
    tables: Tables,
}

/// MDBX.
pub(crate) struct Mdbx {
    folder: PathBuf,
    opened: Option<Opened>,
    readers: Arc<ThreadPool>,
    /// The transaction of the block in progress.
    writing: Option<TxUnsync<Rw>>,
    /// Code hash of each account of the block in progress.
    code_hashes: Vec<B256>,
    /// Branch nodes that the block in progress changes.
    nodes: Changes,
}

/// Changed branch nodes.
#[derive(Default)]
struct Changes {
    accounts: BTreeMap<Nibbles, BranchNodeCompact>,
    storages: Vec<(B256, BTreeMap<Nibbles, BranchNodeCompact>)>,
}

/// A number without leading zeros.
fn trimmed(value: &U256) -> Vec<u8> {
    value.to_be_bytes_trimmed_vec()
}

fn put_account(nonce: u64, balance: &U256, code_hash: &B256) -> Vec<u8> {
    let (nonce, balance) = (trimmed(&U256::from(nonce)), trimmed(balance));
    let mut value = vec![nonce.len() as u8, balance.len() as u8];
    value.extend(nonce);
    value.extend(balance);
    if *code_hash != alloy_trie::KECCAK_EMPTY {
        value.extend(code_hash);
    }
    value
}

fn account_of(value: &[u8]) -> Result<(u64, U256, B256), Failure> {
    let short = || Failure::from("a row of an account is too short");
    let ([nonce, balance], rest) = value.split_first_chunk().ok_or_else(short)?;
    let (nonce, rest) = rest.split_at_checked(*nonce as usize).ok_or_else(short)?;
    let (balance, code_hash) = rest.split_at_checked(*balance as usize).ok_or_else(short)?;
    let code_hash = if code_hash.is_empty() { alloy_trie::KECCAK_EMPTY } else { B256::try_from(code_hash)? };
    Ok((u64::try_from(U256::from_be_slice(nonce))?, U256::from_be_slice(balance), code_hash))
}

/// A row of a table of slots.
fn put_slot(key: &B256, value: &U256) -> Vec<u8> {
    [&key.0[..], &trimmed(value)].concat()
}

fn node_key(path: &Nibbles) -> Vec<u8> {
    // A byte before the path, so that no key is empty.
    core::iter::once(0).chain(path.iter()).collect()
}

fn subkey(path: &Nibbles) -> [u8; SUBKEY] {
    let mut key = [0; SUBKEY];
    key.iter_mut().zip(path.iter()).for_each(|(byte, nibble)| *byte = nibble);
    key[SUBKEY - 1] = path.len() as u8;
    key
}

fn put_node(node: &BranchNodeCompact, out: &mut Vec<u8>) {
    for mask in [node.state_mask, node.tree_mask, node.hash_mask] {
        out.extend(mask.get().to_be_bytes());
    }
    node.root_hash.iter().chain(node.hashes.iter()).for_each(|hash| out.extend(hash));
}

fn node_of(bytes: &[u8]) -> Result<BranchNodeCompact, Failure> {
    let (masks, hashes) = bytes.split_at_checked(6).ok_or("a row of a node is too short")?;
    let mask = |at: usize| u16::from_be_bytes([masks[at], masks[at + 1]]);
    let mut hashes: Vec<B256> = hashes.chunks_exact(32).map(B256::from_slice).collect();
    let has_root = hashes.len() > mask(4).count_ones() as usize;
    let root = has_root.then(|| hashes.remove(0));
    Ok(BranchNodeCompact::new(mask(0), mask(2), mask(4), hashes, root))
}

/// The smallest and the largest key with these first nibbles.
fn bounds(path: &Nibbles) -> (B256, B256) {
    let (mut least, mut most) = (B256::ZERO, B256::repeat_byte(0xff));
    path.pack_to(&mut least[..path.byte_len()]);
    path.pack_to(&mut most[..path.byte_len()]);
    if path.len() % 2 == 1 {
        most[path.byte_len() - 1] |= 0xf;
    }
    (least, most)
}

/// Those of these sorted keys that begin with these nibbles.
fn under<'a, T>(keys: &'a [T], path: &Nibbles, key: impl Fn(&T) -> &B256) -> &'a [T] {
    let (least, most) = bounds(path);
    let start = keys.partition_point(|item| *key(item) < least);
    let end = keys.partition_point(|item| *key(item) <= most);
    &keys[start..end]
}

/// The changed slots of an account: hashed keys.
type ChangedSlots = (B256, Vec<B256>);

/// Reads tries in a transaction.
struct Walk<'a, K: TransactionKind> {
    accounts: Cursor<'a, K>,
    storages: Cursor<'a, K>,
    account_nodes: Cursor<'a, K>,
    storage_nodes: Cursor<'a, K>,
    /// Changed accounts, sorted.
    changed: &'a [ChangedSlots],
    nodes: Changes,
}

impl<'a, K: TransactionKind> Walk<'a, K> {
    fn storage_node(&mut self, owner: &B256, path: &Nibbles) -> Result<Option<(Nibbles, BranchNodeCompact)>, Failure> {
        let found: Option<Cow<'_, [u8]>> = self.storage_nodes.get_both_range(&owner.0, &subkey(path))?;
        let Some(row) = found else { return Ok(None) };
        let (key, node) = row.split_at_checked(SUBKEY).ok_or("a row of a node is too short")?;
        let at = Nibbles::from_nibbles(&key[..key[SUBKEY - 1] as usize]);
        if at.starts_with(path) { Ok(Some((at, node_of(node)?))) } else { Ok(None) }
    }

    fn account_node(&mut self, path: &Nibbles) -> Result<Option<(Nibbles, BranchNodeCompact)>, Failure> {
        let found: Option<(Cow<'_, [u8]>, Cow<'_, [u8]>)> = self.account_nodes.set_range(&node_key(path))?;
        let Some((key, node)) = found else { return Ok(None) };
        let at = Nibbles::from_nibbles(&key[1..]);
        if at.starts_with(path) { Ok(Some((at, node_of(&node)?))) } else { Ok(None) }
    }

    /// Adds all slots of an account below a path.
    fn slots(&mut self, owner: &B256, path: &Nibbles, builder: &mut HashBuilder) -> Result<(), Failure> {
        let (least, most) = bounds(path);
        let mut found: Option<Cow<'_, [u8]>> = self.storages.get_both_range(&owner.0, &least.0)?;
        while let Some(row) = found {
            let (key, value) = row.split_at_checked(32).ok_or("a row of a slot is too short")?;
            if key > &most.0[..] {
                break;
            }
            builder.add_leaf_unchecked(Nibbles::unpack(key), &alloy_rlp::encode(U256::from_be_slice(value)));
            found = self.storages.next_dup::<Cow<'_, [u8]>, Cow<'_, [u8]>>()?.map(|(_, row)| row);
        }
        Ok(())
    }

    fn walk_storage(
        &mut self,
        (owner, changed): (&B256, &[B256]),
        path: &Nibbles,
        builder: &mut HashBuilder,
    ) -> Result<(), Failure> {
        let Some((at, node)) = self.storage_node(owner, path)? else { return self.slots(owner, path, builder) };
        for nibble in node.state_mask.iter() {
            let mut child = at;
            child.push(nibble);
            let is_stored = node.tree_mask.is_bit_set(nibble);
            let changed = under(changed, &child, |key| key);
            if changed.is_empty() && node.hash_mask.is_bit_set(nibble) {
                builder.add_branch(child, node.hash_for_nibble(nibble), is_stored);
            } else if is_stored {
                self.walk_storage((owner, changed), &child, builder)?;
            } else {
                self.slots(owner, &child, builder)?;
            }
        }
        Ok(())
    }

    fn storage_root(&mut self, owner: &B256, changed: &[B256]) -> Result<B256, Failure> {
        if changed.is_empty()
            && let Some((_, BranchNodeCompact { root_hash: Some(root), .. })) =
                self.storage_node(owner, &Nibbles::new())?.filter(|(path, _)| path.is_empty())
        {
            return Ok(root);
        }
        let mut builder = HashBuilder::default().with_updates(!changed.is_empty());
        self.walk_storage((owner, changed), &Nibbles::new(), &mut builder)?;
        let root = builder.root();
        if !changed.is_empty() {
            self.nodes.storages.push((*owner, builder.split().1.into_iter().collect()));
        }
        Ok(root)
    }

    /// Adds all accounts below a path.
    fn leaves(&mut self, path: &Nibbles, builder: &mut HashBuilder) -> Result<(), Failure> {
        let (least, most) = bounds(path);
        let mut found: Option<(Cow<'_, [u8]>, Cow<'_, [u8]>)> = self.accounts.set_range(&least.0)?;
        while let Some((key, value)) = found {
            if key[..] > most.0[..] {
                break;
            }
            let hashed = B256::try_from(&key[..])?;
            let (nonce, balance, code_hash) = account_of(&value)?;
            let changed = self.changed;
            let slots = match changed.binary_search_by_key(&hashed, |(key, _)| *key) {
                Ok(row) => &changed[row].1[..],
                Err(_) => &[],
            };
            let storage_root = self.storage_root(&hashed, slots)?;
            let leaf = alloy_rlp::encode(TrieAccount { nonce, balance, storage_root, code_hash });
            builder.add_leaf_unchecked(Nibbles::unpack(hashed), &leaf);
            found = self.accounts.next()?;
        }
        Ok(())
    }

    fn walk(&mut self, path: &Nibbles, builder: &mut HashBuilder) -> Result<(), Failure> {
        let Some((at, node)) = self.account_node(path)? else { return self.leaves(path, builder) };
        for nibble in node.state_mask.iter() {
            let mut child = at;
            child.push(nibble);
            let is_stored = node.tree_mask.is_bit_set(nibble);
            if under(self.changed, &child, |(key, _)| key).is_empty() && node.hash_mask.is_bit_set(nibble) {
                builder.add_branch(child, node.hash_for_nibble(nibble), is_stored);
            } else if is_stored {
                self.walk(&child, builder)?;
            } else {
                self.leaves(&child, builder)?;
            }
        }
        Ok(())
    }
}

impl Tables {
    fn walk<'a, K: TransactionKind>(
        &self,
        transaction: &'a TxUnsync<K>,
        changed: &'a [ChangedSlots],
    ) -> Result<Walk<'a, K>, Failure>
    where
        TxUnsync<K>: Cursors<K>,
    {
        Ok(Walk {
            accounts: transaction.open_cursor(self.accounts)?,
            storages: transaction.open_cursor(self.storages)?,
            account_nodes: transaction.open_cursor(self.account_nodes)?,
            storage_nodes: transaction.open_cursor(self.storage_nodes)?,
            changed,
            nodes: Changes::default(),
        })
    }
}

/// Transactions of both kinds have cursors.
trait Cursors<K: TransactionKind> {
    fn open_cursor(&self, table: Database) -> Result<Cursor<'_, K>, Failure>;
}

impl Cursors<Ro> for TxUnsync<Ro> {
    fn open_cursor(&self, table: Database) -> Result<Cursor<'_, Ro>, Failure> {
        Ok(self.cursor(table)?)
    }
}

impl Cursors<Rw> for TxUnsync<Rw> {
    fn open_cursor(&self, table: Database) -> Result<Cursor<'_, Rw>, Failure> {
        Ok(self.cursor(table)?)
    }
}

/// Replaces the row of an account that begins with the same `len` bytes.
fn replace(cursor: &mut Cursor<'_, Rw>, key: &[u8], row: &[u8], len: usize) -> Result<(), Failure> {
    let found: Option<Cow<'_, [u8]>> = cursor.get_both_range(key, &row[..len])?;
    if found.is_some_and(|found| found[..len] == row[..len]) {
        cursor.del()?;
    }
    Ok(cursor.put(key, row, WriteFlags::UPSERT)?)
}

impl Mdbx {
    pub(crate) fn new(folder: PathBuf) -> Result<Self, Failure> {
        let (opened, writing, code_hashes, nodes) = Default::default();
        Ok(Self { folder, opened, readers: readers()?, writing, code_hashes, nodes })
    }

    fn create(&self) -> Result<Opened, Failure> {
        let environment = Environment::builder()
            .write_map()
            .set_max_dbs(16)
            .set_flags(EnvironmentFlags {
                mode: Mode::ReadWrite { sync_mode: SyncMode::Durable },
                no_rdahead: true,
                coalesce: true,
                ..EnvironmentFlags::default()
            })
            .set_geometry(Geometry { size: Some(0..SIZE_MAX), growth_step: Some(GROWTH), ..Geometry::default() })
            .open(&self.folder)?;
        let transaction = environment.begin_rw_unsync()?;
        let table = |name, flags| transaction.create_db(Some(name), flags);
        let tables = Tables {
            plain_accounts: table("PlainAccountState", DatabaseFlags::empty())?,
            plain_storages: table("PlainStorageState", DatabaseFlags::DUP_SORT)?,
            accounts: table("HashedAccounts", DatabaseFlags::empty())?,
            storages: table("HashedStorages", DatabaseFlags::DUP_SORT)?,
            account_nodes: table("AccountsTrie", DatabaseFlags::empty())?,
            storage_nodes: table("StoragesTrie", DatabaseFlags::DUP_SORT)?,
        };
        transaction.commit()?;
        Ok(Opened { environment, tables })
    }

    fn opened(&self) -> Result<&Opened, Failure> {
        Ok(self.opened.as_ref().ok_or("the store is not open")?)
    }

    /// Walks the parts of the tries that have changed keys on all readers.
    fn read_tries(&self, changed: &[ChangedSlots]) -> Result<(), Failure> {
        let Opened { environment, tables } = self.opened()?;
        let part = |changed: &[ChangedSlots]| -> Result<(), Failure> {
            let transaction = environment.begin_ro_unsync()?;
            let mut walk = tables.walk(&transaction, changed)?;
            walk.walk(&Nibbles::new(), &mut HashBuilder::default())
        };
        self.readers.install(|| changed.par_chunks(READ_TOGETHER).try_for_each(part))
    }
}

impl Contestant for Mdbx {
    fn name(&self) -> &'static str {
        "MDBX as reth"
    }

    fn folder(&self) -> &Path {
        &self.folder
    }

    fn has_state_root(&self) -> bool {
        true
    }

    fn fill(&mut self, state: &State) -> Result<Option<B256>, Failure> {
        std::fs::create_dir_all(&self.folder)?;
        let Opened { environment, tables } = self.create()?;
        let transaction = environment.begin_rw_unsync()?;
        let mut storage_nodes = transaction.cursor(tables.storage_nodes)?;
        let mut builder = HashBuilder::default().with_updates(true);
        for leaf in state.leaves(0..PREFIXES) {
            let Leaf { hashed, address, nonce, balance, code_hash, .. } = leaf;
            let value = put_account(nonce, &balance, &code_hash);
            transaction.put(tables.plain_accounts, address, &value, WriteFlags::UPSERT)?;
            transaction.append(tables.accounts, hashed, &value)?;
            let mut storage_root = EMPTY_ROOT_HASH;
            if leaf.slots > 0 {
                let mut storage = HashBuilder::default().with_updates(true);
                for slot in state.slot_leaves(&leaf) {
                    let row = put_slot(&B256::from(slot.key), &slot.value);
                    transaction.put(tables.plain_storages, address, row, WriteFlags::UPSERT)?;
                    transaction.append_dup(tables.storages, hashed, put_slot(&slot.hashed, &slot.value))?;
                    storage.add_leaf_unchecked(Nibbles::unpack(slot.hashed), &alloy_rlp::encode(slot.value));
                }
                storage_root = storage.root();
                for (path, node) in storage.split().1.into_iter().collect::<BTreeMap<_, _>>() {
                    let mut row = subkey(&path).to_vec();
                    put_node(&node, &mut row);
                    storage_nodes.put(&hashed.0, &row, WriteFlags::UPSERT)?;
                }
            }
            let value = alloy_rlp::encode(TrieAccount { nonce, balance, storage_root, code_hash });
            builder.add_leaf_unchecked(Nibbles::unpack(hashed), &value);
        }
        drop(storage_nodes);
        let root = builder.root();
        for (path, node) in builder.split().1.into_iter().collect::<BTreeMap<_, _>>() {
            let mut row = Vec::new();
            put_node(&node, &mut row);
            transaction.put(tables.account_nodes, node_key(&path), row, WriteFlags::UPSERT)?;
        }
        transaction.commit()?;
        Ok(Some(root))
    }

    fn open(&mut self) -> Result<(), Failure> {
        self.opened = Some(self.create()?);
        Ok(())
    }

    fn close(&mut self) -> Result<(), Failure> {
        self.writing = None;
        self.opened = None;
        Ok(())
    }

    fn read(&mut self, block: &ChangingBlock) -> Result<Rows, Failure> {
        let Opened { environment, tables } = self.opened()?;
        let accounts = |names: &[AccountName]| -> Result<Vec<_>, Failure> {
            let transaction = environment.begin_ro_unsync()?;
            let one = |name: &AccountName| {
                let value: Option<Cow<'_, [u8]>> = transaction.get(tables.plain_accounts.dbi(), &name.address[..])?;
                account_of(&value.ok_or("an account is missing")?)
            };
            names.iter().map(one).collect()
        };
        let slots = |slots: &[SlotName]| -> Result<Vec<_>, Failure> {
            let transaction = environment.begin_ro_unsync()?;
            let mut cursor = transaction.cursor(tables.plain_storages)?;
            let mut one = |slot: &SlotName| {
                let (address, key) = (block.accounts[slot.account].address, slot.key.to_be_bytes::<32>());
                let found: Option<Cow<'_, [u8]>> = cursor.get_both_range(&address[..], &key)?;
                let found = found.filter(|row| row[..32] == key).ok_or("a slot is missing")?;
                Ok(U256::from_be_slice(&found[32..]))
            };
            slots.iter().map(&mut one).collect()
        };
        let (accounts, slots) = self.readers.install(|| {
            let accounts: Result<Vec<_>, _> = block.accounts.par_chunks(READ_TOGETHER).map(accounts).collect();
            let slots: Result<Vec<_>, _> = block.slots.par_chunks(READ_TOGETHER).map(slots).collect();
            (accounts, slots)
        });
        let accounts = accounts?.concat();
        self.code_hashes = accounts.iter().map(|(_, _, code_hash)| *code_hash).collect();
        let accounts = accounts.into_iter().map(|(nonce, balance, _)| (nonce, balance)).collect();
        Ok(Rows { accounts, slots: slots?.concat() })
    }

    fn root(&mut self, block: &ChangingBlock, is_cold: bool) -> Result<Option<B256>, Failure> {
        let slots = |changed: &Changed| changed.slots.iter().map(|(row, _)| block.slots[*row].hashed).collect();
        let changed: Vec<ChangedSlots> =
            block.changed.iter().map(|changed| (block.accounts[changed.account].hashed, slots(changed))).collect();
        if is_cold {
            self.read_tries(&changed)?;
        }
        let Opened { environment, tables } = self.opened()?;
        let transaction = environment.begin_rw_unsync()?;
        let mut storages = transaction.cursor(tables.storages)?;
        for changed in &block.changed {
            let hashed = block.accounts[changed.account].hashed;
            if let Some((nonce, balance)) = changed.fields {
                let value = put_account(nonce, &balance, &self.code_hashes[changed.account]);
                transaction.put(tables.accounts, hashed, value, WriteFlags::UPSERT)?;
            }
            for (row, value) in &changed.slots {
                replace(&mut storages, &hashed.0, &put_slot(&block.slots[*row].hashed, value), 32)?;
            }
        }
        drop(storages);
        let mut builder = HashBuilder::default().with_updates(true);
        let mut walk = tables.walk(&transaction, &changed)?;
        walk.walk(&Nibbles::new(), &mut builder)?;
        let mut nodes = core::mem::take(&mut walk.nodes);
        drop(walk);
        let root = builder.root();
        nodes.accounts = builder.split().1.into_iter().collect();
        (self.nodes, self.writing) = (nodes, Some(transaction));
        Ok(Some(root))
    }

    fn commit(&mut self, block: &ChangingBlock) -> Result<(), Failure> {
        let transaction = self.writing.take().ok_or("no root was computed")?;
        let nodes = core::mem::take(&mut self.nodes);
        let Opened { tables, .. } = self.opened()?;
        let mut storages = transaction.cursor(tables.plain_storages)?;
        for changed in &block.changed {
            let address = block.accounts[changed.account].address;
            if let Some((nonce, balance)) = changed.fields {
                let value = put_account(nonce, &balance, &self.code_hashes[changed.account]);
                transaction.put(tables.plain_accounts, address, value, WriteFlags::UPSERT)?;
            }
            for (row, value) in &changed.slots {
                let row = put_slot(&B256::from(block.slots[*row].key), value);
                replace(&mut storages, &address[..], &row, 32)?;
            }
        }
        drop(storages);
        let mut storage_nodes = transaction.cursor(tables.storage_nodes)?;
        for (owner, nodes) in nodes.storages {
            for (path, node) in nodes {
                let mut row = subkey(&path).to_vec();
                put_node(&node, &mut row);
                replace(&mut storage_nodes, &owner.0, &row, SUBKEY)?;
            }
        }
        drop(storage_nodes);
        for (path, node) in nodes.accounts {
            let mut row = Vec::new();
            put_node(&node, &mut row);
            transaction.put(tables.account_nodes, node_key(&path), row, WriteFlags::UPSERT)?;
        }
        transaction.commit()?;
        Ok(())
    }

    fn later(&mut self, _: bool) -> Result<(), Failure> {
        Ok(())
    }
}
