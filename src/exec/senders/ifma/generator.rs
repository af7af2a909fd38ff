//! Table of odd multiples of the generator G and of lambda G: affine, one row of 64 bytes each.
//!
//! Built once per process, by the first batch (in a fraction of a millisecond): 2 * 512 rows, 64
//! KiB. Windows of 12 and 15 bits are 1 and 2 % faster in isolation, but 4 and 32 times as large,
//! and execution needs the second-level cache too.
//! Not here: the multiples of nonce points (`group.rs`).

use core::arch::x86_64::*;
use std::sync::OnceLock;

use super::field::{Fe, canonical, carry, constant, invert, mul, sqr, sub, tighten};
use super::group::{BETA, NonceTable, coordinates, digits, odd_multiples, rows};

/// Width of the digits in bits. The highest digit position must be below that of the nonce digits
/// (checked at compile time in `recover.rs`).
pub(super) const WINDOW: u32 = 10;
const MULTIPLES: usize = 1 << (WINDOW - 1);

/// Coordinates of G.
pub(super) const X: [u64; 5] =
    [0x2_815b_16f8_1798, 0xd_b2dc_e28d_959f, 0xe_870b_0702_9bfc, 0xb_bac5_5a06_295c, 0x79be_667e_f9dc];
pub(super) const Y: [u64; 5] =
    [0x7_d08f_fb10_d4b8, 0x4_8a68_5541_99c4, 0xe_1108_a8fd_17b4, 0xc_4655_da4f_bfc0, 0x483a_da77_26a3];

/// `rows[0][i]` is (2i + 1) G; `rows[1][i]` is lambda times that.
pub(super) struct GeneratorTable {
    rows: [Box<[__m512i; MULTIPLES]>; 2],
}

impl GeneratorTable {
    /// The table of this process, built at first use.
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn get() -> &'static Self {
        static TABLE: OnceLock<GeneratorTable> = OnceLock::new();
        TABLE.get_or_init(|| Self::build())
    }

    /// The points for one digit per lane, from the multiples of G (`lambda` 0) or of lambda G (1).
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn lookup(&self, lambda: usize, window: __m512i) -> (Fe, Fe, __mmask8) {
        let (index, negative) = digits::<WINDOW>(window);
        let table = &self.rows[lambda];
        let mut picked = [table[0]; 8];
        for l in 0..8 {
            picked[l] = table[index[l] as usize % MULTIPLES];
        }
        let (x, y) = coordinates(picked);
        (x, y, negative)
    }

    #[target_feature(enable = "avx512f,avx512ifma")]
    fn build() -> Self {
        let zero = _mm512_setzero_si512();
        let mut plain = Box::new([zero; MULTIPLES]);
        let mut times_lambda = Box::new([zero; MULTIPLES]);
        // G, 3G, ..., 31G are computed like the nonce tables. Then the number of rows is doubled
        // repeatedly: with m rows known, adding 2m G to each gives the next m.
        let mut table = [NonceTable::new()];
        let z = odd_multiples(&[constant(X)], &[constant(Y)], &mut table)[0];
        let z_inverse = invert(&z);
        let zz = sqr(&z_inverse);
        let zzz = mul(&zz, &z_inverse);
        let mut known = 0;
        while let Some(row) = table[0].row(known) {
            let (x, y) = coordinates(*row);
            plain[known] = rows(&canonical(&mul(&x, &zz)), &canonical(&mul(&y, &zzz)))[0];
            known += 1;
        }
        while known < MULTIPLES {
            let step = affine_sum(&coordinates([plain[known - 1]; 8]), &coordinates([plain[0]; 8]));
            let (old, new) = plain.split_at_mut(known);
            for (old, new) in old.as_chunks::<8>().0.iter().zip(new.as_chunks_mut::<8>().0) {
                let (x, y) = affine_sum(&coordinates(*old), &step);
                *new = rows(&x, &y);
            }
            known *= 2;
        }
        let beta = constant(BETA);
        for (from, to) in plain.as_chunks::<8>().0.iter().zip(times_lambda.as_chunks_mut::<8>().0) {
            let (x, y) = coordinates(*from);
            *to = rows(&canonical(&mul(&x, &beta)), &y);
        }
        Self { rows: [plain, times_lambda] }
    }
}

/// Sum of two affine points per lane, which must be neither equal nor inverse; canonical.
#[target_feature(enable = "avx512f,avx512ifma")]
fn affine_sum((x1, y1): &(Fe, Fe), (x2, y2): &(Fe, Fe)) -> (Fe, Fe) {
    let slope = mul(&carry(&sub::<2>(y2, y1)), &invert(&carry(&sub::<2>(x2, x1))));
    let x3 = tighten(&sub::<2>(&sub::<2>(&sqr(&slope), x1), x2));
    let y3 = tighten(&sub::<2>(&mul(&slope, &carry(&sub::<2>(x1, &x3))), y1));
    (canonical(&x3), canonical(&y3))
}
