//! Balustrade's state on disk: pages, tries in memory, the log.

use super::{Contestant, Failure};
use crate::workload::Rows;
use alloy_primitives::B256;
use balustrade::disk::store::PagesKind;
use balustrade::storage::DiskOptions;
use balustrade_cli::measure::stored::{Stored, Values};
use balustrade_cli::workload::state::State;
use balustrade_cli::workload::state_changes::ChangingBlock;
use std::path::{Path, PathBuf};

/// Our store on one of its page stores.
pub(crate) struct Ours {
    folder: PathBuf,
    options: DiskOptions,
    stored: Option<Stored>,
    /// Values before the block that is in progress.
    before: Values,
}

impl Ours {
    pub(crate) fn new(folder: PathBuf, pages: PagesKind) -> Self {
        let options = DiskOptions { pages, ..DiskOptions::default() };
        Self { folder, options, stored: None, before: Values::default() }
    }

    fn stored(&mut self) -> Result<&mut Stored, Failure> {
        Ok(self.stored.as_mut().ok_or("the store is not open")?)
    }
}

impl Contestant for Ours {
    fn name(&self) -> &'static str {
        match self.options.pages {
            PagesKind::Files => "ours, files",
            PagesKind::Redb => "ours, redb pages",
        }
    }

    fn folder(&self) -> &Path {
        &self.folder
    }

    fn has_state_root(&self) -> bool {
        true
    }

    fn fill(&mut self, state: &State) -> Result<Option<B256>, Failure> {
        Ok(Some(Stored::fill(&self.folder, &self.options, state, |_| {})?))
    }

    fn open(&mut self) -> Result<(), Failure> {
        self.stored = Some(Stored::open(Stored::files(&self.folder, &self.options)?, &self.options)?);
        Ok(())
    }

    fn close(&mut self) -> Result<(), Failure> {
        self.later(true)?;
        self.stored = None;
        Ok(())
    }

    fn read(&mut self, block: &ChangingBlock) -> Result<Rows, Failure> {
        self.before = self.stored()?.read(block)?;
        let Values { accounts, slots } = &self.before;
        let accounts = accounts.iter().map(|account| (account.nonce, account.balance)).collect();
        Ok(Rows { accounts, slots: slots.clone() })
    }

    fn root(&mut self, block: &ChangingBlock, _: bool) -> Result<Option<B256>, Failure> {
        Ok(Some(self.stored()?.root(block)?))
    }

    fn commit(&mut self, block: &ChangingBlock) -> Result<(), Failure> {
        let before = core::mem::take(&mut self.before);
        self.stored()?.commit(block, &before)?;
        Ok(())
    }

    fn later(&mut self, all: bool) -> Result<(), Failure> {
        self.stored()?.checkpoint(all)?;
        Ok(())
    }
}
