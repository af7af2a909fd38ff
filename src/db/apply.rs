//! [`StateDb::apply`]: the state moves forward by headers and block access lists alone; nothing is executed.
//!
//! In: blocks with their lists. Out: the state after them, and which checks were not made.
//! Headers are compared with their parents' and lists with their headers. The lists of a range are merged (`merge`) and
//! make one update of the tries, whose root must be that of the last header. If it is not, a shorter range is tried, by
//! halves, down to the first block whose list does not lead to its header.
//! Relies on: `merge`, the tries. Not here: execution, making blocks durable (`disk`).

use super::chain::Head;
use super::merge::merge;
use super::{DbError, Link, State, StateDb};
use crate::arena::changes::StateChanges;
use crate::arena::keccak::{LANES_MAX, keccak256_many};
#[cfg(feature = "disk")]
use crate::bal::ExistenceLog;
use crate::bal::{BalColumns, Limits, decode_into};
use crate::exec::block::error::InvalidBlock;
use crate::exec::rules::fork::{ChainRules, Fork};
use crate::exec::rules::header::{check_against_parent, check_without_body};
use crate::exec::wire::{Header, header_alone};
use crate::executor::{Check, Roots, Unchecked};
use alloy_primitives::{B256, Bytes};
use rayon::prelude::*;

/// A block to apply without execution.
#[derive(Clone, Debug)]
pub struct ListedBlock {
    /// Rules of the block's fork and chain.
    pub rules: ChainRules,
    /// RLP of the block, of which only the header is read.
    pub block: Bytes,
    /// RLP of its block access list (EIP-7928).
    pub bal: Option<Bytes>,
}

impl ListedBlock {
    /// A block of which only the header is known. The log of a state on disk then has no body of it.
    pub fn of_header(rules: ChainRules, header: &Header, bal: Bytes) -> Self {
        Self { rules, block: header_alone(header).into(), bal: Some(bal) }
    }
}

/// What [`StateDb::apply`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Applied {
    /// Number of blocks.
    pub blocks: u64,
    /// Checks that were not made, each for at least one of the blocks. All others were made and passed.
    pub unchecked: Vec<Unchecked>,
}

/// Why [`StateDb::apply`] stopped. The blocks before the one that is named were applied; the last of them is the head.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ApplyError {
    /// The header or the list is invalid, or the list does not lead to the header's state root.
    #[error("block {number}: {fault}")]
    Invalid {
        /// Number of the block.
        number: u64,
        /// The rule that it breaks.
        fault: Box<InvalidBlock>,
    },
    /// A list of a fork before Cancun does not have all changes of its block.
    #[error("block {number}: lists of {} blocks do not have all changes; execute it instead", fork.name())]
    TooOld {
        /// Number of the block.
        number: u64,
        /// Its fork.
        fork: Fork,
    },
    /// The block has no list.
    #[error("block {number} has no block access list; give its list, or execute the block instead")]
    NoList {
        /// Number of the block.
        number: u64,
    },
    /// The state failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

/// A block whose list was decoded.
#[derive(Debug)]
struct Listed {
    head: Head,
    rules: ChainRules,
    #[cfg(feature = "disk")]
    block: Bytes,
    #[cfg(feature = "disk")]
    bal: Bytes,
}

