//! The log of blocks: what was committed since the last checkpoint, and before it as far as it is kept.
//!
//! In: records, appended; the numbers of records, read. Out: each record that was acknowledged, in order, or an error
//! with its place. A record is acknowledged when [`Log::append`] or [`Log::sync`] has returned after a sync.
//! Not here: what the parts of a record hold, and which records a checkpoint needs.
//!
//! Segments are files `log.N`, where `N` is the number of their first record. All numbers are least significant byte
//! first.
//!
//! ```text
//! segment: magic, checksum of the record before, number of the first record, checksum      20 bytes
//! record:  magic, length of the body, number, checksum of the record before, synced, checksum   32 bytes
//!          kind, block number, block hash, number of parts, their lengths, the parts            the body
//!          checksum                                                                              4 bytes
//! ```
//!
//! Each checksum covers the name of the store, the segment and the offset of the record. `synced` is the offset up to
//! which the segment was known to be durable when the record was written. It separates the two reasons for a bad
//! record: one before this offset was complete once and is damaged; one behind it belongs to a group that was never
//! acknowledged, of which a loss of power kept any part.

#[cfg(test)]
mod tests;

use super::error::DiskError;
use super::files::{File, Files};
use super::sum::{StoreId, extend};
use alloy_primitives::{B256, Bytes};
use std::sync::{Arc, OnceLock};

const SEGMENT_MAGIC: [u8; 4] = *b"BLsg";
const RECORD_MAGIC: [u8; 4] = *b"BLrc";
/// Bytes before the first record of a segment.
const SEGMENT_HEADER: usize = 20;
/// Bytes of a record before its body.
const HEADER: usize = 32;
/// Bytes of a checksum.
const SUM: usize = 4;
/// Bytes of a body before the lengths of its parts.
const BODY_START: usize = 42;
/// Greatest length of a body in bytes.
const BODY_MAX: usize = 1 << 30;
/// Prefix of the names of segments.
const PREFIX: &str = "log.";
/// Bytes that are read at once in the search for records behind a bad one.
const SEARCH_BYTES: usize = 1 << 20;

/// What a record says about its block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordKind {
    /// The block was executed on the state before.
    Block,
    /// The changes of the block were undone.
    Revert,
}

/// A record to append.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// What happened.
    pub kind: RecordKind,
    /// Block number.
    pub block: u64,
    /// Block hash.
    pub hash: B256,
    /// Byte strings, at most 255.
    pub parts: &'a [&'a [u8]],
}

/// A record that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Number of the record, counted from 1.
    pub number: u64,
    /// What happened.
    pub kind: RecordKind,
    /// Block number.
    pub block: u64,
    /// Block hash.
    pub hash: B256,
    /// The byte strings.
    pub parts: Vec<Bytes>,
}

/// How a log is written and opened.
#[derive(Clone, Copy, Debug)]
pub struct LogOptions {
    /// Length in bytes above which a segment takes no further record.
    pub segment_bytes: u64,
    /// Records per sync. With more than 1, a loss of power loses the records since the last sync.
    pub group: u32,
    /// Whether a damaged record, all records behind it, and a gap in the log are removed instead of refused.
    pub cut: bool,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self { segment_bytes: 256 << 20, group: 1, cut: false }
    }
}

/// What opening a log found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogOpened {
    /// Bytes removed at the end: a record that was never acknowledged, or what [`LogOptions::cut`] asked to remove.
    pub cut_bytes: u64,
}

