//! Differential tests: every dispatch loop against the reference loop on the same scenario.

#![allow(unreachable_pub, reason = "shared by a test, an example and a fuzz target")]

pub mod program;
pub mod scenario;
pub mod world;

use balustrade::exec::evm::halt::Halt;
use balustrade::exec::evm::machine::{Evm, FrameEnd};
use balustrade::exec::interpreter::observe::{Observer, StepView};
use balustrade::exec::interpreter::reference;
use balustrade::exec::interpreter::{self, LoopKind};
use balustrade::exec::rules::fork::Fork;
use core::hash::{Hash, Hasher};
use std::hash::DefaultHasher;
use world::{Outcome, Scenario, execute, execute_listed, listed_ids};

/// The machine's state at one instruction, as an observer receives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub depth: usize,
    pub pc: usize,
    pub opcode: u8,
    pub gas_before: u64,
    /// `None` if the instruction halted: loops may have charged different parts of its gas by then.
    pub gas_after: Option<u64>,
    pub memory_len: usize,
    pub refund: i64,
    pub reservoir: i64,
    pub return_data_len: usize,
    pub stack_len: usize,
    pub stack_hash: u64,
}

/// One observed event: an instruction, the start of a frame (depth), or the end of a frame (depth, gas left).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Line(Line),
    Enter(usize),
    Leave(usize, u64),
}

/// Records at most `limit` events.
#[derive(Debug)]
struct Recorder {
    events: Vec<Event>,
    limit: usize,
}

impl Recorder {
    fn record(&mut self, event: Event) {
        if self.events.len() < self.limit {
            self.events.push(event);
        }
    }
}

impl Observer for Recorder {
    const ON: bool = true;

    fn step(&mut self, evm: &Evm<'_>, step: &StepView<'_>) {
        let mut hasher = DefaultHasher::new();
        step.stack.hash(&mut hasher);
        self.record(Event::Line(Line {
            depth: step.depth,
            pc: step.pc,
            opcode: step.opcode,
            gas_before: step.gas_left,
            gas_after: None,
            memory_len: step.memory_len,
            refund: evm.gas.refund,
            reservoir: evm.gas.reservoir,
            return_data_len: evm.return_data().len(),
            stack_len: step.stack.len(),
            stack_hash: hasher.finish(),
        }));
    }

    fn step_end(&mut self, _: &Evm<'_>, gas_left: u64, halt: Option<Halt>) {
        if self.events.len() < self.limit
            && let Some(Event::Line(line)) = self.events.last_mut()
        {
            line.gas_after = halt.is_none().then_some(gas_left);
        }
    }

    fn enter(&mut self, evm: &Evm<'_>) {
        self.record(Event::Enter(evm.depth()));
    }

    fn leave(&mut self, evm: &Evm<'_>, end: &FrameEnd) {
        self.record(Event::Leave(evm.depth() + 1, end.left));
    }
}

const EVENTS_MAX: usize = 20_000;

fn watched(scenario: &Scenario, run: &mut dyn FnMut(&mut Evm<'_>, &mut Recorder) -> FrameEnd) -> (Outcome, Vec<Event>) {
    let mut recorder = Recorder { events: Vec::new(), limit: EVENTS_MAX };
    let outcome = execute(scenario, &mut |evm| run(evm, &mut recorder));
    (outcome, recorder.events)
}

/// A difference between two loops.
#[derive(Debug)]
pub struct Divergence {
    pub what: String,
    pub scenario: Scenario,
}

fn diverged(what: String, scenario: &Scenario) -> Box<Divergence> {
    Box::new(Divergence { what, scenario: scenario.clone() })
}

/// The fields in which two outcomes differ, as text.
fn difference(expected: &Outcome, found: &Outcome) -> String {
    let (expected, found) = (fields(expected), fields(found));
    let differing = expected.iter().zip(&found).filter(|(expected, found)| expected != found);
    differing.map(|(expected, found)| format!("\nexpected {expected}\nfound    {found}")).collect()
}

fn fields(outcome: &Outcome) -> [String; 7] {
    let Outcome {
        status,
        left,
        spilled,
        refill_new_account,
        created,
        gas,
        output,
        logs,
        accounts,
        slots,
        transient,
        fault,
    } = outcome;
    [
        format!(
            "{status} left {left} spilled {spilled} refill {refill_new_account} created {created:?} {gas:?} {fault:?}"
        ),
        format!("output {output:02x?}"),
        format!("logs {logs:?}"),
        format!("accounts {:?}", accounts.keys()),
        format!("accounts {accounts:?}"),
        format!("slots {slots:?}"),
        format!("transient {transient:?}"),
    ]
}

/// Whether two outcomes agree. After a fault only the fault is compared, because it aborts the block.
fn same(expected: &Outcome, found: &Outcome) -> bool {
    let panicked = expected.status == "panic" || found.status == "panic";
    !panicked && if expected.fault.is_some() { expected.fault == found.fault } else { expected == found }
}

/// Our own loops.
fn loops() -> impl Iterator<Item = LoopKind> {
    LoopKind::ALL.into_iter().filter(|kind| *kind != LoopKind::Reference)
}

/// Runs a scenario on every loop; with `traced` also compares each instruction.
pub fn compare(scenario: &Scenario, traced: bool) -> Result<Outcome, Box<Divergence>> {
    let expected = execute(scenario, &mut |evm| reference::run_frames(evm));
    for kind in loops() {
        let found = execute(scenario, &mut |evm| interpreter::run_frames(kind, evm));
        if !same(&expected, &found) {
            return Err(diverged(format!("{kind:?}: {}", difference(&expected, &found)), scenario));
        }
    }
    // With a list of exactly the accessed addresses and slots, no loop may access anything else. Not before Berlin,
    // when slots may be read before they are paid for, see `world`.
    if expected.fault.is_none() && scenario.fork >= Fork::Berlin {
        let id_map = listed_ids(&expected);
        for kind in LoopKind::ALL {
            let found = execute_listed(scenario, Some(&id_map), &mut |evm| interpreter::run_frames(kind, evm));
            if !same(&expected, &found) {
                return Err(diverged(format!("{kind:?}, listed: {}", difference(&expected, &found)), scenario));
            }
        }
    }
    if traced {
        let (outcome, expected_events) = watched(scenario, &mut |evm, to| reference::run_frames_observed(evm, to));
        if !same(&expected, &outcome) {
            return Err(diverged(format!("reference, watched: {}", difference(&expected, &outcome)), scenario));
        }
        for kind in loops() {
            let (found, events) = watched(scenario, &mut |evm, to| interpreter::run_frames_observed(kind, evm, to));
            if !same(&expected, &found) {
                return Err(diverged(format!("{kind:?}, watched: {}", difference(&expected, &found)), scenario));
            }
            if expected.fault.is_some() {
                continue;
            }
            let first = expected_events.iter().zip(&events).position(|(a, b)| a != b);
            if let Some(index) = first {
                let (from, to) = (index.saturating_sub(3), index + 1);
                let what = format!(
                    "{kind:?}: event {index}: expected {:#?}\nfound {:#?}",
                    &expected_events[from..to],
                    &events[index]
                );
                return Err(diverged(what, scenario));
            }
            if expected_events.len() != events.len() {
                let what = format!("{kind:?}: {} events instead of {}", events.len(), expected_events.len());
                return Err(diverged(what, scenario));
            }
        }
    }
    Ok(expected)
}

/// Pseudo-random bytes (splitmix64).
pub fn random_bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    };
    (0..len.div_ceil(8)).flat_map(|_| next().to_le_bytes()).collect()
}

