//! `eth_call`: a message call on the state after a block, which changes nothing.
//!
//! In: a call, the header and the state. Out: its output, or why it failed.
//! The call runs as a transaction in the block's environment, without a signature. Without a gas price the base fee is
//! zero, as in go-ethereum, so that the sender needs no funds for gas.
//! Not here: overrides of the state or of the block; senders that have code.

use super::super::interrupt;
use super::rpc::{RpcError, bounded, code};
use super::value::{Data, Fixed, Number, Wide};
use alloy_primitives::{Address, B256, Bytes, U256, hex};
use alloy_rlp::Encodable;
use balustrade::arena::TxIndex;
use balustrade::arena::code::CodeArena;
use balustrade::arena::path::NodeQuery;
use balustrade::exec::block::providers::{Overlay, OverlayState};
use balustrade::exec::evm::machine::{BlockEnv, Evm, EvmScratch};
use balustrade::exec::evm::state::{StateScratch, TxState};
use balustrade::exec::interpreter::{LoopKind, Runner};
use balustrade::exec::rules::header::blob_base_fee;
use balustrade::exec::tx::{TxError, TxInput};
use balustrade::exec::wire::{Header, Transactions};
use balustrade::trie::StateTries;
use balustrade::{ChainRules, Fork, ParentAccount, SlotQuery, StateStore, StoreError};
use serde::Deserialize;
use serde_json::{Value, json};

/// Most gas of a call; a larger limit is lowered to it.
const GAS_MAX: u64 = 50_000_000;
/// Most gas of a transaction in Osaka (EIP-7825).
const OSAKA_GAS_MAX: u64 = 1 << 24;

/// A call.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default, expecting = "a call")]
pub struct Call {
    from: Option<Fixed<20>>,
    to: Option<Fixed<20>>,
    gas: Option<Number>,
    gas_price: Option<Wide>,
    max_fee_per_gas: Option<Wide>,
    max_priority_fee_per_gas: Option<Wide>,
    value: Option<Wide>,
    data: Option<Data>,
    input: Option<Data>,
    chain_id: Option<Wide>,
    /// Has no effect: the nonce is that of the state.
    #[serde(rename = "nonce")]
    _nonce: Option<Number>,
    /// Has no effect.
    #[serde(rename = "type")]
    _tx_type: Option<Number>,
}

/// A state whose accounts and slots are those of tries, uncommitted updates included.
pub struct TrieState<'a> {
    /// Codes, block hashes, and the nodes that are not in memory.
    pub store: &'a dyn StateStore,
    /// The tries.
    pub tries: &'a StateTries,
}

impl StateStore for TrieState<'_> {
    fn accounts(&self, addresses: &[Address], out: &mut [ParentAccount]) -> Result<(), StoreError> {
        self.tries.accounts(self.store, addresses, out)
    }
    fn slots(&self, slots: &[SlotQuery], out: &mut [U256]) -> Result<(), StoreError> {
        self.tries.slots(self.store, slots, out)
    }
    fn codes(&self, hashes: &[B256], out: &mut [Option<Bytes>]) -> Result<(), StoreError> {
        self.store.codes(hashes, out)
    }
    fn block_hashes(&self, numbers: &[u64], out: &mut [B256]) -> Result<(), StoreError> {
        self.store.block_hashes(numbers, out)
    }
    fn trie_nodes(&self, nodes: &[NodeQuery], out: &mut [Bytes]) -> Result<(), StoreError> {
        self.store.trie_nodes(nodes, out)
    }
}