/// A log, open for reading and appending.
#[derive(Debug)]
pub struct Log {
    files: Arc<dyn Files>,
    store: StoreId,
    options: LogOptions,
    /// Oldest first, never empty.
    segments: Vec<Segment>,
    /// The last segment, to which records are appended.
    file: Arc<dyn File>,
    /// Offset of the next record in the last segment.
    end: u64,
    /// Offset up to which the last segment is durable.
    synced: u64,
    /// Checksum of the last record.
    sum: u32,
    /// Number of the next record.
    next: u64,
    /// Records since the last sync.
    unsynced: u32,
    /// Whether a write failed; the content of the file is then unknown.
    failed: bool,
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct Segment {
    /// Number of the first record.
    first: u64,
    /// Offset of each record. Empty for segments before the one in which reading began, until a record is read.
    offsets: OnceLock<Vec<u64>>,
}

impl Segment {
    fn new(first: u64) -> Self {
        Self { first, offsets: OnceLock::from(Vec::new()) }
    }
}

fn name(first: u64) -> String {
    format!("{PREFIX}{first:012}")
}

/// The bytes of `bytes` from `at` on, of which there are enough.
fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

/// The first bytes of a record.
#[derive(Clone, Copy, Debug)]
struct Header {
    body: usize,
    number: u64,
    before: u32,
    synced: u64,
    sum: u32,
}

/// What is wrong with bytes that should be a record.
type Fault = &'static str;

/// A whole record in a segment.
#[derive(Debug)]
struct Found {
    header: Header,
    record: Record,
    /// Its checksum.
    sum: u32,
    /// Offset behind it.
    end: u64,
}

/// Reads the records of one segment.
#[derive(Clone, Debug)]
struct Reader {
    file: Arc<dyn File>,
    bytes: u64,
    store: StoreId,
    first: u64,
}

impl Reader {
    fn open(files: &dyn Files, store: StoreId, first: u64) -> Result<Self, DiskError> {
        let file = files.open(&name(first))?;
        Ok(Self { bytes: file.bytes()?, file, store, first })
    }

    /// The checksum of the record before the segment's first one.
    fn before(&self) -> Result<Result<u32, Fault>, DiskError> {
        if self.bytes < SEGMENT_HEADER as u64 {
            return Ok(Err("has no whole header of its segment"));
        }
        let mut bytes = [0; SEGMENT_HEADER];
        self.file.read_at(0, &mut bytes)?;
        let before = u32::from_le_bytes(array(&bytes, 4));
        let is_whole = bytes == segment_header(&self.store, before, self.first);
        Ok(if is_whole { Ok(before) } else { Err("has a bad header of its segment") })
    }

    fn header(&self, offset: u64) -> Result<Result<Header, Fault>, DiskError> {
        if self.bytes.saturating_sub(offset) < HEADER as u64 {
            return Ok(Err("is not complete"));
        }
        let mut bytes = [0; HEADER];
        self.file.read_at(offset, &mut bytes)?;
        let sum = u32::from_le_bytes(array(&bytes, 28));
        let expected = extend(self.store.sum("record", &[self.first, offset]), &bytes[..28]);
        if bytes[..4] != RECORD_MAGIC || sum != expected {
            return Ok(Err("has a bad header"));
        }
        let body = u32::from_le_bytes(array(&bytes, 4)) as usize;
        Ok(Ok(Header {
            body,
            number: u64::from_le_bytes(array(&bytes, 8)),
            before: u32::from_le_bytes(array(&bytes, 16)),
            synced: u64::from_le_bytes(array(&bytes, 20)),
            sum,
        }))
    }

    fn record(&self, offset: u64) -> Result<Result<Found, Fault>, DiskError> {
        let header = match self.header(offset)? {
            Ok(header) => header,
            Err(fault) => return Ok(Err(fault)),
        };
        let start = offset + HEADER as u64;
        let rest = self.bytes - start;
        if (header.body + SUM) as u64 > rest {
            return Ok(Err("is not complete"));
        }
        let mut body = vec![0; header.body + SUM];
        self.file.read_at(start, &mut body)?;
        let sum = u32::from_le_bytes(array(&body, header.body));
        if extend(header.sum, &body[..header.body]) != sum {
            return Ok(Err("has a bad checksum"));
        }
        body.truncate(header.body);
        let end = start + (header.body + SUM) as u64;
        let record = decode(header.number, &body.into());
        Ok(record.map(|record| Found { header, record, sum, end }).ok_or("has a bad body"))
    }

