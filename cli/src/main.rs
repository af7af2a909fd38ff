//! The `balustrade` command.

/// Blocks are executed by many threads that allocate little; jemalloc keeps what they do allocate apart.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    balustrade_cli::main()
}
