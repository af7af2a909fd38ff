//! redb as a store of rows by hashed key, without any root: what it does at the least.

use super::{CACHE_BYTES, Contestant, Failure, READ_TOGETHER, readers};
use crate::workload::Rows;
use alloy_primitives::{B256, U256};
use balustrade_cli::workload::state::{PREFIXES, State};
use balustrade_cli::workload::state_changes::{AccountName, ChangingBlock, SlotName};
use rayon::ThreadPool;
use rayon::prelude::*;
use redb::{Database, Durability, ReadableDatabase, TableDefinition};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Hashed address → nonce, balance, code hash.
const ACCOUNTS: TableDefinition<'_, &[u8; 32], &[u8; 72]> = TableDefinition::new("accounts");
/// Hashed address and hashed key → value.
const SLOTS: TableDefinition<'_, &[u8; 64], &[u8; 32]> = TableDefinition::new("slots");
/// Rows of a new state that are written in one transaction.
const FILLED_TOGETHER: usize = 1 << 20;

/// redb with two tables.
pub(crate) struct Redb {
    folder: PathBuf,
    database: Option<Database>,
    readers: Arc<ThreadPool>,
    /// Code hash of each account of the block in progress.
    code_hashes: Vec<B256>,
}

fn account(nonce: u64, balance: U256, code_hash: &B256) -> [u8; 72] {
    let mut value = [0; 72];
    value[..8].copy_from_slice(&nonce.to_be_bytes());
    value[8..40].copy_from_slice(&balance.to_be_bytes::<32>());
    value[40..].copy_from_slice(&code_hash.0);
    value
}

fn slot_key(account: &B256, slot: &B256) -> [u8; 64] {
    let mut key = [0; 64];
    key[..32].copy_from_slice(&account.0);
    key[32..].copy_from_slice(&slot.0);
    key
}

impl Redb {
    pub(crate) fn new(folder: PathBuf) -> Result<Self, Failure> {
        Ok(Self { folder, database: None, readers: readers()?, code_hashes: Vec::new() })
    }

    fn create(&self) -> Result<Database, Failure> {
        Ok(Database::builder().set_cache_size(CACHE_BYTES).create(self.folder.join("rows.redb"))?)
    }

    fn database(&self) -> Result<&Database, Failure> {
        Ok(self.database.as_ref().ok_or("the store is not open")?)
    }
}

impl Contestant for Redb {
    fn name(&self) -> &'static str {
        "redb, rows alone"
    }

    fn folder(&self) -> &Path {
        &self.folder
    }

    fn has_state_root(&self) -> bool {
        false
    }

    fn fill(&mut self, state: &State) -> Result<Option<B256>, Failure> {
        std::fs::create_dir_all(&self.folder)?;
        let database = self.create()?;
        let mut leaves = state.leaves(0..PREFIXES).peekable();
        while leaves.peek().is_some() {
            let transaction = database.begin_write()?;
            {
                let (mut accounts, mut slots) = (transaction.open_table(ACCOUNTS)?, transaction.open_table(SLOTS)?);
                let mut rows = 0;
                while rows < FILLED_TOGETHER {
                    let Some(leaf) = leaves.next() else { break };
                    accounts.insert(&leaf.hashed.0, &account(leaf.nonce, leaf.balance, &leaf.code_hash))?;
                    for slot in state.slot_leaves(&leaf) {
                        slots.insert(&slot_key(&leaf.hashed, &slot.hashed), &slot.value.to_be_bytes::<32>())?;
                    }
                    rows += 1 + leaf.slots as usize;
                }
            }
            transaction.commit()?;
        }
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
        let transaction = self.database()?.begin_read()?;
        let (accounts, slots) = (transaction.open_table(ACCOUNTS)?, transaction.open_table(SLOTS)?);
        let of_account = |name: &AccountName| {
            let value = accounts.get(&name.hashed.0)?.ok_or("an account is missing")?;
            let value = value.value();
            let nonce = u64::from_be_bytes(value[..8].try_into()?);
            Ok::<_, Failure>((nonce, U256::from_be_slice(&value[8..40]), B256::from_slice(&value[40..])))
        };
        let of_slot = |slot: &SlotName| {
            let value = slots.get(&slot_key(&block.accounts[slot.account].hashed, &slot.hashed))?;
            Ok::<_, Failure>(U256::from_be_bytes(*value.ok_or("a slot is missing")?.value()))
        };
        let (accounts, slots) = self.readers.install(|| {
            let accounts: Result<Vec<_>, Failure> =
                block.accounts.par_iter().with_max_len(READ_TOGETHER).map(of_account).collect();
            let slots: Result<Vec<_>, Failure> =
                block.slots.par_iter().with_max_len(READ_TOGETHER).map(of_slot).collect();
            (accounts, slots)
        });
        let accounts = accounts?;
        self.code_hashes = accounts.iter().map(|(_, _, code_hash)| *code_hash).collect();
        let accounts = accounts.into_iter().map(|(nonce, balance, _)| (nonce, balance)).collect();
        Ok(Rows { accounts, slots: slots? })
    }

    fn root(&mut self, _: &ChangingBlock, _: bool) -> Result<Option<B256>, Failure> {
        Ok(None)
    }

    fn commit(&mut self, block: &ChangingBlock) -> Result<(), Failure> {
        let mut transaction = self.database()?.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        {
            let (mut accounts, mut slots) = (transaction.open_table(ACCOUNTS)?, transaction.open_table(SLOTS)?);
            for changed in &block.changed {
                let name = &block.accounts[changed.account];
                if let Some((nonce, balance)) = changed.fields {
                    let value = account(nonce, balance, &self.code_hashes[changed.account]);
                    accounts.insert(&name.hashed.0, &value)?;
                }
                for (row, value) in &changed.slots {
                    let key = slot_key(&name.hashed, &block.slots[*row].hashed);
                    slots.insert(&key, &value.to_be_bytes::<32>())?;
                }
            }
        }
        transaction.commit()?;
        Ok(())
    }

    fn later(&mut self, _: bool) -> Result<(), Failure> {
        Ok(())
    }
}
