/* Balustrade: executes and verifies Ethereum blocks. C interface.
 * Made by cbindgen from adapters/capi/src. Do not edit.
 *
 * Memory: what a function returns through a pointer to a pointer belongs to the caller until the function of that type
 * whose name ends in _free. bal_bytes that a function returns are borrowed from the object they were asked of.
 * Arguments are borrowed for the call. Numbers in arrays of 32 bytes are big-endian.
 * Threads: an executor and tries serve one call at a time, a second call meanwhile returns BAL_USAGE. Outcomes and
 * cancel tokens may be used from several threads at once. No object may be used after it was freed.
 * Structs that begin with `size` must hold their own size there.
 */

#ifndef BALUSTRADE_H
#define BALUSTRADE_H

#include <stddef.h>
#include <stdint.h>

// Version of this interface: it changes when a host that was compiled against an older header could break.
#define BAL_ABI_VERSION 1

// Flag of bal_store: answers come from memory without waiting. The threads of the block then call the store themselves.
#define BAL_RESIDENT 1

// Flag of bal_options: each thread is bound to one processor.
#define BAL_BOUND 1

// Bit of bal_changes.fields: the nonce changed.
#define BAL_NONCE 1

// Bit of bal_changes.fields: the balance changed.
#define BAL_BALANCE 2

// Bit of bal_changes.fields: the code changed.
#define BAL_CODE 4

// Value of bal_changes.statuses: the account exists, with its storage but for the listed slots.
#define BAL_KEPT 0

// Value of bal_changes.statuses: the account exists, its storage was cleared and has the listed slots only.
#define BAL_STORAGE_CLEARED 1

// Value of bal_changes.statuses: the account does not exist.
#define BAL_DELETED 2

// What a function returns.
typedef enum bal_status {
    // The call succeeded. A block is valid, as far as it could be checked: see bal_outcome_unchecked.
    BAL_OK,
    // The block or its list is invalid.
    BAL_INVALID,
    // The host failed: its store, its state or its witness. This says nothing about the block; a retry may succeed.
    BAL_STORE,
    // The caller gave the block up.
    BAL_CANCELLED,
    // An argument is wrong: null, a wrong size, an unknown number, an object that another call uses.
    BAL_USAGE,
    // This library failed. The block is not accepted; whether it is valid is unknown.
    BAL_BUG,
} bal_status;

// Forks, for bal_rules.fork.
typedef enum bal_fork {
    BAL_FRONTIER,
    BAL_HOMESTEAD,
    BAL_TANGERINE_WHISTLE,
    BAL_SPURIOUS_DRAGON,
    BAL_BYZANTIUM,
    BAL_CONSTANTINOPLE,
    BAL_PETERSBURG,
    BAL_ISTANBUL,
    BAL_BERLIN,
    BAL_LONDON,
    BAL_PARIS,
    BAL_SHANGHAI,
    BAL_CANCUN,
    BAL_PRAGUE,
    BAL_OSAKA,
    BAL_AMSTERDAM,
} bal_fork;

// How the transactions of a block run, for bal_options.mode and bal_summary.mode.
typedef enum bal_mode {
    // By the block access list if there is one, else as the cost model expects it to be faster.
    BAL_AUTOMATIC,
    // In parallel, by the block access list.
    BAL_BY_LIST,
    // One after another.
    BAL_SEQUENTIAL,
    // In parallel without a list, repeated where a transaction read a value that an earlier one changed.
    BAL_OPTIMISTIC,
} bal_mode;

// Stops the blocks that run with it. May be used from any thread while a block runs.
typedef struct bal_cancel bal_cancel;

// Threads, memory and codes that are kept from block to block.
typedef struct bal_executor bal_executor;

// What became of a block. Every call that is given a place for one makes one, whatever its status.
typedef struct bal_outcome bal_outcome;

// The tries of a state. They begin with a root; nodes are read from the store when they are needed, and are kept.
typedef struct bal_tries bal_tries;

// How an executor is made.
typedef struct bal_options {
    // sizeof(bal_options).
    uint32_t size;
    // BAL_BOUND, or 0.
    uint32_t flags;
    // Number of threads; 0: one per processor.
    uint32_t threads;
    // A bal_mode.
    uint32_t mode;
    // Most bytes of code that are kept from block to block; 0: the default, 1 GiB.
    uint64_t code_bytes_max;
} bal_options;