    /// A whole record behind `bad` that was written when the bytes at `bad` were known to be durable.
    fn acknowledged_behind(&self, bad: u64) -> Result<Option<Record>, DiskError> {
        let mut at = bad + 1;
        while self.bytes.saturating_sub(at) >= (HEADER + SUM) as u64 {
            let length = (self.bytes - at).min(SEARCH_BYTES as u64) as usize;
            let mut bytes = vec![0; length];
            self.file.read_at(at, &mut bytes)?;
            for (i, window) in bytes.windows(RECORD_MAGIC.len()).enumerate() {
                if window == RECORD_MAGIC
                    && let Ok(found) = self.record(at + i as u64)?
                    && found.header.synced > bad
                {
                    return Ok(Some(found.record));
                }
            }
            // The magic may begin in the last bytes.
            at += (length - (RECORD_MAGIC.len() - 1)) as u64;
        }
        Ok(None)
    }
}

fn segment_header(store: &StoreId, before: u32, first: u64) -> [u8; SEGMENT_HEADER] {
    let mut bytes = [0; SEGMENT_HEADER];
    bytes[..4].copy_from_slice(&SEGMENT_MAGIC);
    bytes[4..8].copy_from_slice(&before.to_le_bytes());
    bytes[8..16].copy_from_slice(&first.to_le_bytes());
    let sum = extend(store.sum("segment", &[]), &bytes[..16]);
    bytes[16..].copy_from_slice(&sum.to_le_bytes());
    bytes
}

/// The record in a body; `None` if its lengths do not fit.
fn decode(number: u64, body: &Bytes) -> Option<Record> {
    if body.len() < BODY_START {
        return None;
    }
    let kind = match body[0] {
        0 => RecordKind::Block,
        1 => RecordKind::Revert,
        _ => return None,
    };
    let block = u64::from_le_bytes(array(body, 1));
    let hash = B256::from(array(body, 9));
    let count = usize::from(body[41]);
    let mut at = BODY_START + 4 * count;
    let lengths = body.get(BODY_START..at)?;
    let mut parts = Vec::with_capacity(count);
    for length in lengths.chunks_exact(4) {
        let end = at.checked_add(u32::from_le_bytes(array(length, 0)) as usize)?;
        if end > body.len() {
            return None;
        }
        parts.push(body.slice(at..end));
        at = end;
    }
    (at == body.len()).then_some(Record { number, kind, block, hash, parts })
}

impl Log {
    /// Creates an empty log, whose first record will have the number `first`, and makes it durable.
    ///
    /// # Errors
    /// [`DiskError`].
    pub fn create(files: Arc<dyn Files>, store: StoreId, options: LogOptions, first: u64) -> Result<Self, DiskError> {
        let file = create_segment(&*files, &store, 0, first)?;
        let (end, synced) = (SEGMENT_HEADER as u64, SEGMENT_HEADER as u64);
        let segments = vec![Segment::new(first)];
        let buffer = Vec::new();
        Ok(Self {
            files,
            store,
            options,
            segments,
            file,
            end,
            synced,
            sum: 0,
            next: first,
            unsynced: 0,
            failed: false,
            buffer,
        })
    }

