//! The tasks of one block: their shared context, sequential execution, and execution from a block access list (BAL).
//!
//! In: a decoded block, its senders, the parent state, and the BAL for [`run_with_list`]. Out: [`Executed`], with
//! either a [`Recording`] or [`ListChecked`](super::verify::ListChecked); or the error of the lowest failing index.
//! - [`run_sequential`] runs the tasks one after another and records the BAL.
//! - [`run_with_list`] runs the tasks in parallel, each on parent state plus BAL, and proves that each task made
//!   exactly the changes that the BAL claims for its index.
//! - [`run_alone`] runs one task on parent state plus BAL, without the others.
//!
//! Relies on: `tx` and `system` to run one task, `verify` to check it.
//! Not here: optimistic execution (`optimistic`), decoding, signature recovery, reading the parent state and state
//! roots (`executor`).

mod alone;
mod context;
mod error;
mod executed;
mod from_bal;
mod order;
mod recording;
mod scratch;
mod sequential;

pub use alone::{FieldChange, TaskAlone, run_alone};
pub use context::BlockContext;
pub(in crate::exec) use error::TaskError;
pub use executed::{BlockLogs, Executed, TaskSpan, current_thread};
pub use from_bal::{BlockTasks, ListState, run_with_list};
pub use order::task_order;
pub use recording::Recording;
pub(in crate::exec) use recording::record;
pub use scratch::{SequentialScratch, WorkerScratch};
pub use sequential::{Selection, run_selecting, run_sequential};
