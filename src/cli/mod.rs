//! The binary's commands.

mod input;
