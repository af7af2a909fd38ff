//! Decoding of change lists, eight changes at a time.
//!
//! In: lists of changes `[index, integer]`. Out: rows of indices and values, or `None`; the
//! portable decoder then decodes the list.
//! Relies on: AVX-512 F and BW.
//! Not here: changes of codes, and indices of more than three bytes (the portable decoder reads
//! them).
//!
//! The position of a change depends on the change before it; its content does not. So a first step
//! follows the headers only and stores the first eight bytes of each change; a second step parses
//! and checks eight changes in the lanes of a vector. Most lists have one or two changes,
//! unpredictably: the first step always stores two, and counts those that exist.

use super::{head, load_word, write_word};
use crate::arena::prefetch::{LINE, prefetch_lines};
use crate::bal::Changes;
use crate::bal::rlp::load_uint64;
use alloy_primitives::U256;
use core::arch::x86_64::*;
use core::hint::select_unpredictable;

/// Maximum number of changes collected before they are decoded.
const ROOM: usize = 128;
const LANES: usize = 8;
/// Marks a list's first change. The mark is in the eighth byte, which is not needed for indices of
/// up to three bytes.
const FIRST: u64 = 1 << 63;

/// Changes of one field that are located, but not yet decoded into rows.
pub(super) struct Gathered {
    /// The first eight bytes of each change, the eighth replaced by the mark.
    heads: [u64; ROOM + LANES],
    /// One past the last byte of each change, according to its header.
    ends: [u32; ROOM + LANES],
    pub(super) len: usize,
    index_max: u32,
    /// Index of the change before the first collected one.
    index_before: u64,
}

impl Gathered {
    pub(super) fn new(index_max: u32) -> Self {
        Self { heads: [0; ROOM + LANES], ends: [0; ROOM + LANES], len: 0, index_max, index_before: 0 }
    }

    /// Collects the changes of the list from `pos` to `end`; calls `read` whenever the buffer is
    /// full.
    #[inline(always)]
    pub(super) fn list(
        &mut self,
        bytes: &[u8],
        pos: usize,
        end: usize,
        mut read: impl FnMut(&mut Self) -> Option<()>,
    ) -> Option<()> {
        if self.is_full() {
            read(self)?;
        }
        let mut last = self.first_two(bytes, pos, end);
        while last < end {
            read(self)?;
            last = self.further(bytes, last, end);
        }
        (last == end).then_some(())
    }

    /// Whether fewer than two more changes fit.
    #[inline(always)]
    fn is_full(&self) -> bool {
        self.len > ROOM - 2
    }

    /// Collects up to two first changes of a list; returns the end of the last one, which is above
    /// `end` if the list is malformed.
    #[inline(always)]
    fn first_two(&mut self, bytes: &[u8], pos: usize, end: usize) -> usize {
        let first = head(bytes, pos);
        let first_end = end_of(pos, first);
        let second = head(bytes, first_end);
        let second_end = end_of(first_end, second);
        let len = self.len;
        if let (Some(heads), Some(ends)) = (self.heads[..ROOM].get_mut(len..len + 2), self.ends.get_mut(len..len + 2)) {
            (heads[0], heads[1]) = (first | FIRST, second & !FIRST);
            (ends[0], ends[1]) = (first_end as u32, second_end as u32);
        }
        let (has_first, has_second) = (pos < end, first_end < end);
        self.len = len + usize::from(has_first) + usize::from(has_second);
        let last = select_unpredictable(has_first, first_end, pos);
        select_unpredictable(has_second, second_end, last)
    }

    /// Collects further changes of a list until the buffer is full; returns the end of the last
    /// one.
    fn further(&mut self, bytes: &[u8], mut pos: usize, end: usize) -> usize {
        while pos < end && !self.is_full() {
            let head = head(bytes, pos);
            pos = end_of(pos, head);
            self.heads[self.len] = head & !FIRST;
            self.ends[self.len] = pos as u32;
            self.len += 1;
        }
        pos
    }

    /// Decodes the collected changes and appends them to a column of words.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,bmi2")]
    pub(super) fn read_words<P>(&mut self, bytes: &[u8], out: &mut Changes<P, U256>) -> Option<()> {
        self.read(bytes, 32, out, |bytes, end, mask| {
            let mut value = U256::ZERO;
            // SAFETY: `read` has checked that `end` is in the input and that the value is within
            // its change.
            unsafe { write_word(&mut value, load_word(bytes, end, mask)) };
            Some(value)
        })
    }

