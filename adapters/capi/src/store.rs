//! A host's callbacks as a state store.
//!
//! In: batches of the executor. Out: batches of the host, in plain rows. Bytes of the host are copied and given back at
//! once, so that nothing of the host is used after the call that was given its store.
//! Relies on: the contract at `bal_store`.

#![allow(unsafe_code, reason = "functions and buffers of the host")]

use crate::failure::Failure;
use crate::types::{BAL_RESIDENT, BalAccount, BalBuffer, BalSlot, BalStatus, BalStore};
use alloy_primitives::{Address, B256, Bytes, U256};
use balustrade::{KECCAK_EMPTY, NodeQuery, ParentAccount, SlotQuery, StateStore, StoreError};
use core::ffi::c_void;
use core::ptr::null_mut;

/// Longest code or trie node that is accepted from a host: 1 GiB.
const BUFFER_LEN_MAX: usize = 1 << 30;

type Rows<Q, A> = unsafe extern "C" fn(*mut c_void, *const Q, *mut A, usize) -> i32;

/// The callbacks of a host.
pub(crate) struct HostStore {
    host: BalStore,
    accounts: Rows<[u8; 20], BalAccount>,
    has_storage: Rows<[u8; 20], u8>,
    slots: Rows<BalSlot, [u8; 32]>,
    codes: Rows<[u8; 32], BalBuffer>,
    block_hashes: Rows<u64, [u8; 32]>,
}

// SAFETY: `bal_store` requires functions that may be called on any thread, several at the same time, with its context;
// the struct itself is not changed.
unsafe impl Send for HostStore {}
// SAFETY: as above.
unsafe impl Sync for HostStore {}

impl HostStore {
    /// The store of a host, which called with a struct of the right size.
    ///
    /// # Safety
    /// The functions of `host` keep the contract at `bal_store` as long as the store lives.
    pub(crate) unsafe fn new(host: BalStore) -> Result<Self, Failure> {
        if host.flags & !BAL_RESIDENT != 0 {
            return Err(Failure::usage(format!("bal_store.flags has unknown bits: {:#x}", host.flags)));
        }
        let missing = |name: &str| Failure::usage(format!("bal_store.{name} is null"));
        Ok(Self {
            accounts: host.accounts.ok_or_else(|| missing("accounts"))?,
            has_storage: host.has_storage.ok_or_else(|| missing("has_storage"))?,
            slots: host.slots.ok_or_else(|| missing("slots"))?,
            codes: host.codes.ok_or_else(|| missing("codes"))?,
            block_hashes: host.block_hashes.ok_or_else(|| missing("block_hashes"))?,
            host,
        })
    }

    /// Asks the host for one batch.
    fn ask<Q, A>(&self, name: &str, function: Rows<Q, A>, queries: &[Q], out: &mut [A]) -> Result<(), StoreError> {
        assert_eq!(queries.len(), out.len(), "one answer for each query");
        if queries.is_empty() {
            return Ok(());
        }
        // SAFETY: as many live queries as places for answers, all with values; the contract of `new`.
        let status = unsafe { function(self.host.ctx, queries.as_ptr(), out.as_mut_ptr(), queries.len()) };
        match status {
            0 => Ok(()),
            status if status == BalStatus::BalCancelled as i32 => Err(StoreError::Cancelled),
            status => Err(StoreError::Failed(format!("{name} returned {status}"))),
        }
    }

    /// Asks the host for bytes; `None` where it lacks them.
    fn ask_bytes(
        &self,
        name: &str,
        function: Rows<[u8; 32], BalBuffer>,
        hashes: &[B256],
    ) -> Result<Vec<Option<Bytes>>, StoreError> {
        let hashes: Vec<[u8; 32]> = hashes.iter().map(|hash| hash.0).collect();
        let mut lent = Lent {
            host: &self.host,
            buffers: vec![BalBuffer { ptr: null_mut(), len: 0, owner: null_mut() }; hashes.len()],
        };
        self.ask(name, function, &hashes, &mut lent.buffers)?;
        let copy = |buffer: &BalBuffer| match buffer.len {
            _ if buffer.ptr.is_null() => Ok(None),
            // SAFETY: not null; the host lends `len` bytes until they are released, which is after this; the length is
            // far below `isize::MAX`.
            0..=BUFFER_LEN_MAX => Ok(Some(unsafe { core::slice::from_raw_parts(buffer.ptr, buffer.len) })),
            len => Err(StoreError::Corrupt(format!("{name}: a buffer of {len} bytes"))),
        };
        lent.buffers.iter().map(|buffer| Ok(copy(buffer)?.map(Bytes::copy_from_slice))).collect()
    }
}

