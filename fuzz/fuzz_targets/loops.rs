//! Bytes become a scenario (pre-state, contracts, a first call), on which all dispatch loops must agree.

#![no_main]

#[path = "../../tests/differential/mod.rs"]
#[allow(dead_code)]
mod differential;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Err(divergence) = differential::check(bytes) {
        panic!("{:#?}\n{}", divergence.scenario, divergence.what);
    }
});
