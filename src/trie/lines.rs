//! `Lines`: nodes as runs of cache lines, named by the number of their first line.
//!
//! Chunks are allocated whole and never move; a run lies within one chunk. Runs are handed out one after the other,
//! so that nodes made together lie together, and recycled by length. A recycled run keeps its old content until its
//! new owner overwrites it.

/// Bytes of a line.
pub(super) const LINE: usize = 64;
/// log2 of a chunk's lines: a quarter of a mebibyte, of which the system backs what is used.
const CHUNK_LOG: u32 = 12;
const CHUNK: usize = 1 << CHUNK_LOG;
/// Lines of a chunk that are used: the rest is room to start at a multiple of the line size.
const USED: usize = CHUNK - 1;
/// The longest run.
pub(super) const RUN_MAX: usize = 10;

#[derive(Debug)]
struct Chunk {
    bytes: Vec<u8>,
    /// Where the first line starts: at a multiple of the line size in memory.
    start: usize,
}

/// Runs of lines.
#[derive(Debug)]
pub(super) struct Lines {
    chunks: Vec<Chunk>,
    /// Recycled runs by length.
    free: [Vec<u32>; RUN_MAX + 1],
    /// The first line not handed out yet.
    next: u32,
}

impl Default for Lines {
    fn default() -> Self {
        Self { chunks: Vec::new(), free: [const { Vec::new() }; RUN_MAX + 1], next: 0 }
    }
}

impl Lines {
    /// A run of `lines` lines, to overwrite.
    #[inline]
    pub(super) fn alloc(&mut self, lines: usize) -> u32 {
        match self.free[lines].pop() {
            Some(line) => line,
            None => self.grow(lines),
        }
    }

    fn grow(&mut self, lines: usize) -> u32 {
        let mut line = self.next;
        let left = USED - line as usize % CHUNK;
        if left < lines {
            // The end of a chunk serves shorter runs.
            if left > 0 {
                self.free[left].push(line);
            }
            line = line.next_multiple_of(CHUNK as u32);
        }
        if line as usize / CHUNK == self.chunks.len() {
            let bytes = vec![0; CHUNK * LINE];
            let start = bytes.as_ptr().align_offset(LINE).min(LINE - 1);
            self.chunks.push(Chunk { bytes, start });
        }
        self.next = line + lines as u32;
        line
    }

    /// Hands a run back.
    #[inline]
    pub(super) fn free(&mut self, line: u32, lines: usize) {
        self.free[lines].push(line);
    }

    /// The first `len` bytes of the run at `line`.
    #[inline(always)]
    pub(super) fn bytes(&self, line: u32, len: usize) -> &[u8] {
        let chunk = &self.chunks[(line >> CHUNK_LOG) as usize];
        let at = chunk.start + (line as usize & (CHUNK - 1)) * LINE;
        &chunk.bytes[at..at + len]
    }

    #[inline(always)]
    pub(super) fn bytes_mut(&mut self, line: u32, len: usize) -> &mut [u8] {
        let chunk = &mut self.chunks[(line >> CHUNK_LOG) as usize];
        let at = chunk.start + (line as usize & (CHUNK - 1)) * LINE;
        &mut chunk.bytes[at..at + len]
    }

    /// The first `N` bytes of the run at `line`.
    #[inline(always)]
    pub(super) fn array<const N: usize>(&self, line: u32) -> &[u8; N] {
        self.bytes(line, N).first_chunk().expect("cut to that length")
    }

    #[inline(always)]
    pub(super) fn array_mut<const N: usize>(&mut self, line: u32) -> &mut [u8; N] {
        self.bytes_mut(line, N).first_chunk_mut().expect("cut to that length")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_do_not_overlap_and_are_recycled() {
        let mut lines = Lines::default();
        let lengths = [1usize, 10, 3, 8, 5, 2];
        let runs: Vec<(u32, usize)> = (0..5000).map(|i| (lines.alloc(lengths[i % 6]), lengths[i % 6])).collect();
        for (i, (line, length)) in runs.iter().enumerate() {
            lines.bytes_mut(*line, length * LINE).fill(i as u8);
        }
        for (i, (line, length)) in runs.iter().enumerate() {
            let bytes = lines.bytes(*line, length * LINE);
            assert!(bytes.iter().all(|byte| *byte == i as u8));
            assert_eq!(bytes.as_ptr().align_offset(LINE), 0);
        }
        let next = lines.next;
        runs.iter().for_each(|(line, length)| lines.free(*line, *length));
        runs.iter().for_each(|(_, length)| assert!(lines.alloc(*length) < next));
        assert_eq!(lines.next, next);
    }
}
