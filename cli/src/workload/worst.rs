//! Families `worst-trie` and `worst-list`: the most trie node changes and the most block access
//! list items that gas can buy.
//!
//! `worst-trie` writes slots or pays accounts that are scattered over a large trie; or it writes
//! slots whose hashed keys were searched so that each is at the end of a long chain of branch nodes
//! with few other children. Deletions collapse these chains. `worst-list` reads as many different
//! slots or accounts as the gas allows.

use super::super::devnet::asm::assemble;
use super::world::{Call, Signed, World, words};
use super::{Family, Knobs};
use alloy_primitives::{Address, B256, U256, keccak256};
use clap::{Args, ValueEnum};
use serde::Serialize;

/// Options of `worst-trie`.
#[derive(Clone, Debug, Args, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct WorstTrie {
    /// Where in the tries the changes are
    #[arg(long, value_enum, default_value_t = Shape::Wide)]
    shape: Shape,
    /// Number of slots of the contract; with `--shape deep`, number of candidate keys that are
    /// searched for long shared prefixes of their hashes
    #[arg(long, value_name = "N", default_value_t = 200_000, value_parser = clap::value_parser!(u64).range(10_000..=100_000_000))]
    slots: u64,
    /// Percentage of the transactions that delete the slots they access instead of changing them
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = super::percent())]
    deletes: u64,
}

/// Where in the tries the changes of `worst-trie` are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Shape {
    /// Slots scattered over one large storage trie
    Wide,
    /// Slots at the ends of long chains of branch nodes
    Deep,
    /// Accounts scattered over the account trie, each of which receives one wei
    Accounts,
}

/// Gas of a changed slot, of a new slot, and of a payment to an account.
const WRITE_GAS: u64 = 12_250;
const NEW_SLOT_GAS: u64 = 64 * 1_530;
const PAY_GAS: u64 = 12_250;
/// Maximal number of keys in the code of the deep contract, by the code size limit.
const TABLE_KEYS_MAX: usize = 2_000;

impl Knobs for WorstTrie {
    fn start(&self, world: &mut World) -> Box<dyn Family> {
        let one = U256::from(1);
        let (to, range, gas) = match self.shape {
            Shape::Wide => {
                let storage: Vec<_> = (0..self.slots).map(|key| (U256::from(key), one)).collect();
                (world.contract("wide", writer_code("DUP2", &[]), storage), self.slots, WRITE_GAS)
            }
            Shape::Deep => {
                let keys = deep_keys(self.slots, world.seed());
                let table = || keys.iter().copied();
                let code = writer_code("32 DUP3 5 SHL TABLE ADD 0 CODECOPY 0 MLOAD", &keys);
                (world.contract("deep", code, table().map(|key| (key, one))), keys.len() as u64, WRITE_GAS)
            }
            Shape::Accounts => {
                let payer = world.contract("payer", payer_code(), []);
                if let Some(account) = world.store.account_mut(&payer) {
                    account.balance = U256::from(u128::MAX);
                }
                (payer, world.accounts() - world.senders(), PAY_GAS)
            }
        };
        let fits = (world.usual_tx_gas(100_000, 1_000_000) - 30_000) / gas;
        let count = fits.clamp(1, range.max(1));
        let new_slots = if self.deletes > 0 { NEW_SLOT_GAS } else { 0 };
        let gas_limit = 200_000 + count * (gas + new_slots);
        world.tx_gas_max = world.tx_gas_max.max(gas_limit);
        let first_account = world.senders();
        Box::new(Writes { to, range, count, gas_limit, first_account, knobs: self.clone() })
    }
}

struct Writes {
    to: Address,
    /// Number of slots or accounts in all.
    range: u64,
    /// Number of slots or accounts in one transaction.
    count: u64,
    gas_limit: u64,
    first_account: u64,
    knobs: WorstTrie,
}

