//! Family `precompiles`: calls of precompiles with valid inputs.
//!
//! The inputs are generators of the curves, a published P-256 signature, an empty blob's commitment
//! and random bytes. Where the validity of an input does not depend on one of its words, this word
//! differs from call to call.

use super::super::devnet::asm::assemble;
use super::world::{Call, Signed, World, words};
use super::{Family, Knobs};
use alloy_primitives::{Address, U256, hex};
use clap::Args;
use serde::Serialize;

/// Options of `precompiles`.
#[derive(Clone, Debug, Args, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Precompiles {
    /// Call only these precompiles, comma-separated: ecrecover, sha256, ripemd160, identity,
    /// modexp, bn-add, bn-mul, bn-pairing, blake2f, kzg, bls-g1add, bls-g1msm, bls-g2add,
    /// bls-g2msm, bls-pairing, bls-map-g1, bls-map-g2, p256; by default all
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = NAMES)]
    #[serde(serialize_with = "joined", skip_serializing_if = "Vec::is_empty")]
    only: Vec<String>,
}

/// Serializes names in the form of the command line: separated by commas.
fn joined<S: serde::Serializer>(names: &[String], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&names.join(","))
}

const NAMES: [&str; 18] = [
    "ecrecover",
    "sha256",
    "ripemd160",
    "identity",
    "modexp",
    "bn-add",
    "bn-mul",
    "bn-pairing",
    "blake2f",
    "kzg",
    "bls-g1add",
    "bls-g1msm",
    "bls-g2add",
    "bls-g2msm",
    "bls-pairing",
    "bls-map-g1",
    "bls-map-g2",
    "p256",
];

/// A precompile and the input of its calls.
struct Target {
    address: u64,
    input: Vec<u8>,
    /// Offset in the input at which a counter is written before each call; past the input if no
    /// word may differ.
    free: usize,
    /// Approximate gas of a call.
    gas: u64,
}

const BN_G1: [u8; 64] = hex!(
    "0000000000000000000000000000000000000000000000000000000000000001"
    "0000000000000000000000000000000000000000000000000000000000000002"
);
const BN_G1_NEGATIVE: [u8; 64] = hex!(
    "0000000000000000000000000000000000000000000000000000000000000001"
    "30644e72e131a029b85045b68181585d97816a916871ca8d3c208c16d87cfd45"
);
const BN_G2: [u8; 128] = hex!(
    "198e9393920d483a7260bfb731fb5d25f1aa493335a9e71297e485b7aef312c2"
    "1800deef121f1e76426a00665e5c4479674322d4f75edadd46debd5cd992f6ed"
    "090689d0585ff075ec9e99ad690c3395bc4b313370b38ef355acdadcd122975b"
    "12c85ea5db8c6deb4aab71808dcb408fe3d1e7690c43d37b4ce6cc0166fa7daa"
);
const BLS_G1: [u8; 128] = hex!(
    "00000000000000000000000000000000"
    "17f1d3a73197d7942695638c4fa9ac0fc3688c4f9774b905a14e3a3f171bac586c55e83ff97a1aeffb3af00adb22c6bb"
    "00000000000000000000000000000000"
    "08b3f481e3aaa0f1a09e30ed741d8ae4fcf5e095d5d00af600db18cb2c04b3edd03cc744a2888ae40caa232946c5e7e1"
);
const BLS_G2: [u8; 256] = hex!(
    "00000000000000000000000000000000"
    "024aa2b2f08f0a91260805272dc51051c6e47ad4fa403b02b4510b647ae3d1770bac0326a805bbefd48056c8c121bdb8"
    "00000000000000000000000000000000"
    "13e02b6052719f607dacd3a088274f65596bd0d09920b61ab5da61bbdc7f5049334cf11213945d57e5ac7d055d042b7e"
    "00000000000000000000000000000000"
    "0ce5d527727d6e118cc9cdc6da2e351aadfd9baa8cbdd3a76d429a695160d12c923ac9cc3baca289e193548608b82801"
    "00000000000000000000000000000000"
    "0606c4a02ea734cc32acd2b02bc28b99cb3e287e85a763af267492ab572e99ab3f370d275cec1da1aaa9075ff05f79be"
);
/// Hash, r, s and public key: a test vector of RIP-7212.
const P256: [u8; 160] = hex!(
    "4cee90eb86eaa050036147a12d49004b6b9c72bd725d39d4785011fe190f0b4d"
    "a73bd4903f0ce3b639bbbf6e8e80d16931ff4bcf5993d58468e8fb19086e8cac"
    "36dbcd03009df8c59286b162af3bd7fcc0450c9aa81be5d10d312af6c66b1d60"
    "4aebd3099c618202fcfe16ae7770b0c49ab5eadf74b754204a3bb6060e44eff3"
    "7618b065f9832de4ca6ca971a7a1adc826d0f7c00181a5fb2ddf79ae00b4e10e"
);

