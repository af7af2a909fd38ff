//! One transaction: validity, intrinsic gas, fees, the first frame, refunds, settlement.
//!
//! In: a decoded transaction, its sender, a machine over the state before it. Out: gas in both dimensions, status, logs.
//! Sources: EIP-2, 155, 161, 1559, 2028, 2718, 2780, 2930, 3529, 3607, 3651, 3860, 4844, 7623, 7702, 7825, 7976, 7981, 8037.
//! Not here: whether the block still has room for it (`admission`); whether what it did is what the list claims (`verify`).

use super::call::{CallKind, CallRequest, Entered};
use super::evm::{Evm, FrameEnd, Input, Status, TxEnv};
use super::fork::{ACCOUNT_WRITE, Fork, ForkRules, GAS_PER_BLOB, INITCODE_WORD, TX_GAS_LIMIT_MAX};
use super::fork::{TX_MAX_TOTAL_GAS_LIMIT, TX_RECIPIENT_COST, TX_VALUE_COST};
use super::gas::{TxGas, words};
use super::halt::{Fault, Halt};
use super::host::charge;
use super::interpreter::{LoopKind, run_frames};
use super::wire::{Authorization, Transaction, Transactions, tx_type};
use crate::arena::code::{DELEGATION_PREFIX, EMPTY_CODE};
use crate::arena::{AccountId, CodeId, TxIndex};
use alloy_primitives::{Address, B256, Bytes, U256};
use core::ops::Range;

/// Why a transaction makes its block invalid. Names and meaning are those of the execution-spec tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs)]
pub enum TxInvalid {
    #[error("type {0} does not exist in this fork")]
    TypeNotInFork(u8),
    #[error("the signature recovers to no sender")]
    InvalidSignature,
    #[error("chain id {0} is not the chain's")]
    ChainId(u64),
    #[error("the gas limit {limit} exceeds the most that one transaction may use, {max}")]
    GasLimitMax { limit: u64, max: u64 },
    #[error("the gas limit {limit} does not cover the intrinsic gas {intrinsic}")]
    IntrinsicGas { limit: u64, intrinsic: u64 },
    #[error("the gas limit {limit} does not cover the calldata floor {floor}")]
    FloorGas { limit: u64, floor: u64 },
    #[error("the priority fee exceeds the fee cap")]
    PriorityFeeAboveCap,
    #[error("the fee cap lies below the block's base fee")]
    FeeCapBelowBaseFee,
    #[error("init code of {0} bytes is over the limit")]
    InitcodeSize(usize),
    #[error("the nonce {tx} lies below the sender's, {state}")]
    NonceTooLow { tx: u64, state: u64 },
    #[error("the nonce {tx} lies above the sender's, {state}")]
    NonceTooHigh { tx: u64, state: u64 },
    #[error("the sender's nonce cannot be raised")]
    NonceMax,
    #[error("the sender has code that is no delegation")]
    SenderNotEoa,
    #[error("the sender cannot pay for gas, value and blobs")]
    InsufficientFunds,
    #[error("a blob transaction without blobs")]
    NoBlobs,
    #[error("{0} blobs are more than one transaction may carry")]
    TooManyBlobs(usize),
    #[error("a blob hash has an unknown version")]
    BlobVersion,
    #[error("the blob fee cap lies below the block's blob base fee")]
    BlobFeeCap,
    #[error("a transaction of type {0} cannot create")]
    CannotCreate(u8),
    #[error("an empty authorization list")]
    NoAuthorizations,
    #[error("the gas limit exceeds what the block has left in the {0} dimension")]
    GasAllowance(&'static str),
    #[error("the block's blobs exceed its limit")]
    BlobAllowance,
}

impl TxInvalid {
    /// The exception class of the execution-spec tests.
    pub fn eest_class(&self) -> &'static str {
        match self {
            Self::TypeNotInFork(1) => "TransactionException.TYPE_1_TX_PRE_FORK",
            Self::TypeNotInFork(2) => "TransactionException.TYPE_2_TX_PRE_FORK",
            Self::TypeNotInFork(3) => "TransactionException.TYPE_3_TX_PRE_FORK",
            Self::TypeNotInFork(_) => "TransactionException.TYPE_4_TX_PRE_FORK",
            Self::InvalidSignature => "TransactionException.INVALID_SIGNATURE_VRS",
            Self::ChainId(_) => "TransactionException.INVALID_CHAINID",
            Self::GasLimitMax { .. } => "TransactionException.GAS_LIMIT_EXCEEDS_MAXIMUM",
            Self::IntrinsicGas { .. } => "TransactionException.INTRINSIC_GAS_TOO_LOW",
            Self::FloorGas { .. } => "TransactionException.INTRINSIC_GAS_BELOW_FLOOR_GAS_COST",
            Self::PriorityFeeAboveCap => "TransactionException.PRIORITY_GREATER_THAN_MAX_FEE_PER_GAS",
            Self::FeeCapBelowBaseFee => "TransactionException.INSUFFICIENT_MAX_FEE_PER_GAS",
            Self::InitcodeSize(_) => "TransactionException.INITCODE_SIZE_EXCEEDED",
            Self::NonceTooLow { .. } => "TransactionException.NONCE_MISMATCH_TOO_LOW",
            Self::NonceTooHigh { .. } => "TransactionException.NONCE_MISMATCH_TOO_HIGH",
            Self::NonceMax => "TransactionException.NONCE_IS_MAX",
            Self::SenderNotEoa => "TransactionException.SENDER_NOT_EOA",
            Self::InsufficientFunds => "TransactionException.INSUFFICIENT_ACCOUNT_FUNDS",
            Self::NoBlobs => "TransactionException.TYPE_3_TX_ZERO_BLOBS",
            Self::TooManyBlobs(_) => "TransactionException.TYPE_3_TX_BLOB_COUNT_EXCEEDED",
            Self::BlobVersion => "TransactionException.TYPE_3_TX_INVALID_BLOB_VERSIONED_HASH",
            Self::BlobFeeCap => "TransactionException.INSUFFICIENT_MAX_FEE_PER_BLOB_GAS",
            Self::CannotCreate(tx_type::BLOB) => "TransactionException.TYPE_3_TX_CONTRACT_CREATION",
            Self::CannotCreate(_) => "TransactionException.TYPE_4_TX_CONTRACT_CREATION",
            Self::NoAuthorizations => "TransactionException.TYPE_4_EMPTY_AUTHORIZATION_LIST",
            Self::GasAllowance(_) => "TransactionException.GAS_ALLOWANCE_EXCEEDED",
            Self::BlobAllowance => "TransactionException.TYPE_3_TX_MAX_BLOB_GAS_ALLOWANCE_EXCEEDED",
        }
    }