    /// Decodes the collected changes and appends them to a column of 64-bit integers.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,bmi2")]
    pub(super) fn read_uint64s<P>(&mut self, bytes: &[u8], out: &mut Changes<P, u64>) -> Option<()> {
        self.read(bytes, 8, out, |bytes, end, mask| load_uint64(bytes, end, mask.count_ones() as usize))
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,bmi2")]
    fn read<P, V>(
        &mut self,
        bytes: &[u8],
        len_max: u64,
        out: &mut Changes<P, V>,
        load: impl Fn(&[u8], usize, u32) -> Option<V>,
    ) -> Option<()> {
        let count = self.len;
        out.indices.reserve(count + LANES);
        out.values.reserve(count + LANES);
        let byte = |word, shift| _mm512_and_si512(_mm512_srlv_epi64(word, shift), _mm512_set1_epi64(0xff));
        let constant = |value: u64| _mm512_set1_epi64(value as i64);
        let mut before = constant(self.index_before);
        for at in (0..count).step_by(LANES) {
            let lanes = (count - at).min(LANES);
            let (heads, ends) = (self.heads[at..].first_chunk::<LANES>()?, self.ends[at..].first_chunk::<LANES>()?);
            // SAFETY: arrays of eight `u64` and eight `u32` have the sizes of the vectors.
            let (heads, end_lanes) =
                unsafe { (_mm512_loadu_si512(heads.as_ptr().cast()), _mm256_loadu_si256(ends.as_ptr().cast())) };
            let is_inside = _mm256_cmple_epu32_mask(end_lanes, _mm256_set1_epi32(bytes.len() as u32 as i32));
            let is_first = _mm512_cmplt_epi64_mask(heads, constant(0));

            let payload = _mm512_sub_epi64(byte(heads, constant(0)), constant(0xc0));
            let index_head = byte(heads, constant(8));
            let index_len = _mm512_sub_epi64(_mm512_max_epu64(index_head, constant(0x80)), constant(0x80));
            let index_bits = _mm512_slli_epi64::<3>(index_len);
            // Drop the first two bytes (list header and index header) and reverse: the index is
            // then in the highest bytes.
            let big_endian = _mm512_shuffle_epi8(
                _mm512_srli_epi64::<16>(heads),
                _mm512_set4_epi32(0x08090a0b, 0x0c0d0e0f, 0x00010203, 0x04050607),
            );
            let long = _mm512_srlv_epi64(big_endian, _mm512_sub_epi64(constant(64), index_bits));
            let index = _mm512_mask_mov_epi64(long, _mm512_cmplt_epu64_mask(index_head, constant(0x80)), index_head);
            // Minimum of a minimal integer per length in bytes; the zero byte is excluded below.
            let least = _mm512_permutexvar_epi64(index_len, _mm512_set_epi64(-1, -1, -1, -1, 1 << 16, 1 << 8, 0x80, 0));
            let is_index = _mm512_cmpge_epu64_mask(index, least)
                & _mm512_cmple_epu64_mask(index_len, constant(3))
                & _mm512_cmpneq_epi64_mask(index_head, constant(0))
                & _mm512_cmple_epu64_mask(index, constant(u64::from(self.index_max)));
            let previous = _mm512_alignr_epi64::<7>(index, before);
            let is_ascending = is_first | _mm512_cmpgt_epu64_mask(index, previous);

            let value_head = byte(heads, _mm512_add_epi64(index_bits, constant(16)));
            let next = byte(heads, _mm512_add_epi64(index_bits, constant(24)));
            // Length in bytes of the whole item (`room`), and of the integer at its end (`len`).
            let room = _mm512_sub_epi64(_mm512_max_epu64(value_head, constant(0x80)), constant(0x7f));
            let is_long = _mm512_cmpge_epu64_mask(value_head, constant(0x80));
            let len = _mm512_mask_sub_epi64(room, is_long, room, constant(1));
            let is_padded = (_mm512_cmpeq_epi64_mask(value_head, constant(0x81))
                & _mm512_cmplt_epu64_mask(next, constant(0x80)))
                | (_mm512_cmpgt_epu64_mask(value_head, constant(0x81)) & _mm512_cmpeq_epi64_mask(next, constant(0)));
            let is_value = !is_padded
                & _mm512_cmpneq_epi64_mask(value_head, constant(0))
                & _mm512_cmple_epu64_mask(len, constant(len_max))
                & _mm512_cmpeq_epi64_mask(payload, _mm512_add_epi64(_mm512_add_epi64(index_len, room), constant(1)));
            let wanted = 0xff >> (LANES - lanes);
            if is_inside & is_index & is_ascending & is_value & wanted != wanted {
                return None;
            }

            let ahead = out.values.as_ptr().wrapping_add(out.values.len() + 8 * LANES);
            prefetch_lines(ahead.cast(), LANES * size_of::<V>() / LINE);
            let mut masks = [0u32; LANES];
            let index_rows = out.indices.spare_capacity_mut().first_chunk_mut::<LANES>()?;
            let value_rows = out.values.spare_capacity_mut().first_chunk_mut::<LANES>()?;
            // SAFETY: both destinations are eight 32-bit elements, an array and spare capacity;
            // `BlockAccessIndex` is a transparent `u32`.
            unsafe {
                let mask = _mm512_srlv_epi64(constant(0xffff_ffff_0000_0000), len);
                _mm256_storeu_si256(masks.as_mut_ptr().cast(), _mm512_cvtepi64_epi32(mask));
                _mm256_storeu_si256(index_rows.as_mut_ptr().cast(), _mm512_cvtepi64_epi32(index));
            }
            for lane in 0..lanes {
                value_rows[lane].write(load(bytes, ends[lane] as usize, masks[lane])?);
            }
            // SAFETY: the first `lanes` rows of both were just written.
            unsafe {
                out.indices.set_len(out.indices.len() + lanes);
                out.values.set_len(out.values.len() + lanes);
            }
            before = index;
        }
        self.index_before = out.indices.last().map_or(0, |index| u64::from(index.0));
        self.len = 0;
        Some(())
    }
}

/// End of the change at `pos` whose first bytes are `head`.
#[inline(always)]
fn end_of(pos: usize, head: u64) -> usize {
    pos + 1 + usize::from((head as u8).wrapping_sub(0xc0))
}
