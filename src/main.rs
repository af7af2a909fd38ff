//! The `balustrade` command.

mod cli;
fn main() {}
