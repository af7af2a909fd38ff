//! Ommers: which headers of side chains a proof-of-work block may name.
//!
//! In: a decoded block, its ancestors as far as the caller has them. Out: the first fault, or the reason why a rule could
//! not be checked; a rule that was not checked is never counted as kept.
//! Sources: yellow paper 11.1, execution-specs `validate_ommers`. The ommers hash is the caller's (`executor`), rewards
//! are `system`'s, the ethash seal of an ommer is nobody's.
//! Relies on: the block's own header has been checked.

use super::chain::ChainConfig;
use super::header::{EMPTY_OMMERS_HASH, HeaderFault, check_against_parent, check_bounds, check_presence};
use crate::exec::wire::{Block, Header, WireError};
use alloy_primitives::{B256, Bytes};

#[cfg(test)]
mod tests;

/// Most ommers of one block.
pub const OMMERS_MAX: usize = 2;
/// How far below its nephew an ommer may lie.
pub const OMMER_DEPTH_MAX: u64 = 6;
/// How many ancestors all rules about ommers need: the deepest ommer's parent is the last of them.
pub const ANCESTORS_NEEDED: usize = OMMER_DEPTH_MAX as usize + 1;

/// A block before the one that is executed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ancestor {
    header: Header,
    hash: B256,
    /// Hashes of its ommers; none where they are not known.
    ommers: Option<Vec<B256>>,
}

impl Ancestor {
    /// From the header alone. The block's ommers are known only where the header says that there are none.
    pub fn of_header(header: Header) -> Self {
        let ommers = (header.ommers_hash == EMPTY_OMMERS_HASH).then(Vec::new);
        Self { hash: header.hash(), ommers, header }
    }

    /// From the whole block. Ommers that the header does not commit to are no knowledge.
    ///
    /// # Errors
    /// The block's bytes are malformed.
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

/// What a block's ommers are checked against.
#[derive(Clone, Copy, Debug)]
pub struct Ancestry<'a> {
    /// The chain: an ommer follows the rules of its own number and time, which may be an older fork's than its nephew's.
    pub chain: &'a ChainConfig,
    /// The ancestors, the parent first, without a gap; [`ANCESTORS_NEEDED`] of them, or down to the genesis, are enough.
    /// From the first one that is not the parent of the one before it, they are ignored.
    pub blocks: &'a [Ancestor],
}

/// What is wrong with an ommer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OmmerFault {
    /// The block has more than [`OMMERS_MAX`].
    #[error("a block may have two ommers, this one has {0}")]
    TooMany(usize),
    /// The block names it twice.
    #[error("the block names it twice")]
    Duplicate,
    /// It lies too deep, or not below the block.
    #[error("its number is {number}, the block's {block}: one to six less are allowed, and never 0")]
    Depth {
        /// The ommer's number.
        number: u64,
        /// The block's.
        block: u64,
    },
    /// It is an ancestor of the block.
    #[error("it is an ancestor of the block")]
    Ancestor,
    /// It has the same parent as the block.
    #[error("it has the same parent as the block")]
    Brother,
    /// Its parent is no ancestor of the block.
    #[error("its parent is no ancestor of the block")]
    UnknownParent,
    /// An ancestor has named it already.
    #[error("an ancestor has named it already")]
    Included,
    /// Its header breaks a rule.
    #[error("header: {0}")]
    Header(HeaderFault),
}

impl OmmerFault {
    /// The exception classes of the execution-spec tests that this fault answers to.
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

/// Checks a block's ommers; the error says which of them breaks a rule. Where ancestors are missing, the rules that need
/// none of them are checked all the same, and the result says why the others were not.
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
            // A parent has the number before its child's: it is known to be no ancestor if that one is at hand.
            None if ancestors.len() as u64 > depth => return Err(at(OmmerFault::UnknownParent)),
            None => unchecked = unchecked.or(Some("not all headers of the ancestors are given")),
        }
        // Blocks that could have named this ommer: those above it, but not the block itself.
        let nephews = ancestors.iter().take(depth as usize - 1);
        if nephews.clone().any(|ancestor| ancestor.ommers.is_none()) || nephews.len() as u64 + 1 < depth {
            unchecked = unchecked.or(Some("the ommers of the ancestors are not given"));
        }
    }
    Ok(unchecked)
}

/// The given ancestors as far as they are ancestors: each one the parent of the one before.
fn linked<'a>(block: &Block, given: &'a [Ancestor]) -> &'a [Ancestor] {
    let mut expected = block.header.parent_hash;
    let len = given.iter().take_while(|ancestor| {
        let is_next = ancestor.hash == expected;
        expected = ancestor.header.parent_hash;
        is_next
    });
    &given[..len.count().min(ANCESTORS_NEEDED)]
}
