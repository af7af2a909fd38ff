//! Formats a list as human-readable text.
//!
//! In: columns. Out: one paragraph per account.
//! Not here: colours and tables of the command line.

use super::{BalColumns, Changes};
use crate::arena::{AccountId, Id};
use core::fmt;

/// A list as human-readable text: per account its changes, one per line with their block access
/// index, and its reads.
pub fn show(columns: &BalColumns) -> impl fmt::Display + '_ {
    Shown(columns)
}

struct Shown<'a>(&'a BalColumns);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bal = self.0;
        let (slots, reads) = (bal.slot_count(), bal.read_count());
        writeln!(
            f,
            "{} accounts, {slots} slots ({} changed, {reads} read), {} changes",
            bal.account_count(),
            slots - reads,
            bal.change_count()
        )?;
        if bal.change_count() > 0 {
            writeln!(
                f,
                "index 0: before the transactions; index n: transaction n-1; the index after them: end of the block"
            )?;
        }
        for (account, address) in bal.addresses.iter() {
            writeln!(f, "\n{address}")?;
            for slot in bal.slots(account).filter(|slot| !bal.is_read_only(*slot)) {
                let name = format!("slot {:#x} =", bal.slot_keys[slot]);
                changes(f, &name, &bal.storage, slot, |f, value| write!(f, "{value:#x}"))?;
            }
            let reads: Vec<_> = bal.slots(account).filter(|slot| bal.is_read_only(*slot)).collect();
            if !reads.is_empty() {
                write!(f, "  reads")?;
                for slot in reads {
                    write!(f, " {:#x}", bal.slot_keys[slot])?;
                }
                writeln!(f)?;
            }
            account_changes(f, bal, account)?;
        }
        Ok(())
    }
}

fn account_changes(f: &mut fmt::Formatter<'_>, bal: &BalColumns, account: AccountId) -> fmt::Result {
    changes(f, "balance", &bal.balances, account, |f, wei| write!(f, "{wei} wei"))?;
    changes(f, "nonce", &bal.nonces, account, |f, nonce| write!(f, "{nonce}"))?;
    changes(f, "code", &bal.codes, account, |f, range| {
        let code = &bal.blob[range.start as usize..(range.start + range.len) as usize];
        match code {
            [] => f.write_str("none"),
            [0xef, 0x01, 0x00, target @ ..] if target.len() == 20 => {
                write!(f, "delegation to 0x{}", alloy_primitives::hex::encode(target))
            }
            _ => write!(f, "{} bytes", code.len()),
        }
    })
}

/// Writes one line per change of a field.
fn changes<P: Id, V>(
    f: &mut fmt::Formatter<'_>,
    name: &str,
    list: &Changes<P, V>,
    parent: P,
    value: impl Fn(&mut fmt::Formatter<'_>, &V) -> fmt::Result,
) -> fmt::Result {
    for (index, new_value) in list.iter(parent) {
        write!(f, "  index {}: {name} ", index.0)?;
        value(f, new_value)?;
        writeln!(f)?;
    }
    Ok(())
}
