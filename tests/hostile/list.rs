//! A block access list as nested vectors, which can represent any fault, and its RLP.

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use alloy_rlp::{Encodable, Header as RlpHeader};
use balustrade::arena::BlockAccessIndex;
use balustrade::arena::store::{KECCAK_EMPTY, MemoryStore, ParentAccount, StateStore};
use balustrade::bal::{BalColumns, Limits, decode};
use balustrade::{AccountStatus, StateChanges, StateTries};

/// Rows of one change list: index and new value.
pub type Rows<V> = Vec<(u64, V)>;

/// One account's entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    pub address: Address,
    pub changes: Vec<(U256, Rows<U256>)>,
    pub reads: Vec<U256>,
    pub balances: Rows<U256>,
    pub nonces: Rows<u64>,
    pub codes: Rows<Bytes>,
}

impl Account {
    pub fn bare(address: Address) -> Self {
        Self { address, changes: vec![], reads: vec![], balances: vec![], nonces: vec![], codes: vec![] }
    }
}

/// Converts decoded columns to nested vectors.
pub fn from_columns(bal: &BalColumns) -> Vec<Account> {
    let index = |BlockAccessIndex(index): BlockAccessIndex| u64::from(index);
    let accounts = bal.addresses().iter().map(|(id, address)| {
        let (reads, changed): (Vec<_>, Vec<_>) = bal.slots(id).partition(|slot| bal.is_read_only(*slot));
        let key = |slot| bal.slot_keys()[slot];
        Account {
            address: *address,
            changes: changed
                .into_iter()
                .map(|slot| (key(slot), bal.storage().iter(slot).map(|(at, value)| (index(at), *value)).collect()))
                .collect(),
            reads: reads.into_iter().map(key).collect(),
            balances: bal.balances().iter(id).map(|(at, value)| (index(at), *value)).collect(),
            nonces: bal.nonces().iter(id).map(|(at, value)| (index(at), *value)).collect(),
            codes: bal.codes().rows(id).map(|row| (index(bal.codes().index(row)), bal.code_shared(row))).collect(),
        }
    });
    accounts.collect()
}

fn wrap(out: &mut Vec<u8>, payload: &[u8]) {
    RlpHeader { list: true, payload_length: payload.len() }.encode(out);
    out.extend_from_slice(payload);
}

fn list<T>(out: &mut Vec<u8>, rows: &[T], encode: impl Fn(&T, &mut Vec<u8>)) {
    let mut payload = Vec::new();
    rows.iter().for_each(|row| encode(row, &mut payload));
    wrap(out, &payload);
}

fn rows<V: Encodable>(out: &mut Vec<u8>, rows: &[(u64, V)]) {
    list(out, rows, |(index, value), out| {
        let mut payload = Vec::new();
        index.encode(&mut payload);
        value.encode(&mut payload);
        wrap(out, &payload);
    });
}

/// The list's RLP, in the order of the vectors, without checks.
pub fn encode(accounts: &[Account]) -> Vec<u8> {
    let mut out = Vec::new();
    list(&mut out, accounts, |account, out| {
        let mut payload = Vec::new();
        account.address.encode(&mut payload);
        list(&mut payload, &account.changes, |(key, changes), out| {
            let mut payload = Vec::new();
            key.encode(&mut payload);
            rows(&mut payload, changes);
            wrap(out, &payload);
        });
        list(&mut payload, &account.reads, |key, out| key.encode(out));
        rows(&mut payload, &account.balances);
        rows(&mut payload, &account.nonces);
        rows(&mut payload, &account.codes);
        wrap(out, &payload);
    });
    out
}

/// The state root after the changes of a list, without checking it; `None` if the bytes do not decode.
pub fn state_root(bytes: &Bytes, store: &MemoryStore, tries: &mut StateTries) -> Option<B256> {
    let bal = decode(bytes, &Limits::format_only()).ok()?;
    let addresses = bal.addresses().as_slice();
    let mut parents = vec![ParentAccount::default(); addresses.len()];
    store.accounts(addresses, &mut parents).ok()?;
    let mut changes = StateChanges::default();
    for (id, address) in bal.addresses().iter() {
        if !bal.is_changed(id) {
            continue;
        }
        let parent = &parents[changes_position(addresses, address)];
        let code_hash = bal.code_post(id).map(keccak256);
        let nonce = bal.nonce_post(id).unwrap_or(parent.nonce);
        let balance = bal.balance_post(id).unwrap_or(parent.balance);
        let empty = nonce == 0 && balance.is_zero() && code_hash.unwrap_or(parent.code_hash) == KECCAK_EMPTY;
        let status = if empty { AccountStatus::Deleted } else { AccountStatus::Kept };
        changes.push_account(*address, status, bal.nonce_post(id), bal.balance_post(id), code_hash);
        for slot in bal.slots(id) {
            if let Some(value) = bal.slot_post(slot) {
                changes.push_slot(bal.slot_keys()[slot], value);
            }
        }
    }
    let root = tries.update(&changes, store).ok();
    tries.rollback();
    root
}

fn changes_position(addresses: &[Address], address: &Address) -> usize {
    addresses.binary_search(address).unwrap_or_default()
}