impl Family for Writes {
    fn next(&mut self, world: &mut World) -> Signed {
        let sender = world.any_sender();
        let mut first = world.below(self.range.saturating_sub(self.count) + 1);
        let mut last_word = 2 + world.below(1 << 40);
        if self.knobs.shape == Shape::Accounts {
            first += self.first_account;
            last_word = world.seed();
        } else if world.percent(self.knobs.deletes) {
            last_word = 0;
        }
        let input = words(&[first, self.count, last_word]);
        let call = Call { to: Some(self.to), input, gas_limit: self.gas_limit, ..Call::default() };
        world.sign(sender, call)
    }
}

/// Code with calldata `first ‖ count ‖ value`: writes `value` plus the index into each slot, or
/// zero if `value` is zero. `key` is a program that computes a slot's key from its index, the
/// second stack item; `TABLE` in it is replaced by the position of `table` in the code.
fn writer_code(key: &str, table: &[U256]) -> Vec<u8> {
    let code = |table_at: usize| {
        let key = key.replace("TABLE", &table_at.to_string());
        assemble(&format!(
            "32 CALLDATALOAD 0 CALLDATALOAD                      ; left index
             each: DUP2 ISZERO @end JUMPI
             64 CALLDATALOAD DUP1 ISZERO @zero JUMPI DUP2 ADD zero:
             {key} SSTORE
             1 ADD SWAP1 1 SWAP1 SUB SWAP1 @each JUMP
             end: STOP"
        ))
    };
    // The position of the table is the length of the code before it. It stays below 256, so that
    // its push has the same width for either value.
    let mut out = code(code(0xff).len());
    out.extend(table.iter().flat_map(|key| key.to_be_bytes::<32>()));
    out
}

/// Code that pays one wei to each account.
fn payer_code() -> Vec<u8> {
    each_account_code("0 0 0 0 1 64 0 KECCAK256 GAS CALL ISZERO @fail JUMPI")
}

/// Code with calldata `first ‖ count ‖ seed`: runs `access` for each of the accounts that
/// [`World::account`] derives. The account's address is the Keccak hash of the first 64 bytes of
/// memory; `@fail` reverts the transaction.
pub(super) fn each_account_code(access: &str) -> Vec<u8> {
    assemble(&format!(
        "64 CALLDATALOAD 0 MSTORE 32 CALLDATALOAD 0 CALLDATALOAD  ; left index
         each: DUP2 ISZERO @end JUMPI
         DUP1 32 MSTORE
         {access}
         1 ADD SWAP1 1 SWAP1 SUB SWAP1 @each JUMP
         end: STOP
         fail: 0 0 REVERT"
    ))
}

/// Returns few keys whose trie has long chains of branch nodes: of `candidates` keys, those whose
/// hashes share the longest prefixes, each with one key for every nibble of its path at which any
/// candidate branches off. Their trie is as deep as that of all candidates.
fn deep_keys(candidates: u64, seed: u64) -> Vec<U256> {
    let key_of = |index: u64| -> U256 { U256::from(index) + (U256::from(seed) << 64usize) };
    let mut hashed: Vec<(B256, u64)> =
        (0..candidates).map(|index| (keccak256(key_of(index).to_be_bytes::<32>()), index)).collect();
    hashed.sort_unstable();
    let mut pairs: Vec<(usize, usize)> =
        hashed.windows(2).enumerate().map(|(at, two)| (shared_nibbles(&two[0].0, &two[1].0), at)).collect();
    pairs.sort_unstable_by_key(|(shared, at)| (core::cmp::Reverse(*shared), *at));
    let mut keys = Vec::with_capacity(TABLE_KEYS_MAX);
    let mut taken = std::collections::BTreeSet::new();
    for (shared, at) in pairs {
        let path = hashed[at].0;
        let mut chain = vec![at, at + 1];
        chain.extend((0..shared).filter_map(|depth| leaving(&hashed, &path, depth)));
        chain.retain(|at| !taken.contains(at));
        if keys.len() + chain.len() > TABLE_KEYS_MAX {
            break;
        }
        taken.extend(chain.iter().copied());
        keys.extend(chain.into_iter().map(|at| key_of(hashed[at].1)));
    }
    keys
}