impl StateDb {
    /// Makes `blocks`, which follow the head, a part of the chain by their headers and lists alone, on the threads of the
    /// current rayon pool. From Amsterdam on, headers commit to lists; a list of an older block is proven by the state
    /// root alone. Blocks before Cancun are refused. The transactions of a block may be missing.
    ///
    /// The memory needed is up to about fifteen times the length of the lists.
    ///
    /// # Errors
    /// [`ApplyError`]; the blocks before the one that it names are applied. With [`Roots::Last`] a block whose list does
    /// not lead to its header is found only if the state after a later block differs, too.
    pub fn apply(&mut self, blocks: &[ListedBlock], roots: Roots) -> Result<Applied, ApplyError> {
        self.drop_executed();
        let (listed, mut changes, fault) = self.decode(blocks);
        let mut step = if roots == Roots::Every { 1 } else { usize::MAX };
        let mut is_searching = roots == Roots::Every;
        let mut done = 0;
        while done < listed.len() {
            let end = done.saturating_add(step).min(listed.len());
            match self.apply_range(&listed[done..end], &mut changes[done..end])? {
                Ok(count) => {
                    // A block that cannot be merged with those before it is probably not the only one.
                    let is_whole = count == end - done;
                    step = if is_searching {
                        step
                    } else if is_whole {
                        step.saturating_mul(2)
                    } else {
                        count
                    };
                    done += count;
                }
                Err(produced) if end - done == 1 => {
                    let Header { number, state_root: claimed, .. } = listed[done].head.header;
                    let fault = Box::new(InvalidBlock::StateRoot { claimed, produced });
                    return Err(ApplyError::Invalid { number, fault });
                }
                Err(_) => {
                    step = (end - done).div_ceil(2);
                    is_searching = true;
                }
            }
        }
        let unchecked = unchecked(&listed, roots);
        fault.map_or_else(|| Ok(Applied { blocks: listed.len() as u64, unchecked }), Err)
    }

    /// Decodes blocks and checks all but their state roots, up to the first that is invalid.
    fn decode(&self, blocks: &[ListedBlock]) -> (Vec<Listed>, Vec<StateChanges>, Option<ApplyError>) {
        let first = self.head().number.saturating_add(1);
        // Lists of one group are hashed together.
        let group = blocks.len().div_ceil(rayon::current_num_threads()).clamp(1, LANES_MAX);
        let decode_group = |(at, blocks): (usize, &[ListedBlock])| {
            let list = |block: &'_ ListedBlock| -> Bytes { block.bal.clone().unwrap_or_default() };
            let lists: Vec<Bytes> = blocks.iter().map(list).collect();
            let lists: Vec<&[u8]> = lists.iter().map(|list| &list[..]).collect();
            let mut hashes = vec![B256::ZERO; lists.len()];
            keccak256_many(&lists, &mut hashes);
            let mut columns = BalColumns::default();
            let numbers = first.saturating_add((at * group) as u64)..;
            let decoded = blocks.iter().zip(hashes).zip(numbers);
            decoded.map(|((block, hash), number)| decode(block, hash, number, &mut columns)).collect::<Vec<_>>()
        };
        let decoded: Vec<Vec<_>> = blocks.par_chunks(group).enumerate().map(decode_group).collect();
        let (mut listed, mut changes): (Vec<Listed>, Vec<StateChanges>) = (Vec::new(), Vec::new());
        for (decoded, number) in decoded.into_iter().flatten().zip(first..) {
            let parent = listed.last().map_or(self.head(), |parent: &Listed| &parent.head.header);
            let linked = decoded.and_then(|(block, changed)| {
                let linked = check_against_parent(&block.rules, &block.head.header, parent);
                linked.map_err(|fault| invalid(number, InvalidBlock::Header(fault)))?;
                Ok((block, changed))
            });
            match linked {
                Ok((block, changed)) => {
                    listed.push(block);
                    changes.push(changed);
                }
                Err(error) => return (listed, changes, Some(error)),
            }
        }
        (listed, changes, None)
    }