/// Returns the precompile of this name; P-256 for any unknown name.
fn target(name: &str) -> Target {
    let scalar = |point: &[u8]| [point, &[0xa5; 32]].concat();
    let target = |address, input: Vec<u8>, free, gas| Target { address, input, free, gas };
    match name {
        // Any r that is an x coordinate on the curve is valid; this is the generator's.
        "ecrecover" => {
            let x = hex!("79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798");
            target(1, [[7; 32], U256::from(27).to_be_bytes::<32>(), x, [3; 32]].concat(), 0, 3_000)
        }
        "sha256" => target(2, vec![0x11; 256], 0, 60 + 12 * 8),
        "ripemd160" => target(3, vec![0x22; 256], 0, 600 + 120 * 8),
        "identity" => target(4, vec![0x33; 1_024], 0, 15 + 3 * 32),
        "modexp" => target(5, modexp_input(), 96, 40_000),
        "bn-add" => target(6, [BN_G1, BN_G1].concat(), 128, 150),
        "bn-mul" => target(7, scalar(&BN_G1), 64, 6_000),
        "bn-pairing" => target(8, [&BN_G1[..], &BN_G2, &BN_G1_NEGATIVE, &BN_G2].concat(), 384, 45_000 + 2 * 34_000),
        "blake2f" => target(9, [&[0, 0, 1, 0][..], &[0x44; 208], &[1]].concat(), 68, 256),
        "kzg" => target(10, kzg_input(), 192, 50_000),
        "bls-g1add" => target(11, [BLS_G1, BLS_G1].concat(), 256, 375),
        "bls-g1msm" => target(12, [scalar(&BLS_G1), scalar(&BLS_G1)].concat(), 128, 22_776),
        "bls-g2add" => target(13, [BLS_G2, BLS_G2].concat(), 512, 600),
        "bls-g2msm" => target(14, [scalar(&BLS_G2), scalar(&BLS_G2)].concat(), 256, 45_000),
        "bls-pairing" => target(15, [&BLS_G1[..], &BLS_G2].concat(), 384, 70_300),
        "bls-map-g1" => target(16, vec![0; 64], 32, 5_500),
        "bls-map-g2" => target(17, vec![0; 128], 96, 23_800),
        _ => target(0x100, P256.to_vec(), 160, 6_900),
    }
}

/// A public-key operation of 2,048 bits: base and modulus of 256 bytes, exponent 65,537.
fn modexp_input() -> Vec<u8> {
    let mut input = words(&[256, 3, 256]);
    input.extend_from_slice(&[0x5a; 256]);
    input.extend_from_slice(&[1, 0, 1]);
    input.extend_from_slice(&[0xc3; 256]);
    input
}

/// The commitment to the zero polynomial, with the proof that its value at 0 is 0: versioned hash,
/// point, value, commitment, proof.
fn kzg_input() -> Vec<u8> {
    let infinity = {
        let mut point = [0; 48];
        point[0] = 0xc0;
        point
    };
    let hash = hex!("010657f37554c781402a22917dee2f75def7ab966d7b770905398eba3c444014");
    [&hash[..], &[0; 64], &infinity, &infinity].concat()
}

impl Knobs for Precompiles {
    fn start(&self, world: &mut World) -> Box<dyn Family> {
        let names: Vec<&str> =
            if self.only.is_empty() { NAMES.to_vec() } else { self.only.iter().map(String::as_str).collect() };
        let caller = world.contract("caller", caller_code(), []);
        let tx_gas = world.usual_tx_gas(130_000, 1_500_000);
        let calls = names
            .into_iter()
            .map(|name| {
                let Target { address, input, free, gas } = target(name);
                let rounds = (tx_gas.saturating_sub(40_000) / (gas + 200)).max(1);
                let call = [words(&[address, rounds, free as u64]), input].concat();
                let calldata = 64 * call.len() as u64;
                (call, 200_000 + calldata + 2 * (rounds * (gas + 200)))
            })
            .collect();
        Box::new(Calls { caller, calls, turn: 0 })
    }
}

struct Calls {
    caller: Address,
    /// Calldata and gas limit of each kind of call.
    calls: Vec<(Vec<u8>, u64)>,
    turn: usize,
}

impl Family for Calls {
    fn next(&mut self, world: &mut World) -> Signed {
        self.turn += 1;
        let (input, gas_limit) = self.calls[self.turn % self.calls.len()].clone();
        let sender = world.any_sender();
        world.sign(sender, Call { to: Some(self.caller), input, gas_limit, ..Call::default() })
    }
}

/// Code with calldata `precompile ‖ rounds ‖ offset ‖ input`: in each round it writes the number of
/// remaining rounds into the input at the offset and calls the precompile. Reverts if a call fails
/// or the last one returns nothing.
fn caller_code() -> Vec<u8> {
    assemble(
        "96 CALLDATASIZE SUB DUP1 96 0 CALLDATACOPY              ; length
         32 CALLDATALOAD                                        ; length left
         each: DUP1 ISZERO @end JUMPI
         DUP1 64 CALLDATALOAD MSTORE
         0 0 DUP4 0 0 CALLDATALOAD GAS STATICCALL ISZERO @fail JUMPI
         1 SWAP1 SUB @each JUMP
         end: RETURNDATASIZE ISZERO @fail JUMPI STOP
         fail: 0 0 REVERT",
    )
}
