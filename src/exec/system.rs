//! What a block does before and after its transactions: system calls, withdrawals, rewards, requests.
//!
//! Each phase is one task at its own block access index. Sources: EIP-779, 2935, 4788, 4895, 6110, 7002, 7251, 7685, 8282.
//! Not here: the transactions between (`tx`), the requests hash (`outcome`).

use super::error::InvalidBlock;
use super::evm::{Evm, Status};
use super::fork::{DaoTransfer, Fork};
use super::halt::{Fault, Halt};
use super::interpreter::Runner;
use super::wire::Block;
use crate::arena::TxIndex;
use alloy_primitives::{Address, B256, U256, address, b256};

/// EIP-4788.
pub const BEACON_ROOTS: Address = address!("000F3df6D732807Ef1319fB7B8bB8522d0Beac02");
/// EIP-2935.
pub const HISTORY_STORAGE: Address = address!("0000F90827F1C53a10cb7A02335B175320002935");
/// EIP-7002.
pub const WITHDRAWAL_REQUESTS: Address = address!("00000961Ef480Eb55e80D19ad83579A64c007002");
/// EIP-7251.
pub const CONSOLIDATION_REQUESTS: Address = address!("0000BBdDc7CE488642fb579F8B00f3a590007251");
/// EIP-8282, deposits.
pub const BUILDER_DEPOSITS: Address = address!("0000bff46984e3725691fa540a8c7589300d8282");
/// EIP-8282, exits.
pub const BUILDER_EXITS: Address = address!("000064d678505ad48f8ccb093bc65613800e8282");

/// All of them: their slots are read without block gas.
pub const SYSTEM_CONTRACTS: [Address; 6] =
    [BEACON_ROOTS, HISTORY_STORAGE, WITHDRAWAL_REQUESTS, CONSOLIDATION_REQUESTS, BUILDER_DEPOSITS, BUILDER_EXITS];

/// EIP-6110: topic of the deposit contract's event.
const DEPOSIT_TOPIC: B256 = b256!("649bbc62d0e31342afea4e5cd82d4049e7e1ee912fc0889aa790803be39038c5");

/// The contracts that are asked for requests after the transactions, with the request type each yields.
pub fn request_contracts(fork: Fork) -> &'static [(u8, Address)] {
    const ALL: [(u8, Address); 4] =
        [(0x01, WITHDRAWAL_REQUESTS), (0x02, CONSOLIDATION_REQUESTS), (0x03, BUILDER_DEPOSITS), (0x04, BUILDER_EXITS)];
    match fork {
        _ if fork >= Fork::Amsterdam => &ALL,
        _ if fork >= Fork::Prague => &ALL[..2],
        _ => &[],
    }
}

/// Why a phase did not come to its end.
#[derive(Clone, Debug, PartialEq)]
pub enum PhaseError {
    /// The block is invalid.
    Invalid(Box<InvalidBlock>),
    /// Execution had to stop.
    Fault(Fault),
}

impl From<Fault> for PhaseError {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// The inputs of a block's system calls, kept where the machine can borrow them.
#[derive(Clone, Debug, Default)]
pub struct SystemInputs {
    parent_beacon_root: B256,
    parent_hash: B256,
}

impl SystemInputs {
    /// The inputs of this block's calls.
    pub fn of(block: &Block) -> Self {
        Self {
            parent_beacon_root: block.header.parent_beacon_root.unwrap_or_default(),
            parent_hash: block.header.parent_hash,
        }
    }
}

impl<'b> Evm<'b> {
    /// Index 0: the DAO transfer, the beacon root, the parent hash. The state holds the effects, not committed.
    pub fn pre_execution(&mut self, inputs: &'b SystemInputs, runner: &mut Runner) -> Result<(), PhaseError> {
        self.state.begin();
        if self.chain.dao_transfer == DaoTransfer::First {
            self.dao_transfer().map_err(|_| self.stopped())?;
            self.state.settle(self.rules);
        }
        // A failing call, or one without a contract, is no fault of the block.
        if self.since(Fork::Cancun) {
            self.system_call(&BEACON_ROOTS, inputs.parent_beacon_root.as_slice(), runner)?;
        }
        if self.since(Fork::Prague) {
            self.state.begin_call_of_same_task();
            self.system_call(&HISTORY_STORAGE, inputs.parent_hash.as_slice(), runner)?;
        }
        Ok(())
    }

    /// Index n + 1: mainnet's DAO transfer, withdrawals, block rewards, then the request contracts in type order.
    /// Requests (type byte first, empty ones left out) are appended to `requests`.
    pub fn post_execution(
        &mut self,
        block: &Block,
        requests: &mut Vec<Vec<u8>>,
        runner: &mut Runner,
    ) -> Result<(), PhaseError> {
        self.state.begin();
        if self.chain.dao_transfer == DaoTransfer::Last {
            self.dao_transfer().map_err(|_| self.stopped())?;
        }
        self.credits(block).map_err(|_| self.stopped())?;
        self.state.settle(self.rules);
        for (request_type, contract) in request_contracts(self.rules.fork) {
            self.state.begin_call_of_same_task();
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
    fn credits(&mut self, block: &Block) -> Result<(), Halt> {
        for withdrawal in block.withdrawals.iter().flatten() {
            let amount = U256::from(withdrawal.amount_gwei) * U256::from(1_000_000_000u64);
            self.credit(&withdrawal.address, amount)?;
        }
        let reward = self.rules.reward();
        if !reward.is_zero() {
            let number = block.header.number;
            for ommer in &block.ommers {
                let distance = number.saturating_sub(ommer.number).min(8);
                self.credit(&ommer.coinbase, reward * U256::from(8 - distance) / U256::from(8))?;
            }
            let nephews = reward / U256::from(32) * U256::from(block.ommers.len());
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

    /// EIP-779: the balances of the DAO and its children go to the refund contract.
    fn dao_transfer(&mut self) -> Result<(), Halt> {
        let heir = self.state.account_id(&super::dao::REFUND_CONTRACT)?;
        self.state.load(heir)?;
        for address in &super::dao::DRAINED {
            let id = self.state.account_id(address)?;
            self.state.load(id)?;
            let balance = self.state.balance(id);
            self.state.transfer(id, heir, balance);
        }
        Ok(())
    }
}

/// Whether EIP-779 moves this account's balance, or moves balances to it.
pub fn takes_part_in_dao_transfer(address: &Address) -> bool {
    *address == super::dao::REFUND_CONTRACT || super::dao::DRAINED.contains(address)
}

/// The deposits among a transaction's logs (EIP-6110), appended to `out` without a type byte.
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

/// One deposit event: five byte strings at fixed offsets with fixed lengths. Anything else is malformed.
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
