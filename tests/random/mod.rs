//! Random blocks. In: a seed. Out: a small pre-state and a sealed block on it. Equal seeds give equal blocks.
//!
//! The block is executed in every mode, by every loop and with several numbers of threads ([`check`]), or by other
//! implementations (`peers differential`). What is generated does not depend on the executor, except that the builder
//! leaves out transactions that are invalid in the block.
//! Not here: invalid blocks and invalid lists (`hostile`).

#![allow(
    dead_code,
    unreachable_pub,
    reason = "a test, an example and `peers` include this, and each uses a part of it"
)]

pub mod block;
pub mod bundle;
pub mod check;
pub mod fixture;
mod transactions;
mod world;

use balustrade_cli::devnet;
#[allow(unused_imports, reason = "programs and their choices are used here, the scenarios of single calls are not")]
#[path = "../differential/mod.rs"]
mod differential;
