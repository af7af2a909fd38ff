//! False existence logs with correct block access lists: each is refused in every mode, with tries and without, and
//! before execution if no execution is needed to refuse it.

mod empty_accounts;
mod hostile;
mod random;
mod signed;

use alloy_primitives::{Address, B256, Bytes, U256};
use balustrade::arena::BlockAccessIndex;
use balustrade::arena::path::NodeQuery;
use balustrade::arena::store::{ParentAccount, SlotQuery, StateStore, StoreError};
use balustrade::bal::{ExistenceFault, ExistenceLog};
use balustrade::exec::block::error::MismatchField;
use balustrade::exec::rules::fork::Fork;
use balustrade::trie::StateTries;
use balustrade::{BlockError, BlockOutcome, Executor, InvalidBlock, Mode, Options};
use empty_accounts::RECEIVERS;
use hostile::cases::{self, Chain, ListedBlock};
use hostile::trial;
use random::block::RandomBlock;
use signed::{address_of, secret};

const MODES: [Mode; 3] = [Mode::Bal, Mode::Sequential, Mode::Optimistic];

/// A store whose reads all fail.
struct Mute;

fn mute<T>() -> Result<T, StoreError> {
    Err(StoreError::Failed("the store was asked".into()))
}

impl StateStore for Mute {
    fn accounts(&self, _: &[Address], _: &mut [ParentAccount]) -> Result<(), StoreError> {
        mute()
    }
    fn slots(&self, _: &[SlotQuery], _: &mut [U256]) -> Result<(), StoreError> {
        mute()
    }
    fn codes(&self, _: &[B256], _: &mut [Option<Bytes>]) -> Result<(), StoreError> {
        mute()
    }
    fn block_hashes(&self, _: &[u64], _: &mut [B256]) -> Result<(), StoreError> {
        mute()
    }
    fn trie_nodes(&self, _: &[NodeQuery], _: &mut [Bytes]) -> Result<(), StoreError> {
        mute()
    }
}

/// The index after the transactions of [`empty_accounts::zero_transfers`], which is the last one of the block.
const LAST: u32 = RECEIVERS.len() as u32 + 1;

/// A block with transfers of nothing to accounts that do not exist, which are empty afterwards before Spurious Dragon.
fn zero_transfers(fork: Fork) -> (Chain, ListedBlock) {
    let mut executor = Executor::new(1).expect("a thread");
    let RandomBlock { rules, parent, store, tries, built, .. } = empty_accounts::zero_transfers(fork, &mut executor);
    let name = format!("transfers of nothing in {}", fork.name());
    let chain = Chain { name, rules, store, tries, is_complete: true, head: Some(parent), blocks: Vec::new() };
    (chain, ListedBlock { valid: true, rlp: built.block, bal: built.bal, existence_log: None })
}

/// An event per receiver: transaction `i` creates receiver `i`.
fn events() -> Vec<(Address, u32, bool)> {
    RECEIVERS.into_iter().zip(1..).map(|(receiver, index)| (receiver, index, true)).collect()
}

fn existence_log(existence: &[(Address, u32, bool)]) -> ExistenceLog {
    ExistenceLog { existence: existence.to_vec() }
}

fn execute(
    chain: &mut Chain,
    store: Option<&dyn StateStore>,
    block: &ListedBlock,
    mode: Mode,
    has_tries: bool,
) -> Result<BlockOutcome, BlockError> {
    let mut executor = Executor::new(2).expect("threads");
    let mut tries = std::mem::replace(&mut chain.tries, StateTries::empty());
    let given = has_tries.then_some(&mut tries);
    let store = store.unwrap_or(&chain.store);
    let result = executor.execute(&chain.input(block), store, given, Options::new(mode));
    tries.rollback();
    chain.tries = tries;
    result
}

/// Asserts that the block is refused for `fault` before the store is read.
fn assert_refused_at_once(chain: &mut Chain, block: &ListedBlock, fault: ExistenceFault) {
    let expected = Some(BlockError::from(InvalidBlock::Existence(fault)));
    for mode in MODES {
        for has_tries in [true, false] {
            assert_eq!(execute(chain, None, block, mode, has_tries).err(), expected, "{mode:?}, {has_tries}");
            assert_eq!(execute(chain, Some(&Mute), block, mode, has_tries).err(), expected, "{mode:?}, {has_tries}");
        }
    }
}

/// Asserts that execution refuses the block: for a claim that no task produced, or for an event that is not claimed.
fn assert_refused_by_execution(
    chain: &mut Chain,
    block: &ListedBlock,
    (address, index): (Address, u32),
    [claimed, produced]: [Option<bool>; 2],
) {
    let value = |exists: Option<bool>| exists.map(U256::from);
    for mode in MODES {
        for has_tries in [true, false] {
            let Err(BlockError::Invalid(invalid)) = execute(chain, None, block, mode, has_tries) else {
                panic!("not refused: {mode:?}, {has_tries}")
            };
            let InvalidBlock::Mismatch(found) = *invalid else { panic!("{invalid}: {mode:?}, {has_tries}") };
            let place = (found.address, found.field, found.slot, found.index);
            assert_eq!(place, (address, MismatchField::Existence, None, Some(BlockAccessIndex(index))), "{mode:?}");
            assert_eq!((found.claimed, found.produced), (value(claimed), value(produced)), "{mode:?}, {has_tries}");
        }
    }
}

/// The block with the existence log that its execution records. Asserts that all modes accept it with the same changes.
fn recorded(chain: &mut Chain, block: &ListedBlock) -> ListedBlock {
    let mut executor = Executor::new(2).expect("threads");
    let recorded = chain.record(&mut executor, block).expect("the block itself is valid");
    assert_eq!(recorded.bal, block.bal, "the list is correct");
    let expected = execute(chain, None, &recorded, Mode::Sequential, false).expect("valid");
    for mode in MODES {
        for has_tries in [false, true] {
            let outcome = execute(chain, None, &recorded, mode, has_tries).expect("valid");
            assert_eq!(outcome.changes, expected.changes, "{mode:?}, {has_tries}");
        }
    }
    recorded
}

