//! exec
pub mod senders;
