//! RocksDB with the tables, keys and settings of ethrex-storage 31, and the tries of ethrex-trie 31.
//!
//! Tables: accounts and slots by the nibbles of their hashed keys, and the nodes of the account trie
//! and of all storage tries by path. A block reads its rows with multi-get, opens the tries on the node
//! tables, loads the nodes on the paths of changed keys level by level (`Trie::prefetch_sorted`),
//! inserts, hashes, and writes all changed nodes and rows in one synced batch.
//! ethrex keeps the nodes of the last 128 blocks in memory and syncs nothing per block; here each block
//! is written and durable, as for all stores. ethrex hashes the account trie on sixteen threads, here it
//! is one; storage tries are spread over threads in both.

use super::{CACHE_BYTES, Contestant, Failure, READ_TOGETHER, readers};
use crate::workload::Rows;
use alloy_primitives::{B256, U256};
use alloy_rlp::Decodable;
use alloy_trie::{EMPTY_ROOT_HASH, TrieAccount};
use balustrade_cli::workload::state::{Leaf, PREFIXES, State};
use balustrade_cli::workload::state_changes::{Changed, ChangingBlock};
use ethrex_common::H256;
use ethrex_crypto::NativeCrypto;
use ethrex_trie::trie_sorted::trie_from_sorted_accounts_wrap;
use ethrex_trie::{Nibbles, Trie, TrieDB, TrieError};
use rayon::ThreadPool;
use rayon::prelude::*;
use rocksdb::{BlockBasedOptions, Cache, ColumnFamilyDescriptor, DB, Options, WriteBatch, WriteOptions};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const ACCOUNT_NODES: &str = "account_trie_nodes";
const STORAGE_NODES: &str = "storage_trie_nodes";
const ACCOUNTS: &str = "account_flatkeyvalue";
const SLOTS: &str = "storage_flatkeyvalue";
const TABLES: [&str; 4] = [ACCOUNT_NODES, STORAGE_NODES, ACCOUNTS, SLOTS];
/// Rows of a new state in one batch.
const FILLED_TOGETHER: usize = 1 << 14;

