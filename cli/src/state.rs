//! `balustrade state`: accounts and slots at any place of a chain, who changed them, and what differs between two places.
//!
//! In: a chain ([`PastArgs`]), positions (`N`: after block N; `N:INDEX`: within it), names. Out: values, changes with the
//! transaction that made them, differences.
//! Nothing is executed where blocks have lists: values within a block are what its list says, and the state root after each
//! block is compared with its header.
//! Not here: the head of a store with proofs (`get`).

use super::engine::OwnedList;
use super::past::{PastArgs, Position, within};
use super::{Status, interrupt, report};
use alloy_primitives::{Address, B256, U256, keccak256};
use balustrade::arena::store::{ParentAccount, SlotQuery, StateStore};
use balustrade::arena::{BlockAccessIndex, TxIndex};
use balustrade::errors::MismatchField;
use balustrade::exec::wire::Block;
use balustrade::outcome::FieldChange;
use balustrade::{StateWithin, StoreError};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

/// Text below the help of `state`.
pub const EXAMPLES: &str = "Examples:
  balustrade state get 0x00000000219ab540356cBB839Cbe05303d7705Fa 0x0 --at 120:4 --blocks chain/
  balustrade state history 0x00000000219ab540356cBB839Cbe05303d7705Fa --store db
  balustrade state diff 120 120:4 --store db --json";

/// What to look at.
#[derive(Debug, Subcommand)]
pub enum StateCommand {
    /// Show an account and slots at a place of the chain
    Get(GetArgs),
    /// Show every change of an account or of some of its slots, with the transaction that made it
    History(HistoryArgs),
    /// Show what differs between two places of the chain
    Diff(DiffArgs),
}

/// Options of `state get`.
#[derive(Debug, Args)]
pub struct GetArgs {
    /// The account
    #[arg(value_name = "ADDRESS")]
    address: Address,
    /// Keys of its slots, as in SLOAD
    #[arg(value_name = "SLOT")]
    slots: Vec<U256>,
    /// Where: `N` is after block N, `N:INDEX` before the task at this block access index of block N (0: before its system
    /// calls, 1: before its first transaction)
    #[arg(long, value_name = "N[:INDEX]", value_parser = Position::parse)]
    at: Position,
    #[command(flatten)]
    past: PastArgs,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Options of `state history`.
#[derive(Debug, Args)]
pub struct HistoryArgs {
    /// The account
    #[arg(value_name = "ADDRESS")]
    address: Address,
    /// Keys of slots, as in SLOAD; without any, all fields and slots of the account
    #[arg(value_name = "SLOT")]
    slots: Vec<U256>,
    /// First block; by default the first of the chain
    #[arg(long, value_name = "N")]
    from: Option<u64>,
    /// Last block; by default the last of the chain
    #[arg(long, value_name = "N")]
    to: Option<u64>,
    #[command(flatten)]
    past: PastArgs,
    /// Print one JSON object per change, the last line `{"summary": {...}}`
    #[arg(long)]
    json: bool,
}

/// Options of `state diff`.
#[derive(Debug, Args)]
pub struct DiffArgs {
    /// The first place: `N` is after block N, `N:INDEX` within it
    #[arg(value_name = "A", value_parser = Position::parse)]
    a: Position,
    /// The second place, not before the first
    #[arg(value_name = "B", value_parser = Position::parse)]
    b: Position,
    /// Only these accounts
    #[arg(long, value_name = "ADDRESS", num_args = 1..)]
    only: Vec<Address>,
    #[command(flatten)]
    past: PastArgs,
    /// Print one JSON object per difference, the last line `{"summary": {...}}`
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn main(command: &StateCommand) -> Status {
    if let Err(status) = interrupt::install() {
        return status;
    }
    let done = match command {
        StateCommand::Get(args) => get(args),
        StateCommand::History(args) => history(args),
        StateCommand::Diff(args) => diff(args),
    };
    Status::of(done)
}

/// A value of the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Field {
    /// Whether the account exists.
    Exists,
    /// Its nonce.
    Nonce,
    /// Its balance in wei.
    Balance,
    /// keccak256 of the code.
    CodeHash,
    /// The slot with this key.
    Slot(U256),
}

impl Field {
    /// The fields of an account with their values.
    fn of_account(account: &ParentAccount) -> [(Self, U256); 4] {
        [
            (Self::Exists, U256::from(u8::from(account.exists))),
            (Self::Nonce, U256::from(account.nonce)),
            (Self::Balance, account.balance),
            (Self::CodeHash, account.code_hash.into()),
        ]
    }

