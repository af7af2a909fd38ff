package main

// The functions of bal_store in Go. A file with exported functions may only declare C functions, so the struct that holds
// them is made in bridge.go.

// #include <stdlib.h>
// #include "balustrade.h"
import "C"

import (
	"runtime/cgo"
	"unsafe"
)

// Status 78: the store has no answer. The library reports it in the text of the outcome.
const missing = 78

func storeOf(ctx unsafe.Pointer) Store {
	return (*(*cgo.Handle)(ctx)).Value().(Store)
}

//export goAccounts
func goAccounts(ctx, addresses, out unsafe.Pointer, count C.size_t) C.int32_t {
	store := storeOf(ctx)
	rows := unsafe.Slice((*C.bal_account)(out), int(count))
	for i, address := range unsafe.Slice((*[20]byte)(addresses), int(count)) {
		account, found := store.Account(address)
		if !found {
			continue // all zeros: it does not exist
		}
		*(*[32]byte)(unsafe.Pointer(&rows[i].balance)) = account.Balance
		*(*[32]byte)(unsafe.Pointer(&rows[i].code_hash)) = account.CodeHash
		rows[i].nonce = C.uint64_t(account.Nonce)
		rows[i].exists = 1
	}
	return 0
}

//export goHasStorage
func goHasStorage(ctx, addresses, out unsafe.Pointer, count C.size_t) C.int32_t {
	store := storeOf(ctx)
	rows := unsafe.Slice((*byte)(out), int(count))
	for i, address := range unsafe.Slice((*[20]byte)(addresses), int(count)) {
		if account, found := store.Account(address); found && account.HasStorage {
			rows[i] = 1
		}
	}
	return 0
}

//export goSlots
func goSlots(ctx, slots, out unsafe.Pointer, count C.size_t) C.int32_t {
	store := storeOf(ctx)
	rows := unsafe.Slice((*[32]byte)(out), int(count))
	for i, slot := range unsafe.Slice((*Slot)(slots), int(count)) {
		rows[i] = store.Storage(slot)
	}
	return 0
}

//export goCodes
func goCodes(ctx, hashes, out unsafe.Pointer, count C.size_t) C.int32_t {
	return lend(storeOf(ctx).Code, hashes, out, count)
}

//export goTrieNodes
func goTrieNodes(ctx, hashes, out unsafe.Pointer, count C.size_t) C.int32_t {
	return lend(storeOf(ctx).TrieNode, hashes, out, count)
}

//export goBlockHashes
func goBlockHashes(ctx, numbers, out unsafe.Pointer, count C.size_t) C.int32_t {
	store := storeOf(ctx)
	rows := unsafe.Slice((*[32]byte)(out), int(count))
	for i, number := range unsafe.Slice((*uint64)(numbers), int(count)) {
		hash, found := store.BlockHash(number)
		if !found {
			return missing
		}
		rows[i] = hash
	}
	return 0
}

// lend copies bytes into memory of C: the garbage collector may move or free what Go owns.
func lend(find func([32]byte) ([]byte, bool), hashes, out unsafe.Pointer, count C.size_t) C.int32_t {
	rows := unsafe.Slice((*C.bal_buffer)(out), int(count))
	for i, hash := range unsafe.Slice((*[32]byte)(hashes), int(count)) {
		if bytes, found := find(hash); found {
			rows[i].ptr = (*C.uint8_t)(C.CBytes(bytes))
			rows[i].len = C.size_t(len(bytes))
		}
	}
	return 0
}

//export goRelease
func goRelease(_, buffers unsafe.Pointer, count C.size_t) {
	for _, buffer := range unsafe.Slice((*C.bal_buffer)(buffers), int(count)) {
		C.free(unsafe.Pointer(buffer.ptr))
	}
}
