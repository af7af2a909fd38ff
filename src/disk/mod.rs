//! State on disk: pages of leaves, and the log of blocks.
//!
//! A *leaf* is an account or a slot, by hashed key. A *unit* is a subtrie of few leaves. A *page*
//! holds the leaves of neighbouring units. The branches above the units are in memory, with the hash
//! of each unit, so that every page is checked when it is read. The log holds each block since the
//! last checkpoint with its block access list, from which the state after it is made again.
//!
//! Not here: execution, the chain's head (`db`).

mod error;
pub mod files;
pub mod log;
pub mod pages;
pub mod state;
pub mod store;
mod sum;

pub use error::DiskError;
pub use sum::StoreId;