    /// Opens a log and checks all records from number `from` on, which need not exist yet. Removes a record at the end
    /// that is not whole, and makes the others durable, whatever a process that was killed had synced.
    ///
    /// The last acknowledged record is removed, too, if it is damaged: it cannot be told from one that was never
    /// complete.
    ///
    /// # Errors
    /// [`DiskError::LogDamaged`] if records before the last one are damaged, [`DiskError::LogIncomplete`] if records
    /// are missing, unless [`LogOptions::cut`] is set; other [`DiskError`]s.
    pub fn open(
        files: Arc<dyn Files>,
        store: StoreId,
        options: LogOptions,
        from: u64,
    ) -> Result<(Self, LogOpened), DiskError> {
        let mut firsts = segments(&*files)?;
        // The segment before `from` also shows whether the one that begins with `from` was created completely.
        let start = firsts.iter().rposition(|first| *first < from).unwrap_or(0);
        let first = firsts.get(start).copied().unwrap_or(u64::MAX);
        let mut opened = LogOpened::default();
        if first > from {
            return Self::begin_anew(
                files,
                store,
                options,
                from,
                DiskError::LogIncomplete { first, last: first - 1, needed: from },
            );
        }
        // A last segment without header was being created: no record of it was acknowledged.
        let mut incomplete = None;
        if let [.., _, last] = firsts[start..] {
            let reader = Reader::open(&*files, store, last)?;
            if reader.before()?.is_err() && reader.acknowledged_behind(0)?.is_none() {
                incomplete = firsts.pop();
            }
        }
        let mut scan = Scan { next: first, sum: None, block: None, end: 0, synced: 0, offsets: Vec::new() };
        let mut kept = Vec::new();
        let mut damage = None;
        for (i, first) in firsts[start..].iter().enumerate() {
            let reader = Reader::open(&*files, store, *first)?;
            let next = firsts.get(start + i + 1).or(incomplete.as_ref());
            if let Some(fault) = scan.segment(&reader)? {
                // A segment is created when all records before it are durable.
                let behind = match next {
                    Some(next) => Some(format!("segment {} follows it", name(*next))),
                    None => reader
                        .acknowledged_behind(scan.end)?
                        .map(|record| format!("record {} of block {} behind it is whole", record.number, record.block)),
                };
                // Without a record the segment has no end to cut at: its header is bad.
                let behind = behind.or_else(|| (scan.end == 0).then(|| "it is the header of the segment".into()));
                if let Some(behind) = behind {
                    damage = Some(DiskError::LogDamaged {
                        file: name(*first),
                        place: scan.end,
                        record: scan.next,
                        block: scan.block,
                        what: fault,
                        behind,
                    });
                }
                kept.push((reader, core::mem::take(&mut scan.offsets)));
                break;
            }
            kept.push((reader, core::mem::take(&mut scan.offsets)));
        }
        if let Some(damage) = damage.filter(|_| !options.cut) {
            return Err(damage);
        }
        // Only a segment with a bad header has no end; the one before it, if there is one, ends where it ended.
        let mut segments: Vec<Segment> =
            firsts[..start].iter().map(|first| Segment { first: *first, offsets: OnceLock::new() }).collect();
        if scan.end == 0 {
            kept.pop();
            // That segment was synced before the next one was created.
            scan.end = kept.last().map_or(0, |(reader, _)| reader.bytes);
            scan.synced = scan.end;
        }
        let Some((tail, _)) = kept.last() else {
            let missing = DiskError::LogIncomplete { first, last: first - 1, needed: from };
            return Self::begin_anew(files, store, options, from, missing);
        };
        for first in incomplete.iter().chain(firsts[start + kept.len()..].iter().rev()) {
            opened.cut_bytes += remove_segment(&*files, *first)?;
        }
        if scan.next < from {
            let first = segments.first().map_or(first, |segment| segment.first);
            let missing = DiskError::LogIncomplete { first, last: scan.next - 1, needed: from - 1 };
            return Self::begin_anew(files, store, options, from, missing);
        }
        let file = Arc::clone(&tail.file);
        opened.cut_bytes += tail.bytes - scan.end;
        if tail.bytes > scan.end {
            file.set_bytes(scan.end)?;
        }
        // Records behind `synced` may be in the memory of the operating system only, even after a sync that failed:
        // writing them again makes them part of the next sync.
        let mut at = scan.synced;
        let mut buffer = Vec::new();
        while at < scan.end {
            buffer.resize((scan.end - at).min(SEARCH_BYTES as u64) as usize, 0);
            file.read_at(at, &mut buffer)?;
            file.write_at(at, &buffer)?;
            at += buffer.len() as u64;
        }
        file.sync()?;
        files.sync_names()?;
        segments.extend(
            kept.into_iter().map(|(reader, offsets)| Segment { first: reader.first, offsets: OnceLock::from(offsets) }),
        );
        let log = Self {
            files,
            store,
            options,
            segments,
            file,
            end: scan.end,
            synced: scan.end,
            sum: scan.sum.unwrap_or_default(),
            next: scan.next,
            unsynced: 0,
            failed: false,
            buffer: Vec::new(),
        };
        Ok((log, opened))
    }

