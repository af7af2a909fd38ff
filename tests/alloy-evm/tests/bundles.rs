//! Stored blocks, executed by revm through alloy-evm and by the library: equal bundles (state, contracts, reverts),
//! receipts, requests, gas and lists.

#[path = "../../executed/mod.rs"]
mod executed;

use alloy_consensus::transaction::{Recovered, SignerRecoverable};
use alloy_consensus::{Block, ReceiptEnvelope, TxEnvelope};
use alloy_eip7928::BlockAccessList;
use alloy_eips::eip7840::BlobParams;
use alloy_evm::block::{BlockExecutionResult, BlockExecutor};
use alloy_evm::eth::receipt_builder::AlloyReceiptBuilder;
use alloy_evm::eth::spec::EthExecutorSpec;
use alloy_evm::eth::{EthBlockExecutionCtx, EthBlockExecutor};
use alloy_evm::{EthEvmFactory, Evm, EvmEnv, EvmFactory};
use alloy_hardforks::{EthereumHardfork, EthereumHardforks, ForkCondition};
use alloy_primitives::{Address, U256};
use balustrade::revm::StoreRef;
use balustrade::{ChainRules, Fork, MemoryStore};
use executed::{Executed, each_executed};
use revm::database::states::bundle_state::BundleRetention;
use revm::database::{AccountStatus, BundleState, State};
use revm::state::bal::BlockAccessIndex;
use std::borrow::Cow;

/// One fork from genesis on.
#[derive(Clone, Copy, Debug)]
struct Spec {
    fork: EthereumHardfork,
    deposit_contract: Address,
}

impl EthereumHardforks for Spec {
    fn ethereum_fork_activation(&self, fork: EthereumHardfork) -> ForkCondition {
        match fork {
            EthereumHardfork::Dao => ForkCondition::Never,
            fork if fork > self.fork => ForkCondition::Never,
            EthereumHardfork::Paris => ForkCondition::TTD {
                activation_block_number: 0,
                fork_block: Some(0),
                total_difficulty: U256::ZERO,
            },
            fork if fork >= EthereumHardfork::Shanghai => ForkCondition::ZERO_TIMESTAMP,
            _ => ForkCondition::ZERO_BLOCK,
        }
    }
}

impl EthExecutorSpec for Spec {
    fn deposit_contract_address(&self) -> Option<Address> {
        Some(self.deposit_contract)
    }
}

fn hardfork(fork: Fork) -> EthereumHardfork {
    match fork {
        Fork::Frontier => EthereumHardfork::Frontier,
        Fork::Homestead => EthereumHardfork::Homestead,
        Fork::TangerineWhistle => EthereumHardfork::Tangerine,
        Fork::SpuriousDragon => EthereumHardfork::SpuriousDragon,
        Fork::Byzantium => EthereumHardfork::Byzantium,
        Fork::Constantinople => EthereumHardfork::Constantinople,
        Fork::Petersburg => EthereumHardfork::Petersburg,
        Fork::Istanbul => EthereumHardfork::Istanbul,
        Fork::Berlin => EthereumHardfork::Berlin,
        Fork::London => EthereumHardfork::London,
        Fork::Paris => EthereumHardfork::Paris,
        Fork::Shanghai => EthereumHardfork::Shanghai,
        Fork::Cancun => EthereumHardfork::Cancun,
        Fork::Prague => EthereumHardfork::Prague,
        Fork::Osaka => EthereumHardfork::Osaka,
        _ => EthereumHardfork::Amsterdam,
    }
}

type Result3 = (BlockExecutionResult<ReceiptEnvelope>, BundleState, Option<BlockAccessList>);

