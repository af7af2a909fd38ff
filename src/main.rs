//! The `balustrade` command.

// Nothing outside can reach into a binary; `pub` marks what a module offers its siblings.
#![allow(unreachable_pub)]

mod cli;

/// Blocks are executed by many threads that allocate little; jemalloc keeps what they do allocate apart.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    cli::main()
}
