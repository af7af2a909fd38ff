// Command host executes the block of a file that the tests of the C interface write, from a store of Go maps, and prints
// hash, gas and roots: host FILE. With a second argument it gives the block up before it starts.
package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
)

// maps is a state in maps, as a StateDB keeps what it has read.
type maps struct {
	accounts map[[20]byte]Account
	slots    map[Slot][32]byte
	codes    map[[32]byte][]byte
	nodes    map[[32]byte][]byte
	hashes   map[uint64][32]byte
}

func (m *maps) Account(address [20]byte) (Account, bool) {
	account, found := m.accounts[address]
	return account, found
}
func (m *maps) Storage(slot Slot) [32]byte        { return m.slots[slot] }
func (m *maps) Code(hash [32]byte) ([]byte, bool) { code, found := m.codes[hash]; return code, found }
func (m *maps) TrieNode(hash [32]byte) ([]byte, bool) {
	node, found := m.nodes[hash]
	return node, found
}
func (m *maps) BlockHash(number uint64) ([32]byte, bool) {
	hash, found := m.hashes[number]
	return hash, found
}

// reader takes values from the file of adapters/capi/tests/programs/arrays.h.
type reader struct{ rest []byte }

func (r *reader) take(count uint64) []byte {
	if count > uint64(len(r.rest)) {
		fmt.Fprintln(os.Stderr, "the file is too short")
		os.Exit(1)
	}
	taken := r.rest[:count]
	r.rest = r.rest[count:]
	return taken
}

func (r *reader) number() uint64 { return binary.LittleEndian.Uint64(r.take(8)) }
func (r *reader) bytes() []byte  { return r.take(r.number()) }
func (r *reader) word() [32]byte { return [32]byte(r.take(32)) }

func (r *reader) byHash() map[[32]byte][]byte {
	rows := map[[32]byte][]byte{}
	for count := r.number(); count > 0; count-- {
		hash := r.word()
		rows[hash] = r.bytes()
	}
	return rows
}

func read(path string) (Block, *maps, error) {
	file, err := os.ReadFile(path)
	if err != nil {
		return Block{}, nil, err
	}
	r := &reader{file}
	block := Block{
		Fork: uint32(r.number()), ChainID: r.number(), BlobTarget: r.number(), BlobMax: r.number(),
		BlobUpdateFraction: r.number(), RLP: r.bytes(), List: r.bytes(), Parent: r.bytes(),
	}
	r.bytes() // a witness
	state := &maps{accounts: map[[20]byte]Account{}, slots: map[Slot][32]byte{}, hashes: map[uint64][32]byte{}}
	for count := r.number(); count > 0; count-- {
		address := [20]byte(r.take(20))
		account := Account{Balance: r.word(), CodeHash: r.word(), Nonce: r.number()}
		account.HasStorage = r.take(1)[0] != 0
		state.accounts[address] = account
	}
	for count := r.number(); count > 0; count-- {
		slot := Slot{Address: [20]byte(r.take(20)), Key: r.word()}
		state.slots[slot] = r.word()
	}
	for count := r.number(); count > 0; count-- {
		number := r.number()
		state.hashes[number] = r.word()
	}
	state.codes, state.nodes = r.byHash(), r.byHash()
	return block, state, nil
}

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "host FILE [cancelled]")
		os.Exit(2)
	}
	block, state, err := read(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if len(os.Args) > 2 {
		cancel()
	}
	// The state root of the parent is the fourth item of its header, after two hashes and an address.
	root := [32]byte(block.Parent[3+33+33+21+1:])
	outcome, err := Execute(ctx, block, root, state)
	switch {
	case errors.Is(err, ErrCancelled):
		fmt.Println("cancelled")
	case err != nil:
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	default:
		fmt.Printf("hash %x\ngas %d\nstate root %x\nreceipts root %x\nreceipts %d\n", outcome.Hash, outcome.GasUsed,
			outcome.StateRoot, outcome.ReceiptsRoot, len(outcome.Receipts))
	}
}