    /// The field that a task changed.
    pub fn of_change(change: &FieldChange) -> Self {
        match (change.slot, change.field) {
            (Some(slot), _) => Self::Slot(slot),
            (None, MismatchField::Nonce) => Self::Nonce,
            (None, MismatchField::Code) => Self::CodeHash,
            (None, _) => Self::Balance,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Exists => "exists",
            Self::Nonce => "nonce",
            Self::Balance => "balance",
            Self::CodeHash => "code_hash",
            Self::Slot(_) => "slot",
        }
    }

    fn text(self, value: U256) -> String {
        match self {
            Self::Exists => if value.is_zero() { "no" } else { "yes" }.to_owned(),
            Self::Nonce | Self::Balance => value.to_string(),
            Self::CodeHash => B256::from(value).to_string(),
            Self::Slot(_) => format!("{value:#x}"),
        }
    }

    fn json(self, value: U256) -> Value {
        match self {
            Self::Exists => json!(!value.is_zero()),
            Self::Nonce => json!(u64::try_from(value).unwrap_or(u64::MAX)),
            Self::CodeHash => json!(B256::from(value)),
            _ => json!(value),
        }
    }

    /// Adds the field and its values to a JSON object.
    pub fn add_to(self, row: &mut Value, before: U256, after: U256) {
        row["field"] = json!(self.name());
        if let Self::Slot(key) = self {
            row["slot"] = json!(key);
        }
        (row["before"], row["after"]) = (self.json(before), self.json(after));
    }

    /// The change as text; in three lines where one is too long.
    pub fn change(self, before: U256, after: U256) -> String {
        let name = match self {
            Self::Slot(key) => format!("slot {key:#x}"),
            Self::CodeHash => "code hash".to_owned(),
            field => field.name().to_owned(),
        };
        let (before, after) = (self.text(before), self.text(after));
        match name.len() + before.len() + after.len() {
            0..=88 => format!("  {name}: {before} -> {after}"),
            _ => format!("  {name}:\n       {before}\n    -> {after}"),
        }
    }
}

fn account_of(state: &dyn StateStore, address: Address) -> Result<ParentAccount, StoreError> {
    let mut out = [ParentAccount::default()];
    state.accounts(&[address], &mut out)?;
    Ok(out[0])
}

fn slots_of(state: &dyn StateStore, address: Address, keys: &[U256]) -> Result<Vec<U256>, StoreError> {
    let queries: Vec<SlotQuery> = keys.iter().map(|key| SlotQuery { address, key: *key }).collect();
    let mut out = vec![U256::ZERO; keys.len()];
    state.slots(&queries, &mut out)?;
    Ok(out)
}

fn get(args: &GetArgs) -> Result<(), String> {
    let first = args.at.block.saturating_add(u64::from(args.at.index == u32::MAX));
    let mut past = args.past.open(args.past.store.is_some().then_some(first), Some(args.at.block))?;
    let read =
        |state: &dyn StateStore| Ok((account_of(state, args.address)?, slots_of(state, args.address, &args.slots)?));
    let (account, values) = past.at(args.at, read)?;
    if args.json {
        let mut value = json!({"address": args.address, "block": args.at.block});
        value["index"] = if args.at.index == u32::MAX { Value::Null } else { json!(args.at.index) };
        for (field, found) in Field::of_account(&account) {
            value[field.name()] = field.json(found);
        }
        let slot = |(key, found): (&U256, U256)| json!({"key": key, "value": found});
        value["slots"] = args.slots.iter().zip(values).map(slot).collect();
        report::json_line(&json!({"summary": value}));
        return Ok(());
    }
    report::line(&format!("{} {}", args.address, args.at));
    for (field, found) in Field::of_account(&account) {
        report::line(&format!("  {}: {}", field.name().replace('_', " "), field.text(found)));
    }
    for (key, found) in args.slots.iter().zip(values) {
        report::line(&format!("  slot {key:#x}: {found:#x}"));
    }
    Ok(())
}

/// The changes of one account in one block.
fn changes_of(
    state: &mut StateWithin<'_>,
    address: Address,
    slots: &[U256],
) -> Result<Vec<(u32, Field, U256, U256)>, StoreError> {
    let mut found = Vec::new();
    let list = state.list();
    let Some(account) = list.find(&address) else { return Ok(found) };
    let (mut indices, mut keys) = (BTreeSet::new(), Vec::new());
    if slots.is_empty() {
        indices.extend(list.balances().indices(account));
        indices.extend(list.nonces().indices(account));
    }
    // A new code can also mean that storage is cleared (before Cancun).
    indices.extend(list.codes().indices(account));
    for slot in list.slots(account).filter(|slot| slots.is_empty() || slots.contains(&list.slot_keys()[*slot])) {
        indices.extend(list.storage().indices(slot));
        keys.push(list.slot_keys()[slot]);
    }
    let values = |state: &StateWithin<'_>| -> Result<BTreeMap<Field, U256>, StoreError> {
        let account = account_of(state, address)?;
        let fields = Field::of_account(&account).into_iter().filter(|_| slots.is_empty());
        let slots = keys.iter().copied().map(Field::Slot).zip(slots_of(state, address, &keys)?);
        Ok(fields.chain(slots).collect())
    };
    for index in indices {
        state.index = index;
        let before = values(state)?;
        state.index = BlockAccessIndex(index.0 + 1);
        let after = values(state)?;
        let changed = before.into_iter().zip(after.into_values()).filter(|((_, before), after)| before != after);
        found.extend(changed.map(|((field, before), after)| (index.0, field, before, after)));
    }
    Ok(found)
}

