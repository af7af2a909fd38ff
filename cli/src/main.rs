//! The `balustrade` command.

/// jemalloc has arenas per thread, so that the threads that execute a block do not contend for the
/// few allocations that remain.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    balustrade_cli::main()
}
