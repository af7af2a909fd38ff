//! Validation of ommers: which headers of side chains a proof-of-work block may include.
//!
//! In: a decoded block, and those of its ancestors that the caller has. Out: the first violated
//! rule, or the reason why a rule could not be checked for lack of ancestors.
//! Spec: Yellow Paper 11.1, execution-specs `validate_ommers`.
//! Relies on: the block's own header has been checked.
//! Not here: the ommers hash (`executor`) and rewards (`system`). The ethash seal of ommers is not
//! checked anywhere.

use super::chain::ChainConfig;
use super::header::{EMPTY_OMMERS_HASH, HeaderFault, check_against_parent, check_bounds, check_presence};
use crate::exec::wire::{Block, Header, WireError};
use alloy_primitives::{B256, Bytes};

#[cfg(test)]
mod tests;

/// Maximum number of ommers of one block.
pub const OMMERS_MAX: usize = 2;
/// Maximum difference between the numbers of a block and its ommer.
pub const OMMER_DEPTH_MAX: u64 = 6;
/// Number of ancestors that suffice to check all ommer rules: the last one is the parent of the
/// deepest ommer.
pub const ANCESTORS_NEEDED: usize = OMMER_DEPTH_MAX as usize + 1;

/// An ancestor of the executed block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ancestor {
    header: Header,
    hash: B256,
    /// Hashes of its ommers; `None` if they are not known.
    ommers: Option<Vec<B256>>,
}

impl Ancestor {
    /// From the header alone. The block's ommers are then known only if the header's ommers hash is
    /// that of the empty list.
    pub fn of_header(header: Header) -> Self {
        let ommers = (header.ommers_hash == EMPTY_OMMERS_HASH).then(Vec::new);
        Self { hash: header.hash(), ommers, header }
    }

    /// From the whole block. If the ommers do not match the header's ommers hash, they count as
    /// unknown.
    ///
    /// # Errors
    /// [`WireError`] when the block's bytes are malformed.
    pub fn of_block(bytes: Bytes) -> Result<Self, WireError> {
        let block = Block::decode(bytes)?;
        let known = block.ommers_hash() == block.header.ommers_hash;
        let ommers = known.then(|| block.ommers.iter().map(Header::hash).collect());
        Ok(Self { hash: block.header_hash, ommers, header: block.header })
    }

    /// The header.
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// The block's hash.
    pub const fn hash(&self) -> B256 {
        self.hash
    }
}

/// The chain and the ancestors against which a block's ommers are checked.
#[derive(Clone, Copy, Debug)]
pub struct Ancestry<'a> {
    /// The chain's configuration. An ommer must follow the rules for its own number and time, which
    /// can be those of an older fork than the block's.
    pub chain: &'a ChainConfig,
    /// The ancestors, the parent first, without a gap; [`ANCESTORS_NEEDED`] of them, or all down to
    /// the genesis, suffice. Blocks from the first one that is not the parent of the block before
    /// it are ignored.
    pub blocks: &'a [Ancestor],
}

/// The rule that an ommer violates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OmmerFault {
    /// The block has more than two ommers.
    #[error("a block may have two ommers, this one has {0}")]
    TooMany(usize),
    /// The block includes the ommer twice.
    #[error("the block includes it twice")]
    Duplicate,
    /// The ommer's number is not one to six below the block's, or it is 0.
    #[error("its number is {number}, the block's {block}; it must be one to six less, and not 0")]
    Depth {
        /// The ommer's number.
        number: u64,
        /// The block's number.
        block: u64,
    },
    /// The ommer is an ancestor of the block.
    #[error("it is an ancestor of the block")]
    Ancestor,
    /// The ommer has the same parent as the block.
    #[error("it has the same parent as the block")]
    Brother,
    /// The ommer's parent is not an ancestor of the block.
    #[error("its parent is not an ancestor of the block")]
    UnknownParent,
    /// An ancestor has already included the ommer.
    #[error("an ancestor has already included it")]
    Included,
    /// The ommer's header violates a rule.
    #[error("header: {0}")]
    Header(HeaderFault),
}

