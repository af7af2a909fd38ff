//! The EVM of one worker: frames, stack, memory, transaction-local state, calls, gas and precompiles.
//!
//! In: a state provider ([`state::StateProvider`]) and the rules of a fork. Out: the settled state of each transaction
//! and its logs.
//! Relies on: `rules` (fork tables) and `senders` (public key recovery for ECRECOVER).
//! Not here: dispatch loops and instruction bodies (`interpreter`); intrinsic gas, fees and refunds of
//! transactions (`tx`).

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