    /// Whether the transaction alone decides it: such a fault comes before the question whether the block has room.
    pub fn is_static(&self) -> bool {
        matches!(
            self,
            Self::TypeNotInFork(_)
                | Self::InvalidSignature
                | Self::ChainId(_)
                | Self::GasLimitMax { .. }
                | Self::IntrinsicGas { .. }
                | Self::FloorGas { .. }
                | Self::InitcodeSize(_)
                | Self::CannotCreate(_)
                | Self::NoAuthorizations
                | Self::NoBlobs
                | Self::TooManyBlobs(_)
                | Self::BlobVersion
        )
    }
}

/// Why a transaction did not run to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TxError {
    /// The block is invalid.
    Invalid(TxInvalid),
    /// Execution had to stop.
    Fault(Fault),
}

impl From<TxInvalid> for TxError {
    fn from(invalid: TxInvalid) -> Self {
        Self::Invalid(invalid)
    }
}

/// A transaction with everything that its execution needs.
#[derive(Clone, Copy, Debug)]
pub struct TxInput<'b> {
    /// All transactions of the block.
    pub transactions: &'b Transactions,
    /// Which one.
    pub index: TxIndex,
    /// Who signed it; nothing where the signature is invalid.
    pub sender: Option<Address>,
    /// Who signed each of its authorizations.
    pub authorities: &'b [Option<Address>],
}

impl<'b> TxInput<'b> {
    fn row(&self) -> &'b Transaction {
        self.transactions.row(self.index)
    }

    fn input(&self) -> &'b [u8] {
        self.transactions.input(self.index)
    }

    fn authorizations(&self) -> &'b [Authorization] {
        self.transactions.authorizations(self.index)
    }
}

