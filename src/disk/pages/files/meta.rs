//! The two slots of the file `meta`, which name everything that a checkpoint consists of.
//!
//! Checkpoint `k` is in slot `k mod 2`, so that a slot is never overwritten by the checkpoint after its own.

use super::crown::Run;
use crate::arena::input::Input;
use crate::disk::error::DiskError;
use crate::disk::pages::Head;
use crate::disk::pages::PARTS;
use crate::disk::pages::encoding::{HEAD_BYTES, head, put_head};
use crate::disk::sum::{StoreId, extend};
use alloy_primitives::Bytes;

/// Bytes of a slot.
pub(super) const SLOT_BYTES: usize = 4096;
/// Most deltas that a slot can name.
pub(super) const DELTAS_MAX: usize = 40;
/// Bytes of a run.
const RUN_BYTES: usize = 20;
/// Greatest length of a header in bytes. Headers of Ethereum have about 600.
const HEADER_MAX: usize = SLOT_BYTES - 4 - HEAD_BYTES - RUN_BYTES * (PARTS + DELTAS_MAX) - 1 - 20 - 2;

/// A checkpoint: its head, and the lengths and checksums of its files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Slot {
    /// Its sequence is 0 in an empty store.
    pub head: Head,
    pub header: Bytes,
    /// Snapshots, one per part.
    pub parts: [Run; PARTS],
    /// Deltas that some snapshot lacks, oldest first.
    pub deltas: Vec<Run>,
    pub index_bytes: u64,
    pub index_sum: u32,
    pub codes_bytes: u64,
}

/// The slot of a checkpoint.
pub(super) fn slot_of(sequence: u64) -> u64 {
    sequence % 2
}

/// Whether a slot has room for a header.
pub(super) fn check_header(header: &[u8]) -> Result<(), DiskError> {
    let too_long = DiskError::TooLong { what: "a header", bytes: header.len(), limit: HEADER_MAX };
    if header.len() > HEADER_MAX { Err(too_long) } else { Ok(()) }
}

impl Slot {
    pub(super) fn encode(&self, store: &StoreId) -> Vec<u8> {
        let mut out = Vec::with_capacity(SLOT_BYTES);
        put_head(&mut out, &self.head);
        out.push(self.deltas.len() as u8);
        for run in self.parts.iter().chain(&self.deltas) {
            out.extend(run.sequence.to_le_bytes());
            out.extend(run.bytes.to_le_bytes());
            out.extend(run.sum.to_le_bytes());
        }
        out.extend(self.index_bytes.to_le_bytes());
        out.extend(self.index_sum.to_le_bytes());
        out.extend(self.codes_bytes.to_le_bytes());
        out.extend((self.header.len() as u16).to_le_bytes());
        out.extend_from_slice(&self.header);
        out.resize(SLOT_BYTES - 4, 0);
        let sum = extend(store.sum("meta", &[slot_of(self.head.sequence)]), &out);
        out.extend(sum.to_le_bytes());
        out
    }

    /// The checkpoint in a slot; `None` if the bytes are no whole slot of this store in this place.
    pub(super) fn decode(store: &StoreId, slot: u64, bytes: &[u8; SLOT_BYTES]) -> Option<Self> {
        let (content, sum) = bytes.split_at(SLOT_BYTES - 4);
        if extend(store.sum("meta", &[slot]), content).to_le_bytes() != sum {
            return None;
        }
        let mut input = Input(content);
        let head = head(&mut input)?;
        let deltas = usize::from(input.u8()?);
        let run = |input: &mut Input<'_>| Some(Run { sequence: input.u64()?, bytes: input.u64()?, sum: input.u32()? });
        let mut parts = [Run::default(); PARTS];
        for part in &mut parts {
            *part = run(&mut input)?;
        }
        let deltas = (0..deltas).map(|_| run(&mut input)).collect::<Option<_>>()?;
        let (index_bytes, index_sum, codes_bytes) = (input.u64()?, input.u32()?, input.u64()?);
        let length = input.u16()?;
        let header = Bytes::copy_from_slice(input.take(length.into())?);
        Some(Self { head, header, parts, deltas, index_bytes, index_sum, codes_bytes })
    }
}
