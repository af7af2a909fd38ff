package main

/*
#cgo CFLAGS: -I${SRCDIR}/../../include
#include "balustrade.h"

// The exported functions of callbacks.go, with the pointer types that cgo gives them.
extern int32_t goAccounts(void *, void *, void *, size_t);
extern int32_t goHasStorage(void *, void *, void *, size_t);
extern int32_t goSlots(void *, void *, void *, size_t);
extern int32_t goCodes(void *, void *, void *, size_t);
extern int32_t goBlockHashes(void *, void *, void *, size_t);
extern int32_t goTrieNodes(void *, void *, void *, size_t);
extern void goRelease(void *, void *, size_t);

static int32_t accounts(void *ctx, const uint8_t (*in)[20], bal_account *out, size_t count) {
    return goAccounts(ctx, (void *)in, out, count);
}
static int32_t has_storage(void *ctx, const uint8_t (*in)[20], uint8_t *out, size_t count) {
    return goHasStorage(ctx, (void *)in, out, count);
}
static int32_t slots(void *ctx, const bal_slot *in, uint8_t (*out)[32], size_t count) {
    return goSlots(ctx, (void *)in, out, count);
}
static int32_t codes(void *ctx, const uint8_t (*in)[32], bal_buffer *out, size_t count) {
    return goCodes(ctx, (void *)in, out, count);
}
static int32_t block_hashes(void *ctx, const uint64_t *in, uint8_t (*out)[32], size_t count) {
    return goBlockHashes(ctx, (void *)in, out, count);
}
static int32_t trie_nodes(void *ctx, const uint8_t (*in)[32], bal_buffer *out, size_t count) {
    return goTrieNodes(ctx, (void *)in, out, count);
}
static void release(void *ctx, bal_buffer *buffers, size_t count) { goRelease(ctx, buffers, count); }

static bal_status execute(bal_executor *executor, const bal_rules *rules, bal_bytes block, bal_bytes list, bal_bytes parent,
                          void *ctx, bal_tries *tries, bal_cancel *cancel, bal_outcome **outcome) {
    bal_store store = {
        .size = sizeof(bal_store), .ctx = ctx, .accounts = accounts, .has_storage = has_storage, .slots = slots,
        .codes = codes, .block_hashes = block_hashes, .trie_nodes = trie_nodes, .release = release,
    };
    return bal_execute(executor, rules, block, list, parent, &store, tries, cancel, outcome);
}
*/
import "C"

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/cgo"
	"unsafe"
)

// What a status means for a host; the text of the outcome is wrapped around it.
var (
	ErrInvalid   = errors.New("invalid block")
	ErrStore     = errors.New("the host failed")
	ErrCancelled = errors.New("cancelled")
	ErrUsage     = errors.New("wrong argument")
	ErrBug       = errors.New("the library failed")
)

var errorOf = map[C.bal_status]error{
	C.BAL_INVALID: ErrInvalid, C.BAL_STORE: ErrStore, C.BAL_CANCELLED: ErrCancelled, C.BAL_USAGE: ErrUsage,
}

// Slot is a storage slot, laid out as bal_slot.
type Slot struct {
	Address [20]byte
	Key     [32]byte
}

// Account is an account of the state before the block; numbers are big-endian.
type Account struct {
	Balance, CodeHash [32]byte
	Nonce             uint64
	HasStorage        bool
}

// Store is the state before a block, in the shape of a StateDB. It is asked from several threads at the same time.
type Store interface {
	Account(address [20]byte) (Account, bool)
	Storage(slot Slot) [32]byte
	Code(hash [32]byte) ([]byte, bool)
	TrieNode(hash [32]byte) ([]byte, bool)
	BlockHash(number uint64) ([32]byte, bool)
}

// Block is a block with its list, its parent's header and its rules.
type Block struct {
	Fork                                             uint32
	ChainID, BlobTarget, BlobMax, BlobUpdateFraction uint64
	RLP, List, Parent                                []byte
}

