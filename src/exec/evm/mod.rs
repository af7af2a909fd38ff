//! One worker's machine: frames, stack and memory, the state that a transaction sees, calls, gas, precompiles.
//!
//! In: a state provider ([`state::Base`]) and the rules of a fork. Out: a settled state per transaction, with its logs.
//! Relies on: `rules` and `senders` (ECRECOVER).
//! Not here: the instructions (`interpreter`), what a transaction costs besides them (`tx`).

pub mod call;
pub mod gas;
pub mod halt;
pub mod host;
pub mod ids;
pub mod lookup_cache;
pub mod machine;
pub mod modular;
pub mod precompile;
pub mod state;