// The rules of a block. bal_rules_mainnet and bal_rules_of_chain fill it.
typedef struct bal_rules {
    // sizeof(bal_rules).
    uint32_t size;
    // A bal_fork.
    uint32_t fork;
    // The chain id (EIP-155).
    uint64_t chain_id;
    // Target number of blobs per block (EIP-4844).
    uint64_t blob_target;
    // Maximum number of blobs per block.
    uint64_t blob_max;
    // Denominator of the exponent in the blob base fee formula; not 0 from Cancun on.
    uint64_t blob_update_fraction;
    // Delay of the difficulty bomb in blocks; before Paris.
    uint64_t bomb_delay;
    // The deposit contract (EIP-6110).
    uint8_t deposit_contract[20];
    // The DAO transfer (EIP-779) in this block: 0 none, 1 before the transactions, 2 after them.
    uint8_t dao_transfer;
    // The header's extra data (EIP-779): 0 free, 1 must be the DAO mark, 2 must not be it.
    uint8_t dao_extra_data;
    // Whether a creation fails where the account has storage (EIP-7610): 0 or 1.
    uint8_t storage_collision;
    // 0.
    uint8_t reserved;
} bal_rules;

// Bytes that belong to someone else. `ptr` may be null if `len` is zero.
typedef struct bal_bytes {
    // The first byte.
    const uint8_t *ptr;
    // Number of bytes.
    size_t len;
} bal_bytes;

// An account of the state before the block.
typedef struct bal_account {
    // Balance in wei.
    uint8_t balance[32];
    // keccak256 of the code; of no bytes for an account without code.
    uint8_t code_hash[32];
    // Nonce.
    uint64_t nonce;
    // Whether the account exists; if 0 all other fields are ignored.
    uint8_t exists;
    // Ignored.
    uint8_t reserved[7];
} bal_account;

// A storage slot.
typedef struct bal_slot {
    // The contract.
    uint8_t address[20];
    // The key as in SLOAD, not hashed.
    uint8_t key[32];
} bal_slot;

// Bytes of the host, given back through bal_store.release. `ptr` null: the store lacks them.
typedef struct bal_buffer {
    // The first byte. For bytes of length zero: not null.
    uint8_t *ptr;
    // Number of bytes.
    size_t len;
    // For the host.
    void *owner;
} bal_buffer;

// The state before a block. Every function answers a batch: `count` queries, as many answers, in the same order. It
// returns 0, or a status other than 0 if it failed; the block then ends with BAL_STORE, for BAL_CANCELLED with
// BAL_CANCELLED. Functions are called on any thread, several at the same time, and not after the call that was given
// the store has returned. They must not unwind or jump out.
typedef struct bal_store {
    // sizeof(bal_store).
    uint32_t size;
    // BAL_RESIDENT, or 0.
    uint32_t flags;
    // First argument of all functions.
    void *ctx;
    // Accounts by address. `out` is filled with zeros before the call: with accounts that do not exist.
    int32_t (*accounts)(void *ctx, const uint8_t (*addresses)[20], struct bal_account *out, size_t count);
    // Whether the storage of each account has a slot that is not zero: 0 or 1. Asked only of accounts that exist with
    // nonce 0 and without code (EIP-7610).
    int32_t (*has_storage)(void *ctx, const uint8_t (*addresses)[20], uint8_t *out, size_t count);
    // Values of slots; zero for those that do not exist. `out` is filled with zeros before the call.
    int32_t (*slots)(void *ctx, const struct bal_slot *slots, uint8_t (*out)[32], size_t count);
    // Codes by keccak256. A null pointer: the store lacks the code. The library copies the bytes and gives the buffers
    // back at once, those of a call that failed too.
    int32_t (*codes)(void *ctx, const uint8_t (*hashes)[32], struct bal_buffer *out, size_t count);
    // Hashes of ancestors by block number (BLOCKHASH).
    int32_t (*block_hashes)(void *ctx, const uint64_t *numbers, uint8_t (*out)[32], size_t count);
    // RLP of trie nodes by keccak256, as `codes`. Null: the store has no tries.
    int32_t (*trie_nodes)(void *ctx, const uint8_t (*hashes)[32], struct bal_buffer *out, size_t count);
    // Takes the buffers of `codes` and `trie_nodes` back, those whose pointer is not null. Null: nothing is to be done.
    void (*release)(void *ctx, struct bal_buffer *buffers, size_t count);
} bal_store;