    /// Removes all segments and creates an empty log that begins with the record `from`, if [`LogOptions::cut`] is set;
    /// fails with `missing` otherwise.
    fn begin_anew(
        files: Arc<dyn Files>,
        store: StoreId,
        options: LogOptions,
        from: u64,
        missing: DiskError,
    ) -> Result<(Self, LogOpened), DiskError> {
        if !options.cut {
            return Err(missing);
        }
        let mut opened = LogOpened::default();
        for first in segments(&*files)?.into_iter().rev() {
            opened.cut_bytes += remove_segment(&*files, first)?;
        }
        Ok((Self::create(files, store, options, from)?, opened))
    }

    /// Number of the oldest record that is kept; equal to [`Self::next`] if there is none.
    pub fn first(&self) -> u64 {
        self.segments[0].first
    }

    /// Number that the next record will have.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Appends a record and returns its number. With [`LogOptions::group`] records since the last sync it is durable,
    /// with all before it, when this returns. A checkpoint that includes a record needs [`Self::sync`] first.
    ///
    /// # Errors
    /// [`DiskError::TooLong`]; [`DiskError::Io`] if the write or the sync fails. After such a failure every further
    /// call fails with [`DiskError::FailedBefore`]: what a failed sync lost, a later one does not bring back.
    pub fn append(&mut self, entry: &Entry<'_>) -> Result<u64, DiskError> {
        let number = self.write(entry)?;
        if self.unsynced >= self.options.group {
            self.sync()?;
        }
        Ok(number)
    }

    /// [`Self::append`] without a sync: the record is durable after the next one.
    ///
    /// # Errors
    /// As [`Self::append`].
    pub fn write(&mut self, entry: &Entry<'_>) -> Result<u64, DiskError> {
        self.check()?;
        let length: usize = entry.parts.iter().map(|part| 4 + part.len()).sum();
        let body = BODY_START + length;
        if body > BODY_MAX {
            return Err(DiskError::TooLong { what: "a record", bytes: body, limit: BODY_MAX });
        }
        let Ok(count) = u8::try_from(entry.parts.len()) else {
            return Err(DiskError::TooLong { what: "the list of parts", bytes: entry.parts.len(), limit: 255 });
        };
        let bytes = (HEADER + body + SUM) as u64;
        self.failed = true;
        if self.end + bytes > self.options.segment_bytes && self.end > SEGMENT_HEADER as u64 {
            self.begin_segment()?;
        }
        let buffer = &mut self.buffer;
        buffer.clear();
        buffer.extend(RECORD_MAGIC);
        buffer.extend((body as u32).to_le_bytes());
        buffer.extend(self.next.to_le_bytes());
        buffer.extend(self.sum.to_le_bytes());
        buffer.extend(self.synced.to_le_bytes());
        let first = self.segments.last().map_or(0, |segment| segment.first);
        let header = extend(self.store.sum("record", &[first, self.end]), buffer);
        buffer.extend(header.to_le_bytes());
        buffer.push(match entry.kind {
            RecordKind::Block => 0,
            RecordKind::Revert => 1,
        });
        buffer.extend(entry.block.to_le_bytes());
        buffer.extend(entry.hash);
        buffer.push(count);
        for part in entry.parts {
            buffer.extend((part.len() as u32).to_le_bytes());
        }
        for part in entry.parts {
            buffer.extend_from_slice(part);
        }
        let sum = extend(header, &buffer[HEADER..]);
        buffer.extend(sum.to_le_bytes());
        self.file.write_at(self.end, buffer)?;
        if let Some(offsets) = self.segments.last_mut().and_then(|segment| segment.offsets.get_mut()) {
            offsets.push(self.end);
        }
        self.end += bytes;
        self.sum = sum;
        let number = self.next;
        self.next += 1;
        self.unsynced += 1;
        self.failed = false;
        Ok(number)
    }