/// Who runs at an index of a block: a transaction with its hash, or the system.
pub struct Cause {
    transaction: Option<(u32, B256)>,
    /// The block access index.
    pub index: u32,
}

impl Cause {
    /// The cause of what happens at an index.
    pub fn new(block: &Block, index: u32) -> Self {
        let tx = index.checked_sub(1).filter(|tx| (*tx as usize) < block.transactions.len());
        let transaction = tx.map(|tx| (tx, keccak256(block.transactions.encoded(TxIndex(tx)))));
        Self { transaction, index }
    }

    /// Whether it is a transaction.
    pub fn is_transaction(&self) -> bool {
        self.transaction.is_some()
    }

    /// Index in the block and hash of the transaction; null for system calls.
    pub fn json(&self) -> Value {
        self.transaction.map_or(Value::Null, |(index, hash)| json!({"index": index, "hash": hash}))
    }

    /// In words.
    pub fn text(&self) -> String {
        match (self.transaction, self.index) {
            (Some((tx, hash)), _) => format!("transaction {tx} {hash}"),
            (None, 0) => "before the transactions".to_owned(),
            (None, _) => "after the transactions".to_owned(),
        }
    }
}

fn history(args: &HistoryArgs) -> Result<(), String> {
    let mut past = args.past.open(args.from, args.to)?;
    let (from, to) = (past.head() + 1, args.to.unwrap_or(past.last()));
    let mut count = 0u64;
    for number in from..=to {
        let list = past.list(number)?;
        let block = past.block(number)?;
        let (fork, body) = (past.rules(&block.header).fork, block.item.block.clone());
        let mut state = within(past.chain.store(), fork, &list, 0)?;
        let changes = changes_of(&mut state, args.address, &args.slots).map_err(|error| error.to_string())?;
        if changes.is_empty() {
            continue;
        }
        count += changes.len() as u64;
        let block = Block::decode(body).map_err(|error| format!("block {number}: {error}"))?;
        for same in changes.chunk_by(|a, b| a.0 == b.0) {
            let cause = Cause::new(&block, same[0].0);
            if !args.json {
                report::line(&format!("block {number}, index {}: {}", cause.index, cause.text()));
            }
            for (_, field, before, after) in same {
                if args.json {
                    let mut row = json!({"block": number, "index": cause.index, "transaction": cause.json()});
                    field.add_to(&mut row, *before, *after);
                    report::json_line(&row);
                } else {
                    report::line(&field.change(*before, *after));
                }
            }
        }
    }
    // The root after the last block proves what its list said.
    past.advance_to(to.max(from - 1))?;
    let (blocks, first) = (to.saturating_sub(from - 1), from);
    if args.json {
        report::json_line(&json!({"summary": {
            "address": args.address, "from": first, "to": to, "blocks": blocks, "changes": count,
        }}));
    } else {
        let (changes, blocks) = (report::counted(count, "change"), report::counted(blocks, "block"));
        report::line(&format!("{changes} in {blocks}, {first} to {to}"));
    }
    Ok(())
}