/// What a transaction did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TxOutcome {
    /// Whether its first frame succeeded.
    pub success: bool,
    /// Gas that the sender paid for.
    pub gas_paid: u64,
    /// What it adds to the block's execution dimension; before Amsterdam the block's only one.
    pub gas_execution: u64,
    /// What it adds to the block's state dimension (EIP-8037).
    pub gas_state: u64,
    /// Its logs: a range of the worker's.
    pub logs: Range<usize>,
    /// The contract that a creation made.
    pub created: Option<Address>,
}

/// Intrinsic gas and calldata floor of a transaction (EIP-2028, 2780, 2930, 3860, 7623, 7702, 7976, 7981, 8038).
pub fn intrinsic_gas(rules: &ForkRules, input: &TxInput<'_>) -> (u64, u64) {
    let tx = input.row();
    let data = input.input();
    let zero = data.iter().filter(|byte| **byte == 0).count() as u64;
    let nonzero = data.len() as u64 - zero;
    let (addresses, keys) = input.transactions.access_list_counts(input.index);
    let (addresses, keys) = (addresses as u64, keys as u64);
    let amsterdam = rules.at_least(Fork::Amsterdam);

    let mut base = rules.tx_base;
    match tx.to {
        None => base += rules.tx_create,
        Some(to) if amsterdam && input.sender != Some(to) => {
            base += TX_RECIPIENT_COST + if tx.value.is_zero() { 0 } else { TX_VALUE_COST };
        }
        Some(_) => {}
    }
    let mut intrinsic = base + 4 * zero + rules.tx_data_nonzero * nonzero;
    intrinsic += addresses * rules.tx_access_list_address + keys * rules.tx_access_list_key;
    intrinsic += input.authorizations().len() as u64 * rules.tx_authorization;
    if tx.to.is_none() && rules.at_least(Fork::Shanghai) {
        intrinsic += INITCODE_WORD * words(data.len() as u64);
    }
    let floor = if amsterdam {
        base + 64 * data.len() as u64 + 1_280 * addresses + 2_048 * keys
    } else if rules.tx_floor_per_token > 0 {
        rules.tx_base + rules.tx_floor_per_token * (zero + 4 * nonzero)
    } else {
        0
    };
    (intrinsic, floor)
}

/// Wei per gas that the sender pays.
pub fn effective_gas_price(tx: &Transaction, base_fee: u64) -> u128 {
    if tx.tx_type < tx_type::DYNAMIC_FEE {
        return tx.max_fee_per_gas;
    }
    tx.max_fee_per_gas.min(u128::from(base_fee).saturating_add(tx.max_priority_fee_per_gas))
}

