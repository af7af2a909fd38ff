//! The types of the header: plain structs with C layout.
//!
//! Not here: what they are converted to (`rules`, `store`, `changes`), and objects behind pointers.

use std::ffi::c_void;

/// What a function returns.
#[allow(clippy::enum_variant_names, reason = "names of the header")]
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BalStatus {
    /// The call succeeded. A block is valid, as far as it could be checked: see bal_outcome_unchecked.
    BalOk,
    /// The block or its list is invalid.
    BalInvalid,
    /// The host failed: its store, its state or its witness. This says nothing about the block; a retry may succeed.
    BalStore,
    /// The caller gave the block up.
    BalCancelled,
    /// An argument is wrong: null, a wrong size, an unknown number, an object that another call uses.
    BalUsage,
    /// This library failed. The block is not accepted; whether it is valid is unknown.
    BalBug,
}

/// Forks, for bal_rules.fork.
#[allow(clippy::enum_variant_names, reason = "names of the header")]
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "names of forks")]
pub enum BalFork {
    BalFrontier,
    BalHomestead,
    BalTangerineWhistle,
    BalSpuriousDragon,
    BalByzantium,
    BalConstantinople,
    BalPetersburg,
    BalIstanbul,
    BalBerlin,
    BalLondon,
    BalParis,
    BalShanghai,
    BalCancun,
    BalPrague,
    BalOsaka,
    BalAmsterdam,
}

/// How the transactions of a block run, for bal_options.mode and bal_summary.mode.
#[allow(clippy::enum_variant_names, reason = "names of the header")]
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BalMode {
    /// By the block access list if there is one, else as the cost model expects it to be faster.
    BalAutomatic,
    /// In parallel, by the block access list.
    BalByList,
    /// One after another.
    BalSequential,
    /// In parallel without a list, repeated where a transaction read a value that an earlier one changed.
    BalOptimistic,
}

/// Bytes that belong to someone else. `ptr` may be null if `len` is zero.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct BalBytes {
    /// The first byte.
    pub ptr: *const u8,
    /// Number of bytes.
    pub len: usize,
}

/// Bytes of the host, given back through bal_store.release. `ptr` null: the store lacks them.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct BalBuffer {
    /// The first byte. For bytes of length zero: not null.
    pub ptr: *mut u8,
    /// Number of bytes.
    pub len: usize,
    /// For the host.
    pub owner: *mut c_void,
}

/// An account of the state before the block.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct BalAccount {
    /// Balance in wei.
    pub balance: [u8; 32],
    /// keccak256 of the code; of no bytes for an account without code.
    pub code_hash: [u8; 32],
    /// Nonce.
    pub nonce: u64,
    /// Whether the account exists; if 0 all other fields are ignored.
    pub exists: u8,
    /// Ignored.
    pub reserved: [u8; 7],
}

/// A storage slot.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BalSlot {
    /// The contract.
    pub address: [u8; 20],
    /// The key as in SLOAD, not hashed.
    pub key: [u8; 32],
}

/// Flag of bal_store: answers come from memory without waiting. The threads of the block then call the store themselves.
pub const BAL_RESIDENT: u32 = 1;

/// Flag of bal_options: each thread is bound to one processor.
pub const BAL_BOUND: u32 = 1;

/// The state before a block. Every function answers a batch: `count` queries, as many answers, in the same order. It
/// returns 0, or a status other than 0 if it failed; the block then ends with BAL_STORE, for BAL_CANCELLED with
/// BAL_CANCELLED. Functions are called on any thread, several at the same time, and not after the call that was given
/// the store has returned. They must not unwind or jump out.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct BalStore {
    /// sizeof(bal_store).
    pub size: u32,
    /// BAL_RESIDENT, or 0.
    pub flags: u32,
    /// First argument of all functions.
    pub ctx: *mut c_void,
    /// Accounts by address. `out` is filled with zeros before the call: with accounts that do not exist.
    pub accounts: Option<
        unsafe extern "C" fn(ctx: *mut c_void, addresses: *const [u8; 20], out: *mut BalAccount, count: usize) -> i32,
    >,
    /// Whether the storage of each account has a slot that is not zero: 0 or 1. Asked only of accounts that exist with
    /// nonce 0 and without code (EIP-7610).
    pub has_storage:
        Option<unsafe extern "C" fn(ctx: *mut c_void, addresses: *const [u8; 20], out: *mut u8, count: usize) -> i32>,
    /// Values of slots; zero for those that do not exist. `out` is filled with zeros before the call.
    pub slots:
        Option<unsafe extern "C" fn(ctx: *mut c_void, slots: *const BalSlot, out: *mut [u8; 32], count: usize) -> i32>,
    /// Codes by keccak256. A null pointer: the store lacks the code. The library copies the bytes and gives the buffers
    /// back at once, those of a call that failed too.
    pub codes: Option<
        unsafe extern "C" fn(ctx: *mut c_void, hashes: *const [u8; 32], out: *mut BalBuffer, count: usize) -> i32,
    >,
    /// Hashes of ancestors by block number (BLOCKHASH).
    pub block_hashes:
        Option<unsafe extern "C" fn(ctx: *mut c_void, numbers: *const u64, out: *mut [u8; 32], count: usize) -> i32>,
    /// RLP of trie nodes by keccak256, as `codes`. Null: the store has no tries.
    pub trie_nodes: Option<
        unsafe extern "C" fn(ctx: *mut c_void, hashes: *const [u8; 32], out: *mut BalBuffer, count: usize) -> i32,
    >,
    /// Takes the buffers of `codes` and `trie_nodes` back, those whose pointer is not null. Null: nothing is to be done.
    pub release: Option<unsafe extern "C" fn(ctx: *mut c_void, buffers: *mut BalBuffer, count: usize)>,
}

