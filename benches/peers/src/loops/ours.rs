//! Our own loops on a workload.
//!
//! In: a workload, a loop. Out: whole transactions on our machine. Only analysed code and the machine's memory are kept
//! between runs.

use super::{Contestant, Outcome};
use alloy_primitives::Bytes;
use balustrade::exec::interpreter::LoopKind;
use balustrade_cli::measure::workload::{Prepared, Workload};

pub(crate) struct Ours {
    kind: LoopKind,
    prepared: Prepared,
}

impl Ours {
    pub(crate) fn new(workload: &Workload, kind: LoopKind) -> Result<Self, String> {
        let prepared = Prepared::new(workload).map_err(|error| error.to_string())?;
        Ok(Self { kind, prepared })
    }
}

impl Contestant for Ours {
    fn run(&mut self) {
        let kind = self.kind;
        self.prepared.on_new_machine(|evm, input| {
            let _ = core::hint::black_box(evm.execute_tx(input, &mut kind.into()));
        });
    }

    fn setup(&mut self) -> bool {
        self.prepared.on_new_machine(|evm, _| {
            core::hint::black_box(evm);
        });
        true
    }

    fn outcome(&mut self) -> Result<Option<Outcome>, String> {
        let kind = self.kind;
        self.prepared.on_new_machine(|evm, input| {
            let outcome = evm.execute_tx(input, &mut kind.into()).map_err(|error| format!("{error:?}"))?;
            let output = Bytes::copy_from_slice(evm.return_data());
            Ok(Some(Outcome { success: outcome.success, gas: outcome.gas_paid, output }))
        })
    }
}
