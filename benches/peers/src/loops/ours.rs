//! Our own loops on a workload.
//!
//! In: a workload, a loop. Out: whole transactions on our machine. Only analysed code and the machine's memory are kept
//! between runs.

use super::workload::{self, Workload};
use super::{Contestant, Outcome};
use alloy_primitives::{Bytes, U256};
use alloy_rlp::Encodable;
use balustrade::arena::TxIndex;
use balustrade::arena::code::CodeArena;
use balustrade::arena::store::MemoryStore;
use balustrade::exec::block::providers::{Overlay, OverlayState};
use balustrade::exec::evm::machine::{BlockEnv, Evm, EvmScratch};
use balustrade::exec::evm::state::{StateScratch, TxState};
use balustrade::exec::interpreter::LoopKind;
use balustrade::exec::rules::fork::{ChainRules, Fork};
use balustrade::exec::tx::TxInput;
use balustrade::exec::wire::Transactions;

pub(crate) struct Ours {
    kind: LoopKind,
    chain: ChainRules,
    block: BlockEnv,
    store: MemoryStore,
    codes: CodeArena,
    transactions: Transactions,
    /// The memory of the machine; `None` while a machine uses it.
    scratch: Option<(StateScratch, EvmScratch)>,
}

impl Ours {
    pub(crate) fn new(workload: &Workload, kind: LoopKind) -> Result<Self, String> {
        let mut store = MemoryStore::default();
        let codes = CodeArena::default();
        for account in workload.state()? {
            let code_hash = store.insert_code(account.code.clone());
            codes.insert(code_hash, account.code);
            store.insert_account(account.address, account.nonce, account.balance, code_hash, account.storage);
        }
        let block = BlockEnv {
            chain_id: 1,
            number: 1,
            timestamp: 1,
            gas_limit: workload::BLOCK_GAS_LIMIT,
            blob_base_fee: U256::ONE,
            ..BlockEnv::default()
        };
        let transactions =
            Transactions::decode_one(transaction(workload)).map_err(|error| format!("transaction: {error}"))?;
        let chain = ChainRules::mainnet(Fork::Cancun);
        Ok(Self { kind, chain, block, store, codes, transactions, scratch: None })
    }

    /// Builds a machine without ids and cached hashes, as for a new block, calls `work` with it and takes its memory
    /// back.
    fn on_new_machine<T>(&mut self, work: impl for<'b> FnOnce(&mut Evm<'b>, &TxInput<'b>, LoopKind) -> T) -> T {
        let mut overlay = Overlay::default();
        let base = Box::new(OverlayState { overlay: &mut overlay, store: &self.store, codes: &self.codes });
        let (state, evm) = self.scratch.take().unwrap_or_default();
        let state = TxState::new(state, None, base, &self.codes, self.chain.fork);
        let mut evm = Evm::new(evm, &self.chain, &self.block, state);
        let input = TxInput {
            transactions: &self.transactions,
            index: TxIndex(0),
            sender: Some(workload::SENDER),
            authorities: &[],
        };
        let result = work(&mut evm, &input, self.kind);
        let (mut evm, state) = evm.into_scratch();
        evm.forget_hashes();
        self.scratch = Some((state, evm));
        result
    }
}

impl Contestant for Ours {
    fn run(&mut self) {
        self.on_new_machine(|evm, input, kind| {
            let _ = core::hint::black_box(evm.execute_tx(input, &mut kind.into()));
        });
    }

    fn setup(&mut self) -> bool {
        self.on_new_machine(|evm, _, _| {
            core::hint::black_box(evm);
        });
        true
    }

    fn outcome(&mut self) -> Result<Option<Outcome>, String> {
        self.on_new_machine(|evm, input, kind| {
            let outcome = evm.execute_tx(input, &mut kind.into()).map_err(|error| format!("{error:?}"))?;
            let output = Bytes::copy_from_slice(evm.return_data());
            Ok(Some(Outcome { success: outcome.success, gas: outcome.gas_paid, output }))
        })
    }
}

/// A legacy transaction; its signature is not read, because the sender is given.
fn transaction(workload: &Workload) -> Bytes {
    let mut payload = Vec::new();
    0u64.encode(&mut payload);
    0u64.encode(&mut payload);
    workload.gas.encode(&mut payload);
    workload::TARGET.encode(&mut payload);
    U256::ZERO.encode(&mut payload);
    workload.calldata().encode(&mut payload);
    for signature_part in [27u64, 1, 1] {
        signature_part.encode(&mut payload);
    }
    let mut out = Vec::new();
    alloy_rlp::Header { list: true, payload_length: payload.len() }.encode(&mut out);
    out.extend_from_slice(&payload);
    out.into()
}
