//! A small chain for optimistic execution: keys, contracts, a state, and blocks built from transactions.

use crate::signed::{Call, address_of, secret};
use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use balustrade::arena::TxIndex;
use balustrade::arena::store::{KECCAK_EMPTY, MemoryStore, StateStore};
use balustrade::exec::block::error::BlockError;
use balustrade::exec::rules::fork::{ChainRules, Fork};
use balustrade::exec::senders::{Signature, recover_batch};
use balustrade::exec::wire::{Header, Transactions};
use balustrade::executor::BuiltBlock;
use balustrade::trie::StateTries;
use balustrade::{BlockInput, BlockOutcome, Executor, Mode, Options};
use std::collections::BTreeMap;

/// Base fee in wei per gas; a fee above it goes to the coinbase.
pub(crate) const BASE_FEE: u64 = 100;
/// The fee recipient of every block.
pub(crate) const COINBASE: Address = Address::repeat_byte(0xcb);

/// The address of the `index`-th key.
pub(crate) fn sender(index: u64) -> Address {
    address_of(&secret(index))
}

/// An unsigned transaction.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    /// Number of the key that signs it.
    pub(crate) key: u64,
    /// Recipient; `None` creates.
    pub(crate) to: Option<Address>,
    /// Value in wei.
    pub(crate) value: u64,
    /// Calldata or init code.
    pub(crate) input: Vec<u8>,
    /// Gas limit.
    pub(crate) gas_limit: u64,
    /// Wei per gas above the base fee.
    pub(crate) tip: u64,
    /// Nonce; `None`: the sender's next one.
    pub(crate) nonce: Option<u64>,
}

impl Draft {
    /// A call with enough gas.
    pub(crate) fn call(key: u64, to: Address, input: Vec<u8>) -> Self {
        Self { key, to: Some(to), value: 0, input, gas_limit: 500_000, tip: 1, nonce: None }
    }

    /// A transfer of `value` wei.
    pub(crate) fn transfer(key: u64, to: Address, value: u64) -> Self {
        Self { value, gas_limit: 300_000, ..Self::call(key, to, Vec::new()) }
    }
}

/// One 32-byte word of calldata.
pub(crate) fn word(value: u64) -> Vec<u8> {
    U256::from(value).to_be_bytes_vec()
}

/// A state, and the next nonces of its keys.
#[derive(Clone, Debug)]
pub(crate) struct Chain {
    pub(crate) fork: Fork,
    pub(crate) store: MemoryStore,
    nonces: BTreeMap<u64, u64>,
}

impl Chain {
    /// A chain with `keys` accounts with large balances.
    pub(crate) fn new(fork: Fork, keys: u64) -> Self {
        let mut chain = Self { fork, store: MemoryStore::default(), nonces: BTreeMap::new() };
        for index in 0..keys {
            chain.store.insert_account(sender(index), 0, U256::from(u64::MAX), KECCAK_EMPTY, []);
        }
        // Prague and Amsterdam call these contracts for requests after the transactions; this code returns none.
        for (_, contract) in balustrade::exec::block::system::request_contracts(fork) {
            chain.deploy(*contract, &[0x00], []);
        }
        chain
    }

    /// Adds a contract.
    pub(crate) fn deploy(&mut self, at: Address, code: &[u8], slots: impl IntoIterator<Item = (u64, u64)>) {
        let hash = self.store.insert_code(Bytes::copy_from_slice(code));
        let slots = slots.into_iter().map(|(key, value)| (U256::from(key), U256::from(value)));
        self.store.insert_account(at, 1, U256::from(1_000), hash, slots);
    }

    /// The rules of the block.
    pub(crate) fn rules(&self) -> ChainRules {
        ChainRules::mainnet(self.fork)
    }

    fn template(&self) -> Header {
        let since = |fork: Fork| self.fork >= fork;
        Header {
            coinbase: COINBASE,
            number: 20_000_000,
            gas_limit: 200_000_000,
            timestamp: 1_800_000_000,
            mix_hash: keccak256(b"random"),
            difficulty: if since(Fork::Paris) { U256::ZERO } else { U256::from(131_072) },
            base_fee: since(Fork::London).then_some(BASE_FEE),
            excess_blob_gas: since(Fork::Cancun).then_some(0),
            parent_beacon_root: since(Fork::Cancun).then_some(B256::repeat_byte(0xbe)),
            slot_number: since(Fork::Amsterdam).then_some(7),
            ..Header::default()
        }
    }

    fn sign(&mut self, draft: &Draft) -> Vec<u8> {
        let next = self.nonces.entry(draft.key).or_default();
        let nonce = draft.nonce.unwrap_or(*next);
        *next = nonce + 1;
        let call = Call { nonce, gas: draft.gas_limit, to: draft.to, value: draft.value, data: &draft.input };
        call.sign_unprotected(&secret(draft.key), BASE_FEE + draft.tip)
    }

    /// The sender of a transaction of this chain.
    pub(crate) fn sender_of(&self, transactions: &Transactions, tx: TxIndex) -> Option<Address> {
        let row = transactions.row(tx);
        let mut payload = Vec::new();
        transactions.signing_payload(tx, &mut payload);
        let hash = keccak256(payload);
        let mut out = [None];
        recover_batch(&[Signature { hash, r: row.r, s: row.s, y_parity: row.y_parity, low_s: true }], &mut out);
        out[0]
    }

    /// Builds a valid block of these transactions.
    pub(crate) fn build(&mut self, drafts: &[Draft]) -> Bytes {
        self.build_listed(drafts).block
    }

    /// As `build`, with the block access list.
    pub(crate) fn build_listed(&mut self, drafts: &[Draft]) -> BuiltBlock {
        let transactions: Vec<Vec<u8>> = drafts.iter().map(|draft| self.sign(draft)).collect();
        let mut tries = StateTries::from_memory(&self.store).unwrap();
        let mut executor = Executor::new(1).unwrap();
        executor.build(&self.rules(), &self.template(), &transactions, &self.store, &mut tries).unwrap()
    }

    /// A block whose header has no correct result of its execution: for blocks that execution refuses.
    pub(crate) fn assemble(&mut self, drafts: &[Draft]) -> Bytes {
        let valid = self.clone().build(&[]);
        self.assemble_under(Header::of_block(&valid).unwrap(), drafts)
    }

    /// A block of these transactions with this header, completed only by their root.
    pub(crate) fn assemble_under(&mut self, mut header: Header, drafts: &[Draft]) -> Bytes {
        let transactions: Vec<Vec<u8>> = drafts.iter().map(|draft| self.sign(draft)).collect();
        let items: Vec<&[u8]> = transactions.iter().map(Vec::as_slice).collect();
        header.transactions_root = balustrade::trie::ordered_root(&items);
        balustrade::exec::wire::assemble(&header, &transactions).into()
    }

    /// Executes a block in one mode.
    pub(crate) fn execute(
        &self,
        executor: &mut Executor,
        block: &Bytes,
        store: &dyn StateStore,
        mode: Mode,
    ) -> Result<BlockOutcome, BlockError> {
        let rules = self.rules();
        let input = BlockInput::new(&rules, block.clone());
        let mut tries = StateTries::from_memory(&self.store).unwrap();
        executor.execute(&input, store, Some(&mut tries), Options::new(mode))
    }
}
