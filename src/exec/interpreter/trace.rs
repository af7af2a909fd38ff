//! EIP-3155 traces: one JSON object per instruction, one per line.
//!
//! In: the events of a loop. Out: lines, the last one of a transaction being its summary.
//! `gasCost` is the difference of the gas before and after the instruction, so that it is the same for every loop.
//! Not here: the destination of the lines.

use super::observe::{Observer, StepView};
use super::opcode;
use crate::exec::evm::halt::Halt;
use crate::exec::evm::machine::{Evm, FrameEnd};
use core::fmt::Write as _;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

/// Destination of the EIP-3155 lines of a block's transactions, which arrive in block order during execution.
/// Each write is one line with its line feed. Clones share one writer.
#[derive(Clone)]
pub struct TraceSink(Arc<Mutex<dyn Write + Send>>);

impl TraceSink {
    /// Writes to `out`, which the caller shares. After a write error the remaining lines of the running transaction are
    /// dropped, and execution continues. The error is not reported elsewhere, so `out` has to keep it.
    pub fn new(out: Arc<Mutex<impl Write + Send + 'static>>) -> Self {
        Self(out)
    }
}

impl core::fmt::Debug for TraceSink {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("TraceSink")
    }
}

impl Write for TraceSink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write_all(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).flush()
    }
}

/// Writes EIP-3155 lines to `out`. The first write that fails ends the trace; its error is kept in `error`.
#[derive(Debug)]
pub struct Eip3155<W> {
    out: W,
    line: String,
    gas_before: u64,
    opcode: u8,
    /// The write error that ended the trace.
    pub error: Option<std::io::Error>,
}

impl<W: std::io::Write> Eip3155<W> {
    /// A tracer that writes to `out`, one write per line; for buffering, pass a buffered writer.
    pub fn new(out: W) -> Self {
        Self { out, line: String::new(), gas_before: 0, opcode: 0, error: None }
    }

    /// Writes the summary line of a transaction: its output, the gas that it paid, whether it succeeded. `tx`
    /// is its index in the block, from 0.
    pub fn summary(&mut self, tx: u32, output: &[u8], gas_paid: u64, success: bool) {
        self.line.clear();
        let _ = write!(self.line, "{{\"output\":\"0x");
        for byte in output {
            let _ = write!(self.line, "{byte:02x}");
        }
        let _ = writeln!(self.line, "\",\"gasUsed\":\"{gas_paid:#x}\",\"pass\":{success},\"transactionIndex\":{tx}}}");
        self.flush_line();
    }

    fn flush_line(&mut self) {
        if self.error.is_none()
            && let Err(error) = self.out.write_all(self.line.as_bytes())
        {
            self.error = Some(error);
        }
    }

    /// Returns the writer.
    pub fn into_inner(self) -> W {
        self.out
    }
}

impl<W: std::io::Write> Observer for Eip3155<W> {
    const ON: bool = true;

    fn step(&mut self, evm: &Evm<'_>, step: &StepView<'_>) {
        (self.gas_before, self.opcode) = (step.gas_left, step.opcode);
        self.line.clear();
        // Writing to a string cannot fail.
        let _ = write!(
            self.line,
            "{{\"pc\":{},\"op\":{},\"gas\":\"{:#x}\",\"memSize\":{},\"depth\":{},\"refund\":{},\"stack\":[",
            step.pc, step.opcode, step.gas_left, step.memory_len, step.depth, evm.gas.refund,
        );
        for (index, word) in step.stack.iter().enumerate() {
            let _ = write!(self.line, "{}\"{word:#x}\"", if index == 0 { "" } else { "," });
        }
        let _ = write!(self.line, "],\"returnData\":\"0x");
        for byte in &evm.return_data {
            let _ = write!(self.line, "{byte:02x}");
        }
        self.line.push('"');
    }

    fn step_end(&mut self, _: &Evm<'_>, gas_left: u64, halt: Option<Halt>) {
        let _ = write!(self.line, ",\"gasCost\":\"{:#x}\"", self.gas_before.saturating_sub(gas_left));
        match opcode::name(self.opcode) {
            Some(name) => write!(self.line, ",\"opName\":\"{name}\""),
            None => write!(self.line, ",\"opName\":\"opcode {:#x} not defined\"", self.opcode),
        }
        .unwrap_or_default();
        if let Some(halt) = halt {
            let _ = write!(self.line, ",\"error\":\"{}\"", halt.name());
        }
        self.line.push_str("}\n");
        self.flush_line();
    }

    fn enter(&mut self, _: &Evm<'_>) {}
    fn leave(&mut self, _: &Evm<'_>, _: &FrameEnd) {}
}
