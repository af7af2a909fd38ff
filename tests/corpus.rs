//! The fuzz targets on stable Rust, over valid and damaged inputs: generated from seeds, from `tests/data`, and
//! from the corpora and findings of earlier runs of cargo-fuzz in `fuzz/corpus` and `fuzz/artifacts`.

mod hostile;
mod random;

#[path = "../fuzz/targets.rs"]
mod targets;

use balustrade::arena::path::NodeQuery;
use hostile::Rng;
use hostile::cases::{self, Visit};
use random::block::{Forks, Generator};
use std::ops::ControlFlow;
use std::path::Path;

/// Changes bytes at one to four random positions.
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
        // RLP list headers that announce more bytes than follow.
        run_all(&[&[0xf9, 0x01, 0x00][..], &bytes].concat());
    }
}

/// Runs a block and its list separately and together in the format of the target `whole_block`; valid and damaged.
/// Returns the number of inputs.
fn run_block(block: &[u8], list: &[u8], rng: &mut Rng) -> usize {
    let len = u16::try_from(block.len()).unwrap_or(u16::MAX).to_le_bytes();
    let whole = [&len[..], block, list].concat();
    for bytes in [block, list, &whole] {
        run_all(bytes);
        (0..8).for_each(|_| run_all(&damage(bytes, rng)));
    }
    27
}

#[test]
fn damaged_random_blocks_and_lists() {
    let mut rng = Rng(4);
    let mut generator = Generator::new(Forks::All).expect("threads");
    for seed in 1_000..1_080 {
        let built = generator.block(seed).expect("a block").built;
        run_block(&built.block, &built.bal, &mut rng);
    }
}

/// Runs each file of the corpora and findings of cargo-fuzz on its target. They are not part of the repository.
#[test]
fn corpora_and_findings_of_cargo_fuzz() {
    for (name, target) in targets::TARGETS {
        let mut files = 0;
        for folder in ["corpus", "artifacts"] {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(folder).join(name);
            for entry in folder.read_dir().into_iter().flatten() {
                target(&std::fs::read(entry.expect("a file").path()).expect("readable"));
                files += 1;
            }
        }
        println!("{name}: {files} files");
    }
}

/// Returns the number of inputs.
fn run_blocks(each: impl FnOnce(Visit<'_>)) -> usize {
    let mut rng = Rng(2);
    let mut inputs = 0;
    each(&mut |chain| {
        for block in &chain.blocks {
            inputs += run_block(&block.rlp, &block.bal, &mut rng);
        }
        if inputs < 8_000 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    println!("{inputs} inputs");
    inputs
}

#[test]
fn damaged_blocks_and_lists() {
    assert!(run_blocks(cases::each_stored) > 1_000);
}

#[test]
#[ignore = "needs ../shared/fixtures/amsterdam.tar.zst"]
fn damaged_blocks_and_lists_of_the_suite() {
    assert!(run_blocks(|visit| cases::each_fixture(4, 90, visit)) > 2_000);
}

#[test]
fn damaged_nodes() {
    let case = cases::witness(&cases::stored("sample.json.gz"));
    let mut rng = Rng(3);
    use balustrade::arena::store::StateStore;
    let mut root = [Default::default()];
    case.store
        .trie_nodes(&[NodeQuery { hash: case.store.state_root(), ..NodeQuery::default() }], &mut root)
        .expect("the root");
    for _ in 0..4_000 {
        targets::witness(&damage(&root[0], &mut rng));
    }
}