/// Executes the block by revm.
fn execute(rules: &ChainRules, block: &Block<TxEnvelope>, before: &MemoryStore) -> Result3 {
    let schedule = rules.blob_schedule;
    let spec = Spec { fork: hardfork(rules.fork), deposit_contract: rules.deposit_contract };
    let blobs = (rules.fork >= Fork::Cancun).then(|| BlobParams {
        target_blob_count: schedule.target,
        max_blob_count: schedule.max,
        update_fraction: u128::from(schedule.base_fee_update_fraction),
        ..BlobParams::bpo2()
    });
    let env = EvmEnv::for_eth_block(&block.header, spec, rules.chain_id, blobs);
    let builder = State::builder().with_database_ref(StoreRef(before)).with_bundle_update();
    let mut state = if rules.fork == Fork::Amsterdam { builder.with_bal_builder().build() } else { builder.build() };
    let context = EthBlockExecutionCtx {
        parent_hash: block.header.parent_hash,
        parent_beacon_block_root: block.header.parent_beacon_block_root,
        ommers: &block.body.ommers,
        withdrawals: block.body.withdrawals.as_ref().map(|list| Cow::Borrowed(list.as_slice())),
        extra_data: block.header.extra_data.clone(),
        tx_count_hint: Some(block.body.transactions.len()),
        slot_number: block.header.slot_number,
    };
    let evm = EthEvmFactory::default().create_evm(&mut state, env);
    let mut executor = EthBlockExecutor::new(evm, context, spec, AlloyReceiptBuilder::default());
    executor.apply_pre_execution_changes().expect("system calls");
    for (index, tx) in block.body.transactions.iter().enumerate() {
        executor.evm_mut().db_mut().set_bal_index(BlockAccessIndex::new(index as u64 + 1));
        let signer = tx.recover_signer().expect("a signature");
        executor.execute_transaction(Recovered::new_unchecked(tx, signer)).expect("a valid transaction");
    }
    executor.evm_mut().db_mut().set_bal_index(BlockAccessIndex::new(block.body.transactions.len() as u64 + 1));
    let (_, result) = executor.finish().expect("a valid block");
    state.merge_transitions(BundleRetention::Reverts);
    let list = state.take_built_alloy_bal();
    (result, state.take_bundle(), list)
}

/// Whether an account was deleted on the way: a list does not tell when the account exists afterwards.
fn was_destroyed(status: AccountStatus) -> bool {
    matches!(status, AccountStatus::Destroyed | AccountStatus::DestroyedChanged | AccountStatus::DestroyedAgain)
}

#[test]
fn stored_blocks_give_the_bundles_of_revm() {
    let (mut equal, mut destroyed, mut lists) = (0, 0, 0);
    let count = each_executed(&mut |Executed { name, rules, block, before, outcome }| {
        let decoded: Block<TxEnvelope> = alloy_rlp::decode_exact(block).expect("a block");
        let (result, bundle, list) = execute(rules, &decoded, before);
        let ours = outcome.to_execution_result();
        if rules.fork >= Fork::Byzantium {
            assert_eq!(ours.receipts, result.receipts, "{name}");
        }
        assert_eq!(ours.requests, result.requests, "{name}");
        assert_eq!((ours.gas_used, ours.blob_gas_used), (result.gas_used, result.blob_gas_used), "{name}");
        if let Some(list) = list {
            assert_eq!(outcome.to_access_list(), list, "{name}");
            lists += 1;
        }
        let ours = outcome.to_bundle_state();
        if bundle.state.values().any(|account| was_destroyed(account.status)) {
            destroyed += 1;
            return;
        }
        for (address, account) in &bundle.state {
            assert_eq!(ours.state.get(address), Some(account), "{name}: {address}");
        }
        assert_eq!(ours.state.len(), bundle.state.len(), "{name}");
        let keys = |bundle: &BundleState| {
            let mut keys: Vec<_> = bundle.contracts.keys().copied().collect();
            keys.sort();
            keys
        };
        assert_eq!(keys(&ours), keys(&bundle), "{name}: contracts");
        assert_eq!(ours.reverts, bundle.reverts, "{name}: reverts");
        assert_eq!(ours, bundle, "{name}");
        equal += 1;
    });
    println!("{count} blocks: {equal} with equal bundles, {destroyed} in which an account was deleted; {lists} lists");
    assert!(equal >= 12 && lists >= 3, "{equal} of {count} blocks, {lists} lists");
}