/// Compares one scenario, also with a few gas limits below the gas that it used, so that it runs out of gas at
/// different instructions. Returns the number of cases.
pub fn check(bytes: &[u8]) -> Result<u64, Box<Divergence>> {
    let mut source = scenario::Source(bytes);
    let mut scenario = scenario::scenario(&mut source);
    let traced = bytes.first().is_some_and(|byte| byte % 4 == 0);
    let outcome = compare(&scenario, traced)?;
    let used = scenario.gas.saturating_sub(outcome.left);
    let mut cases = 1;
    for byte in bytes.iter().take(4) {
        let below = if byte % 2 == 0 { u64::from(*byte) / 2 } else { used * u64::from(*byte) / 256 };
        if below > used {
            continue;
        }
        scenario.gas = used - below;
        compare(&scenario, false)?;
        cases += 1;
    }
    Ok(cases)
}

/// Minimizes a scenario that diverges: removes accounts, storage, inputs and parts of codes while it still diverges.
pub fn shrink(mut smallest: Box<Divergence>) -> Box<Divergence> {
    let mut tries = 0;
    let mut attempt = |smallest: &mut Box<Divergence>, change: &dyn Fn(&mut Scenario) -> bool| {
        let mut scenario = smallest.scenario.clone();
        tries += 1;
        if tries > 20_000 || !change(&mut scenario) {
            return false;
        }
        match compare(&scenario, true) {
            Ok(_) => false,
            Err(divergence) => {
                *smallest = divergence;
                true
            }
        }
    };
    loop {
        let before = smallest.scenario.clone();
        let addresses: Vec<_> = before.accounts.keys().copied().collect();
        for address in &addresses {
            attempt(&mut smallest, &|scenario| scenario.accounts.remove(address).is_some());
            attempt(&mut smallest, &|scenario| {
                scenario
                    .accounts
                    .get_mut(address)
                    .is_some_and(|account| !core::mem::take(&mut account.storage).is_empty())
            });
        }
        attempt(&mut smallest, &|scenario| !core::mem::take(&mut scenario.access_list).is_empty());
        attempt(&mut smallest, &|scenario| !core::mem::take(&mut scenario.input).is_empty());
        attempt(&mut smallest, &|scenario| core::mem::take(&mut scenario.reservoir) > 0);
        attempt(&mut smallest, &|scenario| core::mem::take(&mut scenario.work_before) > 0);
        attempt(&mut smallest, &|scenario| core::mem::take(&mut scenario.reached_before) > 0);
        for address in addresses {
            let len = before.accounts[&address].code.len();
            let mut width = len;
            while width > 0 {
                for start in (0..len).step_by(width).rev() {
                    // Parts are replaced by JUMPDESTs, so that positions do not change; the tail is cut off.
                    attempt(&mut smallest, &|scenario| {
                        let Some(account) = scenario.accounts.get_mut(&address) else { return false };
                        let mut code = account.code.to_vec();
                        let end = (start + width).min(code.len());
                        if start >= end {
                            return false;
                        }
                        if end == code.len() {
                            code.truncate(start);
                        } else if code[start..end].iter().all(|byte| *byte == 0x5b) {
                            return false;
                        } else {
                            code[start..end].fill(0x5b);
                        }
                        account.code = code.into();
                        true
                    });
                }
                width /= 2;
            }
        }
        if format!("{before:?}") == format!("{:?}", smallest.scenario) {
            return smallest;
        }
    }
}
