//! Sets the cfg `tail_calls` where the compiler turns the last call of a function into a jump,
//! which the tail-call interpreter loop depends on.

fn main() {
    println!("cargo::rustc-check-cfg=cfg(tail_calls)");
    println!("cargo::rerun-if-changed=build.rs");
    let var = |name| std::env::var(name).unwrap_or_default();
    // Six arguments must be passed in registers, as in the C calling conventions of x86-64 (except
    // on Windows) and AArch64.
    let registers = match var("CARGO_CFG_TARGET_ARCH").as_str() {
        "x86_64" => var("CARGO_CFG_TARGET_OS") != "windows",
        "aarch64" => true,
        _ => false,
    };
    // ThreadSanitizer inserts a call at the exit of each function, so the last call is no jump.
    let exits_are_noted = var("CARGO_CFG_SANITIZE").split(',').any(|kind| kind == "thread");
    // Tested at level 3. A development build (level 1, debug assertions) was seen to use native
    // stack for each call.
    if registers && !exits_are_noted && matches!(var("OPT_LEVEL").as_str(), "2" | "3") {
        println!("cargo::rustc-cfg=tail_calls");
    }
}