// Numbers and hashes of an outcome.
typedef struct bal_summary {
    // sizeof(bal_summary).
    uint32_t size;
    // The bal_mode in which the block ran.
    uint32_t mode;
    // Block number.
    uint64_t number;
    // Gas used, of the header and of the execution.
    uint64_t gas_used;
    // Number of transactions, and of receipts.
    uint64_t transactions;
    // Nanoseconds from the start of the call to the last check.
    uint64_t elapsed_ns;
    // Block hash.
    uint8_t hash[32];
    // State root after the block; zeros without tries.
    uint8_t state_root[32];
    // Receipts root; zeros where it could not be computed (before Byzantium without tries).
    uint8_t receipts_root[32];
    // Whether `state_root` was computed: 0 or 1.
    uint8_t has_state_root;
    // Whether `receipts_root` was computed: 0 or 1.
    uint8_t has_receipts_root;
    // Whether every check was made: 0 or 1. If 0, bal_outcome_unchecked names the others.
    uint8_t is_complete;
    // 0.
    uint8_t reserved[5];
} bal_summary;

// Changed accounts and slots as columns: element i of each of the first six arrays belongs to account i. Arrays of
// length zero may be null.
typedef struct bal_changes {
    // sizeof(bal_changes).
    uint32_t size;
    // 0.
    uint32_t reserved;
    // Number of accounts.
    size_t accounts;
    // Number of slots of all accounts.
    size_t slots;
    // Number of codes.
    size_t codes;
    // Addresses.
    const uint8_t (*addresses)[20];
    // BAL_KEPT, BAL_STORAGE_CLEARED or BAL_DELETED.
    const uint8_t *statuses;
    // Which of the next three changed: BAL_NONCE | BAL_BALANCE | BAL_CODE.
    const uint8_t *fields;
    // Nonces; 0 where unchanged.
    const uint64_t *nonces;
    // Balances in wei; 0 where unchanged.
    const uint8_t (*balances)[32];
    // keccak256 of the codes; 0 where unchanged.
    const uint8_t (*code_hashes)[32];
    // Slots of account i are rows from element i of slot_starts to element i + 1, exclusive, of the next two; accounts + 1 elements.
    const uint32_t *slot_starts;
    // Keys, not hashed.
    const uint8_t (*slot_keys)[32];
    // Values; zero deletes the slot.
    const uint8_t (*slot_values)[32];
    // keccak256 of the codes that the block deployed.
    const uint8_t (*new_code_hashes)[32];
    // These codes.
    const struct bal_bytes *new_codes;
} bal_changes;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// The `BAL_ABI_VERSION` of the library; a host compares it with that of the header it was compiled against.
uint32_t bal_abi_version(void);

// Makes a token. `timeout_ms`: it is also cancelled after this many milliseconds from now; 0: it has no time-out.
//
// # Safety
// `out` is null or points to memory for a pointer.
enum bal_status bal_cancel_new(uint64_t timeout_ms, struct bal_cancel **out);

// Stops the blocks that run with this token, now and later.
//
// # Safety
// `cancel` is null or from bal_cancel_new and not freed.
enum bal_status bal_cancel_set(const struct bal_cancel *cancel);

// Frees a token, which no call uses any more. Null is ignored.
//
// # Safety
// `cancel` is null or from bal_cancel_new, not freed and not in use.
void bal_cancel_free(struct bal_cancel *cancel);

// Makes an executor. `options` may be null: the defaults. BAL_STORE when the operating system refuses the threads.
//
// # Safety
// `options` is null or points to a bal_options, `out` is null or points to memory for a pointer.
enum bal_status bal_executor_new(const struct bal_options *options, struct bal_executor **out);

// Frees an executor, which no call uses any more. Null is ignored.
//
// # Safety
// `executor` is null or from bal_executor_new, not freed and not in use.
void bal_executor_free(struct bal_executor *executor);

// Executes a block and checks it against its header and its list.
//
// block          RLP of [header, transactions, ommers, withdrawals?]
// list           RLP of the block access list; empty: the block has none. A block before Cancun that creates or
//                deletes empty accounts runs without a list only.
// parent_header  RLP of the parent's header; empty: what relates the block to its parent is not checked
// store          the state before the block
// tries          the tries of that state; null: no state root is computed. With BAL_OK they hold the block's update,
//                uncommitted; with any other status they are as before the call.
// cancel         may be null
// outcome        set to an outcome whatever the status, to be freed with bal_outcome_free; only where `outcome` itself
//                is null there is none
//
// # Safety
// Pointers are null or as the header says; `store` keeps its contract until the call returns.
enum bal_status bal_execute(struct bal_executor *executor,
                            const struct bal_rules *rules,
                            struct bal_bytes block,
                            struct bal_bytes list,
                            struct bal_bytes parent_header,
                            const struct bal_store *store,
                            struct bal_tries *tries,
                            const struct bal_cancel *cancel,
                            struct bal_outcome **outcome);

