//! Protocol rules that are constants or depend only on headers.
//!
//! In: a fork, a chain's fork schedule, headers. Out: constants and switches of a fork, the rules
//! in force for a block, the first violated rule of a header or an ommer.
//! Not here: rules of transactions (`tx`), of instructions (`evm`, `interpreter`) and of the block
//! access list (`block::verify`).

pub mod chain;
pub(in crate::exec) mod dao;
pub mod fork;
pub mod header;
pub mod ommers;
