//! `revm-interpreter`'s access to the state: its `Host` trait on our [`Evm`].
//!
//! In: addresses and keys from revm's instructions. Out: values from our rows. revm's instructions load first
//! and charge afterwards; a cold access for which the gas does not suffice is refused here (`skip_cold_load`),
//! so that an account or slot counts as accessed (EIP-7928) exactly when its access was paid for.
//! Relies on: `evm::state`. Not here: gas, which revm's instructions and [`GasParams`] decide.

use crate::arena::code::Code;
use crate::arena::{AccountId, CodeId, SlotId};
use crate::exec::evm::halt::Halt;
use crate::exec::evm::machine::Evm;
use crate::exec::evm::state::flag;
use crate::exec::rules::fork::Fork;
use alloy_primitives::{Address, B256, Bytes, Log, U256};
use revm_bytecode::Bytecode;
use revm_context_interface::Host;
use revm_context_interface::cfg::GasParams;
use revm_context_interface::context::{SStoreResult, SelfDestructResult, StateLoad};
use revm_context_interface::host::LoadError;
use revm_context_interface::journaled_state::AccountInfoLoad;
use revm_interpreter::state::AccountInfo;
use std::borrow::Cow;

/// The slot in which a [`Code`] keeps revm's analysis of it.
const ANALYSIS_SLOT: usize = crate::arena::code::DECODED_SLOTS - 1;

/// Our machine as the host of revm's instructions. The running frame is the top one of `Evm::frames`.
#[derive(Debug)]
pub(super) struct ReferenceHost<'a, 'b> {
    /// Our machine.
    pub(super) evm: &'a mut Evm<'b>,
    /// revm's gas parameters of the fork.
    pub(super) gas_params: GasParams,
    /// The beneficiary of the running SELFDESTRUCT: id and address. It takes effect only once revm has charged its gas.
    pub(super) beneficiary: Option<(AccountId, Address)>,
}

/// revm's error for a fault of our state, whose reason is in `TxState::fault`.
fn refuse(_: Halt) -> LoadError {
    LoadError::DBError
}

/// The code in revm's representation; its analysis is made once and kept.
pub(super) fn analysed(code: &Code) -> Bytecode {
    let analyse = |code: &Code| Bytecode::new_legacy(Bytes::copy_from_slice(code.bytes()));
    // A copy of the bytes, and a bit for each of them.
    let bytes_of = |analysed: &Bytecode| analysed.len() / 8 * 9;
    code.decoded(ANALYSIS_SLOT, analyse, bytes_of).cloned().unwrap_or_else(|| analyse(code))
}

impl ReferenceHost<'_, '_> {
    /// The code of a loaded account, as the EXTCODE and CALL instructions see it: delegation designators exist
    /// since Prague.
    fn code(&mut self, id: CodeId) -> Result<Bytecode, LoadError> {
        let code = self.evm.state.code(id).map_err(refuse)?;
        match code.delegation() {
            Some(target) if self.evm.since(Fork::Prague) => Ok(Bytecode::new_eip7702(target)),
            _ => Ok(analysed(code)),
        }
    }

    /// Loads an account whose access revm's instruction will charge; returns its id and whether it was cold.
    fn access_account(&mut self, address: &Address, skip_cold_load: bool) -> Result<(AccountId, bool), LoadError> {
        let state = &mut self.evm.state;
        // A cold address must not be added to the id map before its access is paid for.
        let (known, warm) = state.peek_account(address);
        let cold = self.evm.rules.fork >= Fork::Berlin && !warm;
        if cold && skip_cold_load {
            return Err(LoadError::ColdLoadSkipped);
        }
        let id = match known {
            Some(id) => id,
            None => state.account_id(address).map_err(refuse)?,
        };
        if cold {
            state.warm(id);
        }
        state.load(id).map_err(refuse)?;
        Ok((id, cold))
    }

    /// Loads a slot of the running frame's target, as [`Self::access_account`] does.
    fn access_slot(&mut self, key: &U256, skip_cold_load: bool) -> Result<(SlotId, bool), LoadError> {
        let target = self.evm.frame().target;
        let state = &mut self.evm.state;
        let (known, warm) = state.peek_slot(target, key);
        let cold = self.evm.rules.fork >= Fork::Berlin && !warm;
        if cold && skip_cold_load {
            return Err(LoadError::ColdLoadSkipped);
        }
        let id = match known {
            Some(id) => id,
            None => state.slot_id(target, key).map_err(refuse)?,
        };
        if cold {
            state.warm_slot(id);
        }
        state.load_slot(id).map_err(refuse)?;
        Ok((id, cold))
    }

    /// Whether an account exists for the new-account charges: it is not empty (EIP-161); before that EIP, it is
    /// in the state.
    fn is_alive(&mut self, id: AccountId) -> bool {
        if self.evm.since(Fork::SpuriousDragon) { !self.evm.state.is_empty(id) } else { self.evm.state.exists(id) }
    }
}