/// The values at the first place of everything that changed since.
type Before = BTreeMap<Address, (ParentAccount, BTreeMap<U256, U256>)>;

/// Adds to `before` what a list changes at the indices from that of `state` up to `end`.
fn note_changes(state: &StateWithin<'_>, end: u32, only: &[Address], before: &mut Before) -> Result<(), StoreError> {
    let (list, start) = (state.list(), state.index);
    let is_within = |indices: &[BlockAccessIndex]| indices.iter().any(|index| *index >= start && index.0 < end);
    for account in list.addresses().ids() {
        let address = list.addresses()[account];
        if !only.is_empty() && !only.contains(&address) {
            continue;
        }
        let changed_slots = list.slots(account).filter(|slot| is_within(list.storage().indices(*slot)));
        let keys: Vec<U256> = changed_slots.map(|slot| list.slot_keys()[slot]).collect();
        let is_changed = is_within(list.balances().indices(account))
            || is_within(list.nonces().indices(account))
            || is_within(list.codes().indices(account));
        if !is_changed && keys.is_empty() {
            continue;
        }
        let (_, slots) = match before.entry(address) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert((account_of(state, address)?, BTreeMap::new())),
        };
        let new: Vec<U256> = keys.into_iter().filter(|key| !slots.contains_key(key)).collect();
        let values = slots_of(state, address, &new)?;
        slots.extend(new.into_iter().zip(values));
    }
    Ok(())
}

fn diff(args: &DiffArgs) -> Result<(), String> {
    let DiffArgs { a, b, only, .. } = args;
    if b < a {
        return Err(format!("the second place is {b}, which is not behind {a}"));
    }
    // The first block whose changes can be between the two places.
    let first = a.block.saturating_add(u64::from(a.index == u32::MAX));
    let mut past = args.past.open(args.past.store.is_some().then_some(first), Some(b.block))?;
    let mut before = Before::new();
    for number in first..=b.block {
        let list: OwnedList = past.list(number)?;
        let fork = past.rules(&past.block(number)?.header).fork;
        let start = if number == a.block { a.index } else { 0 };
        let end = if number == b.block { b.index } else { u32::MAX };
        let state = within(past.chain.store(), fork, &list, start)?;
        note_changes(&state, end, only, &mut before).map_err(|error| error.to_string())?;
    }
    let read = |state: &dyn StateStore| {
        let mut rows = Vec::new();
        for (address, (account, slots)) in &before {
            let after = Field::of_account(&account_of(state, *address)?);
            let fields = Field::of_account(account).into_iter().zip(after);
            let keys: Vec<U256> = slots.keys().copied().collect();
            let after = slots_of(state, *address, &keys)?;
            let slots = slots.iter().zip(after).map(|((key, before), after)| {
                let field = Field::Slot(*key);
                ((field, *before), (field, after))
            });
            let changed = fields.chain(slots).filter(|((_, before), (_, after))| before != after);
            rows.extend(changed.map(|((field, before), (_, after))| (*address, field, before, after)));
        }
        Ok(rows)
    };
    let rows = past.at(*b, read)?;
    for same in rows.chunk_by(|a, b| a.0 == b.0) {
        let address = same[0].0;
        if !args.json {
            report::line(&address.to_string());
        }
        for (_, field, before, after) in same {
            if args.json {
                let mut row = json!({"address": address});
                field.add_to(&mut row, *before, *after);
                report::json_line(&row);
            } else {
                report::line(&field.change(*before, *after));
            }
        }
    }
    if args.json {
        report::json_line(&json!({"summary": {"a": a.to_string(), "b": b.to_string(), "differences": rows.len()}}));
    } else {
        report::line(&format!("{} from {a} to {b}", report::counted(rows.len() as u64, "difference")));
    }
    Ok(())
}
