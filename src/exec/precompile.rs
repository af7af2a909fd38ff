//! Precompiles: which addresses they are in a fork, and how one is run.
//!
//! The arithmetic is `revm-precompile`'s (c-kzg, blst, libsecp256k1 behind it). Not here: value transfer and frames.

use super::fork::Fork;
use alloy_primitives::{Address, Bytes};
use revm_precompile::{PrecompileSpecId, Precompiles};

/// The number of the precompile at `address` (its address as an integer), 0 where there is none in this fork.
pub fn number(fork: Fork, address: &Address) -> u16 {
    let (head, tail) = address.split_at(18);
    if head.iter().any(|byte| *byte != 0) {
        return 0;
    }
    let number = u16::from_be_bytes([tail[0], tail[1]]);
    let last = match fork {
        _ if fork >= Fork::Prague => 0x11,
        _ if fork >= Fork::Cancun => 10,
        _ if fork >= Fork::Istanbul => 9,
        _ if fork >= Fork::Byzantium => 8,
        _ => 4,
    };
    // EIP-7951: P256VERIFY stands apart.
    let known = number <= last || (number == 0x100 && fork >= Fork::Osaka);
    if known { number } else { 0 }
}

/// What a precompile did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It returned `output` for `gas`.
    Success {
        /// Gas used.
        gas: u64,
        /// Return data.
        output: Bytes,
    },
    /// It refused its input or ran out of gas: all gas given to it is gone.
    Failure,
}

/// Runs the precompile at `address` with at most `gas_limit` gas.
pub fn run(fork: Fork, address: &Address, input: &[u8], gas_limit: u64) -> Outcome {
    let spec = match fork {
        _ if fork >= Fork::Osaka => PrecompileSpecId::OSAKA,
        Fork::Prague => PrecompileSpecId::PRAGUE,
        Fork::Cancun => PrecompileSpecId::CANCUN,
        _ if fork >= Fork::Berlin => PrecompileSpecId::BERLIN,
        Fork::Istanbul => PrecompileSpecId::ISTANBUL,
        _ if fork >= Fork::Byzantium => PrecompileSpecId::BYZANTIUM,
        _ => PrecompileSpecId::HOMESTEAD,
    };
    let Some(precompile) = Precompiles::new(spec).get(address) else {
        return Outcome::Failure;
    };
    match precompile.execute(input, gas_limit, 0) {
        Ok(result) if result.status.is_success() && result.gas_used <= gas_limit => {
            Outcome::Success { gas: result.gas_used, output: result.bytes }
        }
        Ok(_) | Err(_) => Outcome::Failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_agree_with_the_library_for_every_fork() {
        for fork in Fork::ALL {
            for candidate in 0..0x200u16 {
                let address = Address::left_padding_from(&candidate.to_be_bytes());
                // Neither gas nor input: a precompile fails or succeeds, a plain address always fails the look-up.
                let known = number(fork, &address) != 0;
                let runs = matches!(run(fork, &address, &[], u64::MAX), Outcome::Success { .. });
                assert!(known || !runs, "{fork:?} {candidate:#x}");
            }
        }
    }
}
