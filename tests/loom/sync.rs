//! Loom's atomics and condition variable, with faults that a test can inject.
//!
//! All threads of a model run on the thread of its test, so that a fault affects one test only.

use core::cell::Cell;
pub use loom::sync::atomic::Ordering;
pub use loom::sync::{Mutex, MutexGuard};

/// A fault of synchronisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// All orderings are relaxed.
    Relaxed,
    /// The operation of this name reads and writes in two steps.
    Torn(&'static str),
    /// `notify_all` wakes one waiting thread only.
    WakesOne,
}

thread_local! {
    static FAULT: Cell<Option<Fault>> = const { Cell::new(None) };
}

impl Fault {
    /// Injects the fault on this thread until the returned guard is dropped.
    #[must_use]
    pub fn inject(self) -> impl Drop {
        struct Mended;
        impl Drop for Mended {
            fn drop(&mut self) {
                FAULT.set(None);
            }
        }
        FAULT.set(Some(self));
        Mended
    }

    fn is_on(self) -> bool {
        FAULT.get() == Some(self)
    }
}

fn weakened(order: Ordering) -> Ordering {
    if Fault::Relaxed.is_on() { Ordering::Relaxed } else { order }
}

macro_rules! breakable {
    ($name:ident: $value:ty $(, $method:ident = $apply:expr)*) => {
        /// Loom's type; behaves as the injected fault says.
        #[derive(Debug, Default)]
        pub struct $name(loom::sync::atomic::$name);

        impl $name {
            pub fn new(value: $value) -> Self {
                Self(loom::sync::atomic::$name::new(value))
            }

            pub fn load(&self, order: Ordering) -> $value {
                self.0.load(weakened(order))
            }

            pub fn store(&self, value: $value, order: Ordering) {
                self.0.store(value, weakened(order));
            }

            $(pub fn $method(&self, operand: $value, order: Ordering) -> $value {
                if Fault::Torn(stringify!($method)).is_on() {
                    let before = self.0.load(Ordering::Acquire);
                    let apply: fn($value, $value) -> $value = $apply;
                    self.0.store(apply(before, operand), Ordering::Release);
                    before
                } else {
                    self.0.$method(operand, weakened(order))
                }
            })*
        }
    };
}

breakable!(AtomicBool: bool);
breakable!(AtomicU32: u32,
    fetch_add = |a, b| a.wrapping_add(b), fetch_and = |a, b| a & b, fetch_or = |a, b| a | b, fetch_max = |a, b| a.max(b),
    fetch_min = |a, b| a.min(b));
breakable!(AtomicU64: u64, fetch_add = |a, b| a.wrapping_add(b));
breakable!(AtomicUsize: usize, fetch_add = |a, b| a.wrapping_add(b), fetch_sub = |a, b| a.wrapping_sub(b));

/// Loom's type; behaves as the injected fault says.
#[derive(Debug)]
pub struct Condvar(loom::sync::Condvar);

impl Default for Condvar {
    fn default() -> Self {
        Self::new()
    }
}

impl Condvar {
    pub fn new() -> Self {
        Self(loom::sync::Condvar::new())
    }

    pub fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> std::sync::LockResult<MutexGuard<'a, T>> {
        self.0.wait(guard)
    }

    pub fn notify_all(&self) {
        if Fault::WakesOne.is_on() { self.0.notify_one() } else { self.0.notify_all() }
    }
}