/// What of a transaction's validity its own bytes and the block's header decide. Returns intrinsic gas and floor.
fn check_static(evm: &Evm<'_>, input: &TxInput<'_>) -> Result<(u64, u64), TxInvalid> {
    let (rules, tx) = (evm.rules, input.row());
    let since = match tx.tx_type {
        tx_type::LEGACY => Fork::Frontier,
        tx_type::ACCESS_LIST => Fork::Berlin,
        tx_type::DYNAMIC_FEE => Fork::London,
        tx_type::BLOB => Fork::Cancun,
        _ => Fork::Prague,
    };
    if !rules.at_least(since) {
        return Err(TxInvalid::TypeNotInFork(tx.tx_type));
    }
    if let Some(chain_id) = tx.chain_id
        && (chain_id != evm.chain.chain_id || (tx.tx_type == tx_type::LEGACY && !rules.at_least(Fork::SpuriousDragon)))
    {
        return Err(TxInvalid::ChainId(chain_id));
    }
    let (intrinsic, floor) = intrinsic_gas(rules, input);
    let limit = tx.gas_limit;
    let amsterdam = rules.at_least(Fork::Amsterdam);
    if amsterdam && limit > TX_MAX_TOTAL_GAS_LIMIT {
        return Err(TxInvalid::GasLimitMax { limit, max: TX_MAX_TOTAL_GAS_LIMIT });
    }
    if limit < intrinsic {
        return Err(TxInvalid::IntrinsicGas { limit, intrinsic });
    }
    if limit < floor {
        return Err(TxInvalid::FloorGas { limit, floor });
    }
    if amsterdam && intrinsic > TX_GAS_LIMIT_MAX {
        return Err(TxInvalid::IntrinsicGas { limit: TX_GAS_LIMIT_MAX, intrinsic });
    }
    if amsterdam && floor > TX_GAS_LIMIT_MAX {
        return Err(TxInvalid::FloorGas { limit: TX_GAS_LIMIT_MAX, floor });
    }
    if !amsterdam && limit > rules.tx_gas_limit_max {
        return Err(TxInvalid::GasLimitMax { limit, max: rules.tx_gas_limit_max });
    }
    if tx.nonce == u64::MAX {
        return Err(TxInvalid::NonceMax);
    }
    if tx.to.is_none() && input.input().len() > rules.initcode_size_max {
        return Err(TxInvalid::InitcodeSize(input.input().len()));
    }
    if tx.tx_type >= tx_type::DYNAMIC_FEE && tx.max_priority_fee_per_gas > tx.max_fee_per_gas {
        return Err(TxInvalid::PriorityFeeAboveCap);
    }
    if rules.at_least(Fork::London) && tx.max_fee_per_gas < u128::from(evm.block.base_fee) {
        return Err(TxInvalid::FeeCapBelowBaseFee);
    }
    match tx.tx_type {
        tx_type::BLOB => {
            let hashes = input.transactions.blob_hashes(input.index);
            if tx.to.is_none() {
                return Err(TxInvalid::CannotCreate(tx.tx_type));
            }
            if hashes.is_empty() {
                return Err(TxInvalid::NoBlobs);
            }
            let max = rules.tx_blobs_max.min(evm.chain.blob_schedule.max);
            if hashes.len() as u64 > max {
                return Err(TxInvalid::TooManyBlobs(hashes.len()));
            }
            if hashes.iter().any(|hash| hash[0] != 1) {
                return Err(TxInvalid::BlobVersion);
            }
            if U256::from(tx.max_fee_per_blob_gas) < evm.block.blob_base_fee {
                return Err(TxInvalid::BlobFeeCap);
            }
        }
        tx_type::SET_CODE => {
            if tx.to.is_none() {
                return Err(TxInvalid::CannotCreate(tx.tx_type));
            }
            if input.authorizations().is_empty() {
                return Err(TxInvalid::NoAuthorizations);
            }
        }
        _ => {}
    }
    Ok((intrinsic, floor))
}

/// Gas of the transaction outside any frame.
#[derive(Clone, Copy, Debug, Default)]
struct Purse {
    left: u64,
    spilled: u64,
}

impl<'b> Evm<'b> {
    /// Runs one transaction on the state before it. The state holds its effects afterwards, settled but not committed.
    pub fn execute_tx(&mut self, input: &TxInput<'b>, loop_kind: LoopKind) -> Result<TxOutcome, TxError> {
        self.state.begin();
        self.frames.clear();
        let first_log = self.state.logs.len();
        match self.execute_tx_inner(input, loop_kind) {
            Ok(outcome) => Ok(TxOutcome { logs: first_log..self.state.logs.len(), ..outcome }),
            Err(error) => Err(error),
        }
    }

    /// What is wrong with a transaction whatever the state and the block's gas.
    pub fn static_fault(&self, input: &TxInput<'b>) -> Option<TxInvalid> {
        check_static(self, input).err().filter(TxInvalid::is_static)
    }

    /// The error behind a halt outside any frame: only a fault can cause one there.
    fn fault(&mut self, halt: Halt) -> TxError {
        debug_assert_eq!(halt, Halt::Fault);
        TxError::Fault(self.state.fault.clone().unwrap_or(Fault::Cancelled))
    }