/// Runs a call in the environment of the block with this header.
///
/// # Errors
/// 3: it reverted, with its output; -32000: it failed, or the sender cannot send it; -32602.
pub fn run(call: &Call, rules: &ChainRules, header: &Header, state: &TrieState<'_>) -> Result<Value, RpcError> {
    if call.chain_id.is_some_and(|id| id.0 != U256::from(rules.chain_id)) {
        return Err(RpcError::params("the call is of another chain"));
    }
    let from = call.from.map_or(Address::ZERO, Fixed::address);
    let mut account = [ParentAccount::default()];
    state.accounts(&[from], &mut account).map_err(|error| RpcError::server(error.to_string()))?;
    let price = match (call.gas_price, call.max_fee_per_gas) {
        (Some(price), _) => price.0,
        (None, Some(most)) => {
            let tip = call.max_priority_fee_per_gas.unwrap_or_default().0;
            most.0.min(tip.saturating_add(U256::from(header.base_fee.unwrap_or_default())))
        }
        (None, None) => U256::ZERO,
    };
    let price = u128::try_from(price).map_err(|_| RpcError::params("the gas price is wider than 128 bits"))?;
    let env = BlockEnv {
        chain_id: rules.chain_id,
        number: header.number,
        timestamp: header.timestamp,
        coinbase: header.coinbase,
        gas_limit: header.gas_limit,
        base_fee: if price == 0 { 0 } else { header.base_fee.unwrap_or_default() },
        difficulty: if rules.fork >= Fork::Paris { U256::from_be_bytes(header.mix_hash.0) } else { header.difficulty },
        blob_base_fee: blob_base_fee(rules, header.excess_blob_gas.unwrap_or_default()),
        slot_number: header.slot_number.unwrap_or_default(),
    };
    let most = if rules.fork == Fork::Osaka { OSAKA_GAS_MAX } else { GAS_MAX };
    let gas = call.gas.map_or(most, |gas| gas.0.min(most));
    let encoded = encode(call, account[0].nonce, price, gas)?;
    let transactions = Transactions::decode_one(encoded).map_err(|error| RpcError::params(error.to_string()))?;
    let codes = CodeArena::default();
    let mut overlay = Overlay::default();
    let base = Box::new(OverlayState { overlay: &mut overlay, store: state, codes: &codes });
    let tx_state = TxState::new(StateScratch::default(), None, base, &codes, rules.fork);
    let mut evm = Evm::new(EvmScratch::default(), rules, &env, tx_state);
    evm.cancel = Some(interrupt::token());
    let input = TxInput { transactions: &transactions, index: TxIndex(0), sender: Some(from), authorities: &[] };
    let mut runner = Runner::from(LoopKind::default());
    runner.calls = Some(Box::default());
    let outcome = evm.execute_tx(&input, &mut runner).map_err(|error| match error {
        TxError::Invalid(invalid) => RpcError::server(invalid.to_string()),
        error => RpcError::server(bounded(&format!("{error:?}"))),
    })?;
    let output = hex::encode_prefixed(evm.return_data());
    if outcome.success {
        return Ok(json!(output));
    }
    let reason = runner.calls.and_then(|tree| tree.calls.first().and_then(|call| call.error)).unwrap_or("failed");
    if output.len() > 2 || reason == "execution reverted" {
        let message = "execution reverted".to_owned();
        return Err(RpcError { code: code::REVERTED, message, data: Some(json!(output)) });
    }
    Err(RpcError::server(format!("execution failed: {reason}")))
}

/// The call as a legacy transaction, with a signature that nobody checks.
fn encode(call: &Call, nonce: u64, price: u128, gas: u64) -> Result<Bytes, RpcError> {
    let input = match (&call.input, &call.data) {
        (Some(input), Some(data)) if input != data => return Err(RpcError::params("`input` and `data` differ")),
        (Some(input), _) => input.0.clone(),
        (None, data) => data.clone().unwrap_or_default().0,
    };
    let mut fields = Vec::with_capacity(input.len() + 100);
    nonce.encode(&mut fields);
    price.encode(&mut fields);
    gas.encode(&mut fields);
    match call.to {
        Some(to) => to.address().encode(&mut fields),
        None => fields.push(alloy_rlp::EMPTY_STRING_CODE),
    }
    call.value.unwrap_or_default().0.encode(&mut fields);
    input.encode(&mut fields);
    [27u8, 1, 1].iter().for_each(|part| part.encode(&mut fields));
    let mut out = Vec::with_capacity(fields.len() + 5);
    alloy_rlp::Header { list: true, payload_length: fields.len() }.encode(&mut out);
    out.extend_from_slice(&fields);
    Ok(out.into())
}
