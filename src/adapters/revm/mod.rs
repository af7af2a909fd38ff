//! Databases and bundles of revm.
//!
//! In: a `DatabaseRef`, an outcome. Out: a [`StateStore`](crate::StateStore), a `BundleState` with reverts.

mod bundle;
mod store;

pub use bundle::ExecutionResult;
pub use store::{RevmStore, StoreRef};
