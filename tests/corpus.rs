//! The fuzz targets on stable: a corpus of whole and damaged inputs, from the shared folder and from a seed.

mod hostile;

#[path = "../fuzz/targets.rs"]
mod targets;

use hostile::{Rng, cases};
use std::ops::ControlFlow;

/// Damages bytes in one to four places.
fn damage(bytes: &[u8], rng: &mut Rng) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..=rng.below(4) {
        if bytes.is_empty() {
            break;
        }
        let at = rng.below(bytes.len());
        match rng.below(5) {
            0 => bytes[at] ^= 1 << rng.below(8),
            1 => bytes[at] = [0x00, 0x7f, 0x80, 0xb7, 0xb8, 0xc0, 0xf7, 0xf8, 0xff][rng.below(9)],
            2 => bytes.truncate(at),
            3 => bytes.insert(at, rng.below(256) as u8),
            _ => {
                let end = (at + 1 + rng.below(40)).min(bytes.len());
                bytes.drain(at..end);
            }
        }
    }
    bytes
}

fn run_all(bytes: &[u8]) {
    targets::TARGETS.iter().for_each(|(_, target)| target(bytes));
}

#[test]
fn random_bytes() {
    let mut rng = Rng(1);
    run_all(&[]);
    for len in 0..400 {
        let bytes: Vec<u8> = (0..len).map(|_| rng.next() as u8).collect();
        run_all(&bytes);
        // Long list headers over little.
        run_all(&[&[0xf9, 0x01, 0x00][..], &bytes].concat());
    }
}

#[test]
fn damaged_blocks_and_lists() {
    let mut rng = Rng(2);
    let mut inputs = 0;
    cases::each_fixture(4, 90, &mut |chain| {
        for block in &chain.blocks {
            let len = u16::try_from(block.rlp.len()).unwrap_or(u16::MAX).to_le_bytes();
            let whole = [&len[..], &block.rlp, &block.bal].concat();
            for bytes in [&block.rlp[..], &block.bal, &whole] {
                run_all(bytes);
                (0..8).for_each(|_| run_all(&damage(bytes, &mut rng)));
                inputs += 9;
            }
        }
        if inputs < 8_000 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    println!("{inputs} inputs");
}

#[test]
fn damaged_nodes() {
    let Some(case) = cases::witness("mainnet-19840104") else { return };
    let mut rng = Rng(3);
    use balustrade::arena::store::StateStore;
    let mut root = [Default::default()];
    case.store.trie_nodes(&[case.store.state_root()], &mut root).expect("the root");
    for _ in 0..4_000 {
        targets::witness(&damage(&root[0], &mut rng));
    }
}
