//! The rules of the protocol that are tables or depend on headers alone.
//!
//! In: a fork, a chain's schedule, headers. Out: constants and switches of a fork, the rules in force for a block, the first
//! fault of a header or an ommer.
//! Not here: rules of transactions (`tx`), of instructions (`evm`, `interpreter`) and of the access list (`block::verify`).

pub mod chain;
pub(in crate::exec) mod dao;
pub mod fork;
pub mod header;
pub mod ommers;
