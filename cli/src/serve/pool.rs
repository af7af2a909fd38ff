//! A small pool of raw transactions, for blocks that are built on request.
//!
//! In: signed transactions. Out: transactions in an order in which their nonces fit, those with larger tips first.
//! Bounded in number and bytes. Nothing is passed on to others.
//! Not here: validity in a block (`build`).

use super::rpc::RpcError;
use alloy_primitives::{Address, B256, Bytes, keccak256};
use balustrade::Fork;
use balustrade::exec::senders::{recover_batch, tx_signatures};
use balustrade::exec::tx::effective_gas_price;
use balustrade::exec::wire::{Transaction, Transactions, tx_type};
use std::collections::BTreeMap;

/// Most transactions.
const COUNT_MAX: usize = 8_192;
/// Most bytes of all transactions.
const BYTES_MAX: usize = 64 << 20;
/// Most bytes of a transaction.
const TX_BYTES_MAX: usize = 256 << 10;

/// A transaction of the pool.
#[derive(Clone, Debug)]
pub struct Pooled {
    /// EIP-2718 encoding.
    pub encoded: Bytes,
    /// Its hash.
    pub hash: B256,
    row: Transaction,
}

/// The pool.
#[derive(Debug, Default)]
pub struct Pool {
    by_sender: BTreeMap<Address, BTreeMap<u64, Pooled>>,
    count: usize,
    bytes: usize,
}

impl Pool {
    /// Number of transactions.
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Adds a transaction; returns its hash. `nonce_of` gives the nonce of an account at the head.
    ///
    /// # Errors
    /// It does not decode, is of another chain, has blobs, was included, or there is no room.
    pub fn insert(
        &mut self,
        encoded: Bytes,
        chain_id: u64,
        nonce_of: impl FnOnce(Address) -> Result<u64, RpcError>,
    ) -> Result<B256, RpcError> {
        if encoded.len() > TX_BYTES_MAX {
            return Err(RpcError::server("the transaction is too long"));
        }
        let decoded = Transactions::decode_one(encoded.clone());
        let decoded = decoded.map_err(|error| RpcError::params(format!("the transaction does not decode: {error}")))?;
        let [row] = decoded.rows() else { return Err(RpcError::params("not one transaction")) };
        if row.tx_type == tx_type::BLOB {
            return Err(RpcError::server("transactions with blobs are not kept"));
        }
        if row.chain_id.is_some_and(|id| id != chain_id) {
            return Err(RpcError::server(format!("the transaction is not of chain {chain_id}")));
        }
        let mut sender = [None];
        recover_batch(&tx_signatures(&decoded, 0..1, Fork::Homestead), &mut sender);
        let [Some(sender)] = sender else { return Err(RpcError::server("the signature is invalid")) };
        if row.nonce < nonce_of(sender)? {
            return Err(RpcError::server("nonce too low"));
        }
        let hash = keccak256(&encoded);
        let old = self.by_sender.get(&sender).and_then(|txs| txs.get(&row.nonce));
        if let Some(old) = old {
            if old.hash == hash {
                return Ok(hash);
            }
            if old.row.max_fee_per_gas >= row.max_fee_per_gas {
                return Err(RpcError::server("replacement transaction underpriced"));
            }
        } else if self.count >= COUNT_MAX {
            return Err(RpcError::server("the pool is full"));
        }
        let old_len = old.map_or(0, |old| old.encoded.len());
        if self.bytes - old_len + encoded.len() > BYTES_MAX {
            return Err(RpcError::server("the pool is full"));
        }
        self.bytes = self.bytes - old_len + encoded.len();
        self.count += usize::from(old.is_none());
        let row = row.clone();
        self.by_sender.entry(sender).or_default().insert(row.nonce, Pooled { encoded, hash, row });
        Ok(hash)
    }

    /// The senders.
    pub fn senders(&self) -> Vec<Address> {
        self.by_sender.keys().copied().collect()
    }

    /// Removes what is below these nonces, given in the order of [`Self::senders`].
    pub fn forget_below(&mut self, nonces: &[u64]) {
        for (txs, nonce) in self.by_sender.values_mut().zip(nonces) {
            let stay = txs.split_off(nonce);
            for gone in core::mem::replace(txs, stay).into_values() {
                self.count -= 1;
                self.bytes -= gone.encoded.len();
            }
        }
        self.by_sender.retain(|_, txs| !txs.is_empty());
    }

    /// Removes one transaction and those of its sender with later nonces.
    pub fn remove(&mut self, hash: &B256) {
        for txs in self.by_sender.values_mut() {
            let Some(nonce) = txs.iter().find(|(_, tx)| tx.hash == *hash).map(|(nonce, _)| *nonce) else { continue };
            for gone in txs.split_off(&nonce).into_values() {
                self.count -= 1;
                self.bytes -= gone.encoded.len();
            }
        }
        self.by_sender.retain(|_, txs| !txs.is_empty());
    }

    /// Transactions for a block: of each sender from its nonce on without a gap, the largest tip next, as far as their gas
    /// limits fit. `nonces` are those of [`Self::senders`], in order.
    pub fn choose(&self, nonces: &[u64], base_fee: u64, gas_limit: u64) -> Vec<Pooled> {
        let mut nexts: Vec<_> = self.by_sender.values().zip(nonces).map(|(txs, nonce)| (txs, *nonce)).collect();
        let (mut chosen, mut gas) = (Vec::new(), 0u64);
        loop {
            let tip = |tx: &Pooled| effective_gas_price(&tx.row, base_fee).checked_sub(u128::from(base_fee));
            let fits = |tx: &Pooled| gas.saturating_add(tx.row.gas_limit) <= gas_limit;
            let candidates = nexts.iter_mut().filter_map(|next| {
                let tx = next.0.get(&next.1).filter(|tx| fits(tx))?;
                Some((tip(tx)?, tx, next))
            });
            let Some((_, tx, next)) = candidates.max_by_key(|(tip, ..)| *tip) else { return chosen };
            next.1 += 1;
            gas += tx.row.gas_limit;
            chosen.push(tx.clone());
        }
    }
}