#[test]
fn an_amsterdam_block_has_no_existence_log() {
    let mut chain = cases::bundle(&cases::stored("erc20.json.gz"));
    let honest = chain.blocks.pop().expect("a bundle has a block");
    let outcome = execute(&mut chain, None, &honest, Mode::Sequential, true).expect("valid");
    // A claim that the last listed account does not exist after the block, and a header with the root of that.
    let mut parts = trial::take_apart(&honest);
    let address = parts.list.last().expect("an account").address;
    let mut after = chain.store.clone();
    outcome.changes.apply_to(&mut after);
    after.remove_account(&address);
    parts.header.state_root = StateTries::from_memory(&after).expect("a small state").root();
    let index = parts.transactions.len() as u32 + 1;
    let claim = Some(existence_log(&[(address, index, false)]));
    let block = ListedBlock { rlp: trial::assemble(&parts).into(), existence_log: claim, ..honest };
    assert_refused_at_once(&mut chain, &block, ExistenceFault::AfterCancun);
    let empty = ListedBlock { existence_log: Some(ExistenceLog::default()), ..block.clone() };
    for mode in MODES {
        let error = execute(&mut chain, None, &empty, mode, true).err();
        let is_root =
            matches!(&error, Some(BlockError::Invalid(invalid)) if matches!(**invalid, InvalidBlock::StateRoot { .. }));
        assert!(is_root, "{mode:?}: {error:?}");
    }
}

#[test]
fn a_claim_beyond_the_block_is_refused() {
    let (mut chain, block) = zero_transfers(Fork::Paris);
    let with = |claim| ListedBlock { existence_log: Some(existence_log(&[claim])), ..block.clone() };
    let (address, index) = (address_of(&secret(0)), 4_000_000_000);
    let fault = ExistenceFault::IndexBeyondBlock { address, index, max: LAST };
    assert_refused_at_once(&mut chain, &with((address, index, false)), fault);

    // The same claim at an index of the block is also false: no task deletes that account.
    let honest = recorded(&mut chain, &block);
    assert_eq!(honest.existence_log, Some(ExistenceLog::default()));
    for index in 0..=LAST {
        assert_refused_by_execution(&mut chain, &with((address, index, false)), (address, index), [Some(false), None]);
    }
    assert_refused_by_execution(&mut chain, &with((address, 2, true)), (address, 2), [Some(true), None]);

    let stranger = Address::repeat_byte(0x77);
    assert_refused_at_once(&mut chain, &with((stranger, 1, true)), ExistenceFault::UnlistedAccount(stranger));
}

#[test]
fn changes_without_a_checked_root_follow_from_verified_claims() {
    let (mut chain, block) = zero_transfers(Fork::Frontier);
    let honest = recorded(&mut chain, &block);
    assert_eq!(honest.existence_log, Some(existence_log(&events())));
    // The honest log with other claims about the last receiver.
    let (address, index, _) = *events().last().expect("an event");
    let with = |claims: &[(u32, bool)]| {
        let mut log = existence_log(&events()[..RECEIVERS.len() - 1]);
        log.existence.extend(claims.iter().map(|(index, exists)| (address, *index, *exists)));
        ListedBlock { existence_log: Some(log), ..block.clone() }
    };
    let beyond = 4_000_000_000;
    let fault = ExistenceFault::IndexBeyondBlock { address, index: beyond, max: LAST };
    assert_refused_at_once(&mut chain, &with(&[(index, true), (beyond, false)]), fault);
    let at = (address, LAST);
    assert_refused_by_execution(&mut chain, &with(&[(index, true), (LAST, false)]), at, [Some(false), None]);
    let at = (address, index);
    assert_refused_by_execution(&mut chain, &with(&[(index, false)]), at, [Some(false), Some(true)]);
    assert_refused_by_execution(&mut chain, &with(&[]), at, [None, Some(true)]);
}

#[test]
fn contradictory_claims_are_not_canonical() {
    let (mut chain, block) = zero_transfers(Fork::Frontier);
    let (address, index, _) = events()[0];
    let fault = ExistenceFault::Order { position: 1, address, index };
    let [no, yes] = [(address, index, false), (address, index, true)];
    for wrong in [[no, yes], [yes, no], [yes, yes], [no, no], [events()[1], yes]] {
        let wrong = ListedBlock { existence_log: Some(existence_log(&wrong)), ..block.clone() };
        assert_refused_at_once(&mut chain, &wrong, fault);
    }
}

/// An existence log without a block access list is compared as well.
#[test]
fn an_existence_log_without_a_list_is_compared() {
    let (chain, block) = zero_transfers(Fork::Frontier);
    let mut executor = Executor::new(2).expect("threads");
    let right = existence_log(&events());
    let mut wrong = right.clone();
    wrong.existence.push((RECEIVERS[RECEIVERS.len() - 1], LAST, false));
    for mode in [Mode::Sequential, Mode::Optimistic] {
        let mut run = |existence_log| {
            let mut input = chain.input(&block).with_existence_log(existence_log);
            input.bal = None;
            executor.execute(&input, &chain.store, None, Options::new(mode)).map(drop)
        };
        assert_eq!(run(&right), Ok(()));
        let refused = run(&wrong);
        assert!(
            matches!(&refused, Err(BlockError::Invalid(invalid)) if matches!(**invalid, InvalidBlock::Mismatch(_))),
            "{refused:?}"
        );
    }
}