// Outcome is what a valid block produced.
type Outcome struct {
	Hash, StateRoot, ReceiptsRoot [32]byte
	GasUsed                       uint64
	Receipts                      [][]byte
}

// Execute verifies a block on a state whose root is parentRoot. It ends soon after ctx is done.
func Execute(ctx context.Context, block Block, parentRoot [32]byte, store Store) (*Outcome, error) {
	var executor *C.bal_executor
	if status := C.bal_executor_new(nil, &executor); status != C.BAL_OK {
		return nil, fmt.Errorf("no executor: status %d", status)
	}
	defer C.bal_executor_free(executor)
	var tries *C.bal_tries
	if status := C.bal_tries_new((*[32]C.uint8_t)(unsafe.Pointer(&parentRoot)), &tries); status != C.BAL_OK {
		return nil, fmt.Errorf("no tries: status %d", status)
	}
	defer C.bal_tries_free(tries)
	var cancel *C.bal_cancel
	if status := C.bal_cancel_new(0, &cancel); status != C.BAL_OK {
		return nil, fmt.Errorf("no token: status %d", status)
	}
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() { C.bal_cancel_set(cancel); close(stopped) })
	defer func() {
		if !stop() {
			<-stopped // the token must not be freed while it is set
		}
		C.bal_cancel_free(cancel)
	}()

	var rules C.bal_rules
	if C.bal_rules_mainnet(C.uint32_t(block.Fork), &rules) != C.BAL_OK {
		return nil, fmt.Errorf("%w: fork %d", ErrUsage, block.Fork)
	}
	rules.chain_id = C.uint64_t(block.ChainID)
	rules.blob_target, rules.blob_max = C.uint64_t(block.BlobTarget), C.uint64_t(block.BlobMax)
	rules.blob_update_fraction = C.uint64_t(block.BlobUpdateFraction)

	// The handle is memory of Go that C holds during the call, and the bytes are lent to it.
	var pinner runtime.Pinner
	defer pinner.Unpin()
	lend := func(bytes []byte) C.bal_bytes {
		if len(bytes) == 0 {
			return C.bal_bytes{}
		}
		pinner.Pin(&bytes[0])
		return C.bal_bytes{ptr: (*C.uint8_t)(&bytes[0]), len: C.size_t(len(bytes))}
	}
	handle := cgo.NewHandle(store)
	defer handle.Delete()
	var outcome *C.bal_outcome
	status := C.execute(executor, &rules, lend(block.RLP), lend(block.List), lend(block.Parent), unsafe.Pointer(&handle),
		tries, cancel, &outcome)
	defer C.bal_outcome_free(outcome)
	if status != C.BAL_OK {
		kind, known := errorOf[status]
		if !known {
			kind = ErrBug
		}
		return nil, fmt.Errorf("%w: %s", kind, copied(C.bal_outcome_error(outcome)))
	}
	summary := C.bal_summary{size: C.uint32_t(unsafe.Sizeof(C.bal_summary{}))}
	if C.bal_outcome_summary(outcome, &summary) != C.BAL_OK {
		return nil, ErrBug
	}
	result := &Outcome{
		Hash:         *(*[32]byte)(unsafe.Pointer(&summary.hash)),
		StateRoot:    *(*[32]byte)(unsafe.Pointer(&summary.state_root)),
		ReceiptsRoot: *(*[32]byte)(unsafe.Pointer(&summary.receipts_root)),
		GasUsed:      uint64(summary.gas_used),
	}
	for i := C.size_t(0); i < C.size_t(summary.transactions); i++ {
		result.Receipts = append(result.Receipts, copied(C.bal_outcome_receipt(outcome, i)))
	}
	return result, nil
}

// copied copies bytes that are borrowed from an outcome.
func copied(bytes C.bal_bytes) []byte {
	return C.GoBytes(unsafe.Pointer(bytes.ptr), C.int(bytes.len))
}
