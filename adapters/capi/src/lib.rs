//! The C interface of balustrade: `include/balustrade.h`, a static and a shared library.
//!
//! In: blocks, lists and headers as RLP, and callbacks that answer batches of reads from the host's state. Out: a status,
//! and an outcome whose parts are borrowed bytes and columns. There is no database inside.
//!
//! | status | meaning | class of [`balustrade::BlockError`] |
//! |---|---|---|
//! | `BAL_OK` | the block is valid, as far as it could be checked | |
//! | `BAL_INVALID` | the block or its list is invalid | `Invalid` |
//! | `BAL_STORE` | the host failed: its store, its state, its witness | `Store`, `ParentState` |
//! | `BAL_CANCELLED` | given up by the caller | `Cancelled` |
//! | `BAL_USAGE` | an argument is wrong: null, a wrong size, an unknown number, an object in use | |
//! | `BAL_BUG` | this library failed: a panic, or two of its checks contradict each other | `Internal` |
//!
//! No panic leaves a function. Unsafe code is in the modules that docs/unsafe.md lists: pointers of the host are turned
//! into slices and references at the entry of each function; everything below is safe code.
//! Not here: execution (`balustrade`).

mod cancel;
mod changes;
mod executor;
mod failure;
mod outcome;
mod pointer;
mod rules;
mod store;
mod tries;
mod types;
mod witness;

pub use cancel::*;
pub use executor::*;
pub use outcome::*;
pub use rules::*;
pub use tries::*;
pub use types::*;

/// Version of this interface: it changes when a host that was compiled against an older header could break.
pub const BAL_ABI_VERSION: u32 = 1;

/// The `BAL_ABI_VERSION` of the library; a host compares it with that of the header it was compiled against.
#[allow(unsafe_code, reason = "the name is exported")]
#[unsafe(no_mangle)]
pub extern "C" fn bal_abi_version() -> u32 {
    BAL_ABI_VERSION
}
