//! The unsafe boundaries: docs/unsafe.md lists every `unsafe`, and safe public functions refuse what would break it.
//!
//! In: the sources of library, command and adapters, the tables of docs/unsafe.md. A new `unsafe` fails here until the table
//! has its contract, its reference implementation and its test.
//! The checks at run time that unsafe code relies on are tested here. Not here: what the types forbid (examples
//! beside `exec::evm::machine` that must not compile), and the reference implementations themselves.

use alloy_primitives::{Address, B256, Bytes, U256};
use balustrade::arena::code::CodeArena;
use balustrade::arena::store::{KECCAK_EMPTY, StoreError};
use balustrade::arena::{AccountId, CodeId, Column, Id, Offsets, SlotId};
use balustrade::bal::BalColumns;
use balustrade::exec::evm::call::{CallKind, CallRequest, Entered};
use balustrade::exec::evm::halt::Fault;
use balustrade::exec::evm::machine::{BlockEnv, Evm, EvmScratch, Input};
use balustrade::exec::evm::state::{AccountState, StateProvider, StateScratch, TxState};
use balustrade::exec::interpreter::{LoopKind, run_frames};
use balustrade::exec::rules::fork::{ChainRules, Fork};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

/// Occurrences of the word `unsafe` in code. Comments and the name of the lint `unsafe_code` do not count.
fn count(source: &str) -> usize {
    let code = source.lines().map(|line| line.split("//").next().unwrap_or_default());
    let words = |line: &str| {
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        line.split(|c| !is_word(c)).filter(|word| *word == "unsafe").count()
    };
    code.map(words).sum()
}

fn visit(folder: &Path, root: &Path, counts: &mut BTreeMap<String, usize>) {
    for entry in folder.read_dir().expect("the sources are here").flatten() {
        let path = entry.path();
        if path.is_dir() {
            visit(&path, root, counts);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let number = count(&std::fs::read_to_string(&path).expect("text"));
            if number > 0 {
                let name = path.strip_prefix(root).expect("below").to_string_lossy().replace('\\', "/");
                counts.insert(name, number);
            }
        }
    }
}

#[test]
fn every_unsafe_word_is_accounted_for() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = BTreeMap::new();
    visit(&root.join("src"), root, &mut found);
    visit(&root.join("cli/src"), root, &mut found);
    visit(&root.join("adapters"), root, &mut found);
    let text = std::fs::read_to_string(root.join("docs/unsafe.md")).expect("the document is here");
    // Rows of the tables: | `src/...` | words | contract | reference implementation | test |
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `"));
    let listed: BTreeMap<String, usize> = rows
        .filter_map(|row| {
            let mut cells = row.split('|').map(str::trim);
            let file = cells.next()?.trim_end_matches('`').to_owned();
            let words = cells.next()?.parse().ok()?;
            assert!(cells.clone().take(3).all(|cell| !cell.is_empty()), "{file} lacks a cell of its row");
            Some((file, words))
        })
        .collect();
    assert_eq!(found, listed, "files with `unsafe`, found and listed in docs/unsafe.md");
}

#[test]
fn the_word_unsafe_is_counted_in_code_alone() {
    assert_eq!(count("unsafe { a } // unsafe\n/// unsafe\n#![allow(unsafe_code)]\nunsafe extern \"C\" fn f() {}"), 2);
}

/// Whether `work` panics.
fn panics<T>(work: impl FnOnce() -> T) -> bool {
    catch_unwind(AssertUnwindSafe(work)).is_err()
}

#[test]
fn ids_of_other_columns_find_nothing_or_panic() {
    let column: Column<AccountId, u8> = vec![1, 2].into();
    assert_eq!(column.get(AccountId(2)), None);
    assert!(panics(|| column[AccountId(2)]));

    let mut offsets = Offsets::<AccountId>::default();
    offsets.close(3);
    assert_eq!(offsets.range(AccountId(0)), 0..3);
    assert!(panics(|| offsets.range(AccountId(1))));
    assert!(panics(|| offsets.range(AccountId(u32::MAX))));
    assert!(panics(|| offsets.clone().close(2)), "row ranges never overlap");
    assert!(panics(|| offsets.clone().extend_ends(&[5, 4])), "row ranges never overlap");
    #[cfg(target_pointer_width = "64")]
    {
        assert!(panics(|| offsets.clone().close(1 << 32)), "a row end is never truncated");
        assert!(panics(|| AccountId::new(1 << 32)), "an id is never truncated");
        assert!(panics(|| SlotId::new(usize::MAX)), "an id is never truncated");
    }

    let list = BalColumns::default();
    assert!(panics(|| list.slots(AccountId(0))));
    assert!(panics(|| list.balances().values(AccountId(7)).len()));
}

