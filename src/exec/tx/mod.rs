//! One transaction: validity, intrinsic gas, fees, the outermost call frame, refunds, settlement; and system calls.
//!
//! In: a decoded transaction, its sender, a machine over the state before it. Out: gas in both dimensions (EIP-8037),
//! status, logs; the state changes stay in the machine's state.
//! Relies on: `evm` for state and frames, `interpreter` to run frames, `rules` for gas costs.
//! Sources: EIP-2, 155, 161, 1559, 2028, 2718, 2780, 2930, 3529, 3607, 3651, 3860, 4844, 7623, 7702, 7825, 7976, 7981,
//! 8037.
//! Not here: whether its gas limit fits into the gas left in the block (`admission`); whether its changes match the
//! block access list (`verify`).

mod authorize;
mod invalid;
mod system_call;
mod validity;

pub use invalid::TxInvalid;
pub use system_call::{SYSTEM_CALL_GAS, SYSTEM_CALL_RESERVOIR};
pub use validity::{effective_gas_price, intrinsic_gas};

use super::evm::call::{CallKind, CallRequest, Entered};
use super::evm::gas::TxGas;
use super::evm::halt::{Fault, Halt};
use super::evm::machine::{Evm, FrameEnd, Input, Status, TxEnv};
use super::interpreter::Runner;
use super::rules::fork::{Fork, GAS_PER_BLOB, TX_GAS_LIMIT_MAX};
use super::wire::{Authorization, Transaction, Transactions};
use crate::arena::{AccountId, TxIndex};
use alloy_primitives::{Address, U256};
use core::ops::Range;
use validity::check_static;

/// Why a transaction has no outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TxError {
    /// The transaction is invalid, and so is its block.
    Invalid(TxInvalid),
    /// Execution was aborted: a store error, cancellation, or an access to an unlisted account or slot.
    Fault(Fault),
}

impl From<TxInvalid> for TxError {
    fn from(invalid: TxInvalid) -> Self {
        Self::Invalid(invalid)
    }
}

/// A transaction with its sender and authorities.
#[derive(Clone, Copy, Debug)]
pub struct TxInput<'b> {
    /// All transactions of the block.
    pub transactions: &'b Transactions,
    /// Position of the transaction in the block.
    pub index: TxIndex,
    /// Its sender; `None` where the signature is invalid.
    pub sender: Option<Address>,
    /// The authority (signer) of each of its authorizations (EIP-7702); `None` where the signature is invalid.
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

/// Outcome of a transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct TxOutcome {
    /// Whether its outermost frame succeeded; the status of its receipt.
    pub success: bool,
    /// Gas that the sender paid for, after refunds and the calldata floor.
    pub gas_paid: u64,
    /// Gas that it adds to the block's execution dimension; before Amsterdam the block's only dimension.
    pub gas_execution: u64,
    /// Gas that it adds to the block's state dimension (EIP-8037).
    pub gas_state: u64,
    /// Its logs, as a range in the logs of the worker that ran it.
    pub logs: Range<usize>,
    /// Address of the contract, for a transaction that created one.
    pub created: Option<Address>,
}

/// Gas of the transaction outside any frame: execution gas left, and state gas that was paid from execution gas.
#[derive(Clone, Copy, Debug, Default)]
struct GasLeft {
    left: u64,
    spilled: u64,
}

impl<'b> Evm<'b> {
    /// Runs one transaction on the state before it. Afterwards the state is settled but not committed.
    pub fn execute_tx(&mut self, input: &TxInput<'b>, runner: &mut Runner) -> Result<TxOutcome, TxError> {
        self.state.begin();
        self.frames.clear();
        let first_log = self.state.logs.len();
        match self.execute_tx_inner(input, runner) {
            Ok(outcome) => Ok(TxOutcome { logs: first_log..self.state.logs.len(), ..outcome }),
            Err(error) => Err(error),
        }
    }

    /// The error for a halt outside any frame, which only a fault can cause.
    fn fault(&mut self, halt: Halt) -> TxError {
        debug_assert_eq!(halt, Halt::Fault);
        TxError::Fault(self.state.fault.clone().unwrap_or(Fault::Cancelled))
    }

