//! ethrex's LEVM on a workload: whole transactions, each on a new database, with pooled buffers as in block execution.

use super::{Contestant, Outcome};
use crate::convert;
use crate::ethrex_flat::EthrexFlat;
use balustrade_cli::measure::workload::{self, Workload};
use bytes::Bytes;
use ethrex_common::types::{
    AccountState, Code, Fork, InitcodeBuffer, LegacyTransaction, Transaction as EthrexTransaction, TxKind,
};
use ethrex_common::{H256, U256};
use ethrex_crypto::NativeCrypto;
use ethrex_levm::call_frame::Stack;
use ethrex_levm::db::gen_db::GeneralizedDatabase;
use ethrex_levm::environment::{EVMConfig, Environment};
use ethrex_levm::errors::{ExecutionReport, VMError};
use ethrex_levm::memory::Memory;
use ethrex_levm::tracing::LevmCallTracer;
use ethrex_levm::vm::{VM, VMType};
use std::sync::Arc;

/// Name in reports. It is not `levm`, because one of our loops has LEVM's structure and that name.
pub(crate) const NAME: &str = "ethrex_levm";

pub(crate) struct Levm {
    store: Arc<EthrexFlat>,
    env: Environment,
    tx: EthrexTransaction,
    stacks: Vec<Stack>,
    memories: Vec<Memory>,
    initcodes: Vec<InitcodeBuffer>,
}

impl Levm {
    pub(crate) fn new(workload: &Workload) -> Result<Self, String> {
        let mut flat = EthrexFlat::default();
        for account in workload.state()? {
            let code = Code::from_bytecode(Bytes::copy_from_slice(&account.code), &NativeCrypto);
            let mut state = AccountState {
                nonce: account.nonce,
                balance: convert::word(account.balance),
                code_hash: code.hash,
                ..AccountState::default()
            };
            if !account.storage.is_empty() {
                // Any root but the empty one means that the account has storage.
                state.storage_root = H256::repeat_byte(1);
            }
            flat.codes.insert(code.hash, code);
            flat.accounts.insert(convert::address(account.address), state);
            for (key, value) in account.storage {
                flat.slots.insert((convert::address(account.address), convert::key(key)), convert::word(value));
            }
        }
        let config = EVMConfig::new(Fork::Cancun, EVMConfig::canonical_values(Fork::Cancun));
        let env = Environment {
            origin: convert::address(workload::SENDER),
            gas_limit: workload.gas,
            config,
            block_number: 1,
            timestamp: 1,
            chain_id: U256::one(),
            base_blob_fee_per_gas: U256::one(),
            block_excess_blob_gas: Some(0),
            block_blob_gas_used: Some(0),
            prev_randao: Some(H256::zero()),
            block_gas_limit: workload::BLOCK_GAS_LIMIT,
            ..Environment::default()
        };
        let tx = EthrexTransaction::LegacyTransaction(LegacyTransaction {
            gas: workload.gas,
            to: TxKind::Call(convert::address(workload::TARGET)),
            data: Bytes::copy_from_slice(&workload.calldata),
            ..LegacyTransaction::default()
        });
        Ok(Self { store: Arc::new(flat), env, tx, stacks: Vec::new(), memories: Vec::new(), initcodes: Vec::new() })
    }

    fn execute(&mut self) -> Result<ExecutionReport, VMError> {
        let mut database = GeneralizedDatabase::new(self.store.clone());
        let mut vm = VM::new_pooled(
            self.env.clone(),
            &mut database,
            &self.tx,
            LevmCallTracer::disabled(),
            VMType::L1,
            &NativeCrypto,
            None,
            &mut self.stacks,
            &mut self.memories,
            &mut self.initcodes,
        )?;
        let report = vm.execute();
        vm.reclaim_into(&mut self.stacks, &mut self.memories, &mut self.initcodes);
        report
    }
}

impl Contestant for Levm {
    fn run(&mut self) {
        let _ = core::hint::black_box(self.execute());
    }

    fn outcome(&mut self) -> Result<Option<Outcome>, String> {
        let report = self.execute().map_err(|error| error.to_string())?;
        let output = alloy_primitives::Bytes::copy_from_slice(&report.output);
        Ok(Some(Outcome { success: report.is_success(), gas: report.gas_spent, output }))
    }
}