    /// Applies blocks with one update of the tries: all of them, or as many as can be merged. Returns their number; if the
    /// root is not that of the last header, the root, and nothing is changed.
    fn apply_range(&mut self, blocks: &[Listed], changes: &mut [StateChanges]) -> Result<Result<usize, B256>, DbError> {
        let keeps_before = self.chain.reverts_after(blocks.len()) > 0 || !matches!(self.state, State::Memory(_));
        let (store, tries) = self.state.parts();
        let merged = merge(changes, store, keeps_before)?;
        let blocks = &blocks[..merged.befores.len()];
        let produced = tries.update(&merged.changes, store)?;
        if blocks.last().is_some_and(|last| last.head.header.state_root != produced) {
            tries.rollback();
            return Ok(Err(produced));
        }
        #[cfg(feature = "disk")]
        let nothing = ExistenceLog::default();
        let mut links: Vec<Link<'_>> = Vec::with_capacity(blocks.len());
        for (block, before) in blocks.iter().zip(&merged.befores) {
            links.push(Link {
                head: &block.head,
                before,
                #[cfg(feature = "disk")]
                block: &block.block,
                #[cfg(feature = "disk")]
                bal: &block.bal,
                #[cfg(feature = "disk")]
                existence_log: &nothing,
                #[cfg(feature = "disk")]
                clears_storage: false,
                #[cfg(feature = "disk")]
                has_root: false,
            });
        }
        #[cfg(feature = "disk")]
        if let Some(last) = links.last_mut() {
            last.has_root = true;
        }
        self.state.commit(&links, &[&merged.changes], self.chain.reverts_after(blocks.len()))?;
        blocks.iter().for_each(|block| self.chain.push(block.head.clone()));
        Ok(Ok(blocks.len()))
    }
}

fn invalid(number: u64, fault: InvalidBlock) -> ApplyError {
    ApplyError::Invalid { number, fault: Box::new(fault) }
}

/// Decodes a block whose list has the hash `hash`, and checks its header alone and its list.
fn decode(
    block: &ListedBlock,
    hash: B256,
    number: u64,
    columns: &mut BalColumns,
) -> Result<(Listed, StateChanges), ApplyError> {
    let fail = |fault| invalid(number, fault);
    let header = Header::of_block(&block.block).map_err(|error| fail(InvalidBlock::Wire(error)))?;
    let (rules, fork) = (block.rules, block.rules.fork);
    if fork < Fork::Cancun {
        return Err(ApplyError::TooOld { number, fork });
    }
    check_without_body(&rules, &header).map_err(|fault| fail(InvalidBlock::Header(fault)))?;
    let Some(bal) = &block.bal else { return Err(ApplyError::NoList { number }) };
    // The number of transactions, which limits indices, is not in the header.
    let limits = match fork {
        Fork::Cancun | Fork::Prague | Fork::Osaka => Limits::format_only(),
        _ => Limits::amsterdam(u32::MAX as usize, header.gas_limit),
    };
    decode_into(columns, bal, &limits).map_err(|error| fail(InvalidBlock::Bal(error)))?;
    if let Some(claimed) = header.block_access_list_hash.filter(|claimed| *claimed != hash) {
        return Err(fail(InvalidBlock::BalHash { claimed, produced: hash }));
    }
    let head = Head { hash: header.hash(), ancestors: Vec::new(), header };
    let listed = Listed {
        head,
        rules,
        #[cfg(feature = "disk")]
        block: block.block.clone(),
        #[cfg(feature = "disk")]
        bal: bal.clone(),
    };
    Ok((listed, columns.last_values()))
}

/// The checks that were not made.
fn unchecked(blocks: &[Listed], roots: Roots) -> Vec<Unchecked> {
    if blocks.is_empty() {
        return Vec::new();
    }
    let reason = "nothing was executed";
    let checks = [Check::Transactions, Check::Gas, Check::ReceiptsRoot, Check::Requests];
    let mut unchecked = checks.map(|check| Unchecked { check, reason }).to_vec();
    if blocks.iter().any(|block| block.head.header.block_access_list_hash.is_none()) {
        let reason = "the header has no hash of its list, which is proven by the state root alone";
        unchecked.push(Unchecked { check: Check::ListHash, reason });
    }
    if roots == Roots::Last && blocks.len() > 1 {
        let reason = "compared at the end of each range of blocks alone";
        unchecked.push(Unchecked { check: Check::StateRoot, reason });
    }
    unchecked
}
