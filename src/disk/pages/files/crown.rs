//! The units of a checkpoint: snapshots of 32 parts of them, and deltas.
//!
//! In: changed units, in the order of their keys. Out: files, each written once, and all units of a part.
//! Each checkpoint writes one delta with what it changes, and the snapshot of the part whose snapshot is oldest. So the
//! work of a checkpoint is bounded by its changes and a 32nd of all units, and a delta is needed for at most 32
//! checkpoints.
//!
//! ```text
//! crown.part.P.N    snapshot of part P at checkpoint N: its units
//! crown.delta.N     for each part the length and the checksum of its section; the sections: changed units
//! ```

use crate::arena::input::Input;
use crate::disk::error::DiskError;
use crate::disk::files::{File, Files};
use crate::disk::pages::encoding::{put_unit, unit};
use crate::disk::pages::{PARTS, UnitKey, UnitPlace, part_of};
use crate::disk::sum::{StoreId, extend};
use std::sync::Arc;

/// Prefix of the names of all files of this module.
pub(super) const PREFIX: &str = "crown.";
/// Bytes of the table at the start of a delta.
const TABLE_BYTES: usize = 12 * PARTS;

/// A file: the checkpoint that wrote it, its length, and a checksum. Without checkpoint (0) it does not exist.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Run {
    pub sequence: u64,
    pub bytes: u64,
    /// Of the whole snapshot; of the table of a delta.
    pub sum: u32,
}

/// A unit with its new place; `None` if it was removed.
pub(super) type Change = (UnitKey, Option<UnitPlace>);

pub(super) fn part_name(part: usize, sequence: u64) -> String {
    format!("{PREFIX}part.{part:02}.{sequence}")
}

pub(super) fn delta_name(sequence: u64) -> String {
    format!("{PREFIX}delta.{sequence}")
}

/// Writes units in the order of their keys.
fn encode<'a>(units: impl Iterator<Item = (&'a UnitKey, Option<&'a UnitPlace>)>) -> Vec<u8> {
    let mut out = Vec::new();
    let mut owner = None;
    for (key, place) in units {
        put_unit(&mut out, owner, key, place);
        owner = key.owner;
    }
    out
}

fn decode(bytes: &[u8], file: &dyn File, start: u64, out: &mut Vec<Change>) -> Result<(), DiskError> {
    let mut input = Input(bytes);
    let mut owner = None;
    while !input.0.is_empty() {
        let place = start + (bytes.len() - input.0.len()) as u64;
        let change = unit(&mut input, owner).ok_or_else(|| DiskError::damaged(file.name(), place, "no unit"))?;
        owner = change.0.owner;
        out.push(change);
    }
    Ok(())
}

fn write(files: &dyn Files, name: &str, content: &[u8]) -> Result<(), DiskError> {
    let file = files.create(name)?;
    file.write_at(0, content)?;
    file.sync()
}

/// Writes the delta of a checkpoint. `changes` are in the order of their keys.
pub(super) fn write_delta(
    files: &dyn Files,
    store: &StoreId,
    sequence: u64,
    changes: &[Change],
) -> Result<Run, DiskError> {
    let mut content = vec![0; TABLE_BYTES];
    for (part, changes) in (0..PARTS).zip(sections(changes)) {
        let section = encode(changes.iter().map(|(key, place)| (key, place.as_ref())));
        let sum = extend(store.sum("delta", &[sequence, part as u64]), &section);
        content[12 * part..][..8].copy_from_slice(&(section.len() as u64).to_le_bytes());
        content[12 * part + 8..][..4].copy_from_slice(&sum.to_le_bytes());
        content.extend(section);
    }
    let sum = extend(store.sum("table", &[sequence]), &content[..TABLE_BYTES]);
    write(files, &delta_name(sequence), &content)?;
    Ok(Run { sequence, bytes: content.len() as u64, sum })
}

/// The changes of each part.
fn sections(changes: &[Change]) -> impl Iterator<Item = &[Change]> {
    let mut rest = changes;
    (0..PARTS).map(move |part| {
        let (section, after) = rest.split_at(rest.partition_point(|(key, _)| part_of(key) <= part));
        rest = after;
        section
    })
}

/// Writes the snapshot of a part.
pub(super) fn write_part(
    files: &dyn Files,
    store: &StoreId,
    sequence: u64,
    part: usize,
    units: &[(UnitKey, UnitPlace)],
) -> Result<Run, DiskError> {
    let content = encode(units.iter().map(|(key, place)| (key, Some(place))));
    let sum = extend(store.sum("part", &[sequence, part as u64]), &content);
    write(files, &part_name(part, sequence), &content)?;
    Ok(Run { sequence, bytes: content.len() as u64, sum })
}

