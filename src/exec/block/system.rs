//! The phases before and after a block's transactions: system calls, withdrawals, rewards, requests.
//!
//! In: the block, a machine over the state before the phase. Out: the settled state after it, and the requests.
//! Each phase is one task: block access index 0 before n transactions, n + 1 after them.
//! Relies on: `tx` for system calls. Sources: EIP-779, 2935, 4788, 4895, 6110, 7002, 7251, 7685, 8282.
//! Not here: transactions (`tx`), the requests hash (`verify`).

use super::error::InvalidBlock;
use crate::arena::TxIndex;
use crate::arena::store::KECCAK_EMPTY;
use crate::exec::evm::halt::{Fault, Halt};
use crate::exec::evm::machine::{Evm, Status};
use crate::exec::interpreter::Runner;
use crate::exec::rules::dao::{DRAINED, REFUND_CONTRACT};
use crate::exec::rules::fork::{DaoTransfer, Fork, ForkRules};
use crate::exec::wire::{Block, Header};
use alloy_primitives::{Address, B256, U256, address, b256};

/// Contract that stores parent beacon block roots (EIP-4788).
pub const BEACON_ROOTS: Address = address!("000F3df6D732807Ef1319fB7B8bB8522d0Beac02");
/// Contract that stores ancestor block hashes (EIP-2935).
pub const HISTORY_STORAGE: Address = address!("0000F90827F1C53a10cb7A02335B175320002935");
/// Contract that queues withdrawal requests (EIP-7002).
pub const WITHDRAWAL_REQUESTS: Address = address!("00000961Ef480Eb55e80D19ad83579A64c007002");
/// Contract that queues consolidation requests (EIP-7251).
pub const CONSOLIDATION_REQUESTS: Address = address!("0000BBdDc7CE488642fb579F8B00f3a590007251");
/// Contract that queues builder deposit requests (EIP-8282).
pub const BUILDER_DEPOSITS: Address = address!("0000bff46984e3725691fa540a8c7589300d8282");
/// Contract that queues builder exit requests (EIP-8282).
pub const BUILDER_EXITS: Address = address!("000064d678505ad48f8ccb093bc65613800e8282");

/// All system contracts. Their calls read slots without using block gas. [`only_uses_own_storage`] tells whether a call
/// can read other storage, too.
pub const SYSTEM_CONTRACTS: [Address; 6] =
    [BEACON_ROOTS, HISTORY_STORAGE, WITHDRAWAL_REQUESTS, CONSOLIDATION_REQUESTS, BUILDER_DEPOSITS, BUILDER_EXITS];

/// Code hashes from these EIPs, by contract. None of these codes calls, creates or self-destructs. EIP-7251 has two:
/// the code on mainnet, and that of the execution-spec tests.
const STANDARD_CODES: [(Address, &[B256]); 6] = [
    (BEACON_ROOTS, &[b256!("f57acd40259872606d76197ef052f3d35588dadf919ee1f0e3cb9b62d3f4b02c")]),
    (HISTORY_STORAGE, &[b256!("6e49e66782037c0555897870e29fa5e552daf4719552131a0abce779daec0a5d")]),
    (WITHDRAWAL_REQUESTS, &[b256!("0345a365d2f4c5975b9f1599abe0a2ee76b7a3a731bc68781bd04c84e4858f50")]),
    (
        CONSOLIDATION_REQUESTS,
        &[
            b256!("78c6cb5202685228bbcbfb992b1c4e116c7ec5ef11e25b8e92716cfc628ddd60"),
            b256!("af54b3a24a530e342bfc2f9f135e77c58588ba05f9fadd81e41b45e1ac403c2c"),
        ],
    ),
    (BUILDER_DEPOSITS, &[b256!("1dd29c1e0dbc3ab670d229dbd3438003ec9015c1df9058beeb64ff301b60b98d")]),
    (BUILDER_EXITS, &[b256!("90a0b24eb190d6c50f00f6f751dc4c2778658abf3631aceb80586c43f8bd9f2f")]),
];

/// Whether a system call of this contract with this code accesses only the contract's own storage: true if the code is
/// that of the contract's EIP, or empty.
pub fn only_uses_own_storage(contract: &Address, code_hash: &B256) -> bool {
    let standard = STANDARD_CODES.iter().find(|(address, _)| address == contract);
    *code_hash == KECCAK_EMPTY || standard.is_some_and(|(_, hashes)| hashes.contains(code_hash))
}

