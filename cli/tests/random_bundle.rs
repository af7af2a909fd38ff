//! A random block, written as a bundle, is executed by the command in every mode.

#[path = "../../tests/random/mod.rs"]
mod random;

use balustrade_cli::testing::Folder;
use random::block::{Forks, Generator};
use random::bundle::bundle;
use std::process::Command;

#[test]
fn a_random_block_runs_from_its_bundle() {
    let folder = Folder::new("random-bundle");
    let mut generator = Generator::new(Forks::Amsterdam).expect("threads");
    let block = generator.block(3).unwrap_or_else(|error| panic!("{}", error.error));
    let path = folder.file("random.json", &bundle(&block, None).to_string());
    let command =
        Command::new(env!("CARGO_BIN_EXE_balustrade")).args(["run", "--mode", "all", "--json", &path]).output();
    let output = command.expect("the command runs");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    assert!(out.contains(&block.built.header.hash().to_string()), "{out}");
}
