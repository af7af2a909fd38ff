//! Reads hardware counters of the timed executions, where the kernel permits it.
//!
//! In: the timed executions. Out: counts per execution in user space. The counters cover this
//! process's threads that are started after the counters were opened: open them before the executor
//! is created. Virtual machines often have no counters, and `/proc/sys/kernel/perf_event_paranoid`
//! may forbid them; the reason is then reported in one line and is not an error.
//! Not here: times (`measure`).

use super::data::Counters;

#[cfg(target_os = "linux")]
pub use linux::Open;
#[cfg(not(target_os = "linux"))]
pub use nowhere::Open;

#[cfg(target_os = "linux")]
mod linux {
    use super::Counters;
    use perf_event::events::Hardware;
    use perf_event::{Builder, Counter};
    use std::io::ErrorKind;

    const EVENTS: [(&str, Hardware); 6] = [
        ("cycles", Hardware::CPU_CYCLES),
        ("instructions", Hardware::INSTRUCTIONS),
        ("branches", Hardware::BRANCH_INSTRUCTIONS),
        ("branch misses", Hardware::BRANCH_MISSES),
        ("cache references", Hardware::CACHE_REFERENCES),
        ("cache misses", Hardware::CACHE_MISSES),
    ];

    /// The counters that could be opened.
    #[derive(Debug)]
    pub struct Open {
        counters: Vec<(&'static str, Counter)>,
        refused: Option<String>,
    }

    /// Describes in one line why a counter is not available.
    fn reason(name: &str, error: &std::io::Error) -> String {
        let why = match error.kind() {
            ErrorKind::NotFound | ErrorKind::Unsupported => "this machine offers none, as many virtual ones",
            ErrorKind::PermissionDenied => "the kernel forbids them, see kernel.perf_event_paranoid",
            _ => "the kernel refuses them",
        };
        format!("{why} ({name}: {error})")
    }

    impl Open {
        /// Opens the counters that the kernel permits.
        pub fn new() -> Self {
            let mut open = Self { counters: Vec::new(), refused: None };
            for (name, event) in EVENTS {
                match Builder::new(event).inherit(true).build() {
                    Ok(counter) => open.counters.push((name, counter)),
                    Err(error) => {
                        open.refused.get_or_insert_with(|| reason(name, &error));
                    }
                }
            }
            open
        }

        /// Resets and starts all counters.
        pub fn start(&mut self) {
            for (_, counter) in &mut self.counters {
                // A failure here is found again when the counter is read.
                let _ = counter.reset().and_then(|()| counter.enable());
            }
        }

        /// Stops the counters and returns their counts divided by `executions`.
        pub fn stop(&mut self, executions: usize) -> Counters {
            let mut read = Counters::default();
            for (name, counter) in &mut self.counters {
                match counter.disable().and_then(|()| counter.read()) {
                    Ok(count) => {
                        read.values.insert((*name).to_owned(), count as f64 / executions.max(1) as f64);
                    }
                    Err(error) => {
                        self.refused.get_or_insert_with(|| reason(name, &error));
                    }
                }
            }
            read.unavailable.clone_from(&self.refused);
            read
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod nowhere {
    use super::Counters;

    /// No counters: the system has no `perf_event_open`.
    #[derive(Debug)]
    pub struct Open;

    impl Open {
        /// Opens nothing.
        pub fn new() -> Self {
            Self
        }

        /// Does nothing.
        pub fn start(&mut self) {}

        /// Returns no counts, with the reason.
        pub fn stop(&mut self, _: usize) -> Counters {
            let unavailable = Some("only Linux has perf_event_open".to_owned());
            Counters { unavailable, ..Counters::default() }
        }
    }
}