/// A row to be written.
type Row = (&'static str, Vec<u8>, Vec<u8>);

/// RocksDB.
pub(crate) struct Rocks {
    folder: PathBuf,
    database: Option<Arc<DB>>,
    readers: Arc<ThreadPool>,
    root: B256,
    /// Accounts of the block in progress.
    accounts: Vec<TrieAccount>,
    /// Rows that the block in progress writes.
    rows: Vec<Row>,
}

/// The path of a node or row in a storage trie: the account's, a separator, that in the trie.
fn in_storage(account: &B256, path: &Nibbles) -> Vec<u8> {
    Nibbles::from_bytes(&account.0).append_new(17).concat(path).into_vec()
}

fn account_key(account: &B256) -> Vec<u8> {
    Nibbles::from_bytes(&account.0).into_vec()
}

/// The row of a node that a trie returned.
fn row(owner: Option<&B256>, path: Nibbles, node: Vec<u8>) -> Row {
    let is_leaf = path.is_leaf();
    let table = match (owner, is_leaf) {
        (None, true) => ACCOUNTS,
        (None, false) => ACCOUNT_NODES,
        (Some(_), true) => SLOTS,
        (Some(_), false) => STORAGE_NODES,
    };
    (table, owner.map_or_else(|| path.clone().into_vec(), |owner| in_storage(owner, &path)), node)
}

/// The nodes of one trie.
struct Nodes {
    database: Arc<DB>,
    readers: Arc<ThreadPool>,
    owner: Option<B256>,
}

impl Nodes {
    fn key(&self, path: Nibbles) -> Row {
        row(self.owner.as_ref(), path, Vec::new())
    }

    fn write(&self, rows: Vec<Row>) -> Result<(), Failure> {
        let mut options = WriteOptions::default();
        options.disable_wal(true);
        write(&self.database, &rows, &options)
    }
}

fn write(database: &DB, rows: &[Row], options: &WriteOptions) -> Result<(), Failure> {
    let mut batch = WriteBatch::default();
    for (table, key, value) in rows {
        batch.put_cf(database.cf_handle(table).ok_or("a table is missing")?, key, value);
    }
    Ok(database.write_opt(batch, options)?)
}

fn of_trie(error: impl core::fmt::Display) -> TrieError {
    TrieError::DbError(anyhow::anyhow!("{error}"))
}

/// Values of keys of one table, in order, in batches on all readers.
fn multi_get(
    database: &DB,
    readers: &ThreadPool,
    table: &str,
    keys: &[Vec<u8>],
) -> Result<Vec<Option<Vec<u8>>>, rocksdb::Error> {
    let some = |keys: &[Vec<u8>]| -> Result<Vec<Option<Vec<u8>>>, rocksdb::Error> {
        let Some(table) = database.cf_handle(table) else { return Ok(vec![None; keys.len()]) };
        let found = database.batched_multi_get_cf(table, keys, false).into_iter();
        found.map(|value| value.map(|value| value.map(|value| value.to_vec()))).collect()
    };
    if keys.len() <= READ_TOGETHER {
        return some(keys);
    }
    let chunks: Result<Vec<_>, _> = readers.install(|| keys.par_chunks(READ_TOGETHER).map(some).collect());
    Ok(chunks?.into_iter().flatten().collect())
}

impl TrieDB for Nodes {
    fn get(&self, path: Nibbles) -> Result<Option<Vec<u8>>, TrieError> {
        let (table, key, _) = self.key(path);
        let table = self.database.cf_handle(table).ok_or_else(|| of_trie("a table is missing"))?;
        self.database.get_cf(table, key).map_err(of_trie)
    }

    fn multi_get(&self, paths: &[Nibbles]) -> Vec<Result<Option<Vec<u8>>, TrieError>> {
        let table = if self.owner.is_some() { STORAGE_NODES } else { ACCOUNT_NODES };
        let keys: Vec<Vec<u8>> = paths.iter().map(|path| self.key(path.clone()).1).collect();
        match multi_get(&self.database, &self.readers, table, &keys) {
            Ok(nodes) => nodes.into_iter().map(Ok).collect(),
            Err(error) => paths.iter().map(|_| Err(of_trie(&error))).collect(),
        }
    }

    fn put_batch(&self, nodes: Vec<(Nibbles, Vec<u8>)>) -> Result<(), TrieError> {
        let rows = nodes.into_iter().map(|(path, node)| row(self.owner.as_ref(), path, node)).collect();
        self.write(rows).map_err(of_trie)
    }
}

impl Rocks {
    pub(crate) fn new(folder: PathBuf) -> Result<Self, Failure> {
        let (accounts, rows) = Default::default();
        Ok(Self { folder, database: None, readers: readers()?, root: EMPTY_ROOT_HASH, accounts, rows })
    }

    fn create(&self) -> Result<DB, Failure> {
        let mut options = Options::default();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        options.set_max_open_files(-1);
        options.set_max_background_jobs(8);
        options.set_level_compaction_dynamic_level_bytes(true);
        options.set_db_write_buffer_size(1 << 30);
        options.set_max_total_wal_size(2 << 30);
        options.set_wal_bytes_per_sync(32 << 20);
        options.set_bytes_per_sync(32 << 20);
        options.set_use_fsync(false);
        options.set_enable_pipelined_write(true);
        options.set_compaction_readahead_size(4 << 20);
        options.set_advise_random_on_open(false);
        let cache = Cache::new_lru_cache(CACHE_BYTES)?;
        let tables = TABLES.map(|name| {
            let mut table = Options::default();
            table.set_compression_type(rocksdb::DBCompressionType::None);
            table.set_level_zero_file_num_compaction_trigger(4);
            table.set_level_zero_slowdown_writes_trigger(20);
            table.set_level_zero_stop_writes_trigger(36);
            table.set_write_buffer_size(512 << 20);
            table.set_max_write_buffer_number(6);
            table.set_min_write_buffer_number_to_merge(2);
            table.set_target_file_size_base(256 << 20);
            table.set_memtable_prefix_bloom_ratio(0.2);
            let mut blocks = BlockBasedOptions::default();
            blocks.set_block_size(16 << 10);
            blocks.set_bloom_filter(10.0, false);
            blocks.set_block_cache(&cache);
            blocks.set_cache_index_and_filter_blocks(true);
            blocks.set_pin_l0_filter_and_index_blocks_in_cache(true);
            table.set_block_based_table_factory(&blocks);
            ColumnFamilyDescriptor::new(name, table)
        });
        Ok(DB::open_cf_descriptors(&options, &self.folder, tables)?)
    }

    fn nodes(&self, owner: Option<B256>) -> Result<Nodes, Failure> {
        let database = self.database.clone().ok_or("the store is not open")?;
        Ok(Nodes { database, readers: Arc::clone(&self.readers), owner })
    }

    /// Applies changed leaves (sorted hashed key, RLP) to a trie. Returns its root and the changed rows.
    fn update(nodes: Nodes, root: B256, leaves: Vec<(B256, Vec<u8>)>) -> Result<(B256, Vec<Row>), TrieError> {
        let owner = nodes.owner;
        let mut trie = Trie::open(Box::new(nodes), H256(root.0));
        let paths: Vec<Nibbles> = leaves.iter().map(|(key, _)| Nibbles::from_bytes(&key.0)).collect();
        trie.prefetch_sorted(&paths)?;
        for (key, value) in leaves {
            trie.insert(key.0.to_vec(), value)?;
        }
        let (root, changed) = trie.collect_changes_since_last_hash(&NativeCrypto);
        let rows = changed.into_iter().map(|(path, node)| row(owner.as_ref(), path, node)).collect();
        Ok((B256::from(root.0), rows))
    }

    /// Writes the storage of a new account. Returns its root.
    fn fill_storage(nodes: &Nodes, state: &State, leaf: &Leaf, rows: &mut Vec<Row>) -> Result<B256, Failure> {
        if leaf.slots == 0 {
            return Ok(EMPTY_ROOT_HASH);
        }
        let mut trie = Trie::new_temp();
        for slot in state.slot_leaves(leaf) {
            trie.insert(slot.hashed.0.to_vec(), alloy_rlp::encode(slot.value))?;
        }
        let (root, changed) = trie.collect_changes_since_last_hash(&NativeCrypto);
        for (path, node) in changed {
            rows.push(row(Some(&leaf.hashed), path, node));
            if rows.len() >= FILLED_TOGETHER {
                nodes.write(core::mem::take(rows))?;
            }
        }
        Ok(B256::from(root.0))
    }
}

impl Contestant for Rocks {
    fn name(&self) -> &'static str {
        "RocksDB as ethrex"
    }

    fn folder(&self) -> &Path {
        &self.folder
    }

    fn has_state_root(&self) -> bool {
        true
    }

    fn fill(&mut self, state: &State) -> Result<Option<B256>, Failure> {
        self.database = Some(Arc::new(self.create()?));
        let nodes = self.nodes(None)?;
        let (mut rows, mut failure) = (Vec::new(), None);
        let mut leaves = state.leaves(0..PREFIXES).collect::<Vec<_>>().into_iter();
        let mut encoded = core::iter::from_fn(|| {
            let leaf = leaves.next()?;
            let Leaf { nonce, balance, code_hash, .. } = leaf;
            let storage_root = match Self::fill_storage(&nodes, state, &leaf, &mut rows) {
                Ok(root) => root,
                Err(error) => {
                    failure = Some(error);
                    return None;
                }
            };
            let value = alloy_rlp::encode(TrieAccount { nonce, balance, storage_root, code_hash });
            rows.push((ACCOUNTS, account_key(&leaf.hashed), value.clone()));
            Some((H256(leaf.hashed.0), value))
        });
        let root = trie_from_sorted_accounts_wrap(&nodes, &mut encoded).map_err(|error| error.to_string())?;
        if let Some(error) = failure {
            return Err(error);
        }
        nodes.write(rows)?;
        self.root = B256::from(root.0);
        self.later(true)?;
        drop(nodes);
        self.database = None;
        Ok(Some(self.root))
    }

    fn open(&mut self) -> Result<(), Failure> {
        self.database = Some(Arc::new(self.create()?));
        Ok(())
    }

    fn close(&mut self) -> Result<(), Failure> {
        // Rows that are not flushed would be read back from the log into memory.
        self.later(true)?;
        self.database = None;
        Ok(())
    }

    fn read(&mut self, block: &ChangingBlock) -> Result<Rows, Failure> {
        let database = self.database.as_ref().ok_or("the store is not open")?;
        let keys: Vec<Vec<u8>> = block.accounts.iter().map(|name| account_key(&name.hashed)).collect();
        let accounts = multi_get(database, &self.readers, ACCOUNTS, &keys)?;
        let keys: Vec<Vec<u8>> = block
            .slots
            .iter()
            .map(|slot| in_storage(&block.accounts[slot.account].hashed, &Nibbles::from_bytes(&slot.hashed.0)))
            .collect();
        let slots = multi_get(database, &self.readers, SLOTS, &keys)?;
        self.accounts.clear();
        for account in accounts {
            self.accounts.push(TrieAccount::decode(&mut &account.ok_or("an account is missing")?[..])?);
        }
        let value = |slot: Option<Vec<u8>>| Ok(U256::decode(&mut &slot.ok_or("a slot is missing")?[..])?);
        let slots: Result<Vec<U256>, Failure> = slots.into_iter().map(value).collect();
        let accounts = self.accounts.iter().map(|account| (account.nonce, account.balance)).collect();
        Ok(Rows { accounts, slots: slots? })
    }

    fn root(&mut self, block: &ChangingBlock, _: bool) -> Result<Option<B256>, Failure> {
        let mut inputs = Vec::new();
        for changed in block.changed.iter().filter(|changed| !changed.slots.is_empty()) {
            let nodes = self.nodes(Some(block.accounts[changed.account].hashed))?;
            inputs.push((changed, nodes));
        }
        let updated: Result<Vec<_>, TrieError> = self.readers.install(|| {
            let one = |(changed, nodes): (&Changed, Nodes)| {
                let leaves =
                    changed.slots.iter().map(|(row, value)| (block.slots[*row].hashed, alloy_rlp::encode(value)));
                let (root, rows) = Self::update(nodes, self.accounts[changed.account].storage_root, leaves.collect())?;
                Ok((changed.account, root, rows))
            };
            inputs.into_par_iter().map(one).collect()
        });
        self.rows.clear();
        for (account, root, rows) in updated? {
            self.accounts[account].storage_root = root;
            self.rows.extend(rows);
        }
        let mut leaves = Vec::with_capacity(block.changed.len());
        for changed in &block.changed {
            let account = &mut self.accounts[changed.account];
            if let Some((nonce, balance)) = changed.fields {
                (account.nonce, account.balance) = (nonce, balance);
            }
            leaves.push((block.accounts[changed.account].hashed, alloy_rlp::encode(&*account)));
        }
        let (root, rows) = Self::update(self.nodes(None)?, self.root, leaves)?;
        self.rows.extend(rows);
        self.root = root;
        Ok(Some(root))
    }

    fn commit(&mut self, _: &ChangingBlock) -> Result<(), Failure> {
        let database = self.database.as_ref().ok_or("the store is not open")?;
        let mut options = WriteOptions::default();
        options.set_sync(true);
        write(database, &self.rows, &options)
    }

    fn later(&mut self, all: bool) -> Result<(), Failure> {
        let database = self.database.as_ref().ok_or("the store is not open")?;
        if all {
            for table in TABLES {
                let table = database.cf_handle(table).ok_or("a table is missing")?;
                database.flush_cf(table)?;
                database.compact_range_cf(table, None::<&[u8]>, None::<&[u8]>);
            }
        }
        Ok(())
    }
}