impl OmmerFault {
    /// The exception names of the execution-spec-tests that correspond to this fault.
    pub(in crate::exec) fn eest_classes(&self) -> &'static [&'static str] {
        match self {
            Self::TooMany(_) => &["BlockException.TOO_MANY_UNCLES"],
            Self::Duplicate => &["BlockException.UNCLE_IS_BROTHER", "BlockException.UNCLE_IN_CHAIN"],
            Self::Included => &["BlockException.UNCLE_IN_CHAIN"],
            Self::Ancestor => &["BlockException.UNCLE_IS_ANCESTOR", "BlockException.UNCLE_IN_CHAIN"],
            Self::Brother => &["BlockException.UNCLE_IS_BROTHER", "BlockException.UNCLE_PARENT_INCORRECT"],
            Self::Depth { .. } => &["BlockException.UNCLE_PARENT_INCORRECT", "BlockException.INVALID_BLOCK_NUMBER"],
            Self::UnknownParent => &["BlockException.UNCLE_UNKNOWN_PARENT", "BlockException.UNCLE_PARENT_INCORRECT"],
            Self::Header(fault) => fault.eest_classes(),
        }
    }
}

/// Checks a block's ommers. If ancestors are missing, only the rules that do not need them are
/// checked, and the result is the reason; `None`: all rules were checked.
///
/// # Errors
/// The position of the first invalid ommer, and the rule that it violates.
pub fn check_ommers(
    block: &Block,
    ancestry: Option<Ancestry<'_>>,
) -> Result<Option<&'static str>, (usize, OmmerFault)> {
    let ommers = &block.ommers;
    if ommers.len() > OMMERS_MAX {
        return Err((OMMERS_MAX, OmmerFault::TooMany(ommers.len())));
    }
    let hashes: Vec<B256> = ommers.iter().map(Header::hash).collect();
    let ancestors = ancestry.map_or(&[][..], |ancestry| linked(block, ancestry.blocks));
    let mut unchecked = None;
    for (index, ommer) in ommers.iter().enumerate() {
        let at = |fault| (index, fault);
        if hashes[..index].contains(&hashes[index]) {
            return Err(at(OmmerFault::Duplicate));
        }
        if ancestors.iter().any(|ancestor| ancestor.hash == hashes[index]) {
            return Err(at(OmmerFault::Ancestor));
        }
        let named = |ancestor: &Ancestor| ancestor.ommers.as_ref().is_some_and(|known| known.contains(&hashes[index]));
        if ancestors.iter().any(named) {
            return Err(at(OmmerFault::Included));
        }
        if ommer.parent_hash == block.header.parent_hash {
            return Err(at(OmmerFault::Brother));
        }
        let (number, block) = (ommer.number, block.header.number);
        let depth = block.saturating_sub(number);
        if number == 0 || !(1..=OMMER_DEPTH_MAX).contains(&depth) {
            return Err(at(OmmerFault::Depth { number, block }));
        }
        let Some(ancestry) = ancestry else {
            unchecked = unchecked.or(Some("the headers of the ancestors are not given"));
            continue;
        };
        let rules = ancestry.chain.rules(ommer.number, ommer.timestamp);
        let alone = check_presence(&rules, ommer).and_then(|()| check_bounds(&rules, ommer));
        alone.map_err(|fault| at(OmmerFault::Header(fault)))?;
        match ancestors.iter().find(|ancestor| ancestor.hash == ommer.parent_hash) {
            Some(parent) => {
                check_against_parent(&rules, ommer, &parent.header).map_err(|fault| at(OmmerFault::Header(fault)))?
            }
            // The parent's number is one below the ommer's. If the ancestor with that number is
            // given, the parent is known not to be an ancestor.
            None if ancestors.len() as u64 > depth => return Err(at(OmmerFault::UnknownParent)),
            None => unchecked = unchecked.or(Some("not all headers of the ancestors are given")),
        }
        // Ancestors that could have included this ommer: those with a greater number than the
        // ommer.
        let nephews = ancestors.iter().take(depth as usize - 1);
        if nephews.clone().any(|ancestor| ancestor.ommers.is_none()) || nephews.len() as u64 + 1 < depth {
            unchecked = unchecked.or(Some("the ommers of the ancestors are not given"));
        }
    }
    Ok(unchecked)
}

/// The leading part of `given` in which each block is the parent of the one before it.
fn linked<'a>(block: &Block, given: &'a [Ancestor]) -> &'a [Ancestor] {
    let mut expected = block.header.parent_hash;
    let len = given.iter().take_while(|ancestor| {
        let is_next = ancestor.hash == expected;
        expected = ancestor.header.parent_hash;
        is_next
    });
    &given[..len.count().min(ANCESTORS_NEEDED)]
}
