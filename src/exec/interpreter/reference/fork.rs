//! revm's tables for each of our forks: rule set, prices, instructions.
//!
//! In: a fork. Out: revm's spec id, gas parameters and instruction table. revm has no Constantinople: here that fork is
//! Petersburg with EIP-1283's SSTORE, made from revm's own parts (EIP-2200 is EIP-1283 with other prices and a
//! minimum of gas). Not here: the state that the instructions access (`host`).

use super::host::ReferenceHost;
use crate::exec::rules::fork::Fork;
use revm_bytecode::opcode::SSTORE;
use revm_context_interface::Host;
use revm_context_interface::cfg::GasParams;
use revm_context_interface::cfg::gas_params::GasId;
use revm_context_interface::context::{SStoreResult, StateLoad};
use revm_interpreter::instructions::{gas_table_spec, host::sstore_with_gas_accounting};
use revm_interpreter::interpreter::EthInterpreter;
use revm_interpreter::{
    GasTable, Instruction, InstructionContext, InstructionExecResult, InstructionResult, InstructionTable,
    instruction_table,
};
use revm_primitives::{Address, hardfork::SpecId};

/// The instructions of revm's interpreter on our host.
pub(super) type Instructions<'a, 'b> = InstructionTable<EthInterpreter, ReferenceHost<'a, 'b>>;

/// revm's id of a fork.
pub(super) fn spec_id(fork: Fork) -> SpecId {
    match fork {
        Fork::Frontier => SpecId::FRONTIER,
        Fork::Homestead => SpecId::HOMESTEAD,
        Fork::TangerineWhistle => SpecId::TANGERINE,
        Fork::SpuriousDragon => SpecId::SPURIOUS_DRAGON,
        Fork::Byzantium => SpecId::BYZANTIUM,
        Fork::Constantinople | Fork::Petersburg => SpecId::PETERSBURG,
        Fork::Istanbul => SpecId::ISTANBUL,
        Fork::Berlin => SpecId::BERLIN,
        Fork::London => SpecId::LONDON,
        Fork::Paris => SpecId::MERGE,
        Fork::Shanghai => SpecId::SHANGHAI,
        Fork::Cancun => SpecId::CANCUN,
        Fork::Prague => SpecId::PRAGUE,
        Fork::Osaka => SpecId::OSAKA,
        Fork::Amsterdam => SpecId::AMSTERDAM,
    }
}

/// revm's gas parameters of a fork, beside static gas.
pub(super) fn gas_params(fork: Fork) -> GasParams {
    let mut params = GasParams::new_spec(spec_id(fork));
    if fork == Fork::Constantinople {
        // EIP-1283: 200 for any access; the first write costs 20,000 or 5,000 in total.
        params.override_gas([
            (GasId::sstore_static(), 200),
            (GasId::sstore_set_without_load_cost(), 19_800),
            (GasId::sstore_reset_without_cold_load_cost(), 4_800),
            (GasId::sstore_set_refund(), 19_800),
            (GasId::sstore_reset_refund(), 4_800),
        ]);
    }
    params
}

/// Static gas by opcode.
pub(super) fn gas_table(fork: Fork) -> GasTable {
    gas_table_spec(spec_id(fork))
}

/// Instructions by opcode; each checks by itself whether the fork defines it.
pub(super) fn instructions<'a, 'b>(fork: Fork) -> Instructions<'a, 'b> {
    let mut table = instruction_table::<EthInterpreter, ReferenceHost<'a, 'b>>();
    if fork == Fork::Constantinople {
        table[usize::from(SSTORE)] = Instruction::new(sstore_net_metered);
    }
    table
}

/// SSTORE with the net gas metering of EIP-1283.
fn sstore_net_metered(context: InstructionContext<'_, ReferenceHost<'_, '_>, EthInterpreter>) -> InstructionExecResult {
    sstore_with_gas_accounting(context, net_metering)
}

fn net_metering(
    context: &mut InstructionContext<'_, ReferenceHost<'_, '_>, EthInterpreter>,
    _own: Address,
    load: &StateLoad<SStoreResult>,
) -> InstructionExecResult {
    let params = context.host.gas_params();
    let (cost, refund) = (params.sstore_dynamic_gas(true, load, false), params.sstore_refund(true, load));
    if !context.interpreter.gas.record_regular_cost(cost) {
        return Err(InstructionResult::OutOfGas);
    }
    context.interpreter.gas.record_refund(refund);
    Ok(())
}
