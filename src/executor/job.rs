//! The work on one block: everything that its stages share, and the hash of its list, which is a task of its own.

use super::input::{BlockInput, Mode, PrefetchStrategy};
use super::recover::{Recovery, RecoveryContext};
use super::timeline::{Clock, Stage};
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
    /// What the recovery of senders goes by.
    pub(super) fn recovery_context(&self) -> RecoveryContext<'_> {
        RecoveryContext {
            cancel: self.input.cancel,
            known: self.input.known_senders,
            recovery: self.recovery,
            clock: Some(self.clock),
        }
    }

    /// What all tasks of the block share.
    pub(super) fn context<'b>(&'b self, signers: SenderRows<'b>) -> BlockContext<'b> {
        let Self { input, block, loop_kind, trace, .. } = *self;
        let mut context = BlockContext::new(input.rules, block, signers, loop_kind).traced(trace);
        context.cancel = input.cancel;
        context
    }
}

/// The hash of a list: begun with the first byte of a block, as it needs no other thing, and due when all else is done.
#[derive(Debug, Default)]
pub(super) struct ListHash {
    hash: OnceLock<B256>,
    /// The block is refused whatever its tasks do: they need not run.
    pub(super) refused: AtomicBool,
}

impl ListHash {
    /// Hashes the list on another thread, where the block commits to one.
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
            // Whatever the tasks find, a wrong hash comes before it.
            if self.of(bytes) != claimed {
                self.refused.store(true, Ordering::Relaxed);
            }
            clock.record(Stage::ListHash, start);
        });
    }

    /// The hash, computed by now or here.
    pub(super) fn of(&self, bytes: &[u8]) -> B256 {
        *self.hash.get_or_init(|| bal::bal_hash(bytes))
    }
}
