//! The rules of a block: between the header's struct and the library's.

#![allow(unsafe_code, reason = "the functions take pointers of the host")]

use crate::failure::{Failure, status_of};
use crate::pointer;
use crate::types::{BalBytes, BalRules, BalStatus};
use balustrade::chain::{BlobSchedule, ChainConfig, DaoExtraData, DaoTransfer};
use balustrade::{ChainRules, Fork, Header};

const DAO_TRANSFERS: [DaoTransfer; 3] = [DaoTransfer::None, DaoTransfer::First, DaoTransfer::Last];
const DAO_EXTRA_DATA: [DaoExtraData; 3] = [DaoExtraData::Free, DaoExtraData::Required, DaoExtraData::Forbidden];

impl BalRules {
    pub(crate) fn check(&self) -> Result<ChainRules, Failure> {
        let fork = fork(self.fork)?;
        if fork >= Fork::Cancun && self.blob_update_fraction == 0 {
            return Err(Failure::usage("bal_rules.blob_update_fraction is 0"));
        }
        let row = |name: &str, value: u8| Failure::usage(format!("bal_rules.{name} is {value}"));
        Ok(ChainRules {
            fork,
            chain_id: self.chain_id,
            blob_schedule: BlobSchedule {
                target: self.blob_target,
                max: self.blob_max,
                base_fee_update_fraction: self.blob_update_fraction,
            },
            deposit_contract: self.deposit_contract.into(),
            dao_transfer: *DAO_TRANSFERS
                .get(usize::from(self.dao_transfer))
                .ok_or_else(|| row("dao_transfer", self.dao_transfer))?,
            dao_extra_data: *DAO_EXTRA_DATA
                .get(usize::from(self.dao_extra_data))
                .ok_or_else(|| row("dao_extra_data", self.dao_extra_data))?,
            bomb_delay: self.bomb_delay,
            storage_collision: match self.storage_collision {
                0 => false,
                1 => true,
                other => return Err(row("storage_collision", other)),
            },
        })
    }
}

impl From<&ChainRules> for BalRules {
    fn from(rules: &ChainRules) -> Self {
        let position = |at: Option<usize>| at.map_or(0, |at| at as u8);
        Self {
            size: size_of::<Self>() as u32,
            fork: rules.fork as u32,
            chain_id: rules.chain_id,
            blob_target: rules.blob_schedule.target,
            blob_max: rules.blob_schedule.max,
            blob_update_fraction: rules.blob_schedule.base_fee_update_fraction,
            bomb_delay: rules.bomb_delay,
            deposit_contract: rules.deposit_contract.into(),
            dao_transfer: position(DAO_TRANSFERS.iter().position(|dao| *dao == rules.dao_transfer)),
            dao_extra_data: position(DAO_EXTRA_DATA.iter().position(|dao| *dao == rules.dao_extra_data)),
            storage_collision: u8::from(rules.storage_collision),
            reserved: 0,
        }
    }
}

fn fork(number: u32) -> Result<Fork, Failure> {
    let known = Fork::ALL.into_iter().find(|fork| *fork as u32 == number);
    known.ok_or_else(|| Failure::usage(format!("{number} is no bal_fork")))
}

/// Mainnet's rules of a bal_fork. The blob parameters are those that came with the fork.
///
/// # Safety
/// `out` is null or points to a bal_rules.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bal_rules_mainnet(fork_number: u32, out: *mut BalRules) -> BalStatus {
    status_of(|| {
        // SAFETY: the caller's guarantee.
        let out = unsafe { pointer::place(out, "out") }?;
        out.set(BalRules::from(&ChainRules::mainnet(fork(fork_number)?)));
        Ok(())
    })
}

/// The rules of a block (RLP; its header is read) of mainnet, sepolia, hoodi or holesky. Another chain: BAL_USAGE.
/// A header that does not decode: BAL_INVALID.
///
/// # Safety
/// `block` lends bytes; `out` is null or points to a bal_rules.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bal_rules_of_chain(chain_id: u64, block: BalBytes, out: *mut BalRules) -> BalStatus {
    status_of(|| {
        // SAFETY: the caller's guarantee.
        let out = unsafe { pointer::place(out, "out") }?;
        // SAFETY: the caller's guarantee.
        let block = unsafe { pointer::bytes(block, "block") }?;
        let chain = ChainConfig::of_chain_id(chain_id);
        let chain = chain.ok_or_else(|| Failure::usage(format!("the chain {chain_id} is not known")))?;
        let header = Header::of_block(block);
        let header = header.map_err(|error| Failure::invalid(&balustrade::InvalidBlock::Wire(error)))?;
        out.set(BalRules::from(&chain.rules_of(&header)));
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::BalFork;

    #[test]
    fn rules_survive_the_way_through_the_struct_of_the_header() {
        for fork in Fork::ALL {
            let rules = ChainRules::mainnet(fork);
            assert_eq!(BalRules::from(&rules).check().as_ref(), Ok(&rules));
        }
        let dao = ChainConfig::mainnet().rules(1_920_000, 0);
        assert_eq!(BalRules::from(&dao).check().as_ref(), Ok(&dao));
        assert_ne!(dao.dao_transfer, DaoTransfer::None);
    }

    #[test]
    fn numbers_without_a_meaning_are_refused() {
        let good = BalRules::from(&ChainRules::mainnet(Fork::Amsterdam));
        let bad = [
            BalRules { fork: 16, ..good },
            BalRules { blob_update_fraction: 0, ..good },
            BalRules { dao_transfer: 3, ..good },
            BalRules { dao_extra_data: 255, ..good },
            BalRules { storage_collision: 2, ..good },
        ];
        for rules in bad {
            assert_eq!(rules.check().map_err(|failure| failure.status), Err(BalStatus::BalUsage), "{rules:?}");
        }
    }

    #[test]
    fn forks_of_the_header_are_those_of_the_library() {
        assert_eq!(BalFork::BalFrontier as u32, Fork::Frontier as u32);
        assert_eq!(BalFork::BalLondon as u32, Fork::London as u32);
        assert_eq!(BalFork::BalAmsterdam as u32, Fork::Amsterdam as u32);
        assert_eq!(Fork::ALL.len(), BalFork::BalAmsterdam as usize + 1);
    }
}