    fn execute_tx_inner(&mut self, input: &TxInput<'b>, runner: &mut Runner) -> Result<TxOutcome, TxError> {
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
        let mut gas_left = GasLeft { left: execution, spilled: 0 };

        let (end, authorization_refund) = match self.run_first_frame(input, sender_id, &mut gas_left, runner) {
            Ok(done) => done,
            Err(Halt::Fault) => return Err(self.fault(Halt::Fault)),
            Err(halt) => {
                // A charge before the first frame failed (EIP-8037): the transaction is included with failed status,
                // and only gas and nonce are spent.
                self.gas = TxGas { reservoir: reservoir as i64, state_used: 0, refund: 0 };
                gas_left = GasLeft::default();
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
        let used = tx.gas_limit - gas_left.left - self.gas.reservoir.max(0) as u64;
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

    /// Credits a balance and touches the account.
    fn pay(&mut self, account: AccountId, amount: U256) -> Result<(), Halt> {
        self.state.load(account)?;
        self.state.credit(account, amount);
        Ok(())
    }

    /// Checks the sender, debits gas and blob fees, and increments the sender's nonce.
    fn buy_gas(&mut self, input: &TxInput<'b>, sender: AccountId, price: U256) -> Result<(), TxError> {
        let tx = input.row();
        let code = match self.state.load(sender) {
            Ok(row) => row.code,
            Err(halt) => return Err(self.fault(halt)),
        };
        let nonce = self.state.nonce(sender);
        let most = self.check_sender(input, nonce, code)?;
        let blob_gas = U256::from(input.transactions.blob_hashes(input.index).len() as u64 * GAS_PER_BLOB);
        let limit = U256::from(tx.gas_limit);
        let cost = limit * price + blob_gas * self.block.blob_base_fee;
        if !most.is_some_and(|most| self.state.can_pay(sender, most)) || !self.state.debit(sender, cost) {
            return Err(TxInvalid::InsufficientFunds.into());
        }
        self.state.set_nonce(sender, nonce + 1);
        Ok(())
    }

    /// Fills the accessed sets at the start of the transaction (EIP-2929, 2930, 3651). Loads nothing: warming an
    /// account or slot is no access in the sense of EIP-7928.
    fn warm_up(&mut self, input: &TxInput<'b>, sender: AccountId) {
        if !self.since(Fork::Berlin) {
            return;
        }
        self.state.warm(sender);
        if let Some(to) = input.row().to {
            self.state.warm_name(&to);
        }
        if self.since(Fork::Shanghai) {
            self.state.warm_name(&self.block.coinbase);
        }
        for (address, keys) in input.transactions.access_list(input.index) {
            // No frame runs in an account outside the block access list, so its slots cannot be accessed.
            let Some(account) = self.state.warm_name(address) else { continue };
            for key in keys {
                self.state.warm_slot_name(account, key);
            }
        }
    }

    /// Processes authorizations and the charges before the first frame, then runs the frame. Returns its end and the
    /// refund for authorizations. `Err` with a halt other than [`Halt::Fault`] means that a charge failed.
    fn run_first_frame(
        &mut self,
        input: &TxInput<'b>,
        sender: AccountId,
        gas_left: &mut GasLeft,
        runner: &mut Runner,
    ) -> Result<(FrameEnd, u64), Halt> {
        let tx = input.row();
        let amsterdam = self.since(Fork::Amsterdam);
        let checkpoint = self.state.checkpoint();
        let result = self.enter_first_frame(input, sender, gas_left);
        let (entered, authorization_refund) = match result {
            Ok(entered) => entered,
            Err(Halt::Fault) => return Err(Halt::Fault),
            Err(halt) => {
                self.state.revert(checkpoint);
                return Err(halt);
            }
        };
        let end = match entered {
            Entered::Frame => runner.run(self),
            Entered::Done(end) => end,
        };
        if end.status == Status::Halt(Halt::Fault) {
            return Err(Halt::Fault);
        }
        debug_assert!(amsterdam || self.gas.state_used == 0);
        gas_left.left = end.left;
        if end.refill_new_account {
            self.gas.refill(&mut gas_left.left, &mut gas_left.spilled, self.rules.state_new_account);
        }
        if matches!(end.status, Status::Halt(_)) {
            gas_left.left = 0;
        }
        let created = if tx.to.is_none() { end.created } else { None };
        Ok((FrameEnd { created, ..end }, authorization_refund))
    }

    fn enter_first_frame(
        &mut self,
        input: &TxInput<'b>,
        sender: AccountId,
        gas_left: &mut GasLeft,
    ) -> Result<(Entered, u64), Halt> {
        let tx = input.row();
        let amsterdam = self.since(Fork::Amsterdam);
        let refund = if amsterdam {
            self.authorize_amsterdam(input, sender, gas_left)?;
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
                    if !self.gas.charge_state(&mut gas_left.left, &mut gas_left.spilled, new_account) {
                        return Err(Halt::OutOfGas);
                    }
                    charged_new_account = true;
                }
                let code = if amsterdam {
                    self.resolve_delegation(&mut gas_left.left, to)?
                } else {
                    // EIP-7702: warming the delegation target of the first frame costs no gas.
                    let mut free = u64::MAX;
                    self.resolve_delegation(&mut free, to)?
                };
                self.enter_call(&CallRequest {
                    kind: CallKind::Call,
                    gas: gas_left.left,
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
                    if !self.gas.charge_state(&mut gas_left.left, &mut gas_left.spilled, new_account) {
                        return Err(Halt::OutOfGas);
                    }
                    charged_new_account = true;
                }
                let initcode = self.init_code_of(self.tx.input);
                let gas = gas_left.left;
                self.tx.input = &[];
                self.enter_create(sender, origin, destination, created, tx.value, initcode, gas, charged_new_account)?
            }
        };
        Ok((entered, refund))
    }
}
