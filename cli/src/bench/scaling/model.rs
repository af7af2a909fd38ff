//! Models a block in `bal` mode as a set of jobs, and computes how long N threads take for them.
//!
//! In: the time of each stage and each task on one thread. Out: the time on any number of threads,
//! and the critical path.
//! The jobs and their dependencies are those of the executor:
//! - One thread decodes the block and its block access list.
//! - The hash of the list and the roots of the body depend on nothing else.
//! - Parent reads come in chunks. After them come the state root, in pieces, and sender recovery,
//!   in batches.
//! - Tasks are claimed in a given order once all batches have been claimed. Each waits, with its
//!   thread asleep, for the batch of its own sender.
//! - The last checks wait for everything.
//!
//! A free thread takes the job that a work-stealing pool would give it: the decoding thread goes on
//! with senders and tasks, the others begin with the oldest job.
//! Not modelled: caches, memory bandwidth, processors that share a core, waking of threads. Not
//! here: measuring.

/// Number of pieces of a state root: the shards of the account trie.
const ROOT_PIECES: usize = 16;
/// Bounds of the number of signatures in a batch; there are two batches per thread within these
/// bounds.
const BATCH_MIN: usize = 16;
const BATCH_MAX: usize = 64;
/// Accounts or slots in a chunk of parent reads.
const ROWS_PER_CHUNK: usize = 1_024;

/// The work of a block on one thread, in nanoseconds.
#[derive(Clone, Debug, Default)]
pub struct Work {
    /// Decoding of the block and its list to columns.
    pub decode: f64,
    /// Hash of the block access list.
    pub list_hash: f64,
    /// Roots of transactions and withdrawals.
    pub body_roots: f64,
    /// Reads of the parent state.
    pub read: f64,
    /// Recovery of senders and authorities.
    pub recover: f64,
    /// State root.
    pub root: f64,
    /// Last checks, and the time that belongs to no stage.
    pub verify: f64,
    /// Each task in block order, system phases included.
    pub tasks: Vec<f64>,
    /// Number of signatures in the block.
    pub signatures: usize,
    /// Number of accounts or of slots that are read, whichever is larger.
    pub rows: usize,
}

/// Kinds of jobs, in the order in which a thread that did not decode prefers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Beside,
    Read,
    Root,
    Recover,
    Task,
}

/// The jobs of one kind, taken from the front.
#[derive(Clone, Debug)]
struct Queue {
    kind: Kind,
    jobs: Vec<f64>,
    next: usize,
    /// Number of jobs that have not ended.
    open: usize,
}

impl Queue {
    fn new(kind: Kind, jobs: Vec<f64>) -> Self {
        Self { kind, open: jobs.len(), jobs, next: 0 }
    }
}

/// The longest chain of dependent jobs, which bounds a block's time on any number of threads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CriticalPath {
    /// Its length in nanoseconds.
    pub ns: f64,
    /// Its longest part besides decoding, reading and the last checks.
    pub through: Through,
}

/// The longest part of a critical path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Through {
    /// A batch of signatures, then the task at this index of the block.
    Task(usize),
    /// A piece of the state root.
    Root,
    /// A job that runs beside decoding: the hash of the list or the roots of the body.
    Beside,
}

impl Work {
    /// Sum of all work in nanoseconds.
    pub fn total(&self) -> f64 {
        let Self { decode, list_hash, body_roots, read, recover, root, verify, ref tasks, .. } = *self;
        decode + list_hash + body_roots + read + recover + root + verify + tasks.iter().sum::<f64>()
    }

    /// Number of batches of sender recovery on this many threads.
    fn batches(&self, threads: usize) -> usize {
        let share = self.signatures.div_ceil(2 * threads).next_multiple_of(BATCH_MIN);
        self.signatures.div_ceil(share.clamp(BATCH_MIN, BATCH_MAX))
    }

    /// Index and time of the longest task.
    pub fn largest_task(&self) -> (usize, f64) {
        let longest = self.tasks.iter().copied().enumerate().max_by(|one, two| one.1.total_cmp(&two.1));
        longest.unwrap_or_default()
    }

