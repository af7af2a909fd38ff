//! Tells the crate whether the last call of a function becomes a jump: the tail-call loop depends on it.

fn main() {
    println!("cargo::rustc-check-cfg=cfg(tail_calls)");
    println!("cargo::rerun-if-changed=build.rs");
    let var = |name| std::env::var(name).unwrap_or_default();
    // Six arguments must fit registers: the C convention of x86-64 (not Windows') and of AArch64.
    let registers = match var("CARGO_CFG_TARGET_ARCH").as_str() {
        "x86_64" => var("CARGO_CFG_TARGET_OS") != "windows",
        "aarch64" => true,
        _ => false,
    };
    // ThreadSanitizer notes the exit of each function behind its last call, which is no jump then.
    let exits_are_noted = var("CARGO_CFG_SANITIZE").split(',').any(|kind| kind == "thread");
    // Tested at level 3; a development build (level 1, debug assertions) was seen to keep native stack.
    if registers && !exits_are_noted && matches!(var("OPT_LEVEL").as_str(), "2" | "3") {
        println!("cargo::rustc-cfg=tail_calls");
    }
}