/// How an executor is made.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct BalOptions {
    /// sizeof(bal_options).
    pub size: u32,
    /// BAL_BOUND, or 0.
    pub flags: u32,
    /// Number of threads; 0: one per processor.
    pub threads: u32,
    /// A bal_mode.
    pub mode: u32,
    /// Most bytes of code that are kept from block to block; 0: the default, 1 GiB.
    pub code_bytes_max: u64,
}

/// The rules of a block. bal_rules_mainnet and bal_rules_of_chain fill it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BalRules {
    /// sizeof(bal_rules).
    pub size: u32,
    /// A bal_fork.
    pub fork: u32,
    /// The chain id (EIP-155).
    pub chain_id: u64,
    /// Target number of blobs per block (EIP-4844).
    pub blob_target: u64,
    /// Maximum number of blobs per block.
    pub blob_max: u64,
    /// Denominator of the exponent in the blob base fee formula; not 0 from Cancun on.
    pub blob_update_fraction: u64,
    /// Delay of the difficulty bomb in blocks; before Paris.
    pub bomb_delay: u64,
    /// The deposit contract (EIP-6110).
    pub deposit_contract: [u8; 20],
    /// The DAO transfer (EIP-779) in this block: 0 none, 1 before the transactions, 2 after them.
    pub dao_transfer: u8,
    /// The header's extra data (EIP-779): 0 free, 1 must be the DAO mark, 2 must not be it.
    pub dao_extra_data: u8,
    /// Whether a creation fails where the account has storage (EIP-7610): 0 or 1.
    pub storage_collision: u8,
    /// 0.
    pub reserved: u8,
}

/// Numbers and hashes of an outcome.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct BalSummary {
    /// sizeof(bal_summary).
    pub size: u32,
    /// The bal_mode in which the block ran.
    pub mode: u32,
    /// Block number.
    pub number: u64,
    /// Gas used, of the header and of the execution.
    pub gas_used: u64,
    /// Number of transactions, and of receipts.
    pub transactions: u64,
    /// Nanoseconds from the start of the call to the last check.
    pub elapsed_ns: u64,
    /// Block hash.
    pub hash: [u8; 32],
    /// State root after the block; zeros without tries.
    pub state_root: [u8; 32],
    /// Receipts root; zeros where it could not be computed (before Byzantium without tries).
    pub receipts_root: [u8; 32],
    /// Whether `state_root` was computed: 0 or 1.
    pub has_state_root: u8,
    /// Whether `receipts_root` was computed: 0 or 1.
    pub has_receipts_root: u8,
    /// Whether every check was made: 0 or 1. If 0, bal_outcome_unchecked names the others.
    pub is_complete: u8,
    /// 0.
    pub reserved: [u8; 5],
}

/// Bit of bal_changes.fields: the nonce changed.
pub const BAL_NONCE: u8 = 1;
/// Bit of bal_changes.fields: the balance changed.
pub const BAL_BALANCE: u8 = 2;
/// Bit of bal_changes.fields: the code changed.
pub const BAL_CODE: u8 = 4;

/// Value of bal_changes.statuses: the account exists, with its storage but for the listed slots.
pub const BAL_KEPT: u8 = 0;
/// Value of bal_changes.statuses: the account exists, its storage was cleared and has the listed slots only.
pub const BAL_STORAGE_CLEARED: u8 = 1;
/// Value of bal_changes.statuses: the account does not exist.
pub const BAL_DELETED: u8 = 2;

/// Changed accounts and slots as columns: element i of each of the first six arrays belongs to account i. Arrays of
/// length zero may be null.
#[repr(C)]
#[derive(Debug)]
pub struct BalChanges {
    /// sizeof(bal_changes).
    pub size: u32,
    /// 0.
    pub reserved: u32,
    /// Number of accounts.
    pub accounts: usize,
    /// Number of slots of all accounts.
    pub slots: usize,
    /// Number of codes.
    pub codes: usize,
    /// Addresses.
    pub addresses: *const [u8; 20],
    /// BAL_KEPT, BAL_STORAGE_CLEARED or BAL_DELETED.
    pub statuses: *const u8,
    /// Which of the next three changed: BAL_NONCE | BAL_BALANCE | BAL_CODE.
    pub fields: *const u8,
    /// Nonces; 0 where unchanged.
    pub nonces: *const u64,
    /// Balances in wei; 0 where unchanged.
    pub balances: *const [u8; 32],
    /// keccak256 of the codes; 0 where unchanged.
    pub code_hashes: *const [u8; 32],
    /// Slots of account i are rows from element i of slot_starts to element i + 1, exclusive, of the next two; accounts + 1 elements.
    pub slot_starts: *const u32,
    /// Keys, not hashed.
    pub slot_keys: *const [u8; 32],
    /// Values; zero deletes the slot.
    pub slot_values: *const [u8; 32],
    /// keccak256 of the codes that the block deployed.
    pub new_code_hashes: *const [u8; 32],
    /// These codes.
    pub new_codes: *const BalBytes,
}