    fn execute_tx_inner(&mut self, input: &TxInput<'b>, loop_kind: LoopKind) -> Result<TxOutcome, TxError> {
        let tx = input.row();
        let rules = self.rules;
        let amsterdam = rules.at_least(Fork::Amsterdam);
        let (intrinsic, floor) = check_static(self, input)?;
        let sender = input.sender.ok_or(TxInvalid::InvalidSignature)?;
        let price = U256::from(effective_gas_price(tx, self.block.base_fee));

        let sender_id = match self.state.account_id(&sender) {
            Ok(id) => id,
            Err(halt) => return Err(self.unlisted_sender(input, &sender, halt)),
        };
        self.buy_gas(input, sender_id, price)?;
        self.tx = TxEnv {
            origin: sender,
            gas_price: price,
            blob_hashes: input.transactions.blob_hashes(input.index),
            input: input.input(),
        };
        self.warm_up(input, sender_id);

        let evm_gas = tx.gas_limit - intrinsic;
        let execution = if amsterdam { evm_gas.min(TX_GAS_LIMIT_MAX - intrinsic) } else { evm_gas };
        let reservoir = evm_gas - execution;
        self.gas = TxGas { reservoir: reservoir as i64, state_used: 0, refund: 0 };
        let mut purse = Purse { left: execution, spilled: 0 };

        let (end, authorization_refund) = match self.run_first_frame(input, sender_id, &mut purse, loop_kind) {
            Ok(done) => done,
            Err(Halt::Fault) => return Err(self.fault(Halt::Fault)),
            Err(halt) => {
                // A charge before the first frame failed (EIP-8037): included, failed, nothing but gas and nonce spent.
                self.gas = TxGas { reservoir: reservoir as i64, state_used: 0, refund: 0 };
                purse = Purse::default();
                let end = FrameEnd {
                    status: Status::Halt(halt),
                    left: 0,
                    spilled: 0,
                    refill_new_account: false,
                    created: None,
                };
                (end, 0)
            }
        };

        let success = end.status == Status::Success;
        let counter = authorization_refund + if success { self.gas.refund.max(0) as u64 } else { 0 };
        let used = tx.gas_limit - purse.left - self.gas.reservoir.max(0) as u64;
        let refund = counter.min(used / rules.refund_quotient);
        let gas_paid = (used - refund).max(floor);
        let gas_state = self.gas.state_used.max(0) as u64;
        let gas_execution = if amsterdam { (used - gas_state).max(floor) } else { gas_paid };

        self.pay(sender_id, U256::from(tx.gas_limit - gas_paid) * price).map_err(|halt| self.fault(halt))?;
        let base_fee = if rules.at_least(Fork::London) { U256::from(self.block.base_fee) } else { U256::ZERO };
        let coinbase = self.block.coinbase;
        let coinbase = self.state.account_id(&coinbase).map_err(|halt| self.fault(halt))?;
        self.pay(coinbase, U256::from(gas_paid) * (price - base_fee)).map_err(|halt| self.fault(halt))?;
        self.state.settle(rules);
        Ok(TxOutcome { success, gas_paid, gas_execution, gas_state, logs: 0..0, created: end.created })
    }

    /// A sender that the list does not name: if the transaction is invalid, it has no place in the list, and that is
    /// the fault; else the list is. Nothing below this index changed the account, or the list would have to name it.
    #[cold]
    fn unlisted_sender(&mut self, input: &TxInput<'b>, sender: &Address, halt: Halt) -> TxError {
        let fault = self.fault(halt);
        let Some(account) = self.state.base.unlisted_sender(sender) else { return fault };
        match self.check_sender(input, account.nonce, account.balance, account.code) {
            Err(invalid @ TxError::Invalid(_)) => invalid,
            Err(TxError::Fault(_)) | Ok(()) => fault,
        }
    }

    /// Credits a balance and touches the account.
    fn pay(&mut self, account: AccountId, amount: U256) -> Result<(), Halt> {
        self.state.load(account)?;
        self.state.credit(account, amount);
        Ok(())
    }