#[test]
fn ids_of_another_code_arena_find_nothing() {
    let (arena, other) = (CodeArena::default(), CodeArena::default());
    let ids = [1, 2, 3].map(|byte| other.insert_hashing([byte; 40]));
    for id in ids.into_iter().chain([CodeId(u32::MAX)]) {
        assert!(arena.get(id).is_none());
        assert_eq!(arena.hash(id), KECCAK_EMPTY);
        arena.provide(id, [1; 40]);
        assert!(arena.get(id).is_none());
        let provided = arena.provide_checked(&[(id, Bytes::from_static(&[1; 40]))]);
        assert!(matches!(provided, Err(StoreError::Corrupt(_))), "{provided:?}");
    }
    assert_eq!(arena.len(), 1);
}

/// Every account has one code; reading a slot panics.
struct Panicking(CodeId);

impl StateProvider for Panicking {
    fn account(&mut self, _: AccountId, _: &Address) -> Result<AccountState, Fault> {
        Ok(AccountState { exists: true, nonce: 1, code: self.0, ..AccountState::default() })
    }
    fn slot(&mut self, _: SlotId, _: AccountId, _: &Address, _: &U256) -> Result<U256, Fault> {
        panic!("a state provider that panics")
    }
    fn code(&mut self, _: CodeId, _: &CodeArena) -> Result<(), Fault> {
        Ok(())
    }
    fn block_hash(&mut self, _: u64) -> Result<B256, Fault> {
        Ok(B256::ZERO)
    }
}

/// Calls `work` with a machine on which every account has `code`, and with a request that calls such an account.
fn on_a_machine(code: &[u8], work: impl FnOnce(&mut Evm<'_>, CallRequest)) {
    let codes = CodeArena::default();
    let code = codes.insert_hashing(code);
    let (chain, block) = (ChainRules::mainnet(Fork::Osaka), BlockEnv::default());
    let state = TxState::new(StateScratch::default(), None, Box::new(Panicking(code)), &codes, Fork::Osaka);
    let mut evm = Evm::new(EvmScratch::default(), &chain, &block, state);
    let to = evm.state.account_id(&Address::repeat_byte(0x77)).expect("new addresses get ids");
    evm.state.load(to).expect("there are accounts");
    let request = CallRequest {
        kind: CallKind::Call,
        gas: 1_000_000,
        to,
        code,
        value: U256::ZERO,
        input: Input::Tx,
        output: (0, 0),
        charged_new_account: false,
    };
    work(&mut evm, request);
}

#[test]
fn running_without_a_frame_panics() {
    on_a_machine(&[0x00], |evm, _| {
        for kind in LoopKind::ALL {
            assert!(panics(|| run_frames(kind, evm)), "{}", kind.name());
        }
        assert_eq!(evm.depth(), 0);
    });
}

#[test]
fn calldata_in_the_memory_of_its_own_frame_is_refused() {
    // CALLDATACOPY of the whole calldata to offset 0: the tail-call loop copies ranges that must not overlap.
    on_a_machine(&[0x36, 0x5f, 0x5f, 0x37, 0x00], |evm, request| {
        for (start, len) in [(0, 1), (0, 64), (usize::MAX, 2), (1, usize::MAX)] {
            let request = CallRequest { input: Input::Memory { start, len }, ..request };
            assert!(panics(|| evm.enter_call(&request)), "{start} {len}");
            assert_eq!(evm.depth(), 0);
        }
    });
}

#[test]
fn a_frame_that_a_panic_interrupted_does_not_run_again() {
    // Without calldata the code calls itself with 32 bytes of calldata; with calldata it reads a slot.
    let code = [
        0x36, 0x60, 0x0f, 0x57, // CALLDATASIZE, PUSH1 15, JUMPI
        0x5f, 0x5f, 0x60, 0x20, 0x5f, 0x5f, 0x30, 0x5a, 0xf1, // CALL with 32 bytes of calldata
        0x00, 0x00, // STOP
        0x5b, 0x5f, 0x54, 0x00, // JUMPDEST, PUSH0, SLOAD
    ];
    on_a_machine(&code, |evm, request| {
        assert_eq!(evm.enter_call(&request), Ok(Entered::Frame));
        assert!(panics(|| run_frames(LoopKind::Match, evm)), "the state provider panics");
        assert_eq!(evm.depth(), 2);
        // The inner frame starts again and panics again; the outer frame, which waits for its result, never resumes.
        // In a release build a panic inside the tail-call loop aborts the process.
        for kind in [LoopKind::Tail, LoopKind::Match, LoopKind::Levm, LoopKind::Reference] {
            if cfg!(debug_assertions) || kind != LoopKind::Tail {
                assert!(panics(|| run_frames(kind, evm)), "{}", kind.name());
                assert_eq!(evm.depth(), 2);
            }
        }
    });
}
