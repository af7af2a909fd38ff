//! False existence logs with correct block access lists: each is refused in every mode, with tries and without, and
//! before execution if no execution is needed to refuse it.

mod hostile;

use alloy_primitives::{Address, B256, Bytes, U256};
use balustrade::arena::BlockAccessIndex;
use balustrade::arena::store::{ParentAccount, SlotQuery, StateStore, StoreError};
use balustrade::bal::{ExistenceFault, ExistenceLog};
use balustrade::exec::block::error::MismatchField;
use balustrade::trie::StateTries;
use balustrade::{BlockError, BlockOutcome, Executor, InvalidBlock, Mode, Options};
use hostile::cases::{self, Chain, ListedBlock};

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
    fn trie_nodes(&self, _: &[B256], _: &mut [Bytes]) -> Result<(), StoreError> {
        mute()
    }
}

/// A bundle of the shared folder: the chain and its single block.
fn case(name: &str) -> Option<(Chain, ListedBlock)> {
    let mut chain = cases::bundle(&format!("cases/{name}.json.gz"))?;
    let block = chain.blocks.pop().expect("a bundle has a block");
    Some((chain, block))
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

/// The block with the existence log that its execution records. Asserts that all modes accept it with the same changes;
/// if `has_right_root`, the header's state root is right and tries are checked, too.
fn recorded(chain: &mut Chain, block: &ListedBlock, has_right_root: bool) -> ListedBlock {
    let mut executor = Executor::new(2).expect("threads");
    let recorded = chain.record(&mut executor, block).expect("the block itself is valid");
    assert_eq!(recorded.bal, block.bal, "the list is correct");
    let expected = execute(chain, None, &recorded, Mode::Sequential, false).expect("valid");
    for mode in MODES {
        for has_tries in [false, true].into_iter().take(1 + usize::from(has_right_root)) {
            let outcome = execute(chain, None, &recorded, mode, has_tries).expect("valid");
            assert_eq!(outcome.changes, expected.changes, "{mode:?}, {has_tries}");
        }
    }
    recorded
}

#[test]
fn an_amsterdam_block_has_no_existence_log() {
    let Some((mut chain, block)) = case("sidecar-accepted") else { return };
    assert_refused_at_once(&mut chain, &block, ExistenceFault::AfterCancun);
    let empty = ListedBlock { existence_log: Some(ExistenceLog::default()), ..block.clone() };
    // The header has the root of the false claim.
    for mode in MODES {
        let error = execute(&mut chain, None, &empty, mode, true).err();
        let is_root =
            matches!(&error, Some(BlockError::Invalid(invalid)) if matches!(**invalid, InvalidBlock::StateRoot { .. }));
        assert!(is_root, "{mode:?}: {error:?}");
    }
}

#[test]
fn a_claim_beyond_the_block_is_refused() {
    let Some((mut chain, block)) = case("sidecar-pre-accepted") else { return };
    let (address, index, _) = block.existence_log.clone().expect("it has one").existence[0];
    assert_refused_at_once(&mut chain, &block, ExistenceFault::IndexBeyondBlock { address, index, max: 2 });

    // The same claim at an index of the block is also false: no task deletes that account.
    // The header has the root of the false claim.
    let honest = recorded(&mut chain, &block, false);
    assert_eq!(honest.existence_log, Some(ExistenceLog::default()));
    for index in 0..=2 {
        let wrong = ListedBlock { existence_log: Some(existence_log(&[(address, index, false)])), ..block.clone() };
        assert_refused_by_execution(&mut chain, &wrong, (address, index), [Some(false), None]);
    }
    let wrong = ListedBlock { existence_log: Some(existence_log(&[(address, 2, true)])), ..block.clone() };
    assert_refused_by_execution(&mut chain, &wrong, (address, 2), [Some(true), None]);

    let stranger = Address::repeat_byte(0x77);
    let wrong = ListedBlock { existence_log: Some(existence_log(&[(stranger, 1, true)])), ..block };
    assert_refused_at_once(&mut chain, &wrong, ExistenceFault::UnlistedAccount(stranger));
}

#[test]
fn changes_without_a_checked_root_follow_from_verified_claims() {
    let Some((mut chain, block)) = case("sidecar-frontier") else { return };
    let (address, index, _) = block.existence_log.clone().expect("it has one").existence[1];
    assert_refused_at_once(&mut chain, &block, ExistenceFault::IndexBeyondBlock { address, index, max: 2 });

    let honest = recorded(&mut chain, &block, true);
    let event = (address, 1, true);
    assert_eq!(honest.existence_log, Some(existence_log(&[event])));
    let with = |existence: &[(Address, u32, bool)]| ListedBlock {
        existence_log: Some(existence_log(existence)),
        ..block.clone()
    };
    assert_refused_by_execution(&mut chain, &with(&[event, (address, 2, false)]), (address, 2), [Some(false), None]);
    assert_refused_by_execution(&mut chain, &with(&[(address, 1, false)]), (address, 1), [Some(false), Some(true)]);
    assert_refused_by_execution(&mut chain, &with(&[]), (address, 1), [None, Some(true)]);
}

#[test]
fn contradictory_claims_are_not_canonical() {
    let Some((mut chain, block)) = case("sidecar-contradicting") else { return };
    let claims = block.existence_log.clone().expect("it has one").existence;
    let (address, index, _) = claims[1];
    let fault = ExistenceFault::Order { position: 1, address, index };
    assert_refused_at_once(&mut chain, &block, fault);
    let [no, yes] = [claims[0], claims[1]];
    for wrong in [[yes, no], [yes, yes], [no, no]] {
        let wrong = ListedBlock { existence_log: Some(existence_log(&wrong)), ..block.clone() };
        assert_refused_at_once(&mut chain, &wrong, fault);
    }
    let honest = recorded(&mut chain, &block, true);
    let events = &honest.existence_log.as_ref().expect("recorded").existence;
    let mut reversed = events.clone();
    reversed.reverse();
    if let [_, (address, index, _)] = reversed[..] {
        let wrong = ListedBlock { existence_log: Some(existence_log(&reversed)), ..block };
        assert_refused_at_once(&mut chain, &wrong, ExistenceFault::Order { position: 1, address, index });
    }
}

/// An existence log without a block access list is compared as well.
#[test]
fn an_existence_log_without_a_list_is_compared() {
    let Some((chain, block)) = case("sidecar-frontier") else { return };
    let mut executor = Executor::new(2).expect("threads");
    let (address, _, _) = block.existence_log.clone().expect("it has one").existence[0];
    let right = existence_log(&[(address, 1, true)]);
    let wrong = existence_log(&[(address, 1, true), (address, 2, false)]);
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
