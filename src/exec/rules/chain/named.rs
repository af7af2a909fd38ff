//! Configurations of the public chains.
//!
//! Out: [`ChainConfig`]s.
//! Sources: go-ethereum `params/config.go`; the first proof-of-stake blocks, and Sepolia's
//! Amsterdam, from the `alloy-hardforks` crate (0.4.11). `tests` checks all numbers against the
//! fork ids (EIP-2124) that nodes announce.

use super::{ChainConfig, ChainError, Step};
use crate::exec::rules::fork::{BlobSchedule, MAINNET_DEPOSIT_CONTRACT};
use alloy_primitives::{Address, U256, address};

impl ChainConfig {
    /// Ethereum's mainnet. Amsterdam is not scheduled.
    pub const fn mainnet() -> Self {
        let chain = Self::frontier(1)
            .with(Step::Homestead, 1_150_000)
            .with(Step::Dao, 1_920_000)
            .with(Step::TangerineWhistle, 2_463_000)
            .with(Step::Eip155, 2_675_000)
            .with(Step::SpuriousDragon, 2_675_000)
            .with(Step::Byzantium, 4_370_000)
            .with(Step::Constantinople, 7_280_000)
            .with(Step::Petersburg, 7_280_000)
            .with(Step::Istanbul, 9_069_000)
            .with(Step::MuirGlacier, 9_200_000)
            .with(Step::Berlin, 12_244_000)
            .with(Step::London, 12_965_000)
            .with(Step::ArrowGlacier, 13_773_000)
            .with(Step::GrayGlacier, 15_050_000)
            .with(Step::Paris, 15_537_394)
            .with(Step::Shanghai, 1_681_338_455)
            .with(Step::Cancun, 1_710_338_135)
            .with(Step::Prague, 1_746_612_311)
            .with(Step::Osaka, 1_764_798_551)
            .with(Step::Bpo1, 1_765_290_071)
            .with(Step::Bpo2, 1_767_747_671);
        let total_difficulty = U256::from_limbs([0xd808_a128_d738_0000, 0x0c70, 0, 0]);
        Self { dao_support: true, ..chain.public(MAINNET_DEPOSIT_CONTRACT, total_difficulty) }
    }

    /// Sepolia.
    pub const fn sepolia() -> Self {
        Self::frontier(11_155_111)
            .since_genesis(Step::London)
            .with(Step::MuirGlacier, 0)
            .with(Step::Paris, 1_450_409)
            .with(Step::MergeNetsplit, 1_735_371)
            .with(Step::Shanghai, 1_677_557_088)
            .with(Step::Cancun, 1_706_655_072)
            .with(Step::Prague, 1_741_159_776)
            .with(Step::Osaka, 1_760_427_360)
            .with(Step::Bpo1, 1_761_017_184)
            .with(Step::Bpo2, 1_761_607_008)
            .with(Step::Amsterdam, 1_791_294_816)
            .public(
                address!("7f02C3E3c98b133055B8B348B2Ac625669Ed295D"),
                U256::from_limbs([17_000_000_000_000_000, 0, 0, 0]),
            )
    }

    /// Hoodi. Amsterdam is not scheduled: EIP-7773 has no time for it yet.
    pub const fn hoodi() -> Self {
        Self::frontier(560_048)
            .since_genesis(Step::London)
            .with(Step::MuirGlacier, 0)
            .with(Step::MergeNetsplit, 0)
            .with(Step::Shanghai, 0)
            .with(Step::Cancun, 0)
            .with(Step::Prague, 1_742_999_832)
            .with(Step::Osaka, 1_761_677_592)
            .with(Step::Bpo1, 1_762_365_720)
            .with(Step::Bpo2, 1_762_955_544)
            .public(MAINNET_DEPOSIT_CONTRACT, U256::ZERO)
    }

    /// Holesky, which was shut down before Amsterdam.
    pub const fn holesky() -> Self {
        Self::frontier(17_000)
            .since_genesis(Step::London)
            .with(Step::Shanghai, 1_696_000_704)
            .with(Step::Cancun, 1_707_305_664)
            .with(Step::Prague, 1_740_434_112)
            .with(Step::Osaka, 1_759_308_480)
            .with(Step::Bpo1, 1_759_800_000)
            .with(Step::Bpo2, 1_760_389_824)
            .public(address!("4242424242424242424242424242424242424242"), U256::ZERO)
    }

    /// The public chain with this name: `mainnet`, `sepolia`, `hoodi` or `holesky`.
    ///
    /// # Errors
    /// [`ChainError::UnknownChain`] for any other name.
    pub fn named(name: &str) -> Result<Self, ChainError> {
        Ok(match name {
            "mainnet" => Self::mainnet(),
            "sepolia" => Self::sepolia(),
            "hoodi" => Self::hoodi(),
            "holesky" => Self::holesky(),
            _ => return Err(ChainError::UnknownChain(name.to_owned())),
        })
    }

    /// The public chain with this chain id.
    pub fn of_chain_id(chain_id: u64) -> Option<Self> {
        let all = [Self::mainnet(), Self::sepolia(), Self::hoodi(), Self::holesky()];
        all.into_iter().find(|chain| chain.chain_id == chain_id)
    }

    /// The same with every fork up to `last` in force from the genesis, except for optional steps
    /// (the DAO fork, and delays of the difficulty bomb alone).
    const fn since_genesis(mut self, last: Step) -> Self {
        let mut index = 0;
        while index <= last as usize {
            let step = Step::ALL[index];
            if !step.row().optional {
                self = self.with(step, 0);
            }
            index += 1;
        }
        self
    }

    const fn public(self, deposit_contract: Address, terminal_total_difficulty: U256) -> Self {
        let chain = self.with_blobs(Step::Bpo1, BlobSchedule::BPO1).with_blobs(Step::Bpo2, BlobSchedule::BPO2);
        Self { deposit_contract, terminal_total_difficulty: Some(terminal_total_difficulty), ..chain }
    }
}
