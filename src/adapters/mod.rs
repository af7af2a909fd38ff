//! The library's types as those of other crates, and back; each behind a feature of its name.
//!
//! In: columns and outcomes. Out: rows of `alloy-consensus`, `alloy-eips` and `alloy-eip7928`; databases and bundles of
//! `revm-database`.
//! Not here: execution by those crates.

#[cfg(feature = "alloy")]
mod alloy;
#[cfg(feature = "revm")]
pub(crate) mod revm;