/// The open files of a checkpoint. Removing their names does not disturb them.
#[derive(Debug)]
pub(super) struct Crown {
    store: StoreId,
    parts: Vec<Option<(Run, Arc<dyn File>)>>,
    deltas: Vec<Delta>,
}

#[derive(Debug)]
struct Delta {
    sequence: u64,
    file: Arc<dyn File>,
    /// Start, length and checksum of each section.
    sections: Vec<(u64, u64, u32)>,
}

impl Crown {
    /// Opens the files of a checkpoint and checks their lengths.
    pub(super) fn open(
        files: &dyn Files,
        store: StoreId,
        parts: &[Run; PARTS],
        deltas: &[Run],
    ) -> Result<Self, DiskError> {
        let open = |name: &str, run: &Run| {
            let file = files.open(name)?;
            let bytes = file.bytes()?;
            let right = bytes == run.bytes;
            if right { Ok(file) } else { Err(DiskError::damaged(name, bytes.min(run.bytes), "the length is wrong")) }
        };
        let parts = parts.iter().enumerate().map(|(part, run)| {
            let exists = run.sequence > 0;
            exists.then(|| Ok((*run, open(&part_name(part, run.sequence), run)?))).transpose()
        });
        let parts = parts.collect::<Result<_, DiskError>>()?;
        let delta = |run: &Run| {
            let file = open(&delta_name(run.sequence), run)?;
            let mut table = [0; TABLE_BYTES];
            file.read_at(0, &mut table)?;
            let sections = table_of(&store, run, &table);
            let sections = sections.ok_or_else(|| DiskError::damaged(file.name(), 0, "the table is wrong"))?;
            Ok(Delta { sequence: run.sequence, file, sections })
        };
        Ok(Self { store, parts, deltas: deltas.iter().map(delta).collect::<Result<_, DiskError>>()? })
    }

    /// All units of a part, in the order of their keys.
    pub(super) fn part(&self, part: usize) -> Result<Vec<(UnitKey, UnitPlace)>, DiskError> {
        let mut changes = Vec::new();
        let mut last = 0;
        if let Some((run, file)) = &self.parts[part] {
            let seed = self.store.sum("part", &[run.sequence, part as u64]);
            section(&**file, 0, run.bytes, seed, run.sum, &mut changes)?;
            last = run.sequence;
        }
        for delta in self.deltas.iter().filter(|delta| delta.sequence > last) {
            let (start, bytes, sum) = delta.sections[part];
            let seed = self.store.sum("delta", &[delta.sequence, part as u64]);
            section(&*delta.file, start, bytes, seed, sum, &mut changes)?;
        }
        // The sort is stable: of the changes of one unit, the last one comes last.
        changes.sort_by_key(|(key, _)| *key);
        let mut units = Vec::with_capacity(changes.len());
        for (i, (key, place)) in changes.iter().enumerate() {
            let is_last = changes.get(i + 1).is_none_or(|(next, _)| next != key);
            units.extend(place.filter(|_| is_last).map(|place| (*key, place)));
        }
        Ok(units)
    }
}

/// Start, length and checksum of each section; `None` if the table is not the one that `run` names.
fn table_of(store: &StoreId, run: &Run, table: &[u8; TABLE_BYTES]) -> Option<Vec<(u64, u64, u32)>> {
    let mut input = Input(table);
    let mut at = TABLE_BYTES as u64;
    let mut sections = Vec::with_capacity(PARTS);
    for _ in 0..PARTS {
        let (bytes, sum) = (input.u64()?, input.u32()?);
        sections.push((at, bytes, sum));
        at = at.checked_add(bytes)?;
    }
    let sum = extend(store.sum("table", &[run.sequence]), table);
    (sum == run.sum && at == run.bytes).then_some(sections)
}

/// Reads the units between two offsets of a file whose length was checked.
fn section(
    file: &dyn File,
    start: u64,
    bytes: u64,
    seed: u32,
    sum: u32,
    out: &mut Vec<Change>,
) -> Result<(), DiskError> {
    let mut content = vec![0; bytes as usize];
    file.read_at(start, &mut content)?;
    if extend(seed, &content) != sum {
        return Err(DiskError::damaged(file.name(), start, "the checksum of the units is wrong"));
    }
    decode(&content, file, start, out)
}
