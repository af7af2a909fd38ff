//! Compiles if the library and the crates of a Rust client can be resolved in one dependency graph.

use alloy_evm as _;
use ethrex_vm as _;
use revm as _;
use tikv_jemallocator as _;
use zstd as _;

/// A client's own executor.
pub struct Client(pub balustrade::Executor);