    /// Nanoseconds that `threads` threads take if tasks are claimed in `order`.
    pub fn simulate(&self, threads: usize, order: &[usize]) -> f64 {
        let threads = threads.max(1);
        let even = |total: f64, parts: usize| vec![total / parts.max(1) as f64; parts.max(1)];
        let mut queues = [
            Queue::new(Kind::Beside, vec![self.list_hash, self.body_roots]),
            Queue::new(Kind::Read, even(self.read, self.rows.div_ceil(ROWS_PER_CHUNK))),
            Queue::new(Kind::Root, even(self.root, ROOT_PIECES)),
            Queue::new(Kind::Recover, even(self.recover, self.batches(threads))),
            Queue::new(Kind::Task, order.iter().map(|task| self.tasks[*task]).collect()),
        ];
        // The end of each batch of senders that was claimed so far. Transactions are the tasks
        // between the two system phases.
        let mut recovered: Vec<f64> = Vec::new();
        let transactions = self.tasks.len().saturating_sub(2);
        let batch_of = |task: usize, batches: usize| {
            let row = task.checked_sub(1).filter(|row| *row < transactions)?;
            Some(row * batches / transactions)
        };
        // When each thread becomes free, and which job it runs until then; the first one decodes.
        let mut free: Vec<(f64, Option<Kind>)> = vec![(0.0, None); threads];
        free[0].0 = self.decode;
        let mut decoded = false;
        let mut end = self.decode;
        // Simulates the thread that becomes free first; a thread without a job waits for the next
        // end.
        while let Some(thread) = (0..threads).min_by(|one, two| free[*one].0.total_cmp(&free[*two].0)) {
            let (now, ran) = free[thread];
            if let Some(kind) = ran {
                queues[kind as usize].open -= 1;
                free[thread].1 = None;
            }
            decoded |= now >= self.decode;
            let open = |kind: Kind| queues[kind as usize].open > 0;
            let ready = |kind: Kind| match kind {
                Kind::Beside => true,
                Kind::Read => decoded,
                Kind::Root | Kind::Recover => decoded && !open(Kind::Read),
                Kind::Task => {
                    decoded && !open(Kind::Read) && recovered.len() == queues[Kind::Recover as usize].jobs.len()
                }
            };
            let all = [Kind::Beside, Kind::Read, Kind::Root, Kind::Recover, Kind::Task];
            let main = [Kind::Read, Kind::Recover, Kind::Task, Kind::Root, Kind::Beside];
            let preferred = if thread == 0 { main } else { all };
            let waiting = |kind: &Kind| queues[*kind as usize].next < queues[*kind as usize].jobs.len();
            match preferred.into_iter().find(|kind| ready(*kind) && waiting(kind)) {
                Some(kind) => {
                    let queue = &mut queues[kind as usize];
                    debug_assert_eq!(queue.kind, kind);
                    let signed = match kind {
                        Kind::Task => batch_of(order[queue.next], recovered.len()).map(|batch| recovered[batch]),
                        _ => None,
                    };
                    free[thread] = (signed.unwrap_or(now).max(now) + queue.jobs[queue.next], Some(kind));
                    queue.next += 1;
                    if kind == Kind::Recover {
                        recovered.push(free[thread].0);
                    }
                    end = end.max(free[thread].0);
                }
                None => {
                    // No job is ready for this thread before another thread ends one.
                    let is_busy = |at: usize| free[at].1.is_some() || (at == 0 && !decoded);
                    let ends = (0..threads).filter(|at| is_busy(*at)).map(|at| free[at].0);
                    let next = ends.fold(f64::INFINITY, f64::min);
                    if next.is_infinite() {
                        break;
                    }
                    // Slightly after that end, so that the end is processed first.
                    free[thread].0 = next.max(now) + 1e-3;
                }
            }
        }
        end + self.verify
    }

    /// Returns the longest chain of dependent jobs.
    pub fn critical_path(&self) -> CriticalPath {
        let (task, longest) = self.largest_task();
        let part = |total: f64, parts: usize| total / parts.max(1) as f64;
        let read = part(self.read, self.rows.div_ceil(ROWS_PER_CHUNK));
        let recover = part(self.recover, self.signatures.div_ceil(BATCH_MIN));
        let paths = [
            (self.decode + read + recover + longest, Through::Task(task)),
            (self.decode + read + part(self.root, ROOT_PIECES), Through::Root),
            (self.list_hash.max(self.body_roots), Through::Beside),
        ];
        let (ns, through) = paths.into_iter().fold((0.0, Through::Beside), |a, b| if b.0 > a.0 { b } else { a });
        CriticalPath { ns: ns + self.verify, through }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn work(tasks: Vec<f64>) -> Work {
        Work {
            decode: 10.0,
            list_hash: 5.0,
            body_roots: 5.0,
            read: 20.0,
            recover: 64.0,
            root: 160.0,
            verify: 7.0,
            tasks,
            signatures: 128,
            rows: 2_000,
        }
    }

    #[test]
    fn one_thread_takes_the_sum_and_many_take_the_critical_path() {
        let work = work(vec![10.0, 50.0, 400.0, 30.0]);
        let order: Vec<usize> = (0..4).collect();
        assert!((work.simulate(1, &order) - work.total()).abs() < 1.0);
        let path = work.critical_path();
        assert_eq!(path.through, Through::Task(2));
        assert_eq!(path.ns, 10.0 + 10.0 + 8.0 + 400.0 + 7.0);
        assert!((work.simulate(64, &order) - path.ns).abs() < 1.0);
        let mut last = f64::INFINITY;
        for threads in 1..20 {
            let time = work.simulate(threads, &order);
            assert!(time >= path.ns - 1.0 && time >= work.total() / threads as f64 - 1.0, "{threads}: {time}");
            assert!(time <= last + 1.0, "{threads}: {time} after {last}");
            last = time;
        }
    }

    #[test]
    fn the_longest_task_first_shortens_the_tail() {
        let work = Work { root: 0.0, ..work(vec![10.0; 30].into_iter().chain([200.0]).collect()) };
        let block_order: Vec<usize> = (0..31).collect();
        let longest_first: Vec<usize> = (0..31).rev().collect();
        assert!(work.simulate(4, &longest_first) + 50.0 < work.simulate(4, &block_order));
    }

    #[test]
    fn an_empty_block_takes_no_time() {
        assert_eq!(Work::default().simulate(3, &[]), 0.0);
    }
}