/// First topic of the deposit contract's event (EIP-6110).
const DEPOSIT_TOPIC: B256 = b256!("649bbc62d0e31342afea4e5cd82d4049e7e1ee912fc0889aa790803be39038c5");

/// Request type (EIP-7685) and address of each contract that is called for requests after the transactions.
pub fn request_contracts(fork: Fork) -> &'static [(u8, Address)] {
    const ALL: [(u8, Address); 4] =
        [(0x01, WITHDRAWAL_REQUESTS), (0x02, CONSOLIDATION_REQUESTS), (0x03, BUILDER_DEPOSITS), (0x04, BUILDER_EXITS)];
    match fork {
        _ if fork >= Fork::Amsterdam => &ALL,
        _ if fork >= Fork::Prague => &ALL[..2],
        _ => &[],
    }
}

/// Why a phase failed.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum PhaseError {
    /// The block is invalid.
    Invalid(Box<InvalidBlock>),
    /// Execution was aborted: a store error, cancellation, or an access to an unlisted account or slot.
    Fault(Fault),
}

impl From<Fault> for PhaseError {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// The proof-of-work rewards of a block.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rewards {
    /// Reward in wei of a block without ommers; `None`: nothing is credited, and the beneficiary is not accessed.
    pub block: Option<U256>,
    /// Beneficiary of each ommer, and by how much its number is below the block's; 8 and more give no reward.
    pub ommers: Vec<(Address, u64)>,
}

impl Rewards {
    /// The rewards that the fork gives to this block.
    pub fn of(rules: &ForkRules, block: &Block) -> Self {
        let reward = rules.reward();
        let distance = |ommer: &Header| block.header.number.saturating_sub(ommer.number);
        Self {
            block: (!reward.is_zero()).then_some(reward),
            ommers: block.ommers.iter().map(|ommer| (ommer.coinbase, distance(ommer))).collect(),
        }
    }
}

/// What the phases of a block need besides its body: the call data of system calls, the rewards. It is stored outside
/// the machine, which borrows it.
#[derive(Clone, Debug, Default)]
pub struct SystemInputs {
    parent_beacon_root: B256,
    parent_hash: B256,
    /// Credited after the transactions.
    pub rewards: Rewards,
}

impl SystemInputs {
    /// The inputs of this block.
    pub fn of(rules: &ForkRules, block: &Block) -> Self {
        Self {
            parent_beacon_root: block.header.parent_beacon_root.unwrap_or_default(),
            parent_hash: block.header.parent_hash,
            rewards: Rewards::of(rules, block),
        }
    }
}

impl<'b> Evm<'b> {
    /// Runs the task at index 0: DAO transfer (EIP-779), beacon root call (EIP-4788), parent hash call (EIP-2935).
    /// Afterwards the state is settled but not committed.
    pub fn pre_execution(&mut self, inputs: &'b SystemInputs, runner: &mut Runner) -> Result<(), PhaseError> {
        self.state.begin_system_task();
        if self.chain.dao_transfer == DaoTransfer::First {
            self.dao_transfer().map_err(|_| self.stopped())?;
            self.state.settle(self.rules);
        }
        // A block stays valid if one of these calls fails or its contract has no code.
        if self.since(Fork::Cancun) {
            self.system_call(&BEACON_ROOTS, inputs.parent_beacon_root.as_slice(), runner)?;
        }
        if self.since(Fork::Prague) {
            self.system_call(&HISTORY_STORAGE, inputs.parent_hash.as_slice(), runner)?;
        }
        Ok(())
    }

