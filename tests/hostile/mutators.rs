//! What can be wrong with a block: one small change each, to the list, its bytes, the header or the body.
//!
//! A mutator returns whether it found something to change. What depends on the change is resealed afterwards (`trial`).

use super::Rng;
use super::list::{Account, Rows};
use alloy_primitives::{Address, B256, Bloom, Bytes, U256, address};
use balustrade::exec::wire::Header;

/// What a mutator changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The list: every such mutant is invalid.
    List,
    /// The header alone; the mutant may be another valid block.
    Header,
    /// Transactions or withdrawals; roots and list hash are resealed.
    Body,
}

/// A block taken apart.
#[derive(Clone, Debug)]
pub struct Parts {
    pub list: Vec<Account>,
    /// The list's bytes, where the mutator works on them.
    pub raw_list: Option<Vec<u8>>,
    /// The list's bytes before.
    pub original_list: Bytes,
    pub header: Header,
    pub transactions: Vec<Vec<u8>>,
    /// RLP of each withdrawal.
    pub withdrawals: Vec<Vec<u8>>,
}

/// A named change.
pub type Mutator = (&'static str, Part, fn(&mut Parts, &mut Rng) -> bool);

/// An account with a non-empty part.
fn account_with(list: &[Account], rng: &mut Rng, has: impl Fn(&Account) -> bool) -> Option<usize> {
    let found: Vec<usize> = (0..list.len()).filter(|at| has(&list[*at])).collect();
    rng.pick(&found).map(|at| found[at])
}

/// Applies `change` to a random account that has what it needs.
fn on(
    parts: &mut Parts,
    rng: &mut Rng,
    has: impl Fn(&Account) -> bool,
    change: impl FnOnce(&mut Account, &mut Rng),
) -> bool {
    let Some(at) = account_with(&parts.list, rng, has) else { return false };
    change(&mut parts.list[at], rng);
    true
}

/// A value near, far, or structurally special; never the old one.
fn other_word(old: U256, rng: &mut Rng) -> U256 {
    let new = match rng.below(8) {
        0 => U256::ZERO,
        1 => U256::MAX,
        2 => rng.word(),
        3 => old ^ (U256::ONE << rng.below(256)),
        4 | 5 => old.wrapping_sub(U256::ONE),
        _ => old.wrapping_add(U256::ONE),
    };
    if new == old { old.wrapping_add(U256::ONE) } else { new }
}

fn any_index(parts: &Parts, rng: &mut Rng) -> u64 {
    rng.below(parts.transactions.len() + 2) as u64
}

fn edit<V>(rows: &mut Rows<V>, rng: &mut Rng, change: impl FnOnce(&mut V, &mut Rng)) {
    let at = rng.below(rows.len());
    change(&mut rows[at].1, rng);
}

fn drop_row<V>(rows: &mut Rows<V>, rng: &mut Rng) {
    rows.remove(rng.below(rows.len()));
}

/// Adds a row at an index that the rows lack, in order.
fn add_row<V>(rows: &mut Rows<V>, last: u64, rng: &mut Rng, value: V) -> bool {
    let free: Vec<u64> = (0..=last).filter(|index| rows.iter().all(|row| row.0 != *index)).collect();
    let Some(at) = rng.pick(&free) else { return false };
    rows.push((free[at], value));
    rows.sort_by_key(|row| row.0);
    true
}

/// Moves a row to a neighbouring free index, in order.
fn shift_row<V>(rows: &mut Rows<V>, last: u64, rng: &mut Rng) -> bool {
    let at = rng.below(rows.len());
    let index = rows[at].0;
    let new = if rng.below(2) == 0 { index.wrapping_sub(1) } else { index + 1 };
    if new > last || rows.iter().any(|row| row.0 == new) {
        return false;
    }
    rows[at].0 = new;
    rows.sort_by_key(|row| row.0);
    true
}

fn last_index(parts: &Parts) -> u64 {
    parts.transactions.len() as u64 + 1
}

fn insert_sorted(list: &mut Vec<Account>, account: Account) -> bool {
    match list.binary_search_by_key(&account.address, |account| account.address) {
        Ok(_) => false,
        Err(at) => {
            list.insert(at, account);
            true
        }
    }
}

fn insert_read(reads: &mut Vec<U256>, changes: &[(U256, Rows<U256>)], key: U256) -> bool {
    if changes.iter().any(|change| change.0 == key) {
        return false;
    }
    match reads.binary_search(&key) {
        Ok(_) => false,
        Err(at) => {
            reads.insert(at, key);
            true
        }
    }
}

fn raw(parts: &mut Parts, change: impl FnOnce(&mut Vec<u8>) -> bool) -> bool {
    let mut bytes = parts.original_list.to_vec();
    let changed = change(&mut bytes);
    parts.raw_list = Some(bytes);
    changed
}

/// An account that consists of nothing but its address, of a kind that implementations treat specially.
fn special_address(rng: &mut Rng) -> Address {
    match rng.below(5) {
        // SYSTEM_ADDRESS, the caller of system contracts.
        0 => address!("fffffffffffffffffffffffffffffffffffffffe"),
        1 => Address::with_last_byte(1 + rng.below(17) as u8),
        2 => Address::ZERO,
        3 => Address::repeat_byte(0xff),
        _ => Address::from_word(B256::from(rng.word())),
    }
}

/// All of them.
pub const MUTATORS: &[Mutator] = &[
    // Accounts.
    ("account: drop", Part::List, |parts, rng| {
        let Some(at) = rng.pick(&parts.list) else { return false };
        parts.list.remove(at);
        true
    }),
    ("account: drop one without changes", Part::List, |parts, rng| {
        let bare =
            |a: &Account| a.changes.is_empty() && a.balances.is_empty() && a.nonces.is_empty() && a.codes.is_empty();
        let Some(at) = account_with(&parts.list, rng, bare) else { return false };
        parts.list.remove(at);
        true
    }),
    ("account: add a phantom", Part::List, |parts, rng| {
        let account = Account::bare(special_address(rng));
        insert_sorted(&mut parts.list, account)
    }),
    ("account: add a phantom with a no-op balance", Part::List, |parts, rng| {
        let mut account = Account::bare(special_address(rng));
        account.balances.push((any_index(parts, rng), U256::ZERO));
        insert_sorted(&mut parts.list, account)
    }),
    ("account: add one with a balance out of nothing", Part::List, |parts, rng| {
        let mut account = Account::bare(special_address(rng));
        account.balances.push((any_index(parts, rng), rng.word() >> 128));
        insert_sorted(&mut parts.list, account)
    }),
    ("account: twice", Part::List, |parts, rng| {
        let Some(at) = rng.pick(&parts.list) else { return false };
        let copy = parts.list[at].clone();
        parts.list.insert(at, copy);
        true
    }),
    ("account: swap two", Part::List, |parts, rng| {
        let (Some(a), Some(b)) = (rng.pick(&parts.list), rng.pick(&parts.list)) else { return false };
        parts.list.swap(a, b);
        a != b
    }),
    ("account: exchange the entries of two", Part::List, |parts, rng| {
        let (Some(a), Some(b)) = (rng.pick(&parts.list), rng.pick(&parts.list)) else { return false };
        parts.list.swap(a, b);
        let address = parts.list[a].address;
        parts.list[a].address = parts.list[b].address;
        parts.list[b].address = address;
        a != b
    }),
    ("account: another address", Part::List, |parts, rng| {
        let changed = on(parts, rng, |_| true, |a, rng| a.address.0[rng.below(20)] ^= 1 << rng.below(8));
        parts.list.sort_by_key(|a| a.address);
        changed
    }),
    // Reads.
    ("read: drop", Part::List, |parts, rng| {
        on(
            parts,
            rng,
            |a| !a.reads.is_empty(),
            |a, rng| {
                a.reads.remove(rng.below(a.reads.len()));
            },
        )
    }),
    ("read: add a phantom", Part::List, |parts, rng| {
        let key = if rng.below(2) == 0 { rng.word() } else { U256::from(rng.below(8)) };
        let mut added = false;
        on(parts, rng, |_| true, |a, _| added = insert_read(&mut a.reads, &a.changes, key));
        added
    }),
    ("read: add a phantom beside a slot", Part::List, |parts, rng| {
        let mut added = false;
        on(
            parts,
            rng,
            |a| !a.reads.is_empty() || !a.changes.is_empty(),
            |a, rng| {
                let keys: Vec<U256> = a.reads.iter().copied().chain(a.changes.iter().map(|change| change.0)).collect();
                let key = keys[rng.below(keys.len())].wrapping_add(U256::ONE);
                added = insert_read(&mut a.reads, &a.changes, key);
            },
        );
        added
    }),
    ("read: add a hundred phantoms", Part::List, |parts, rng| {
        on(
            parts,
            rng,
            |_| true,
            |a, rng| {
                for _ in 0..100 {
                    let key = rng.word();
                    insert_read(&mut a.reads, &a.changes, key);
                }
            },
        )
    }),
    ("read: twice", Part::List, |parts, rng| {
        on(
            parts,
            rng,
            |a| !a.reads.is_empty(),
            |a, rng| {
                let at = rng.below(a.reads.len());
                a.reads.insert(at, a.reads[at]);
            },
        )
    }),
    ("read: reverse", Part::List, |parts, rng| on(parts, rng, |a| a.reads.len() > 1, |a, _| a.reads.reverse())),
    ("read: becomes a change", Part::List, |parts, rng| {
        let index = any_index(parts, rng);
        on(
            parts,
            rng,
            |a| !a.reads.is_empty(),
            |a, rng| {
                let key = a.reads.remove(rng.below(a.reads.len()));
                let value = if rng.below(2) == 0 { U256::ZERO } else { rng.word() };
                a.changes.push((key, vec![(index, value)]));
                a.changes.sort_by_key(|change| change.0);
            },
        )
    }),
    ("read: moves to another account", Part::List, |parts, rng| {
        let Some(from) = account_with(&parts.list, rng, |a| !a.reads.is_empty()) else { return false };
        let key = {
            let reads = &mut parts.list[from].reads;
            reads.remove(rng.below(reads.len()))
        };
        let mut added = false;
        on(parts, rng, |_| true, |a, _| added = insert_read(&mut a.reads, &a.changes, key));
        added
    }),
    // Storage changes.
    ("slot: drop", Part::List, |parts, rng| {
        on(
            parts,
            rng,
            |a| !a.changes.is_empty(),
            |a, rng| {
                a.changes.remove(rng.below(a.changes.len()));
            },
        )
    }),
    ("slot: change becomes a read", Part::List, |parts, rng| {
        on(
            parts,
            rng,
            |a| !a.changes.is_empty(),
            |a, rng| {
                let (key, _) = a.changes.remove(rng.below(a.changes.len()));
                a.reads.push(key);
                a.reads.sort();
            },
        )
    }),
    ("slot: changed and read", Part::List, |parts, rng| {
        on(
            parts,
            rng,
            |a| !a.changes.is_empty(),
            |a, rng| {
                a.reads.push(a.changes[rng.below(a.changes.len())].0);
                a.reads.sort();
            },
        )
    }),
    ("slot: add", Part::List, |parts, rng| {
        let index = any_index(parts, rng);
        on(
            parts,
            rng,
            |_| true,
            |a, rng| {
                a.changes.push((rng.word(), vec![(index, rng.word())]));
                a.changes.sort_by_key(|change| change.0);
            },
        )
    }),
    ("slot: without changes", Part::List, |parts, rng| {
        on(
            parts,
            rng,
            |a| !a.changes.is_empty(),
            |a, rng| {
                let at = rng.below(a.changes.len());
                a.changes[at].1.clear();
            },
        )
    }),
    ("slot: twice", Part::List, |parts, rng| {
        on(
            parts,
            rng,
            |a| !a.changes.is_empty(),
            |a, rng| {
                let at = rng.below(a.changes.len());
                let copy = a.changes[at].clone();
                a.changes.insert(at, copy);
            },
        )
    }),
    ("slot: reverse", Part::List, |parts, rng| on(parts, rng, |a| a.changes.len() > 1, |a, _| a.changes.reverse())),
    ("slot: value", Part::List, |parts, rng| {
        on(
            parts,
            rng,
            |a| !a.changes.is_empty(),
            |a, rng| {
                let at = rng.below(a.changes.len());
                edit(&mut a.changes[at].1, rng, |value, rng| *value = other_word(*value, rng));
            },
        )
    }),
    ("slot: drop a row", Part::List, |parts, rng| {
        on(
            parts,
            rng,
            |a| a.changes.iter().any(|c| c.1.len() > 1),
            |a, rng| {
                let long: Vec<usize> = (0..a.changes.len()).filter(|at| a.changes[*at].1.len() > 1).collect();
                let at = long[rng.below(long.len())];
                drop_row(&mut a.changes[at].1, rng);
            },
        )
    }),
    ("slot: add a no-op row", Part::List, |parts, rng| {
        let last = last_index(parts);
        let mut added = false;
        on(
            parts,
            rng,
            |a| !a.changes.is_empty(),
            |a, rng| {
                let at = rng.below(a.changes.len());
                let rows = &mut a.changes[at].1;
                let (index, value) = rows[rows.len() - 1];
                if index < last {
                    rows.push((index + 1 + rng.below((last - index) as usize) as u64, value));
                    added = true;
                }
            },
        );
        added
    }),
    ("slot: index", Part::List, |parts, rng| {
        let last = last_index(parts);
        let mut moved = false;
        on(
            parts,
            rng,
            |a| !a.changes.is_empty(),
            |a, rng| {
                let at = rng.below(a.changes.len());
                moved = shift_row(&mut a.changes[at].1, last, rng);
            },
        );
        moved
    }),
    ("slot: another key", Part::List, |parts, rng| {
        on(
            parts,
            rng,
            |a| !a.changes.is_empty(),
            |a, rng| {
                let at = rng.below(a.changes.len());
                a.changes[at].0 = other_word(a.changes[at].0, rng);
                a.changes.sort_by_key(|change| change.0);
            },
        )
    }),
    ("slot: moves to another account", Part::List, |parts, rng| {
        let Some(from) = account_with(&parts.list, rng, |a| !a.changes.is_empty()) else { return false };
        let slot = {
            let changes = &mut parts.list[from].changes;
            changes.remove(rng.below(changes.len()))
        };
        on(
            parts,
            rng,
            |_| true,
            |a, _| {
                a.changes.push(slot);
                a.changes.sort_by_key(|change| change.0);
            },
        )
    }),
    // Balances.
    ("balance: value", Part::List, |parts, rng| {
        on(
            parts,
            rng,
            |a| !a.balances.is_empty(),
            |a, rng| {
                edit(&mut a.balances, rng, |value, rng| *value = other_word(*value, rng));
            },
        )
    }),
    ("balance: drop", Part::List, |parts, rng| {
        on(parts, rng, |a| !a.balances.is_empty(), |a, rng| drop_row(&mut a.balances, rng))
    }),
    ("balance: add", Part::List, |parts, rng| {
        let last = last_index(parts);
        let mut added = false;
        on(
            parts,
            rng,
            |_| true,
            |a, rng| {
                let value = if rng.below(2) == 0 { U256::ZERO } else { rng.word() >> 160 };
                added = add_row(&mut a.balances, last, rng, value);
            },
        );
        added
    }),
    ("balance: add a no-op row", Part::List, |parts, rng| {
        let last = last_index(parts);
        let mut added = false;
        on(
            parts,
            rng,
            |a| !a.balances.is_empty(),
            |a, _| {
                let (index, value) = a.balances[a.balances.len() - 1];
                if index < last {
                    a.balances.push((index + 1, value));
                    added = true;
                }
            },
        );
        added
    }),
    ("balance: index", Part::List, |parts, rng| {
        let last = last_index(parts);
        let mut moved = false;
        on(parts, rng, |a| !a.balances.is_empty(), |a, rng| moved = shift_row(&mut a.balances, last, rng));
        moved
    }),
    ("balance: moves one wei between accounts", Part::List, |parts, rng| {
        let with: Vec<usize> = (0..parts.list.len()).filter(|at| !parts.list[*at].balances.is_empty()).collect();
        if with.len() < 2 {
            return false;
        }
        let (a, b) = (with[rng.below(with.len())], with[rng.below(with.len())]);
        let up = rng.below(parts.list[a].balances.len());
        let down = rng.below(parts.list[b].balances.len());
        let row = &mut parts.list[a].balances[up].1;
        *row = row.wrapping_add(U256::ONE);
        let row = &mut parts.list[b].balances[down].1;
        *row = row.wrapping_sub(U256::ONE);
        a != b
    }),
    ("balance: twice at an index", Part::List, |parts, rng| {
        on(
            parts,
            rng,
            |a| !a.balances.is_empty(),
            |a, rng| {
                let at = rng.below(a.balances.len());
                a.balances.insert(at, a.balances[at]);
            },
        )
    }),
    ("balance: reverse", Part::List, |parts, rng| {
        on(parts, rng, |a| a.balances.len() > 1, |a, _| a.balances.reverse())
    }),
    // Nonces.
    ("nonce: value", Part::List, |parts, rng| {
        on(
            parts,
            rng,
            |a| !a.nonces.is_empty(),
            |a, rng| {
                edit(&mut a.nonces, rng, |value, rng| {
                    *value = match rng.below(4) {
                        0 => 0,
                        1 => u64::MAX,
                        2 => value.wrapping_sub(1),
                        _ => value.wrapping_add(1),
                    };
                });
            },
        )
    }),
    ("nonce: drop", Part::List, |parts, rng| {
        on(parts, rng, |a| !a.nonces.is_empty(), |a, rng| drop_row(&mut a.nonces, rng))
    }),
    ("nonce: add", Part::List, |parts, rng| {
        let last = last_index(parts);
        let mut added = false;
        on(
            parts,
            rng,
            |_| true,
            |a, rng| {
                let value = rng.below(3) as u64;
                added = add_row(&mut a.nonces, last, rng, value);
            },
        );
        added
    }),
    ("nonce: index", Part::List, |parts, rng| {
        let last = last_index(parts);
        let mut moved = false;
        on(parts, rng, |a| !a.nonces.is_empty(), |a, rng| moved = shift_row(&mut a.nonces, last, rng));
        moved
    }),
    // Codes.
    ("code: byte", Part::List, |parts, rng| {
        on(
            parts,
            rng,
            |a| a.codes.iter().any(|code| !code.1.is_empty()),
            |a, rng| {
                let long: Vec<usize> = (0..a.codes.len()).filter(|at| !a.codes[*at].1.is_empty()).collect();
                let at = long[rng.below(long.len())];
                let mut code = a.codes[at].1.to_vec();
                let byte = rng.below(code.len());
                code[byte] ^= 1 << rng.below(8);
                a.codes[at].1 = code.into();
            },
        )
    }),
    ("code: cut or grown", Part::List, |parts, rng| {
        on(
            parts,
            rng,
            |a| !a.codes.is_empty(),
            |a, rng| {
                edit(&mut a.codes, rng, |code, rng| {
                    let mut bytes = code.to_vec();
                    if rng.below(2) == 0 || bytes.is_empty() {
                        bytes.push(0);
                    } else {
                        bytes.pop();
                    }
                    *code = bytes.into();
                });
            },
        )
    }),
    ("code: empty", Part::List, |parts, rng| {
        on(
            parts,
            rng,
            |a| a.codes.iter().any(|code| !code.1.is_empty()),
            |a, rng| {
                edit(&mut a.codes, rng, |code, _| *code = Bytes::new());
            },
        )
    }),
    ("code: reserved prefix", Part::List, |parts, rng| {
        let index = any_index(parts, rng);
        on(
            parts,
            rng,
            |a| a.codes.is_empty(),
            |a, rng| {
                let code: Vec<u8> = match rng.below(3) {
                    0 => vec![0xef],
                    1 => vec![0xef; 23],
                    _ => [&[0xef, 0x01, 0x01][..], &[7; 20]].concat(),
                };
                a.codes.push((index, code.into()));
            },
        )
    }),
    ("code: a delegation out of nothing", Part::List, |parts, rng| {
        let index = any_index(parts, rng);
        on(
            parts,
            rng,
            |a| a.codes.is_empty(),
            |a, rng| {
                let code = [&[0xef, 0x01, 0x00][..], &[rng.below(256) as u8; 20]].concat();
                a.codes.push((index, code.into()));
            },
        )
    }),
    ("code: too long", Part::List, |parts, rng| {
        let index = any_index(parts, rng);
        on(parts, rng, |a| a.codes.is_empty(), |a, _| a.codes.push((index, vec![0x5b; 65_537].into())))
    }),
    ("code: drop", Part::List, |parts, rng| {
        on(parts, rng, |a| !a.codes.is_empty(), |a, rng| drop_row(&mut a.codes, rng))
    }),
    ("code: index", Part::List, |parts, rng| {
        let last = last_index(parts);
        let mut moved = false;
        on(parts, rng, |a| !a.codes.is_empty(), |a, rng| moved = shift_row(&mut a.codes, last, rng));
        moved
    }),
    // Any part.
    ("index: beyond the block", Part::List, |parts, rng| {
        let beyond = last_index(parts) + 1;
        on(
            parts,
            rng,
            |a| !a.balances.is_empty(),
            |a, rng| {
                let high = [beyond, u64::from(u32::MAX), u64::MAX][rng.below(3)];
                a.balances.push((high, U256::ONE));
            },
        )
    }),
    ("list: empty", Part::List, |parts, _| {
        let had = !parts.list.is_empty();
        parts.list.clear();
        had
    }),
    // Bytes.
    ("bytes: flip a bit", Part::List, |parts, rng| {
        raw(parts, |bytes| {
            let at = rng.below(bytes.len());
            bytes[at] ^= 1 << rng.below(8);
            true
        })
    }),
    ("bytes: cut", Part::List, |parts, rng| {
        raw(parts, |bytes| {
            bytes.truncate(rng.below(bytes.len()));
            true
        })
    }),
    ("bytes: append", Part::List, |parts, rng| {
        raw(parts, |bytes| {
            bytes.push(rng.below(256) as u8);
            true
        })
    }),
    ("bytes: remove one", Part::List, |parts, rng| {
        raw(parts, |bytes| {
            bytes.remove(rng.below(bytes.len()));
            true
        })
    }),
    ("bytes: insert one", Part::List, |parts, rng| {
        raw(parts, |bytes| {
            let at = rng.below(bytes.len());
            bytes.insert(at, rng.below(256) as u8);
            true
        })
    }),
    // Header.
    ("header: list hash", Part::Header, |parts, rng| {
        parts.header.block_access_list_hash = Some(B256::from(rng.word()));
        true
    }),
    ("header: state root", Part::Header, |parts, rng| {
        parts.header.state_root = B256::from(rng.word());
        true
    }),
    ("header: receipts root", Part::Header, |parts, rng| {
        parts.header.receipts_root = B256::from(rng.word());
        true
    }),
    ("header: logs bloom", Part::Header, |parts, rng| {
        let mut bloom = parts.header.logs_bloom.0.0;
        bloom[rng.below(256)] ^= 1 << rng.below(8);
        parts.header.logs_bloom = Bloom::from(bloom);
        true
    }),
    ("header: requests hash", Part::Header, |parts, rng| {
        parts.header.requests_hash = Some(B256::from(rng.word()));
        true
    }),
    ("header: gas used", Part::Header, |parts, rng| {
        let used = parts.header.gas_used;
        parts.header.gas_used = if rng.below(2) == 0 { used + 1 } else { used.saturating_sub(1) };
        true
    }),
    ("header: gas limit", Part::Header, |parts, rng| {
        let limit = parts.header.gas_limit;
        let step = limit / 1024;
        let new = [limit + 1, limit.wrapping_sub(1), limit + step, limit.wrapping_sub(step), parts.header.gas_used];
        parts.header.gas_limit = new[rng.below(5)];
        true
    }),
    ("header: transactions root", Part::Header, |parts, rng| {
        parts.header.transactions_root = B256::from(rng.word());
        true
    }),
    ("header: withdrawals root", Part::Header, |parts, rng| {
        parts.header.withdrawals_root = Some(B256::from(rng.word()));
        true
    }),
    ("header: parent hash", Part::Header, |parts, rng| {
        parts.header.parent_hash = B256::from(rng.word());
        true
    }),
    ("header: number", Part::Header, |parts, rng| {
        parts.header.number = [parts.header.number + 1, 0, u64::MAX][rng.below(3)];
        true
    }),
    ("header: timestamp", Part::Header, |parts, rng| {
        let time = parts.header.timestamp;
        parts.header.timestamp = [time + 1, 0, time.wrapping_sub(1), u64::MAX][rng.below(4)];
        true
    }),
    ("header: base fee", Part::Header, |parts, rng| {
        let fee = parts.header.base_fee.unwrap_or_default();
        parts.header.base_fee = [Some(fee + 1), Some(0), Some(u64::MAX)][rng.below(3)];
        true
    }),
    ("header: blob gas", Part::Header, |parts, rng| {
        let (used, excess) = (parts.header.blob_gas_used, parts.header.excess_blob_gas);
        match rng.below(3) {
            0 => parts.header.blob_gas_used = used.map(|used| used + 131_072),
            1 => parts.header.excess_blob_gas = excess.map(|excess| excess + 1),
            _ => parts.header.excess_blob_gas = Some(u64::MAX),
        }
        true
    }),
    ("header: beacon root", Part::Header, |parts, rng| {
        parts.header.parent_beacon_root = Some(B256::from(rng.word()));
        true
    }),
    ("header: coinbase", Part::Header, |parts, rng| {
        parts.header.coinbase = special_address(rng);
        true
    }),
    ("header: slot number or randomness", Part::Header, |parts, rng| {
        if rng.below(2) == 0 {
            parts.header.slot_number = Some(rng.next());
        } else {
            parts.header.mix_hash = B256::from(rng.word());
        }
        true
    }),
    ("header: extra data", Part::Header, |parts, rng| {
        parts.header.extra_data = vec![1; rng.below(40)].into();
        true
    }),
    ("header: proof of work", Part::Header, |parts, rng| {
        match rng.below(3) {
            0 => parts.header.difficulty = U256::ONE,
            1 => parts.header.nonce.0[7] ^= 1,
            _ => parts.header.ommers_hash = B256::from(rng.word()),
        }
        true
    }),
    // Body.
    ("body: drop a transaction", Part::Body, |parts, rng| {
        let Some(at) = rng.pick(&parts.transactions) else { return false };
        parts.transactions.remove(at);
        true
    }),
    ("body: a transaction twice", Part::Body, |parts, rng| {
        let Some(at) = rng.pick(&parts.transactions) else { return false };
        let copy = parts.transactions[at].clone();
        parts.transactions.insert(at, copy);
        true
    }),
    ("body: swap two transactions", Part::Body, |parts, rng| {
        let (Some(a), Some(b)) = (rng.pick(&parts.transactions), rng.pick(&parts.transactions)) else { return false };
        parts.transactions.swap(a, b);
        parts.transactions[a] != parts.transactions[b]
    }),
    ("body: flip a bit of a transaction", Part::Body, |parts, rng| {
        let Some(at) = rng.pick(&parts.transactions) else { return false };
        let byte = rng.below(parts.transactions[at].len());
        parts.transactions[at][byte] ^= 1 << rng.below(8);
        true
    }),
    ("body: drop a withdrawal", Part::Body, |parts, rng| {
        let Some(at) = rng.pick(&parts.withdrawals) else { return false };
        parts.withdrawals.remove(at);
        true
    }),
    ("body: add a withdrawal of nothing", Part::Body, |parts, rng| {
        let mut payload = vec![0x01, 0x01, 0x94];
        payload.extend_from_slice(special_address(rng).as_slice());
        payload.push(0x80);
        let mut withdrawal = vec![0xc0 + payload.len() as u8];
        withdrawal.extend(payload);
        parts.withdrawals.push(withdrawal);
        true
    }),
];