/// Buffers of the host; given back when dropped, on errors too.
struct Lent<'a> {
    host: &'a BalStore,
    buffers: Vec<BalBuffer>,
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        let Some(release) = self.host.release else { return };
        self.buffers.retain(|buffer| !buffer.ptr.is_null());
        if !self.buffers.is_empty() {
            // SAFETY: buffers that the host filled in, each given back once; the contract of `HostStore::new`.
            unsafe { release(self.host.ctx, self.buffers.as_mut_ptr(), self.buffers.len()) }
        }
    }
}

impl StateStore for HostStore {
    fn is_resident(&self) -> bool {
        self.host.flags & BAL_RESIDENT != 0
    }

    fn accounts(&self, addresses: &[Address], out: &mut [ParentAccount]) -> Result<(), StoreError> {
        let addresses: Vec<[u8; 20]> = addresses.iter().map(|address| address.0.0).collect();
        let mut rows = vec![BalAccount::default(); addresses.len()];
        self.ask("accounts", self.accounts, &addresses, &mut rows)?;
        // Only an account without nonce and code can be created although it has storage (EIP-7610).
        let (mut asked, mut places) = (Vec::new(), Vec::new());
        for (row, (account, out)) in rows.iter().zip(out.iter_mut()).enumerate() {
            *out = match account.exists {
                0 => ParentAccount::default(),
                _ => ParentAccount {
                    exists: true,
                    nonce: account.nonce,
                    balance: U256::from_be_bytes(account.balance),
                    code_hash: B256::from(account.code_hash),
                    has_storage: false,
                },
            };
            if out.exists && out.nonce == 0 && out.code_hash == KECCAK_EMPTY {
                asked.push(addresses[row]);
                places.push(row);
            }
        }
        let mut found = vec![0; asked.len()];
        self.ask("has_storage", self.has_storage, &asked, &mut found)?;
        for (row, found) in places.into_iter().zip(found) {
            out[row].has_storage = found != 0;
        }
        Ok(())
    }

    fn slots(&self, slots: &[SlotQuery], out: &mut [U256]) -> Result<(), StoreError> {
        let row = |slot: &SlotQuery| BalSlot { address: slot.address.0.0, key: slot.key.to_be_bytes() };
        let slots: Vec<BalSlot> = slots.iter().map(row).collect();
        let mut values = vec![[0; 32]; slots.len()];
        self.ask("slots", self.slots, &slots, &mut values)?;
        for (value, out) in values.into_iter().zip(out) {
            *out = U256::from_be_bytes(value);
        }
        Ok(())
    }

    fn codes(&self, hashes: &[B256], out: &mut [Option<Bytes>]) -> Result<(), StoreError> {
        for (code, out) in self.ask_bytes("codes", self.codes, hashes)?.into_iter().zip(out) {
            *out = code;
        }
        Ok(())
    }

    fn block_hashes(&self, numbers: &[u64], out: &mut [B256]) -> Result<(), StoreError> {
        let mut hashes = vec![[0; 32]; numbers.len()];
        self.ask("block_hashes", self.block_hashes, numbers, &mut hashes)?;
        for (hash, out) in hashes.into_iter().zip(out) {
            *out = B256::from(hash);
        }
        Ok(())
    }

    fn trie_nodes(&self, nodes: &[NodeQuery], out: &mut [Bytes]) -> Result<(), StoreError> {
        let hashes: Vec<B256> = nodes.iter().map(|node| node.hash).collect();
        let Some(function) = self.host.trie_nodes else {
            return hashes.first().map_or(Ok(()), |hash| Err(StoreError::MissingNode(*hash)));
        };
        let found = self.ask_bytes("trie_nodes", function, &hashes)?;
        for ((node, hash), out) in found.into_iter().zip(hashes).zip(out) {
            *out = node.ok_or(StoreError::MissingNode(hash))?;
        }
        Ok(())
    }
}
