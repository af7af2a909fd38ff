//! EIP-779 (DAO fork): the transfer of balances is applied before the transactions of its block, which read the new
//! balances. Mainnet's fork block has no transaction that could observe the order; there the transfer is recorded after
//! the transactions, as in the published block access lists.

mod signed;

use alloy_primitives::{Address, Bytes, U256, address};
use balustrade::arena::store::{KECCAK_EMPTY, MemoryStore};
use balustrade::bal::{BalField, DivergenceValue};
use balustrade::exec::rules::chain::{ChainConfig, Step};
use balustrade::exec::rules::fork::{ChainRules, DaoTransfer, Fork};
use balustrade::exec::wire::{Header, assemble};
use balustrade::{BlockInput, Executor};
use signed::{Call, PRICE, fund, secret};

/// The DAO, the first account whose balance is transferred.
const THE_DAO: Address = address!("bb9bc244d798123fde783fcc1c72d3bb8c189413");
const REFUND_CONTRACT: Address = address!("bf4ed7b27f1d666546e30d74d50d173d20bca754");
/// A contract that stores the DAO's balance.
const WATCHER: Address = Address::repeat_byte(0x77);

/// Diagnoses a fork block with one call of the watcher. Returns the balance changes of the DAO and of the refund
/// contract with their block access indices, and the value that the watcher stored.
fn recorded(rules: &ChainRules) -> (Vec<(Address, u32, String)>, Option<DivergenceValue>) {
    let mut store = MemoryStore::default();
    fund(&mut store, 1);
    store.insert_account(THE_DAO, 1, U256::from(42), KECCAK_EMPTY, []);
    // PUSH20 the DAO, BALANCE, PUSH1 0, SSTORE; the slot held 1.
    let code = [&[0x73][..], THE_DAO.as_slice(), &[0x31, 0x60, 0x00, 0x55]].concat();
    let code_hash = store.insert_code(code.into());
    store.insert_account(WATCHER, 1, U256::ZERO, code_hash, [(U256::ZERO, U256::ONE)]);
    let header = Header { number: 5, gas_limit: 1_000_000, coinbase: Address::repeat_byte(0xcb), ..Header::default() };
    let call = Call { nonce: 0, gas: 100_000, to: Some(WATCHER), value: 0, data: &[] };
    let block: Bytes = assemble(&header, &[call.sign_unprotected(&secret(0), PRICE)]).into();
    let input = BlockInput::new(rules, block).with_list(Bytes::from_static(&[0xc0]));
    let diagnosis = Executor::new(1).expect("a thread").diagnose(&input, &store).expect("well-formed");
    assert_eq!(diagnosis.stopped, None);
    let of = |field: BalField| diagnosis.points.iter().filter(move |point| point.field == field);
    let balances = of(BalField::BalanceChanges)
        .filter(|point| [THE_DAO, REFUND_CONTRACT].contains(&point.address))
        .filter_map(|point| Some((point.address, point.index?, point.produced.as_ref()?.to_string())))
        .collect();
    let stored = of(BalField::StorageChanges).find(|point| point.address == WATCHER && point.index.is_some());
    (balances, stored.and_then(|point| point.produced.clone()))
}

#[test]
fn transactions_of_the_fork_block_read_the_new_balances() {
    let chain = ChainConfig { dao_support: true, ..ChainConfig::frontier(1) };
    let chain = chain.with(Step::Homestead, 0).with(Step::Dao, 5);
    let rules = chain.rules(5, 0);
    assert_eq!(rules.dao_transfer, DaoTransfer::First);
    let (balances, stored) = recorded(&rules);
    assert!(balances.iter().all(|(_, index, _)| *index == 0), "{balances:?}");
    assert_eq!(balances.len(), 2, "{balances:?}");
    assert_eq!(stored.map(|value| value.to_string()), Some("0x0".to_owned()));
}

#[test]
fn mainnets_transfer_is_recorded_after_the_transactions() {
    let rules = ChainRules { dao_transfer: DaoTransfer::Last, ..ChainRules::mainnet(Fork::Homestead) };
    let (balances, stored) = recorded(&rules);
    assert!(balances.len() == 2 && balances.iter().all(|(_, index, _)| *index == 2), "{balances:?}");
    assert_eq!(stored.map(|value| value.to_string()), Some("0x2a".to_owned()));
}
