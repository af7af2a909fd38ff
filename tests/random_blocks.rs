//! A few hundred random blocks in every mode, by every dispatch loop, on 1, 2, 3 and 8 threads. Not here: the long run
//! (`examples/random_blocks.rs`).

mod random;

use random::block::{Forks, Generator};
use random::check::Checker;

#[test]
fn random_blocks_have_one_result() {
    let mut generator = Generator::new(Forks::All).expect("threads");
    let mut checker = Checker::new().expect("threads");
    for seed in 0..400 {
        let mut block = generator.block(seed).unwrap_or_else(|error| panic!("seed {seed}: {}", error.error));
        checker.check(&mut block).unwrap_or_else(|difference| panic!("seed {seed}: {difference}"));
    }
    let tally = &checker.tally;
    println!("{tally}");
    // The generated blocks must have all types of transactions, most of them successful, on many forks.
    assert!(tally.by_type.iter().all(|count| *count > 100), "{tally}");
    assert!(tally.failed * 10 > tally.transactions && tally.failed * 3 < tally.transactions * 2, "{tally}");
    assert!(tally.by_fork.len() >= 10 && tally.requests > 50 && tally.creations > 100 && tally.logs > 100, "{tally}");
}

#[test]
fn a_seed_gives_one_block() {
    let (mut one, mut two) =
        (Generator::new(Forks::All).expect("threads"), Generator::new(Forks::All).expect("threads"));
    for seed in 7..12 {
        let blocks =
            [one.block(seed), two.block(seed)].map(|block| block.unwrap_or_else(|error| panic!("{}", error.error)));
        assert_eq!(blocks[0].built.block, blocks[1].built.block);
        assert_eq!(blocks[0].built.bal, blocks[1].built.bal);
    }
}

#[test]
fn a_difference_is_noticed() {
    let mut generator = Generator::new(Forks::Amsterdam).expect("threads");
    let mut checker = Checker::new().expect("threads");
    let mut block = generator.block(1).unwrap_or_else(|error| panic!("{}", error.error));
    // The builder's list without its last byte is another list.
    block.built.bal = block.built.bal.slice(..block.built.bal.len() - 1);
    assert!(checker.check(&mut block).is_err());
    // A changed state: no execution can give the header's state root.
    let mut block = generator.block(2).unwrap_or_else(|error| panic!("{}", error.error));
    let coinbase = block.built.header.coinbase;
    block.store.update_account(
        &coinbase,
        None,
        Some(alloy_primitives::U256::from(12_345)),
        None,
        false,
        [].into_iter(),
    );
    assert!(checker.check(&mut block).is_err());
}
