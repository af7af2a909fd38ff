//! Versions of a slot and of an account: a worker that observes a commit reads the values that it wrote.

use super::explore;
use crate::arena::BlockAccessIndex;
use crate::exec::evm::state::AccountState;
use crate::overlay::{AccountVersions, AccountWrite, BalanceWrite, SlotVersions, Version};
use crate::sync::{AtomicBool, Fault, Ordering};
use alloy_primitives::U256;
use loom::thread;
use std::sync::Arc;

fn commit_beside_a_reader() {
    let (slot, account) = (Arc::new(SlotVersions::default()), Arc::new(AccountVersions::default()));
    let known = Arc::new(AtomicBool::new(false));
    let writer = {
        let (slot, account, known) = (Arc::clone(&slot), Arc::clone(&account), Arc::clone(&known));
        thread::spawn(move || {
            let write =
                AccountWrite { balance: BalanceWrite::Add(U256::from(5)), storage_cleared: true, ..Default::default() };
            slot.write_ahead(BlockAccessIndex(1), 0, U256::from(7));
            account.write_ahead(BlockAccessIndex(1), 0, write);
            slot.commit(BlockAccessIndex(1), 0, U256::from(7));
            account.commit(BlockAccessIndex(1), 0, &write, &AccountState::default());
            known.store(true, Ordering::Release);
        })
    };
    let knows = known.load(Ordering::Acquire);
    let reader = BlockAccessIndex(2);
    let written = Version::Written { index: BlockAccessIndex(1), incarnation: 0 };
    let found = slot.read(reader, None);
    assert!(
        found == Some((U256::from(7), written)) || found.is_none() && !knows,
        "a commit is observed without its values: {found:?}"
    );
    let (found, version) = account.read(reader, &AccountState::default());
    match version {
        Version::Parent => assert!(!knows && found.balance.is_zero()),
        version => assert!(version == written && found.balance == U256::from(5)),
    }
    assert!(!knows || account.last_clearing(reader) == Some(BlockAccessIndex(1)));
    writer.join().expect("it only writes");
}

#[test]
fn a_worker_that_observes_a_commit_reads_its_values() {
    explore(3, commit_beside_a_reader);
}

#[test]
#[should_panic(expected = "a commit is observed without its values")]
fn broken_if_a_commit_is_observed_before_its_writes() {
    let _broken = Fault::Relaxed.inject();
    explore(3, commit_beside_a_reader);
}