    /// Runs the task at index n + 1: mainnet's DAO transfer, withdrawals, block rewards, then the request contracts
    /// in type order. Appends their requests to `requests`, type byte first; empty ones are omitted.
    pub fn post_execution(
        &mut self,
        inputs: &SystemInputs,
        block: &Block,
        requests: &mut Vec<Vec<u8>>,
        runner: &mut Runner,
    ) -> Result<(), PhaseError> {
        self.state.begin_system_task();
        if self.chain.dao_transfer == DaoTransfer::Last {
            self.dao_transfer().map_err(|_| self.stopped())?;
        }
        self.credits(block, &inputs.rewards).map_err(|_| self.stopped())?;
        self.state.settle(self.rules);
        for (request_type, contract) in request_contracts(self.rules.fork) {
            let invalid = match self.system_call(contract, &[], runner)? {
                None => InvalidBlock::SystemContractEmpty(*contract),
                Some(Status::Revert | Status::Halt(_)) => InvalidBlock::SystemCallFailed(*contract),
                Some(Status::Success) => {
                    if !self.return_data.is_empty() {
                        let mut request = Vec::with_capacity(1 + self.return_data.len());
                        request.push(*request_type);
                        request.extend_from_slice(&self.return_data);
                        requests.push(request);
                    }
                    continue;
                }
            };
            return Err(PhaseError::Invalid(Box::new(invalid)));
        }
        Ok(())
    }

    fn stopped(&self) -> PhaseError {
        PhaseError::Fault(self.state.fault.clone().unwrap_or(Fault::Cancelled))
    }

    /// Withdrawals (EIP-4895) and proof-of-work rewards.
    fn credits(&mut self, block: &Block, rewards: &Rewards) -> Result<(), Halt> {
        for withdrawal in block.withdrawals.iter().flatten() {
            let amount = U256::from(withdrawal.amount_gwei) * U256::from(1_000_000_000u64);
            self.credit(&withdrawal.address, amount)?;
        }
        if let Some(reward) = rewards.block {
            for (beneficiary, distance) in &rewards.ommers {
                self.credit(beneficiary, reward * U256::from(8 - distance.min(&8)) / U256::from(8))?;
            }
            let nephews = reward / U256::from(32) * U256::from(rewards.ommers.len());
            self.credit(&block.header.coinbase, reward + nephews)?;
        }
        Ok(())
    }

    fn credit(&mut self, address: &Address, amount: U256) -> Result<(), Halt> {
        let id = self.state.account_id(address)?;
        self.state.load(id)?;
        self.state.credit(id, amount);
        Ok(())
    }

    /// EIP-779: moves the balances of the DAO and its child DAOs to the refund contract.
    fn dao_transfer(&mut self) -> Result<(), Halt> {
        let beneficiary = self.state.account_id(&REFUND_CONTRACT)?;
        self.state.load(beneficiary)?;
        for address in &DRAINED {
            let id = self.state.account_id(address)?;
            self.state.load(id)?;
            let balance = self.state.balance(id);
            self.state.transfer(id, beneficiary, balance);
        }
        Ok(())
    }
}

/// Whether the DAO transfer of EIP-779 debits or credits this account.
pub fn takes_part_in_dao_transfer(address: &Address) -> bool {
    *address == REFUND_CONTRACT || DRAINED.contains(address)
}

/// Appends the deposit requests in a transaction's logs (EIP-6110) to `out`, without a type byte.
///
/// # Errors
/// [`InvalidBlock::DepositLog`] for a deposit event with another layout.
pub fn collect_deposits<'a>(
    deposit_contract: &Address,
    index: TxIndex,
    logs: impl Iterator<Item = (&'a Address, &'a [B256], &'a [u8])>,
    out: &mut Vec<u8>,
) -> Result<(), InvalidBlock> {
    for (address, topics, data) in logs {
        if address == deposit_contract && topics.first() == Some(&DEPOSIT_TOPIC) {
            deposit(data, out).ok_or(InvalidBlock::DepositLog(index))?;
        }
    }
    Ok(())
}

/// Appends one deposit event to `out`: five byte strings at fixed offsets with fixed lengths. `None` where the event
/// has another layout.
fn deposit(data: &[u8], out: &mut Vec<u8>) -> Option<()> {
    /// Offset of each string's length word, and its length: public key, credentials, amount, signature, index.
    const LAYOUT: [(usize, usize); 5] = [(160, 48), (256, 32), (320, 8), (384, 96), (512, 8)];
    if data.len() != 576 {
        return None;
    }
    let word = |at: usize| data.get(at..at + 32).and_then(|word| usize::try_from(U256::from_be_slice(word)).ok());
    for (field, (offset, len)) in LAYOUT.iter().enumerate() {
        if word(field * 32)? != *offset || word(*offset)? != *len {
            return None;
        }
    }
    for (offset, len) in LAYOUT {
        out.extend_from_slice(data.get(offset + 32..offset + 32 + len)?);
    }
    Some(())
}
