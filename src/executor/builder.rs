//! How an executor is made: thread pool, binding, names, memory bounds.

use super::Executor;
use super::pool::{Binding, Pool, pool_builder};
use crate::arena::code::CodeArena;
use crate::bal::BalColumns;
use crate::exec::evm::ids::IdMap;
use std::io;
use std::sync::{Arc, Mutex};

/// Bytes of code that an executor keeps from block to block if the caller sets no bound: 1 GiB.
const CODE_BYTES_MAX: usize = 1 << 30;

/// Makes an [`Executor`]; see [`Executor::builder`].
///
/// ```
/// use balustrade::{Binding, Executor};
///
/// let executor = Executor::builder().threads(2).binding(Binding::Never).thread_name("evm").build()?;
/// assert_eq!(executor.threads(), 2);
/// # Ok::<(), balustrade::BuildError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct ExecutorBuilder {
    /// `None`: a pool of its own with one thread per processor.
    pool: Option<Pool>,
    binding: Binding,
    code_bytes_max: usize,
    thread_name: String,
}

impl Default for ExecutorBuilder {
    fn default() -> Self {
        Self {
            pool: None,
            binding: Binding::default(),
            code_bytes_max: CODE_BYTES_MAX,
            thread_name: "balustrade".to_owned(),
        }
    }
}

impl ExecutorBuilder {
    /// A pool of its own with this many threads: short for [`Pool::Own`]. Default: one per processor that the process may
    /// use.
    pub fn threads(self, threads: usize) -> Self {
        self.pool(Pool::Own { threads })
    }

    /// The pool that blocks run on.
    pub fn pool(mut self, pool: Pool) -> Self {
        self.pool = Some(pool);
        self
    }

    /// Whether the threads of [`Pool::Own`] are bound to processors. Default: [`Binding::Never`]. Has no effect on
    /// [`Pool::Shared`] and on reader threads, which are never bound.
    pub fn binding(mut self, binding: Binding) -> Self {
        self.binding = binding;
        self
    }

    /// Most bytes of contract code, with its decoded forms, that are kept from one block to the next; default 1 GiB. The
    /// size is an estimate. When it is exceeded all codes are dropped before the next block, which loads those that it
    /// runs again.
    pub fn code_bytes_max(mut self, bytes: usize) -> Self {
        self.code_bytes_max = bytes;
        self
    }

    /// Prefix of the names of the executor's own threads: `prefix-0`, `prefix-1`, and `prefix-reader-0` for readers.
    /// Default: `balustrade`. Linux shows the first 15 bytes of a name.
    pub fn thread_name(mut self, prefix: impl Into<String>) -> Self {
        self.thread_name = prefix.into();
        self
    }

    /// The executor, with the threads of its own pool started.
    ///
    /// # Errors
    /// [`BuildError::Threads`] when the operating system refuses the threads.
    pub fn build(self) -> Result<Executor, BuildError> {
        let available = || std::thread::available_parallelism().map_or(1, |count| count.get());
        let pool = match self.pool.unwrap_or_else(|| Pool::Own { threads: available() }) {
            Pool::Shared(pool) => pool,
            Pool::Own { threads } => {
                let threads = threads.max(1);
                let built = pool_builder(threads, self.binding, &self.thread_name).build();
                let refused = |error| BuildError::Threads { threads, source: io::Error::other(error) };
                Arc::new(built.map_err(refused)?)
            }
        };
        Ok(Executor {
            scratches: (0..pool.current_num_threads()).map(|_| Mutex::default()).collect(),
            pool,
            readers: None,
            thread_name: self.thread_name,
            code_bytes_max: self.code_bytes_max,
            codes: CodeArena::default(),
            bal: BalColumns::default(),
            id_map: IdMap::default(),
            lists: Vec::new(),
            shuffle: None,
            trace: None,
        })
    }
}

/// Why an executor could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The operating system refused the threads.
    #[error("cannot start {threads} threads: {source}")]
    Threads {
        /// How many were asked for.
        threads: usize,
        /// Why.
        source: io::Error,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_executor_can_be_sent_to_another_thread() {
        fn is_send<T: Send>() {}
        is_send::<Executor>();
        is_send::<ExecutorBuilder>();
        is_send::<BuildError>();
    }

    #[test]
    fn an_own_pool_has_the_number_and_names_of_threads_that_were_asked_for() {
        let executor = Executor::builder().threads(3).thread_name("evm").build().expect("threads");
        assert_eq!(executor.threads(), 3);
        let names = executor.pool.broadcast(|_| std::thread::current().name().map(str::to_owned));
        assert_eq!(names, ["evm-0", "evm-1", "evm-2"].map(|name| Some(name.to_owned())));
        assert_eq!(Executor::builder().threads(0).build().expect("a thread").threads(), 1);
    }

    #[test]
    fn a_shared_pool_is_used_as_it_is() {
        let shared = Arc::new(rayon::ThreadPoolBuilder::new().num_threads(2).build().expect("threads"));
        let executor =
            Executor::builder().pool(Pool::Shared(Arc::clone(&shared))).build().expect("no thread is needed");
        assert_eq!(executor.threads(), 2);
        assert!(Arc::ptr_eq(&executor.pool, &shared));
        drop(executor);
        assert_eq!(Arc::strong_count(&shared), 1);
    }

    #[test]
    fn codes_over_the_bound_are_dropped_before_the_next_block() {
        use crate::arena::store::MemoryStore;
        use crate::exec::rules::fork::{ChainRules, Fork};
        use crate::{BlockInput, Mode, Options};
        let rules = ChainRules::mainnet(Fork::Cancun);
        let codes_after_a_block = |builder: ExecutorBuilder| {
            let mut executor = builder.threads(1).build().expect("a thread");
            executor.codes.insert_hashing([0; 1_000]);
            // Undecodable: nothing of the block itself comes into the arena.
            let input = BlockInput::new(&rules, Default::default());
            let result = executor.execute(&input, &MemoryStore::default(), None, Options::new(Mode::Sequential));
            result.expect_err("no block");
            executor.codes.len()
        };
        // The empty code is always there.
        assert_eq!(codes_after_a_block(Executor::builder()), 2);
        assert_eq!(codes_after_a_block(Executor::builder().code_bytes_max(999)), 1);
    }
}
