//! NOMT with all accounts and slots in its one binary trie. Its root is not Ethereum's.
//!
//! Values are read by many threads; the pages of changed keys are asked for before the values are, as
//! its interface advises (`warm_up`).

use super::{CACHE_BYTES, Contestant, Failure, READ_TOGETHER, readers};
use crate::workload::Rows;
use alloy_primitives::{B256, U256, keccak256};
use balustrade_cli::workload::state::{PREFIXES, State};
use balustrade_cli::workload::state_changes::{AccountName, ChangingBlock};
use nomt::hasher::Blake3Hasher;
use nomt::{KeyReadWrite, Nomt, Options, Session, SessionParams};
use rayon::ThreadPool;
use rayon::prelude::*;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Rows of a new state that are written together.
const FILLED_TOGETHER: usize = 1 << 19;

type Database = Nomt<Blake3Hasher>;

/// NOMT.
pub(crate) struct NomtStore {
    folder: PathBuf,
    /// Buckets of its hash table of trie pages.
    buckets: u32,
    session: Option<Session<Blake3Hasher>>,
    finished: Option<nomt::FinishedSession>,
    database: Option<Database>,
    readers: Arc<ThreadPool>,
    /// Code hash of each account of the block in progress.
    code_hashes: Vec<B256>,
    /// Key of each slot of the block in progress.
    slots: Vec<[u8; 32]>,
}

fn account(nonce: u64, balance: U256, code_hash: &B256) -> Vec<u8> {
    [&nonce.to_be_bytes()[..], &balance.to_be_bytes::<32>(), &code_hash.0].concat()
}

impl NomtStore {
    /// For a state of `rows` rows.
    pub(crate) fn new(folder: PathBuf, rows: u64) -> Result<Self, Failure> {
        // Pages of the trie: six levels each, those with few leaves are not stored.
        let buckets = if rows < 5_000_000 { 131_072 } else { 655_360 };
        let (session, finished, database, code_hashes, slots) = Default::default();
        Ok(Self { folder, buckets, session, finished, database, readers: readers()?, code_hashes, slots })
    }

    fn create(&self) -> Result<Database, Failure> {
        let mut options = Options::new();
        options.path(&self.folder);
        options.hashtable_buckets(self.buckets);
        options.commit_concurrency(std::thread::available_parallelism()?.get());
        options.page_cache_size(CACHE_BYTES >> 21);
        options.leaf_cache_size(CACHE_BYTES >> 21);
        options.warm_up(true);
        Ok(Nomt::open(options)?)
    }

    fn database(&self) -> Result<&Database, Failure> {
        Ok(self.database.as_ref().ok_or("the store is not open")?)
    }
}

/// The key of a slot.
fn slot_path(account: &B256, slot: &B256) -> [u8; 32] {
    keccak256([account.0, slot.0].concat()).0
}

/// The keys of all slots of a block.
fn slot_paths(block: &ChangingBlock) -> Vec<[u8; 32]> {
    block.slots.iter().map(|slot| slot_path(&block.accounts[slot.account].hashed, &slot.hashed)).collect()
}

fn write(database: &Database, mut rows: Vec<([u8; 32], KeyReadWrite)>) -> Result<(), Failure> {
    rows.sort_unstable_by_key(|(key, _)| *key);
    let session = database.begin_session(SessionParams::default());
    session.finish(rows)?.commit(database)?;
    Ok(())
}

impl Contestant for NomtStore {
    fn name(&self) -> &'static str {
        "NOMT"
    }

    fn folder(&self) -> &Path {
        &self.folder
    }

    fn has_state_root(&self) -> bool {
        false
    }

    fn fill(&mut self, state: &State) -> Result<Option<B256>, Failure> {
        let database = self.create()?;
        let mut rows = Vec::new();
        for leaf in state.leaves(0..PREFIXES) {
            let value = account(leaf.nonce, leaf.balance, &leaf.code_hash);
            rows.push((leaf.hashed.0, KeyReadWrite::Write(Some(value))));
            for slot in state.slot_leaves(&leaf) {
                let path = slot_path(&leaf.hashed, &slot.hashed);
                rows.push((path, KeyReadWrite::Write(Some(slot.value.to_be_bytes_vec()))));
                if rows.len() >= FILLED_TOGETHER {
                    write(&database, core::mem::take(&mut rows))?;
                }
            }
        }
        write(&database, rows)?;
        Ok(None)
    }

    fn open(&mut self) -> Result<(), Failure> {
        self.database = Some(self.create()?);
        Ok(())
    }

    fn close(&mut self) -> Result<(), Failure> {
        self.database = None;
        Ok(())
    }

    fn read(&mut self, block: &ChangingBlock) -> Result<Rows, Failure> {
        self.slots = slot_paths(block);
        let paths = &self.slots;
        let session = self.database()?.begin_session(SessionParams::default());
        for changed in &block.changed {
            if changed.fields.is_some() {
                session.warm_up(block.accounts[changed.account].hashed.0);
            }
            changed.slots.iter().for_each(|(row, _)| session.warm_up(paths[*row]));
        }
        let of_account = |name: &AccountName| {
            let value = session.read(name.hashed.0)?.ok_or("an account is missing")?;
            let nonce = u64::from_be_bytes(value[..8].try_into()?);
            Ok::<_, Failure>((nonce, U256::from_be_slice(&value[8..40]), B256::from_slice(&value[40..])))
        };
        let of_slot = |path: &[u8; 32]| {
            let value = session.read(*path)?.ok_or("a slot is missing")?;
            Ok::<_, Failure>(U256::from_be_slice(&value))
        };
        let (accounts, slots) = self.readers.install(|| {
            let accounts: Result<Vec<_>, Failure> =
                block.accounts.par_iter().with_max_len(READ_TOGETHER).map(of_account).collect();
            let slots: Result<Vec<_>, Failure> = paths.par_iter().with_max_len(READ_TOGETHER).map(of_slot).collect();
            (accounts, slots)
        });
        let accounts = accounts?;
        self.code_hashes = accounts.iter().map(|(_, _, code_hash)| *code_hash).collect();
        let accounts = accounts.into_iter().map(|(nonce, balance, _)| (nonce, balance)).collect();
        self.session = Some(session);
        Ok(Rows { accounts, slots: slots? })
    }

    fn root(&mut self, block: &ChangingBlock, _: bool) -> Result<Option<B256>, Failure> {
        let session = self.session.take().ok_or("no session")?;
        let mut writes = Vec::new();
        for changed in &block.changed {
            if let Some((nonce, balance)) = changed.fields {
                let value = account(nonce, balance, &self.code_hashes[changed.account]);
                writes.push((block.accounts[changed.account].hashed.0, KeyReadWrite::Write(Some(value))));
            }
            writes.extend(
                changed
                    .slots
                    .iter()
                    .map(|(row, value)| (self.slots[*row], KeyReadWrite::Write(Some(value.to_be_bytes_vec())))),
            );
        }
        writes.sort_unstable_by_key(|(key, _)| *key);
        self.finished = Some(session.finish(writes)?);
        Ok(None)
    }

    fn commit(&mut self, _: &ChangingBlock) -> Result<(), Failure> {
        let finished = self.finished.take().ok_or("no root was computed")?;
        finished.commit(self.database()?)?;
        Ok(())
    }

    fn later(&mut self, _: bool) -> Result<(), Failure> {
        Ok(())
    }
}