/// Index of a hash that shares exactly `depth` nibbles with `path`.
fn leaving(hashed: &[(B256, u64)], path: &B256, depth: usize) -> Option<usize> {
    (0..16u8).find_map(|nibble| {
        let mut from = *path;
        from[depth / 2] = if depth.is_multiple_of(2) { nibble << 4 } else { from[depth / 2] & 0xf0 | nibble };
        from[depth / 2 + 1..].fill(0);
        let at = hashed.partition_point(|(hash, _)| hash < &from);
        hashed.get(at).filter(|(hash, _)| shared_nibbles(hash, path) == depth).map(|_| at)
    })
}

fn shared_nibbles(one: &B256, two: &B256) -> usize {
    let bytes = one.iter().zip(two).take_while(|(a, b)| a == b).count();
    match (one.get(bytes), two.get(bytes)) {
        (Some(a), Some(b)) => 2 * bytes + usize::from(a >> 4 == b >> 4),
        _ => 64,
    }
}

/// Options of `worst-list`.
#[derive(Clone, Debug, Args, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct WorstList {
    /// What the transactions read
    #[arg(long, value_enum, default_value_t = Read::Slots)]
    kind: Read,
}

/// What `worst-list` reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Read {
    /// Slots with keys of 32 bytes: most list items and most list bytes for the gas
    Slots,
    /// Balances of accounts
    Accounts,
}

/// Number of reads in one round of the loop.
const UNROLLED: u64 = 16;

impl Knobs for WorstList {
    fn start(&self, world: &mut World) -> Box<dyn Family> {
        let (instruction, gas) = match self.kind {
            Read::Slots => ("SLOAD", 2_114),
            Read::Accounts => ("BALANCE", 3_014),
        };
        let to = world.contract("reader", reader_code(instruction), []);
        let tx_gas = world.usual_tx_gas(100_000, 10_000_000);
        Box::new(Reads { to, rounds: (tx_gas / gas / UNROLLED).max(1), gas_limit: tx_gas + tx_gas / 4 + 100_000 })
    }
}

struct Reads {
    to: Address,
    rounds: u64,
    gas_limit: u64,
}

impl Family for Reads {
    fn next(&mut self, world: &mut World) -> Signed {
        let sender = world.any_sender();
        let mut input = keccak256(world.random.next_u64().to_be_bytes()).to_vec();
        input.extend_from_slice(&words(&[self.rounds]));
        world.sign(sender, Call { to: Some(self.to), input, gas_limit: self.gas_limit, ..Call::default() })
    }
}

/// Code with calldata `key ‖ rounds`: reads at `key` and at keys that follow at a constant
/// distance.
fn reader_code(instruction: &str) -> Vec<u8> {
    let stride = "0x9e3779b97f4a7c15f39cc0605cedc8341082276bf3a27251f86c6a11d0c18e95";
    let read = format!("DUP1 {instruction} POP {stride} ADD\n").repeat(UNROLLED as usize);
    assemble(&format!(
        "32 CALLDATALOAD 0 CALLDATALOAD                         ; left key
         each: DUP2 ISZERO @end JUMPI
         {read}
         SWAP1 1 SWAP1 SUB SWAP1 @each JUMP
         end: STOP"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deep_keys_branch_at_every_nibble() {
        let keys = deep_keys(20_000, 0);
        assert!((1_000..=TABLE_KEYS_MAX).contains(&keys.len()), "{}", keys.len());
        let mut hashes: Vec<B256> = keys.iter().map(|key| keccak256(key.to_be_bytes::<32>())).collect();
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), keys.len());
        let deepest = hashes.windows(2).map(|two| shared_nibbles(&two[0], &two[1])).max();
        // 20,000 random hashes have a depth of 3.6 nibbles on average; the closest pair shares
        // about seven.
        assert!(deepest >= Some(6), "{deepest:?}");
        let path = keccak256(keys[0].to_be_bytes::<32>());
        // At greater depths, fewer than one of all candidates is expected to branch off.
        for depth in 0..3 {
            assert!(hashes.iter().any(|hash| shared_nibbles(hash, &path) == depth), "{depth}");
        }
    }
}