    /// What of a transaction's validity its sender's account decides.
    fn check_sender(&mut self, input: &TxInput<'b>, nonce: u64, balance: U256, code: CodeId) -> Result<(), TxError> {
        let tx = input.row();
        if tx.nonce < nonce {
            return Err(TxInvalid::NonceTooLow { tx: tx.nonce, state: nonce }.into());
        }
        if tx.nonce > nonce {
            return Err(TxInvalid::NonceTooHigh { tx: tx.nonce, state: nonce }.into());
        }
        // EIP-3607 holds for all of history: no contract ever signed. EIP-7702 lets a delegated account sign.
        if code != EMPTY_CODE {
            let delegated = match self.state.code(code) {
                Ok(code) => code.delegation().is_some() && self.since(Fork::Prague),
                Err(halt) => return Err(self.fault(halt)),
            };
            if !delegated {
                return Err(TxInvalid::SenderNotEoa.into());
            }
        }
        let blob_gas = U256::from(input.transactions.blob_hashes(input.index).len() as u64 * GAS_PER_BLOB);
        let limit = U256::from(tx.gas_limit);
        // 64 bits of gas times 128 bits of price: no product overflows, but the sum with the value may.
        let most = limit * U256::from(tx.max_fee_per_gas) + blob_gas * U256::from(tx.max_fee_per_blob_gas);
        match most.checked_add(tx.value) {
            Some(most) if most <= balance => {}
            _ => return Err(TxInvalid::InsufficientFunds.into()),
        }
        Ok(())
    }

    /// Checks the sender and takes the gas money; the nonce is bumped.
    fn buy_gas(&mut self, input: &TxInput<'b>, sender: AccountId, price: U256) -> Result<(), TxError> {
        let tx = input.row();
        let code = match self.state.load(sender) {
            Ok(row) => row.code,
            Err(halt) => return Err(self.fault(halt)),
        };
        let (nonce, balance) = (self.state.nonce(sender), self.state.balance(sender));
        self.check_sender(input, nonce, balance, code)?;
        let blob_gas = U256::from(input.transactions.blob_hashes(input.index).len() as u64 * GAS_PER_BLOB);
        let limit = U256::from(tx.gas_limit);
        let cost = limit * price + blob_gas * self.block.blob_base_fee;
        self.state.set_balance(sender, balance - cost);
        self.state.set_nonce(sender, nonce + 1);
        Ok(())
    }

    /// The accessed set at the start (EIP-2929, 2930, 3651). Nothing is loaded: only use makes an access.
    fn warm_up(&mut self, input: &TxInput<'b>, sender: AccountId) {
        if !self.since(Fork::Berlin) {
            return;
        }
        self.state.warm(sender);
        if let Some(to) = input.row().to.and_then(|to| self.state.account_id_if_known(&to)) {
            self.state.warm(to);
        }
        if self.since(Fork::Shanghai) {
            let coinbase = self.block.coinbase;
            if let Some(coinbase) = self.state.account_id_if_known(&coinbase) {
                self.state.warm(coinbase);
            }
        }
        for (address, keys) in input.transactions.access_list(input.index) {
            let Some(account) = self.state.account_id_if_known(address) else { continue };
            self.state.warm(account);
            for key in keys {
                if let Some(slot) = self.state.slot_id_if_known(account, key) {
                    self.state.warm_slot(slot);
                }
            }
        }
    }

    /// Authorizations, the charges before the first frame, and the frame. `Err` other than a fault: a charge failed.
    fn run_first_frame(
        &mut self,
        input: &TxInput<'b>,
        sender: AccountId,
        purse: &mut Purse,
        loop_kind: LoopKind,
    ) -> Result<(FrameEnd, u64), Halt> {
        let tx = input.row();
        let amsterdam = self.since(Fork::Amsterdam);
        let checkpoint = self.state.checkpoint();
        let result = self.enter_first_frame(input, sender, purse);
        let (entered, authorization_refund) = match result {
            Ok(entered) => entered,
            Err(Halt::Fault) => return Err(Halt::Fault),
            Err(halt) => {
                self.state.revert(checkpoint);
                return Err(halt);
            }
        };
        let end = match entered {
            Entered::Frame => run_frames(loop_kind, self),
            Entered::Done(end) => end,
        };
        if end.status == Status::Halt(Halt::Fault) {
            return Err(Halt::Fault);
        }
        debug_assert!(amsterdam || self.gas.state_used == 0);
        purse.left = end.left;
        if end.refill_new_account {
            self.gas.refill(&mut purse.left, &mut purse.spilled, self.rules.state_new_account);
        }
        if matches!(end.status, Status::Halt(_)) {
            purse.left = 0;
        }
        let created = if tx.to.is_none() { end.created } else { None };
        Ok((FrameEnd { created, ..end }, authorization_refund))
    }

