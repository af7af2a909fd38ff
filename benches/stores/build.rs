//! Links both Keccak assemblies into one binary.
//!
//! alloy's (keccak-asm) and ethrex's are the same generated file; both define the global symbol `KeccakF1600`. Neither
//! calls it: each calls its permutation through a local symbol, and the sponge functions have different names. So the
//! linker may drop the second definition, and both run unchanged. Not here: disabling a peer's assembly.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-link-arg-bins=-Wl,--allow-multiple-definition");
}
