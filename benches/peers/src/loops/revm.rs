//! revm on a workload: whole transactions, and its interpreter without transaction and frames.

use super::{Contestant, Outcome};
use alloy_primitives::{B256, Bytes, U256, keccak256};
use balustrade_cli::measure::workload::{self, Workload};
use revm::bytecode::Bytecode;
use revm::context::{ContextSetters, ContextTr, JournalTr, TxEnv};
use revm::database::{CacheDB, EmptyDB};
use revm::handler::instructions::EthInstructions;
use revm::interpreter::interpreter::{EthInterpreter, ExtBytecode};
use revm::interpreter::{CallInput, InputsImpl, Interpreter, InterpreterAction, SharedMemory};
use revm::primitives::hardfork::SpecId;
use revm::state::AccountInfo;
use revm::{Context, ExecuteEvm, MainBuilder, MainContext, MainnetEvm};

/// Name of whole transactions in reports.
pub(crate) const NAME: &str = "revm";
/// Name of the bare interpreter in reports.
pub(crate) const BARE_NAME: &str = "revm_bare";

type MainnetCtx = revm::handler::MainnetContext<CacheDB<EmptyDB>>;

fn context(workload: &Workload) -> Result<(MainnetCtx, TxEnv, Bytecode, B256), String> {
    let mut database = CacheDB::new(EmptyDB::default());
    let mut target = (Bytecode::default(), B256::ZERO);
    for account in workload.state()? {
        let code = Bytecode::new_raw(account.code.clone());
        let code_hash = keccak256(&account.code);
        if account.address == workload::TARGET {
            target = (code.clone(), code_hash);
        }
        let info = AccountInfo {
            nonce: account.nonce,
            balance: account.balance,
            code_hash,
            code: Some(code),
            ..AccountInfo::default()
        };
        database.insert_account_info(account.address, info);
        for (key, value) in account.storage {
            database.insert_account_storage(account.address, key, value).map_err(|error| error.to_string())?;
        }
    }
    let context = Context::mainnet()
        .with_db(database)
        .modify_cfg_chained(|cfg| {
            cfg.set_spec_and_mainnet_gas_params(SpecId::CANCUN);
            cfg.tx_gas_limit_cap = Some(u64::MAX);
        })
        .modify_block_chained(|block| {
            block.number = U256::ONE;
            block.timestamp = U256::ONE;
            block.gas_limit = workload::BLOCK_GAS_LIMIT;
            block.basefee = 0;
        });
    let tx = TxEnv::builder()
        .caller(workload::SENDER)
        .to(workload::TARGET)
        .gas_limit(workload.gas)
        .gas_price(0)
        .data(workload.calldata.clone())
        .build()
        .map_err(|error| format!("{error:?}"))?;
    Ok((context, tx, target.0, target.1))
}

/// Whole transactions, including the finalization of the journal.
pub(crate) struct Transaction {
    evm: MainnetEvm<MainnetCtx>,
    tx: TxEnv,
}

impl Transaction {
    pub(crate) fn new(workload: &Workload) -> Result<Self, String> {
        let (context, tx, ..) = context(workload)?;
        Ok(Self { evm: context.build_mainnet(), tx })
    }
}

impl Contestant for Transaction {
    fn run(&mut self) {
        let _ = core::hint::black_box(self.evm.transact(self.tx.clone()));
    }

    fn outcome(&mut self) -> Result<Option<Outcome>, String> {
        let result = self.evm.transact(self.tx.clone()).map_err(|error| format!("{error:?}"))?.result;
        let output = result.output().cloned().unwrap_or_default();
        Ok(Some(Outcome { success: result.is_success(), gas: result.tx_gas_used(), output }))
    }
}

/// The interpreter alone, with the mainnet instruction table and a journal that is reset for each run.
pub(crate) struct Bare {
    context: MainnetCtx,
    instructions: EthInstructions<EthInterpreter, MainnetCtx>,
    interpreter: Interpreter,
    code: (Bytecode, B256),
    input: Bytes,
    gas: u64,
}

impl Bare {
    pub(crate) fn new(workload: &Workload) -> Result<Self, String> {
        let (mut context, tx, code, code_hash) = context(workload)?;
        context.set_tx(tx);
        Ok(Self {
            context,
            instructions: EthInstructions::new_mainnet_with_spec(SpecId::CANCUN),
            interpreter: Interpreter::default(),
            code: (code, code_hash),
            input: workload.calldata.clone(),
            gas: workload.gas,
        })
    }

    fn execute(&mut self) -> InterpreterAction {
        let _ = self.context.journal_mut().finalize();
        let _ = self.context.journal_mut().load_account(workload::TARGET);
        let inputs = InputsImpl {
            target_address: workload::TARGET,
            bytecode_address: Some(workload::TARGET),
            caller_address: workload::SENDER,
            input: CallInput::Bytes(self.input.clone()),
            call_value: U256::ZERO,
            depth: 0,
        };
        let code = ExtBytecode::new_with_hash(self.code.0.clone(), self.code.1);
        self.interpreter.clear(SharedMemory::new(), code, inputs, false, SpecId::CANCUN, self.gas, 0);
        self.interpreter.run_plain(
            self.instructions.instruction_table(),
            self.instructions.gas_table(),
            &mut self.context,
        )
    }
}

impl Contestant for Bare {
    fn run(&mut self) {
        core::hint::black_box(self.execute());
    }

    fn outcome(&mut self) -> Result<Option<Outcome>, String> {
        // The workload enters a frame, which the bare interpreter does not do.
        let InterpreterAction::Return(result) = self.execute() else { return Ok(None) };
        let success = result.result.is_ok();
        Ok(Some(Outcome { success, gas: result.gas.total_gas_spent(), output: result.output }))
    }
}