    fn enter_first_frame(
        &mut self,
        input: &TxInput<'b>,
        sender: AccountId,
        purse: &mut Purse,
    ) -> Result<(Entered, u64), Halt> {
        let tx = input.row();
        let amsterdam = self.since(Fork::Amsterdam);
        let refund = if amsterdam {
            self.authorize_amsterdam(input, sender, purse)?;
            0
        } else {
            self.authorize_prague(input)?
        };
        let new_account = self.rules.state_new_account;
        let mut charged_new_account = false;
        let entered = match tx.to {
            Some(to) => {
                let to = self.state.account_id(&to)?;
                self.state.load(to)?;
                if amsterdam && !tx.value.is_zero() && self.state.is_empty(to) {
                    if !self.gas.charge_state(&mut purse.left, &mut purse.spilled, new_account) {
                        return Err(Halt::OutOfGas);
                    }
                    charged_new_account = true;
                }
                let code = if amsterdam {
                    self.resolve_delegation(&mut purse.left, to)?
                } else {
                    // EIP-7702: the first frame's target is warmed free of charge.
                    let mut free = u64::MAX;
                    self.resolve_delegation(&mut free, to)?
                };
                self.enter_call(&CallRequest {
                    kind: CallKind::Call,
                    gas: purse.left,
                    to,
                    code,
                    value: tx.value,
                    input: Input::Tx,
                    output: (0, 0),
                    charged_new_account,
                })?
            }
            None => {
                let origin = self.tx.origin;
                let created = origin.create(tx.nonce);
                let destination = self.state.account_id(&created)?;
                if self.since(Fork::Berlin) {
                    self.state.warm(destination);
                }
                self.state.load(destination)?;
                if amsterdam && self.state.is_empty(destination) {
                    if !self.gas.charge_state(&mut purse.left, &mut purse.spilled, new_account) {
                        return Err(Halt::OutOfGas);
                    }
                    charged_new_account = true;
                }
                let initcode = Bytes::copy_from_slice(self.tx.input);
                let gas = purse.left;
                self.tx.input = &[];
                self.enter_create(sender, origin, destination, created, tx.value, initcode, gas, charged_new_account)?
            }
        };
        Ok((entered, refund))
    }

    /// The authority of an authorization that passes every check up to loading it (EIP-7702); loaded and warmed.
    fn authority(&mut self, authorization: &Authorization, signer: Option<Address>) -> Result<Option<AccountId>, Halt> {
        let chain_ok = authorization.chain_id.is_zero() || authorization.chain_id == U256::from(self.chain.chain_id);
        let Some(signer) = signer.filter(|_| chain_ok && authorization.nonce != u64::MAX) else {
            return Ok(None);
        };
        let id = self.state.account_id(&signer)?;
        self.state.warm(id);
        let row = *self.state.load(id)?;
        if row.code != EMPTY_CODE && self.state.code(row.code)?.delegation().is_none() {
            return Ok(None);
        }
        Ok((self.state.nonce(id) == authorization.nonce).then_some(id))
    }

    /// Writes a delegation, or clears the code for the zero address.
    fn delegate(&mut self, authority: AccountId, authorization: &Authorization) {
        let code = if authorization.address == Address::ZERO {
            EMPTY_CODE
        } else {
            let mut designator = [0; 23];
            designator[..3].copy_from_slice(&DELEGATION_PREFIX);
            designator[3..].copy_from_slice(authorization.address.as_slice());
            self.state.codes.insert_hashing(Bytes::copy_from_slice(&designator))
        };
        self.state.set_code(authority, code);
        self.state.set_nonce(authority, authorization.nonce + 1);
    }

    /// EIP-7702 as Prague and Osaka have it; returns the refund for authorities that existed.
    fn authorize_prague(&mut self, input: &TxInput<'b>) -> Result<u64, Halt> {
        let mut refund = 0;
        for (authorization, signer) in input.authorizations().iter().zip(input.authorities) {
            if let Some(authority) = self.authority(authorization, *signer)? {
                if self.state.is_in_state(authority) {
                    refund += 12_500;
                }
                self.delegate(authority, authorization);
            }
        }
        Ok(refund)
    }

