//! What the stages of one block share ([`Job`]), and the hash of its block access list, computed by
//! a task of its own.

use super::input::{BlockInput, Mode, PrefetchStrategy};
use super::recover::{Recovery, RecoveryContext};
use super::timeline::{Clock, Stage};
use crate::arena::BlockAccessIndex;
use crate::arena::code::CodeArena;
use crate::arena::store::StateStore;
use crate::bal;
use crate::exec::block::tasks::BlockContext;
use crate::exec::interpreter::LoopKind;
use crate::exec::interpreter::trace::TraceSink;
use crate::exec::senders::rows::SenderRows;
use crate::exec::wire::{Block, Header};
use alloy_primitives::B256;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// Everything that the stages of one block share.
pub(super) struct Job<'a> {
    pub(super) input: &'a BlockInput<'a>,
    pub(super) block: &'a Block,
    pub(super) store: &'a dyn StateStore,
    pub(super) codes: &'a CodeArena,
    pub(super) mode: Mode,
    pub(super) loop_kind: LoopKind,
    pub(super) trace: Option<&'a TraceSink>,
    pub(super) recovery: Recovery,
    pub(super) clock: &'a Clock,
    pub(super) list_hash: &'a ListHash,
    pub(super) shuffle: Option<u64>,
    pub(super) reads: PrefetchStrategy,
    pub(super) readers: Option<&'a rayon::ThreadPool>,
}

impl Job<'_> {
    /// Inputs of sender recovery besides the block.
    pub(super) fn recovery_context(&self) -> RecoveryContext<'_> {
        RecoveryContext {
            cancel: self.input.cancel,
            known: self.input.known_senders,
            recovery: self.recovery,
            clock: Some(self.clock),
        }
    }

    /// What all tasks of the block share.
    pub(super) fn context<'b>(&'b self, senders: SenderRows<'b>) -> BlockContext<'b> {
        let Self { input, block, loop_kind, trace, .. } = *self;
        let mut context = BlockContext::new(input.rules, block, senders, loop_kind).traced(trace);
        context.cancel = input.cancel;
        context
    }
}

/// keccak256 of the block access list's RLP. Computed in parallel from the start of the block,
/// since it needs only the bytes; compared with the header after execution.
#[derive(Debug, Default)]
pub(super) struct ListHash {
    hash: OnceLock<B256>,
    /// The block is invalid independently of its tasks, so remaining tasks are skipped.
    pub(super) refused: AtomicBool,
}

impl ListHash {
    /// Hashes the list on another thread if the block's header has a hash to compare with.
    pub(super) fn begin<'s>(&'s self, scope: &rayon::Scope<'s>, input: &'s BlockInput<'_>, clock: &'s Clock) {
        let Some(bytes) = &input.bal else { return };
        let Some(claimed) = Header::of_block(&input.block).ok().and_then(|header| header.block_access_list_hash) else {
            return;
        };
        scope.spawn(move |_| {
            if self.refused.load(Ordering::Relaxed) {
                return;
            }
            let start = clock.now();
            // A wrong hash has priority over any error of a task.
            if self.of(bytes) != claimed {
                self.refused.store(true, Ordering::Relaxed);
            }
            clock.record(Stage::ListHash, start);
        });
    }

    /// The hash; computed here unless it has been.
    pub(super) fn of(&self, bytes: &[u8]) -> B256 {
        *self.hash.get_or_init(|| bal::bal_hash(bytes))
    }
}

/// The block access index after the last transaction (EIP-7928): `tx_count + 1`.
pub(super) fn last_index(tx_count: usize) -> BlockAccessIndex {
    BlockAccessIndex(u32::try_from(tx_count.saturating_add(1)).unwrap_or(u32::MAX))
}
