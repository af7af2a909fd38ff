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

use balustrade::executor::Stage;

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
    /// The work of the stages, of which `stage` gives the nanoseconds; without last checks and tasks.
    pub fn of_stages(stage: impl Fn(Stage) -> f64) -> Self {
        Self {
            decode: stage(Stage::Decode),
            list_hash: stage(Stage::ListHash),
            body_roots: stage(Stage::BodyRoots),
            read: stage(Stage::Read),
            recover: stage(Stage::Recover),
            root: stage(Stage::Root),
            ..Self::default()
        }
    }

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

/// The work of a window of blocks on one thread. The jobs are those of the executor: all blocks are decoded side by side;
/// one thread computes the states before the blocks while the others recover senders; then each thread goes through the
/// blocks in order, takes tasks of the oldest one that has any, and between two of them the next state root, if no thread
/// computes one, and the last checks of blocks that are ready for them; threads without a task share the roots that are
/// left; then the blocks are committed.
#[derive(Clone, Debug, Default)]
pub struct WindowWork {
    /// The blocks in order.
    pub blocks: Vec<Work>,
    /// Nanoseconds of the states before the blocks: names, reads, values.
    pub states: f64,
    /// Nanoseconds that belong to no stage: commit, and the return of memory.
    pub rest: f64,
}

impl WindowWork {
    /// Nanoseconds that `threads` threads take.
    pub fn simulate(&self, threads: usize) -> f64 {
        let threads = threads.max(1);
        let mut free = vec![0.0; threads];
        for block in &self.blocks {
            *earliest(&mut free) += block.decode + block.list_hash + block.body_roots;
        }
        let decoded = latest(&free);
        free.fill(decoded);
        free[0] += self.states;
        // Batches of senders: until the states are known by the other threads, then by all.
        for block in &self.blocks {
            let batches = block.batches(threads).max(1);
            (0..batches).for_each(|_| *earliest(&mut free) += block.recover / batches as f64);
        }
        free.iter_mut().for_each(|free| *free = free.max(decoded + self.states));
        // The end of the last task of each block, and of its root; which root and which checks come next.
        let mut tasks_end = vec![0.0f64; self.blocks.len()];
        let mut root_end = vec![0.0f64; self.blocks.len()];
        let (mut next_root, mut next_check) = (0, 0);
        let mut tasks =
            self.blocks.iter().enumerate().flat_map(|(row, block)| block.tasks.iter().map(move |ns| (row, *ns)));
        let mut current = tasks.next();
        while current.is_some() || next_root < self.blocks.len() || next_check < self.blocks.len() {
            let at = current.map_or(self.blocks.len(), |(row, _)| row);
            let thread = earliest(&mut free);
            let last_root = next_root.checked_sub(1).map_or(0.0, |row| root_end[row]);
            let checked = next_check < next_root && next_check < at;
            if next_root < self.blocks.len() && next_root <= at && last_root <= *thread {
                // Threads without a task take pieces of the root.
                let root = self.blocks[next_root].root;
                if current.is_none() {
                    let end = *thread + root / threads.min(ROOT_PIECES) as f64;
                    free.iter_mut().for_each(|free| *free = free.max(end));
                    root_end[next_root] = end;
                } else {
                    *thread += root;
                    root_end[next_root] = *thread;
                }
                next_root += 1;
            } else if checked && tasks_end[next_check].max(root_end[next_check]) <= *thread {
                *thread += self.blocks[next_check].verify;
                next_check += 1;
            } else if let Some((row, ns)) = current {
                *thread += ns;
                tasks_end[row] = tasks_end[row].max(*thread);
                current = tasks.next();
            } else {
                // Waits for the root or the tasks of the next block.
                let known =
                    if next_check < next_root { tasks_end[next_check].max(root_end[next_check]) } else { last_root };
                *thread = thread.max(known) + 1.0;
            }
        }
        latest(&free) + self.rest
    }

    /// What more threads do not shorten, the longest first: nanoseconds and names.
    pub fn serial_parts(&self) -> Vec<(f64, &'static str)> {
        let longest = self.blocks.iter().map(|block| block.largest_task().1).fold(0.0, f64::max);
        let mut parts = vec![
            (self.blocks.iter().map(|block| block.root).sum(), "state roots, one after another while tasks run"),
            (self.states, "states before the blocks"),
            (self.rest, "commit and rest"),
            (longest, "longest transaction"),
        ];
        parts.sort_by(|one, two| two.0.total_cmp(&one.0));
        parts
    }
}

/// The thread that is free first.
fn earliest(free: &mut [f64]) -> &mut f64 {
    let first = free.iter_mut().min_by(|one, two| one.total_cmp(two));
    first.expect("there is at least one thread")
}

/// When all threads are free.
fn latest(free: &[f64]) -> f64 {
    free.iter().copied().fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_takes_the_sum_on_one_thread_and_its_serial_parts_on_many() {
        let blocks = vec![work(vec![10.0, 50.0, 40.0, 30.0]); 20];
        let window = WindowWork { blocks, states: 100.0, rest: 50.0 };
        let sum: f64 = window.blocks.iter().map(|block| block.total() - block.read).sum();
        assert!((window.simulate(1) - sum - 150.0).abs() < 100.0, "{} {sum}", window.simulate(1));
        let (two, many) = (window.simulate(2), window.simulate(64));
        assert!(two > sum / 2.0 && two < 0.75 * sum, "{two} {sum}");
        let parts = window.serial_parts();
        assert_eq!(parts[0].0, 3_200.0);
        assert!(many >= 3_200.0 / 16.0 + 150.0 && many < two, "{many} {two}");
    }

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