    /// EIP-7702 as Amsterdam has it: charges at run time, each at most once per authority (EIP-8037, 8038).
    fn authorize_amsterdam(&mut self, input: &TxInput<'b>, sender: AccountId, purse: &mut Purse) -> Result<(), Halt> {
        let tx = input.row();
        let rules = self.rules;
        // Authorities written so far, and those whose delegation was paid for; lists are short and quadratic only in gas.
        let mut written: smallvec::SmallVec<[AccountId; 8]> = smallvec::smallvec![sender];
        let mut delegated: smallvec::SmallVec<[AccountId; 8]> = smallvec::SmallVec::new();
        if let Some(to) = tx.to.filter(|_| !tx.value.is_zero())
            && let Some(to) = self.state.account_id_if_known(&to)
        {
            written.push(to);
        }
        for (authorization, signer) in input.authorizations().iter().zip(input.authorities) {
            let Some(authority) = self.authority(authorization, *signer)? else { continue };
            let row = *self.state.row(authority);
            if self.state.is_empty(authority)
                && !self.gas.charge_state(&mut purse.left, &mut purse.spilled, rules.state_new_account)
            {
                return Err(Halt::OutOfGas);
            }
            if !written.contains(&authority) {
                charge(&mut purse.left, ACCOUNT_WRITE)?;
                written.push(authority);
            }
            if authorization.address != Address::ZERO && row.code_start == EMPTY_CODE && !delegated.contains(&authority)
            {
                if !self.gas.charge_state(&mut purse.left, &mut purse.spilled, rules.state_auth_base) {
                    return Err(Halt::OutOfGas);
                }
                delegated.push(authority);
            }
            self.delegate(authority, authorization);
        }
        Ok(())
    }

    /// A system call (EIP-4788 and those after it): no intrinsic gas, no fee, no nonce.
    /// Returns nothing where the target has no code, else how the call ended; its output is the return data.
    pub fn system_call(
        &mut self,
        target: &Address,
        input: &'b [u8],
        loop_kind: LoopKind,
    ) -> Result<Option<Status>, Fault> {
        match self.system_call_inner(target, input, loop_kind) {
            Ok(status) => Ok(status),
            Err(_) => Err(self.state.fault.clone().unwrap_or(Fault::Cancelled)),
        }
    }

    fn system_call_inner(
        &mut self,
        target: &Address,
        input: &'b [u8],
        loop_kind: LoopKind,
    ) -> Result<Option<Status>, Halt> {
        const NO_BLOBS: &[B256] = &[];
        self.frames.clear();
        self.tx = TxEnv { origin: super::host::SYSTEM_ADDRESS, gas_price: U256::ZERO, blob_hashes: NO_BLOBS, input };
        let reservoir = if self.since(Fork::Amsterdam) { SYSTEM_CALL_RESERVOIR } else { 0 };
        self.gas = TxGas { reservoir: reservoir as i64, state_used: 0, refund: 0 };
        let to = self.state.account_id(target)?;
        self.state.warm(to);
        let code = self.state.load(to)?.code;
        if code == EMPTY_CODE {
            return Ok(None);
        }
        let request = CallRequest {
            kind: CallKind::Call,
            gas: SYSTEM_CALL_GAS,
            to,
            code,
            value: U256::ZERO,
            input: Input::Tx,
            output: (0, 0),
            charged_new_account: false,
        };
        let end = match self.enter_call(&request)? {
            Entered::Frame => run_frames(loop_kind, self),
            Entered::Done(end) => end,
        };
        match end.status {
            Status::Halt(Halt::Fault) => Err(Halt::Fault),
            status => {
                self.state.settle(self.rules);
                Ok(Some(status))
            }
        }
    }
}

/// Execution gas of a system call (EIP-4788, 2935, 7002, 7251, 8282).
pub const SYSTEM_CALL_GAS: u64 = 30_000_000;
/// State gas of a system call in Amsterdam: 16 new slots (EIP-8037).
pub const SYSTEM_CALL_RESERVOIR: u64 = 16 * 64 * 1_530;
