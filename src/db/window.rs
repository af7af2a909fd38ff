//! Blocks executed several at a time: windows cut from a sequence of blocks, their outcomes in order.
//!
//! In: consecutive blocks. Out: their outcomes, each after its block has become the head.
//! A window is executed and committed when the consumer asks for the first of its outcomes, so what is in memory is bounded
//! by one window.
//! Relies on: `Executor::execute_window`. A block that is not proven there is executed alone, on the state after the
//! blocks before it; so errors are those of [`StateDb::execute`].
//! Not here: where the blocks come from.

use super::{DbError, StateDb};
use crate::exec::block::error::BlockError;
use crate::executor::{BlockInput, BlockOutcome, Executor, Options, Roots};
use std::collections::VecDeque;

/// How blocks are executed together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WindowOptions {
    /// Most blocks of a window; 0 counts as 1. With 1 every block is executed alone.
    pub blocks: usize,
    /// Most bytes of blocks and lists of a window; a larger block is a window of its own. Memory is about ten times as
    /// much.
    pub bytes: usize,
    /// Which state roots are computed.
    pub roots: Roots,
}

impl Default for WindowOptions {
    /// Up to 64 blocks of together 6 MiB: larger windows of large blocks were slower, as what is decoded leaves the caches
    /// before it is executed (docs/replay.md).
    fn default() -> Self {
        Self { blocks: 64, bytes: 6 << 20, roots: Roots::Every }
    }
}

impl WindowOptions {
    /// Windows of at most this many blocks.
    pub fn new(blocks: usize) -> Self {
        Self { blocks, ..Self::default() }
    }

    /// The same with these state roots.
    pub fn with_roots(self, roots: Roots) -> Self {
        Self { roots, ..self }
    }

    /// The same with another number of bytes.
    pub fn with_bytes(self, bytes: usize) -> Self {
        Self { bytes, ..self }
    }
}

/// Why a sequence of blocks ended. The blocks before are committed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// The block after the head is invalid, or could not be executed.
    #[error(transparent)]
    Block(#[from] BlockError),
    /// A block could not be committed.
    #[error(transparent)]
    Db(#[from] DbError),
}

/// The outcomes of a sequence of blocks, in order; made by [`StateDb::replay`]. Ends after the first error.
#[derive(Debug)]
pub struct Replay<'d, 'b, I: Iterator<Item = BlockInput<'b>>> {
    db: &'d mut StateDb,
    executor: &'d mut Executor,
    blocks: core::iter::Peekable<I>,
    options: Options,
    window: WindowOptions,
    ready: VecDeque<BlockOutcome>,
    error: Option<ReplayError>,
    /// Blocks of windows that were executed alone.
    alone: usize,
    is_over: bool,
}

impl StateDb {
    /// Executes consecutive blocks on the head and commits them, several at a time where they have block access lists.
    /// Outcomes are as those of [`Self::execute`], except for the times, which count from the start of a window, and
    /// what [`WindowOptions::roots`] leaves unchecked. Dropping the iterator stops between two windows: the head can be
    /// above the last outcome that was taken.
    pub fn replay<'d, 'b, I: IntoIterator<Item = BlockInput<'b>>>(
        &'d mut self,
        executor: &'d mut Executor,
        blocks: I,
        options: Options,
        window: WindowOptions,
    ) -> Replay<'d, 'b, I::IntoIter> {
        let blocks = blocks.into_iter().peekable();
        Replay {
            db: self,
            executor,
            blocks,
            options,
            window,
            ready: VecDeque::new(),
            error: None,
            alone: 0,
            is_over: false,
        }
    }
}

impl<'b, I: Iterator<Item = BlockInput<'b>>> Replay<'_, 'b, I> {
    /// Number of blocks so far that were executed alone although their window had more blocks: blocks without a list
    /// and blocks before Cancun.
    pub fn alone(&self) -> usize {
        self.alone
    }

    /// The next blocks, within the bounds of a window.
    fn cut(&mut self) -> Vec<BlockInput<'b>> {
        let size = |block: &BlockInput<'_>| block.block.len() + block.bal.as_ref().map_or(0, |list| list.len());
        let mut window: Vec<BlockInput<'b>> = Vec::new();
        let mut bytes = 0usize;
        while window.len() < self.window.blocks.max(1)
            && let Some(block) = self.blocks.next_if(|block| {
                bytes = bytes.saturating_add(size(block));
                window.is_empty() || bytes <= self.window.bytes
            })
        {
            window.push(block);
        }
        window
    }

    /// Executes and commits a window. On an error the blocks before are committed and their outcomes are ready.
    fn run(&mut self, window: &[BlockInput<'b>]) -> Result<(), ReplayError> {
        let mut roots = self.window.roots;
        let mut rest = window;
        while !rest.is_empty() {
            let outcomes = match rest {
                [_] => Vec::new(),
                _ => self.db.execute_window(self.executor, rest, self.options, roots)?,
            };
            rest = &rest[outcomes.len()..];
            let found_none = outcomes.is_empty();
            self.ready.extend(outcomes);
            if found_none && roots == Roots::Last && window.len() > 1 {
                // One of the blocks is not proven: with all roots the blocks before it are.
                roots = Roots::Every;
                continue;
            }
            if let Some((block, after)) = rest.split_first() {
                let outcome = self.db.execute(self.executor, block, self.options)?;
                self.db.commit(&outcome)?;
                self.ready.push_back(outcome);
                self.alone += usize::from(window.len() > 1);
                rest = after;
            }
        }
        Ok(())
    }
}

impl<'b, I: Iterator<Item = BlockInput<'b>>> Iterator for Replay<'_, 'b, I> {
    type Item = Result<BlockOutcome, ReplayError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ready.is_empty() && !self.is_over {
            let window = self.cut();
            self.is_over = window.is_empty();
            if let Err(error) = self.run(&window) {
                self.is_over = true;
                self.error = Some(error);
            }
        }
        self.ready.pop_front().map(Ok).or_else(|| self.error.take().map(Err))
    }
}