// Executes a block from a witness: JSON of debug_executionWitness, or RLP of [headers, codes, state, ...]. Its headers
// must contain the parent's. All checks are made that the witness allows, the state root among them. The other
// arguments are those of bal_execute.
//
// # Safety
// Pointers are null or as the header says.
enum bal_status bal_execute_stateless(struct bal_executor *executor,
                                      const struct bal_rules *rules,
                                      struct bal_bytes block,
                                      struct bal_bytes list,
                                      struct bal_bytes witness,
                                      struct bal_outcome **outcome);

// Writes numbers and hashes of the outcome of a valid block. BAL_USAGE for a block that has none.
//
// # Safety
// `outcome` is null or an outcome that is not freed; `out` is null or points to a bal_summary.
enum bal_status bal_outcome_summary(const struct bal_outcome *outcome, struct bal_summary *out);

// RLP of the block access list (EIP-7928): the given one, or the recorded one.
//
// # Safety
// `outcome` is null or an outcome that is not freed.
struct bal_bytes bal_outcome_list(const struct bal_outcome *outcome);

// RLP of the list of the requests, each a string: type byte, then data (EIP-7685).
//
// # Safety
// `outcome` is null or an outcome that is not freed.
struct bal_bytes bal_outcome_requests(const struct bal_outcome *outcome);

// The receipt of a transaction in its EIP-2718 encoding; empty where there is no such transaction.
//
// # Safety
// `outcome` is null or an outcome that is not freed.
struct bal_bytes bal_outcome_receipt(const struct bal_outcome *outcome, size_t transaction);

// The checks that could not be made, as text; empty if all were made.
//
// # Safety
// `outcome` is null or an outcome that is not freed.
struct bal_bytes bal_outcome_unchecked(const struct bal_outcome *outcome);

// Why the call failed, as text in UTF-8 without a zero byte at its end; empty for BAL_OK.
//
// # Safety
// `outcome` is null or an outcome that is not freed.
struct bal_bytes bal_outcome_error(const struct bal_outcome *outcome);

// Name number `index` of the exception classes of the execution-spec tests that the error of an invalid block belongs
// to, the most specific first; empty where there is none.
//
// # Safety
// `outcome` is null or an outcome that is not freed.
struct bal_bytes bal_outcome_class(const struct bal_outcome *outcome, size_t index);

// Everything that the block changed, with its values after the block. Null for a block without an outcome.
//
// # Safety
// `outcome` is null or an outcome that is not freed.
const struct bal_changes *bal_outcome_changes(const struct bal_outcome *outcome);

// The same accounts in the same order with their values before the block, for a host that undoes blocks. An account that
// did not exist is BAL_DELETED, one whose storage the block cleared is BAL_STORAGE_CLEARED; both without slots.
//
// # Safety
// `outcome` is null or an outcome that is not freed.
const struct bal_changes *bal_outcome_before(const struct bal_outcome *outcome);

// Frees an outcome and all views of it. Null is ignored.
//
// # Safety
// `outcome` is null or an outcome that is not freed and not in use.
void bal_outcome_free(struct bal_outcome *outcome);

// Mainnet's rules of a bal_fork. The blob parameters are those that came with the fork.
//
// # Safety
// `out` is null or points to a bal_rules.
enum bal_status bal_rules_mainnet(uint32_t fork_number, struct bal_rules *out);

// The rules of a block (RLP; its header is read) of mainnet, sepolia, hoodi or holesky. Another chain: BAL_USAGE.
// A header that does not decode: BAL_INVALID.
//
// # Safety
// `block` lends bytes; `out` is null or points to a bal_rules.
enum bal_status bal_rules_of_chain(uint64_t chain_id, struct bal_bytes block, struct bal_rules *out);

// Makes the tries of the state with this root.
//
// # Safety
// `root` is null or points to 32 bytes, `out` is null or points to memory for a pointer.
enum bal_status bal_tries_new(const uint8_t (*root)[32], struct bal_tries **out);

// Writes the root of the present state, with what is not committed.
//
// # Safety
// `tries` is null or from bal_tries_new and not freed; `out` is null or points to 32 bytes.
enum bal_status bal_tries_root(const struct bal_tries *tries, uint8_t (*out)[32]);

// Makes the blocks that were executed since the last commit permanent: they can no longer be undone. A host that keeps
// a valid block commits before the next one.
//
// # Safety
// `tries` is null or from bal_tries_new and not freed.
enum bal_status bal_tries_commit(struct bal_tries *tries);

// Undoes all blocks that were executed since the last commit.
//
// # Safety
// `tries` is null or from bal_tries_new and not freed.
enum bal_status bal_tries_rollback(struct bal_tries *tries);

// Frees tries, which no call uses any more. Null is ignored.
//
// # Safety
// `tries` is null or from bal_tries_new, not freed and not in use.
void bal_tries_free(struct bal_tries *tries);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* BALUSTRADE_H */