    /// Makes all appended records durable.
    ///
    /// # Errors
    /// As [`Self::append`].
    pub fn sync(&mut self) -> Result<(), DiskError> {
        self.check()?;
        if self.unsynced > 0 {
            self.failed = true;
            self.file.sync()?;
            self.failed = false;
            self.synced = self.end;
            self.unsynced = 0;
        }
        Ok(())
    }

    fn check(&self) -> Result<(), DiskError> {
        if self.failed { Err(DiskError::FailedBefore("the log")) } else { Ok(()) }
    }

    fn begin_segment(&mut self) -> Result<(), DiskError> {
        // A segment begins only behind durable records, so a bad record before it is damage.
        self.file.sync()?;
        self.file = create_segment(&*self.files, &self.store, self.sum, self.next)?;
        self.segments.push(Segment::new(self.next));
        self.end = SEGMENT_HEADER as u64;
        self.synced = self.end;
        self.unsynced = 0;
        Ok(())
    }

    /// The record of a number.
    ///
    /// # Errors
    /// [`DiskError::LogIncomplete`] if it is not kept or does not exist yet; [`DiskError::LogDamaged`].
    pub fn read(&self, number: u64) -> Result<Record, DiskError> {
        self.records(number).next().unwrap_or_else(|| Err(self.lacks(number)))
    }

    fn lacks(&self, needed: u64) -> DiskError {
        DiskError::LogIncomplete { first: self.first(), last: self.next - 1, needed }
    }

    /// The records from a number on, one at a time, oldest first. After an error there are no more.
    pub fn records(&self, from: u64) -> Records<'_> {
        Records { log: self, next: from, reader: None }
    }

    /// Removes the segments of which every record has a number below `needed`. Returns their number.
    ///
    /// A checkpoint store may fall back to its checkpoint before the last one, so `needed` is the first record after
    /// that one, or an older one that is kept to revert blocks.
    ///
    /// # Errors
    /// [`DiskError::Io`].
    pub fn prune(&mut self, needed: u64) -> Result<usize, DiskError> {
        let mut removed = 0;
        while let [oldest, second, ..] = &self.segments[..]
            && second.first <= needed
        {
            remove_segment(&*self.files, oldest.first)?;
            self.segments.remove(0);
            removed += 1;
        }
        Ok(removed)
    }

    /// The error for a record that was whole when it was written and is not now.
    fn damaged(&self, reader: &Reader, place: u64, record: u64, what: Fault) -> DiskError {
        let behind = format!("the log goes on to record {}", self.next - 1);
        DiskError::LogDamaged { file: reader.file.name().to_owned(), place, record, block: None, what, behind }
    }

    /// The segment of a record, and its offsets, read from the file the first time.
    fn offsets(&self, segment: usize, reader: &Reader) -> Result<&[u64], DiskError> {
        let Segment { first, offsets } = &self.segments[segment];
        if offsets.get().is_none() {
            let mut found = Vec::new();
            let mut at = SEGMENT_HEADER as u64;
            while at < reader.bytes {
                let number = first + found.len() as u64;
                let header = reader.header(at)?.map_err(|fault| self.damaged(reader, at, number, fault))?;
                found.push(at);
                at += (HEADER + header.body + SUM) as u64;
            }
            // A thread that reads the same segment has found the same offsets.
            let _ = offsets.set(found);
        }
        Ok(offsets.get().map_or(&[], Vec::as_slice))
    }
}

fn segments(files: &dyn Files) -> Result<Vec<u64>, DiskError> {
    let first = |found: &String| {
        let first = found.strip_prefix(PREFIX)?.parse().ok()?;
        (first > 0 && name(first) == *found).then_some(first)
    };
    let mut firsts: Vec<u64> = files.list()?.iter().filter_map(first).collect();
    firsts.sort_unstable();
    Ok(firsts)
}

