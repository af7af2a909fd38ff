//! Validity and intrinsic gas of a transaction.
//!
//! In: a decoded transaction, the rules, the header's fees, the sender's account. Out: intrinsic gas and calldata
//! floor, or the first rule that the transaction breaks.
//! Not here: gas left in the block (`block::admission`), decoding (`wire`).

use super::{TxError, TxInput, TxInvalid};
use crate::arena::CodeId;
use crate::arena::code::EMPTY_CODE;
use crate::exec::evm::gas::words;
use crate::exec::evm::halt::Halt;
use crate::exec::evm::machine::Evm;
use crate::exec::rules::fork::{Fork, ForkRules, GAS_PER_BLOB, INITCODE_WORD, TX_GAS_LIMIT_MAX};
use crate::exec::rules::fork::{TX_MAX_TOTAL_GAS_LIMIT, TX_RECIPIENT_COST, TX_VALUE_COST};
use crate::exec::wire::{Transaction, tx_type};
use alloy_primitives::{Address, U256};

/// Intrinsic gas and calldata floor of a transaction, in this order (EIP-2028, 2780, 2930, 3860, 7623, 7702, 7976,
/// 7981, 8038). The floor is 0 before Prague.
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

/// Wei per gas that the sender pays (EIP-1559).
pub fn effective_gas_price(tx: &Transaction, base_fee: u64) -> u128 {
    if tx.tx_type < tx_type::DYNAMIC_FEE {
        return tx.max_fee_per_gas;
    }
    tx.max_fee_per_gas.min(u128::from(base_fee).saturating_add(tx.max_priority_fee_per_gas))
}

/// The checks that need only the transaction, the rules and the header's fees. Returns intrinsic gas and calldata
/// floor.
pub(super) fn check_static(evm: &Evm<'_>, input: &TxInput<'_>) -> Result<(u64, u64), TxInvalid> {
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

impl<'b> Evm<'b> {
    /// The first fault of a transaction that is independent of the state, the block's fees and the gas left in the
    /// block, see [`TxInvalid::is_static`]. `None` where an earlier check fails that is not.
    pub fn static_fault(&self, input: &TxInput<'b>) -> Option<TxInvalid> {
        check_static(self, input).err().filter(TxInvalid::is_static)
    }
    /// The error for a sender that is not in the block access list. If the transaction is invalid, that is the error;
    /// otherwise the list is wrong. The parent state decides validity: no task below this index changed the account,
    /// or the list would have to contain it.
    #[cold]
    pub(super) fn unlisted_sender(&mut self, input: &TxInput<'b>, sender: &Address, halt: Halt) -> TxError {
        let fault = self.fault(halt);
        let account = match self.state.base.unlisted_sender(sender) {
            Ok(Some(account)) => account,
            Ok(None) => return fault,
            Err(fault) => return TxError::Fault(fault),
        };
        match self.check_sender(input, account.nonce, account.code) {
            Ok(most) if most.is_some_and(|most| most <= account.balance) => fault,
            Ok(_) => TxInvalid::InsufficientFunds.into(),
            Err(invalid @ TxError::Invalid(_)) => invalid,
            Err(TxError::Fault(_)) => fault,
        }
    }

    /// The checks of the sender's nonce and code. Returns the minimum balance that the sender needs, wei; `None`
    /// where it exceeds 2^256 - 1.
    pub(super) fn check_sender(
        &mut self,
        input: &TxInput<'b>,
        nonce: u64,
        code: CodeId,
    ) -> Result<Option<U256>, TxError> {
        let tx = input.row();
        if tx.nonce < nonce {
            return Err(TxInvalid::NonceTooLow { tx: tx.nonce, state: nonce }.into());
        }
        if tx.nonce > nonce {
            return Err(TxInvalid::NonceTooHigh { tx: tx.nonce, state: nonce }.into());
        }
        // EIP-3607 applies to all forks: before it, no sender of a transaction had code. EIP-7702 exempts delegations.
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
        // Gas has 64 bits and a price 128 bits, so the products cannot overflow, but the sum with the value can.
        let most = limit * U256::from(tx.max_fee_per_gas) + blob_gas * U256::from(tx.max_fee_per_blob_gas);
        Ok(most.checked_add(tx.value))
    }
}
