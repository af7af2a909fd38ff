//! System calls (EIP-2935, 4788, 7002, 7251, 8282).
//!
//! In: a system contract and call data. Out: the status of the call, its return data and state changes in the machine.
//! Not here: which contracts a block calls, and what their failure means (`block::system`).

use crate::arena::code::EMPTY_CODE;
use crate::exec::evm::call::{CallKind, CallRequest, Entered};
use crate::exec::evm::gas::TxGas;
use crate::exec::evm::halt::{Fault, Halt};
use crate::exec::evm::host::SYSTEM_ADDRESS;
use crate::exec::evm::machine::{Evm, Input, Status, TxEnv};
use crate::exec::interpreter::Runner;
use crate::exec::rules::fork::Fork;
use alloy_primitives::{Address, B256, U256};

/// Execution gas of a system call (EIP-2935, 4788, 7002, 7251, 8282).
pub const SYSTEM_CALL_GAS: u64 = 30_000_000;
/// State gas of a system call from Amsterdam on: enough for 16 new slots (EIP-8037).
pub const SYSTEM_CALL_RESERVOIR: u64 = 16 * 64 * 1_530;

impl<'b> Evm<'b> {
    /// Runs a system call: no intrinsic gas, no fee, no nonce; GASPRICE returns the base fee.
    /// Returns `None` where the target has no code, else the status of the call. The output is in the machine's
    /// return data.
    ///
    /// The accessed addresses at its start are those of the executable specification: from Cancun to Osaka none, so
    /// even precompiles and the target are cold; from Amsterdam on coinbase, precompiles, [`SYSTEM_ADDRESS`] and the
    /// target. Addresses and slots that an earlier system call accessed are cold.
    ///
    /// # Errors
    /// The fault that aborted execution.
    pub fn system_call(
        &mut self,
        target: &Address,
        input: &'b [u8],
        runner: &mut Runner,
    ) -> Result<Option<Status>, Fault> {
        match self.system_call_inner(target, input, runner) {
            Ok(status) => Ok(status),
            Err(_) => Err(self.state.fault.clone().unwrap_or(Fault::Cancelled)),
        }
    }

    fn system_call_inner(
        &mut self,
        target: &Address,
        input: &'b [u8],
        runner: &mut Runner,
    ) -> Result<Option<Status>, Halt> {
        const NO_BLOBS: &[B256] = &[];
        self.frames.clear();
        let gas_price = U256::from(self.block.base_fee);
        self.tx = TxEnv { origin: SYSTEM_ADDRESS, gas_price, blob_hashes: NO_BLOBS, input };
        let reservoir = if self.since(Fork::Amsterdam) { SYSTEM_CALL_RESERVOIR } else { 0 };
        self.gas = TxGas { reservoir: reservoir as i64, state_used: 0, refund: 0 };
        self.state.begin_system_call();
        let to = self.state.account_id(target)?;
        if self.since(Fork::Amsterdam) {
            self.state.warm(to);
            self.state.warm_name(&SYSTEM_ADDRESS);
            self.state.warm_name(&self.block.coinbase);
        }
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
            Entered::Frame => runner.run(self),
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