/// Removes a segment and returns its length in bytes. Segments are removed one by one, each durably, so that a loss of
/// power never leaves a gap between two of them.
fn remove_segment(files: &dyn Files, first: u64) -> Result<u64, DiskError> {
    let bytes = files.open(&name(first))?.bytes()?;
    files.remove(&name(first))?;
    files.sync_names()?;
    Ok(bytes)
}

fn create_segment(files: &dyn Files, store: &StoreId, before: u32, first: u64) -> Result<Arc<dyn File>, DiskError> {
    let file = files.create(&name(first))?;
    file.write_at(0, &segment_header(store, before, first))?;
    file.sync()?;
    files.sync_names()?;
    Ok(file)
}

/// Where the check of all records stands.
struct Scan {
    next: u64,
    /// Checksum of the last record; `None` before the first segment.
    sum: Option<u32>,
    /// Block of the last record.
    block: Option<u64>,
    /// Offset behind the last whole record of the segment; 0 if its header is bad.
    end: u64,
    /// What the last record of the segment says about the offset up to which it was durable.
    synced: u64,
    /// Offsets of the records of the segment.
    offsets: Vec<u64>,
}

impl Scan {
    /// Checks a segment; returns what is wrong with the bytes at `end`, if not all of them are whole records.
    fn segment(&mut self, reader: &Reader) -> Result<Option<Fault>, DiskError> {
        self.end = 0;
        self.synced = 0;
        let before = match reader.before()? {
            Ok(before) => before,
            Err(fault) => return Ok(Some(fault)),
        };
        if reader.first != self.next || self.sum.is_some_and(|sum| sum != before) {
            return Ok(Some("does not follow the segment before"));
        }
        self.sum = Some(before);
        self.end = SEGMENT_HEADER as u64;
        while self.end < reader.bytes {
            let Found { header, record, sum, end } = match reader.record(self.end)? {
                Ok(found) => found,
                Err(fault) => return Ok(Some(fault)),
            };
            if header.number != self.next || Some(header.before) != self.sum {
                return Ok(Some("does not follow the record before"));
            }
            self.offsets.push(self.end);
            self.synced = header.synced;
            self.block = Some(record.block);
            self.next += 1;
            self.sum = Some(sum);
            self.end = end;
        }
        Ok(None)
    }
}

/// Iterator of [`Log::records`].
#[derive(Debug)]
pub struct Records<'a> {
    log: &'a Log,
    next: u64,
    /// The segment that was read last, and its index.
    reader: Option<(usize, Reader)>,
}

impl Records<'_> {
    fn read(&mut self) -> Result<Record, DiskError> {
        let (log, number) = (self.log, self.next);
        let Some(segment) = log.segments.partition_point(|segment| segment.first <= number).checked_sub(1) else {
            return Err(log.lacks(number));
        };
        let reader = match self.reader.take() {
            Some((index, reader)) if index == segment => reader,
            _ => Reader::open(&*log.files, log.store, log.segments[segment].first)?,
        };
        let index = (number - log.segments[segment].first) as usize;
        let Some(offset) = log.offsets(segment, &reader)?.get(index).copied() else {
            return Err(log.damaged(&reader, reader.bytes, number, "is missing"));
        };
        let Found { header, record, .. } =
            reader.record(offset)?.map_err(|fault| log.damaged(&reader, offset, number, fault))?;
        if header.number != number {
            return Err(log.damaged(&reader, offset, number, "has another number"));
        }
        self.reader = Some((segment, reader));
        Ok(record)
    }
}

impl Iterator for Records<'_> {
    type Item = Result<Record, DiskError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next >= self.log.next {
            return None;
        }
        let record = self.read();
        self.next = if record.is_ok() { self.next + 1 } else { u64::MAX };
        Some(record)
    }
}