impl Host for ReferenceHost<'_, '_> {
    fn basefee(&self) -> U256 {
        U256::from(self.evm.block.base_fee)
    }

    fn blob_gasprice(&self) -> U256 {
        self.evm.block.blob_base_fee
    }

    fn gas_limit(&self) -> U256 {
        U256::from(self.evm.block.gas_limit)
    }

    fn difficulty(&self) -> U256 {
        self.evm.block.difficulty
    }

    fn prevrandao(&self) -> Option<U256> {
        Some(self.evm.block.difficulty)
    }

    fn block_number(&self) -> U256 {
        U256::from(self.evm.block.number)
    }

    fn timestamp(&self) -> U256 {
        U256::from(self.evm.block.timestamp)
    }

    fn beneficiary(&self) -> Address {
        self.evm.block.coinbase
    }

    fn slot_num(&self) -> U256 {
        U256::from(self.evm.block.slot_number)
    }

    fn chain_id(&self) -> U256 {
        U256::from(self.evm.block.chain_id)
    }

    fn effective_gas_price(&self) -> U256 {
        self.evm.tx.gas_price
    }

    fn caller(&self) -> Address {
        self.evm.tx.origin
    }

    fn blob_hash(&self, number: usize) -> Option<U256> {
        self.evm.tx.blob_hashes.get(number).map(|hash| U256::from_be_bytes(hash.0))
    }

    fn max_initcode_size(&self) -> usize {
        self.evm.rules.initcode_size_max
    }

    fn gas_params(&self) -> &GasParams {
        &self.gas_params
    }

    fn is_amsterdam_eip8037_enabled(&self) -> bool {
        self.evm.since(Fork::Amsterdam)
    }

    fn block_hash(&mut self, number: u64) -> Option<B256> {
        self.evm.state.block_hash(number).ok()
    }

    fn selfdestruct(
        &mut self,
        _own: Address,
        beneficiary: Address,
        skip_cold_load: bool,
    ) -> Result<StateLoad<SelfDestructResult>, LoadError> {
        let (beneficiary_id, is_cold) = self.access_account(&beneficiary, skip_cold_load)?;
        let own = self.evm.frame().target;
        let row = *self.evm.state.load(own).map_err(refuse)?;
        let result = SelfDestructResult {
            had_value: !self.evm.state.balance(own).is_zero(),
            target_exists: self.is_alive(beneficiary_id),
            previously_destroyed: row.has(flag::DESTROYED),
        };
        self.beneficiary = Some((beneficiary_id, beneficiary));
        Ok(StateLoad::new(result, is_cold))
    }

    fn log(&mut self, log: Log) {
        self.evm.state.logs.push(log.address, log.data.topics(), &log.data.data);
    }

    fn sstore_skip_cold_load(
        &mut self,
        _own: Address,
        key: U256,
        value: U256,
        skip_cold_load: bool,
    ) -> Result<StateLoad<SStoreResult>, LoadError> {
        let (id, is_cold) = self.access_slot(&key, skip_cold_load)?;
        let row = self.evm.state.slot_row(id);
        let result = SStoreResult { original_value: row.original(), present_value: row.value, new_value: value };
        self.evm.state.set_slot(id, value);
        Ok(StateLoad::new(result, is_cold))
    }

    fn sload_skip_cold_load(
        &mut self,
        _own: Address,
        key: U256,
        skip_cold_load: bool,
    ) -> Result<StateLoad<U256>, LoadError> {
        let (id, is_cold) = self.access_slot(&key, skip_cold_load)?;
        Ok(StateLoad::new(self.evm.state.slot_row(id).value, is_cold))
    }

    fn tstore(&mut self, _own: Address, key: U256, value: U256) {
        let target = self.evm.frame().target;
        self.evm.state.set_transient(target, key, value);
    }

    fn tload(&mut self, _own: Address, key: U256) -> U256 {
        self.evm.tload(&key)
    }

    fn load_account_info_skip_cold_load(
        &mut self,
        address: Address,
        load_code: bool,
        skip_cold_load: bool,
    ) -> Result<AccountInfoLoad<'_>, LoadError> {
        let (id, is_cold) = self.access_account(&address, skip_cold_load)?;
        let row = *self.evm.state.row(id);
        let code = if load_code { Some(self.code(row.code)?) } else { None };
        let info = AccountInfo {
            balance: self.evm.state.balance(id),
            nonce: self.evm.state.nonce(id),
            code_hash: self.evm.state.codes.hash(row.code),
            account_id: None,
            code,
        };
        Ok(AccountInfoLoad { account: Cow::Owned(info), is_cold, is_empty: !self.is_alive(id) })
    }
}
