//! Links both Keccak assemblies into one binary.
//!
//! alloy's (keccak-asm) and ethrex's are the same generated file; one global name, `KeccakF1600`, is in both. Neither
//! calls it: each reaches its permutation by a local name, and the sponge functions have different names. So the second
//! definition may be dropped, and both run as they are. Not here: switching a peer's assembly off.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-link-arg-bins=-Wl,--allow-multiple-definition");
}
