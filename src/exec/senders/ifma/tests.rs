//! Tests the vector code against reference implementations: big integers for the field, affine
//! formulas with explicit cases for the curve.

use core::arch::x86_64::*;

use alloy_primitives::U256;

use super::field::*;
use super::generator::{self, GeneratorTable};
use super::group::*;
use super::recover::{Group, NONCE_BITS, decompress, multiply, prepare, window};
use super::*;
use crate::exec::senders::scalar::{regular, split};
use crate::exec::senders::tests::exceptional::exceptional;
use crate::exec::senders::tests::reference::{self, LAMBDA, N, Numbers, P as MODULUS, Point};

/// Defines a test that runs if the CPU features are available.
macro_rules! in_lanes {
    ($name:ident, $body:block) => {
        #[test]
        fn $name() {
            #[target_feature(enable = "avx512f,avx512ifma,bmi2,adx")]
            fn body() $body
            if available() {
                // SAFETY: `available` detected the target features of `body`.
                unsafe { body() }
            } else {
                println!("skipped {}: no AVX-512 IFMA here", stringify!($name));
            }
        }
    };
}

/// Eight elements from their limbs, one per lane.
fn element(lanes: [[u64; 5]; 8]) -> Fe {
    Fe(core::array::from_fn(|i| from_array(lanes.map(|limbs| limbs[i]))))
}

fn limbs(a: &Fe) -> [[u64; 5]; 8] {
    let registers = a.0.map(to_array);
    core::array::from_fn(|lane| registers.map(|register| register[lane]))
}

/// Value mod p of limbs with any number of bits.
fn value(limbs: [u64; 5]) -> U256 {
    limbs
        .iter()
        .rev()
        .fold(U256::ZERO, |sum, limb| sum.mul_mod(U256::ONE << 52, MODULUS).add_mod(U256::from(*limb), MODULUS))
}

fn values(a: &Fe) -> [U256; 8] {
    limbs(a).map(value)
}

/// Values of a factor: bits from 52 on have been carried and are ignored.
fn factor_values(a: &Fe) -> [U256; 8] {
    limbs(a).map(|limbs| value(limbs.map(|limb| limb & LIMB_MASK)))
}

fn assert_tight(a: &Fe) {
    for limbs in limbs(a) {
        assert!(limbs[..4].iter().all(|limb| *limb <= LIMB_MASK) && limbs[4] < (1 << 48) + (1 << 8), "{limbs:x?}");
    }
}

/// Limbs of a number below 2^256.
fn limbs_of(x: U256) -> [u64; 5] {
    core::array::from_fn(|i| (x >> (52 * i)).as_limbs()[0] & LIMB_MASK)
}

/// Tight elements: extremes of every limb, numbers near multiples of p, and random ones.
fn tight_elements(numbers: &mut Numbers) -> Vec<Fe> {
    let mut all = Vec::new();
    let extremes = [0, 1, LIMB_MASK - 1, LIMB_MASK];
    let tops = [0, (1 << 48) - 1, 1 << 48, (1 << 48) + (1 << 8) - 1];
    for code in 0..1024 {
        let pick = |i: usize| code >> (2 * i) & 3;
        all.push([extremes[pick(0)], extremes[pick(1)], extremes[pick(2)], extremes[pick(3)], tops[pick(4)]]);
    }
    for x in [U256::ZERO, MODULUS, U256::MAX, MODULUS >> 1, N] {
        all.extend((0..3u64).map(|d| limbs_of(x.wrapping_add(U256::from(d)))));
        all.extend((1..3u64).map(|d| limbs_of(x.wrapping_sub(U256::from(d)))));
    }
    while all.len() < 2048 {
        all.push(limbs_of(numbers.word()));
    }
    all.as_chunks::<8>().0.iter().map(|lanes| element(*lanes)).collect()
}

/// Factors: with all 52 bits of all limbs set, and with random bits above them.
fn factors(numbers: &mut Numbers) -> Vec<Fe> {
    let rubbish = |numbers: &mut Numbers| numbers.next() << 52;
    let mut all = vec![element([[LIMB_MASK; 5]; 8]), element([[u64::MAX; 5]; 8])];
    for _ in 0..256 {
        all.push(element(core::array::from_fn(|_| {
            core::array::from_fn(|_| match numbers.next() % 4 {
                0 => LIMB_MASK | rubbish(numbers),
                1 => rubbish(numbers),
                _ => numbers.next(),
            })
        })));
    }
    all
}

in_lanes!(products_and_squares_of_extreme_limbs_agree_with_the_reference, {
    let mut numbers = Numbers(11);
    let mut all = factors(&mut numbers);
    all.extend(tight_elements(&mut numbers));
    for (i, a) in all.iter().enumerate() {
        for b in [a, &all[(7 * i + 3) % all.len()], &all[0], &all[1], &all[i * i % all.len()]] {
            let product = mul(a, b);
            assert_tight(&product);
            let (x, y) = (factor_values(a), factor_values(b));
            assert_eq!(values(&product), core::array::from_fn(|l| reference::mul(x[l], y[l])));
        }
        let square = sqr(a);
        assert_tight(&square);
        assert_eq!(values(&square), factor_values(a).map(|x| reference::mul(x, x)));
    }
});

in_lanes!(sums_and_their_reductions_agree_with_the_reference, {
    let mut numbers = Numbers(12);
    let all = tight_elements(&mut numbers);
    for (i, a) in all.iter().enumerate() {
        let b = &all[(5 * i + 1) % all.len()];
        let (x, y) = (values(a), values(b));
        let two = |x: U256| x.add_mod(x, MODULUS);
        let check = |sum: &Fe, wanted: [U256; 8]| {
            // No limb became negative, and all reductions keep the value.
            assert!(limbs(sum).as_flattened().iter().all(|limb| *limb < 1 << 60));
            assert_eq!(values(sum), wanted);
            let tight = tighten(sum);
            assert_tight(&tight);
            assert_eq!(values(&tight), wanted);
            assert_eq!(to_words(&canonical(&tight)).map(to_array), words(wanted));
            let zero = (0..8).fold(0, |mask, l| mask | u8::from(wanted[l].is_zero()) << l);
            assert_eq!(is_zero(&tight), zero);
        };
        let check_factor = |sum: &Fe, wanted| assert_eq!(factor_values(&carry(sum)), wanted);
        let difference: [U256; 8] = core::array::from_fn(|l| reference::sub(x[l], y[l]));
        check(a, x);
        check(&add(a, b), core::array::from_fn(|l| x[l].add_mod(y[l], MODULUS)));
        check(&shift::<3>(a), x.map(|x| two(two(two(x)))));
        check(&sub::<2>(a, b), difference);
        check_factor(&sub::<2>(a, b), difference);
        check(&sub::<3>(a, &add(b, b)), core::array::from_fn(|l| reference::sub(x[l], two(y[l]))));
        check(
            &sub::<4>(a, &add(b, &shift::<1>(b))),
            core::array::from_fn(|l| reference::sub(x[l], two(y[l]).add_mod(y[l], MODULUS))),
        );
        check(&sub::<9>(a, &shift::<3>(b)), core::array::from_fn(|l| reference::sub(x[l], two(two(two(y[l]))))));
        check_factor(&sub::<9>(a, &shift::<3>(b)), core::array::from_fn(|l| reference::sub(x[l], two(two(two(y[l]))))));
        check(&sub::<17>(a, &shift::<4>(b)), core::array::from_fn(|l| reference::sub(x[l], two(two(two(two(y[l])))))));
        let mask = numbers.next() as u8;
        let picked = limbs(&select(mask, a, b));
        for l in 0..8 {
            assert_eq!(picked[l], if mask >> l & 1 == 1 { limbs(b)[l] } else { limbs(a)[l] });
        }
    }
});

/// Words of eight numbers, one per lane.
fn words(x: [U256; 8]) -> [[u64; 8]; 4] {
    core::array::from_fn(|w| x.map(|x| x.as_limbs()[w]))
}

in_lanes!(words_limbs_and_rows_convert_both_ways, {
    let mut numbers = Numbers(13);
    for _ in 0..100 {
        let x: [U256; 8] = core::array::from_fn(|_| numbers.word());
        let a = from_words(words(x).map(from_array));
        assert_eq!(limbs(&a), x.map(limbs_of));
        assert_eq!(to_words(&a).map(to_array), words(x));
        let square: [[u64; 8]; 8] = core::array::from_fn(|_| core::array::from_fn(|_| numbers.next()));
        let transposed = transpose(square.map(from_array)).map(to_array);
        assert_eq!(transposed, core::array::from_fn(|j| core::array::from_fn(|i| square[i][j])));
        let (x, y) = coordinates(rows(&a, &a));
        assert_eq!((limbs(&x), limbs(&y)), (limbs(&a), limbs(&a)));
    }
});

in_lanes!(roots_and_inverses_agree_with_the_reference, {
    let mut numbers = Numbers(14);
    let elements = tight_elements(&mut numbers);
    for four in elements[120..].as_chunks::<4>().0.iter().take(8) {
        let roots = sqrt(four);
        for k in 0..4 {
            let exponent = (MODULUS + U256::ONE) >> 2;
            assert_eq!(values(&roots[k]), values(&four[k]).map(|x| x.pow_mod(exponent, MODULUS)));
            assert_eq!(values(&sqrt(&[four[k]])[0]), values(&roots[k]));
            assert_eq!(values(&invert(&four[k])), values(&four[k]).map(reference::invert));
        }
    }
});

/// Converts eight affine points to Jacobian coordinates with random Z.
#[target_feature(enable = "avx512f,avx512ifma")]
fn jacobian(numbers: &mut Numbers, points: [(U256, U256); 8]) -> Jacobian<1> {
    let z: [U256; 8] = core::array::from_fn(|_| numbers.word() % MODULUS);
    let zz = z.map(|z| reference::mul(z, z));
    let x = core::array::from_fn(|l| limbs_of(reference::mul(points[l].0, zz[l])));
    let y = core::array::from_fn(|l| limbs_of(reference::mul(points[l].1, reference::mul(zz[l], z[l]))));
    Jacobian { x: [element(x)], y: [element(y)], z: [element(z.map(limbs_of))] }
}

/// Converts Jacobian to affine points; `None` if Z is zero. Asserts that all coordinates are tight.
#[target_feature(enable = "avx512f,avx512ifma")]
fn affine(p: &Jacobian<1>) -> [Point; 8] {
    [&p.x[0], &p.y[0], &p.z[0]].into_iter().for_each(assert_tight);
    let (x, y, z) = (values(&p.x[0]), values(&p.y[0]), values(&p.z[0]));
    core::array::from_fn(|l| {
        let inverse = reference::invert(z[l]);
        let squared = reference::mul(inverse, inverse);
        (!z[l].is_zero())
            .then(|| (reference::mul(x[l], squared), reference::mul(y[l], reference::mul(squared, inverse))))
    })
}

#[target_feature(enable = "avx512f")]
fn addend(points: [(U256, U256); 8], negative: __mmask8) -> Addend<1> {
    let (x, y) = (points.map(|p| limbs_of(p.0)), points.map(|p| limbs_of(p.1)));
    Addend { x: [element(x)], y: [element(y)], negative: [negative] }
}

in_lanes!(doubling_and_addition_agree_with_the_reference_and_exceptional_lanes_keep_z_zero, {
    let mut numbers = Numbers(15);
    let minus = |(x, y): (U256, U256)| (x, reference::sub(U256::ZERO, y));
    for round in 0..24 {
        let points: [_; 8] = core::array::from_fn(|_| numbers.point());
        let mut others: [_; 8] = core::array::from_fn(|_| numbers.point());
        let negative = numbers.next() as u8;
        let signed = |l: usize, q| if negative >> l & 1 == 1 { minus(q) } else { q };
        let lane = round % 8;
        let mut sum = jacobian(&mut numbers, points);
        let mut doubled = sum;
        double(&mut doubled);
        assert_eq!(affine(&doubled), points.map(|p| reference::add(Some(p), Some(p))));
        // One lane adds a point to itself, to its negative, or to infinity.
        match round / 8 {
            0 => others[lane] = signed(lane, points[lane]),
            1 => others[lane] = signed(lane, minus(points[lane])),
            _ => sum.z[0] = select(1 << lane, &sum.z[0], &constant(limbs_of(MODULUS))),
        }
        let wanted: [Point; 8] = core::array::from_fn(|l| {
            if l == lane { None } else { reference::add(Some(points[l]), Some(signed(l, others[l]))) }
        });
        let q = addend(others, negative);
        // The same with a scale: the sum's Z on the scaled curve times the scale is its Z on the
        // curve itself.
        let scale = element(core::array::from_fn(|_| limbs_of(numbers.word() >> 1)));
        let inverse = invert(&scale);
        let mut scaled = sum;
        scaled.z[0] = mul(&scaled.z[0], &inverse);
        add_mixed(&mut scaled, &q, Some(&[scale]));
        scaled.z[0] = mul(&scaled.z[0], &scale);
        assert_eq!(affine(&scaled), wanted);

        add_mixed(&mut sum, &q, None);
        assert_eq!(affine(&sum), wanted);
        assert_eq!(is_zero(&sum.z[0]), 1 << lane);
        // After further operations Z remains zero in this lane, and the other lanes are correct.
        let more: [_; 8] = core::array::from_fn(|_| numbers.point());
        double(&mut sum);
        add_mixed(&mut sum, &addend(more, 0), None);
        let wanted = core::array::from_fn(|l| {
            wanted[l].and_then(|p| reference::add(reference::add(Some(p), Some(p)), Some(more[l])))
        });
        assert_eq!(affine(&sum), wanted);
    }
});

in_lanes!(formulas_return_tight_elements_for_extreme_limbs, {
    // The formulas are polynomials: for any coordinates, also of points off the curve, they must
    // equal their evaluation with big integers, and return tight elements.
    let mut numbers = Numbers(19);
    let all = tight_elements(&mut numbers);
    let times = |k: u64, x| reference::mul(U256::from(k), x);
    for round in 0..4000 {
        let mut any = |salt: usize| all[(numbers.next() as usize + salt * round) % all.len()];
        let p = Jacobian { x: [any(0)], y: [any(1)], z: [any(2)] };
        let q = Addend { x: [any(3)], y: [any(4)], negative: [numbers.next() as u8] };
        let (x, y, z) = (values(&p.x[0]), values(&p.y[0]), values(&p.z[0]));
        let (qx, qy) = (values(&q.x[0]), values(&q.y[0]));
        let mut doubled = p;
        double(&mut doubled);
        let mut sum = p;
        add_mixed(&mut sum, &q, None);
        for lane in 0..8 {
            let (x, y, z) = (x[lane], y[lane], z[lane]);
            let yy = reference::mul(y, y);
            let (d, e) = (times(4, reference::mul(x, yy)), times(3, reference::mul(x, x)));
            let x3 = reference::sub(reference::mul(e, e), times(2, d));
            let y3 = reference::sub(reference::mul(e, reference::sub(d, x3)), times(8, reference::mul(yy, yy)));
            let found = [&doubled.x[0], &doubled.y[0], &doubled.z[0]].map(|a| values(a)[lane]);
            assert_eq!(found, [x3, y3, times(2, reference::mul(y, z))]);

            let zz = reference::mul(z, z);
            let h = reference::sub(reference::mul(qx[lane], zz), x);
            let qy = if q.negative[0] >> lane & 1 == 1 { reference::sub(U256::ZERO, qy[lane]) } else { qy[lane] };
            let r = reference::sub(reference::mul(qy, reference::mul(zz, z)), y);
            let (hh, v) = (reference::mul(h, h), reference::mul(x, reference::mul(h, h)));
            let hhh = reference::mul(h, hh);
            let x3 = reference::sub(reference::sub(reference::mul(r, r), hhh), times(2, v));
            let y3 = reference::sub(reference::mul(r, reference::sub(v, x3)), reference::mul(y, hhh));
            let found = [&sum.x[0], &sum.y[0], &sum.z[0]].map(|a| values(a)[lane]);
            assert_eq!(found, [x3, y3, reference::mul(z, h)]);
        }
        for p in [doubled, sum] {
            [&p.x[0], &p.y[0], &p.z[0]].into_iter().for_each(assert_tight);
        }
    }
});

in_lanes!(nonce_tables_contain_the_odd_multiples_and_lambda_times_them, {
    let mut numbers = Numbers(16);
    let points: [[_; 8]; 2] = core::array::from_fn(|_| core::array::from_fn(|_| numbers.point()));
    let x = points.map(|points| element(points.map(|p| limbs_of(p.0))));
    let y = points.map(|points| element(points.map(|p| limbs_of(p.1))));
    let mut tables = [NonceTable::new(), NonceTable::new()];
    let z = odd_multiples(&x, &y, &mut tables);
    for k in 0..2 {
        for window in 0..1 << NONCE_WINDOW {
            for lambda in 0..2 {
                let (x, y, negative) = tables[k].lookup(lambda, from_array([window; 8]));
                let found = affine(&Jacobian { x: [x], y: [y], z: [z[k]] });
                let digit = (2 * window).abs_diff((1 << NONCE_WINDOW) - 1);
                assert_eq!(negative, if 2 * window < (1 << NONCE_WINDOW) - 1 { 0xff } else { 0 });
                for lane in 0..8 {
                    let factor = U256::from(digit).mul_mod(if lambda == 1 { LAMBDA } else { U256::ONE }, N);
                    assert_eq!(found[lane], reference::multiply(factor, Some(points[k][lane])), "{digit} {lambda}");
                }
            }
        }
    }
});

in_lanes!(generator_table_contains_the_odd_multiples_and_lambda_times_them, {
    let table = GeneratorTable::get();
    let two = reference::add(reference::G, reference::G);
    let mut multiple = reference::G;
    let half = 1 << (generator::WINDOW - 1);
    let lambda_g = reference::multiply(LAMBDA, reference::G).unwrap_or_default();
    let beta = reference::mul(lambda_g.0, reference::invert(reference::G.unwrap_or_default().0));
    for i in 0..half {
        let (x, y, positive) = table.lookup(0, from_array([half + i; 8]));
        let (lambda_x, lambda_y, negative) = table.lookup(1, from_array([half - 1 - i; 8]));
        assert_eq!((positive, negative), (0, 0xff));
        let point = multiple.unwrap_or_default();
        assert_eq!((values(&x)[0], values(&y)[7]), point);
        assert_eq!((values(&lambda_x)[3], values(&lambda_y)[4]), (reference::mul(point.0, beta), point.1));
        multiple = reference::add(multiple, two);
    }
});

in_lanes!(digits_add_up_to_the_multiplier, {
    let mut numbers = Numbers(17);
    for _ in 0..50 {
        let halves: [_; 8] = core::array::from_fn(|_| split(numbers.scalar().as_limbs()).0);
        let recoded = halves.map(|half| regular(half, NONCE_BITS));
        let words = core::array::from_fn(|w| recoded.map(|words| words[w]));
        let mut sums = [U256::ZERO; 8];
        for position in (0..NONCE_BITS).step_by(NONCE_WINDOW as usize).rev() {
            let (index, negative) = digits::<NONCE_WINDOW>(window::<NONCE_WINDOW>(&words, position));
            for lane in 0..8 {
                let digit = U256::from(2 * index[lane] + 1);
                sums[lane] <<= NONCE_WINDOW as usize;
                sums[lane] = if negative >> lane & 1 == 1 {
                    sums[lane].wrapping_sub(digit)
                } else {
                    sums[lane].wrapping_add(digit)
                };
            }
        }
        for lane in 0..8 {
            assert_eq!(sums[lane].as_limbs()[..3], halves[lane]);
        }
    }
});

in_lanes!(z_is_zero_in_exactly_the_exceptional_lanes, {
    let mut numbers = Numbers(18);
    for lane in 0..8 {
        for (step, inverse) in
            [(0, false), (0, true), (1, false), (1, true), (2, false), (2, true), (3, false), (3, true)]
        {
            let mut signatures: [_; 16] = core::array::from_fn(|_| Signature {
                hash: numbers.word().into(),
                r: numbers.point().0 % N,
                s: numbers.scalar(),
                y_parity: numbers.next() & 1 == 1,
                low_s: false,
            });
            signatures[8 + lane] = exceptional(&mut numbers, step, inverse);
            let mut groups = [Group::empty(); 2];
            prepare(&signatures, &mut groups);
            decompress(&mut groups);
            let mut tables = [NonceTable::new(), NonceTable::new()];
            let sum = multiply::<true, _>(&groups, &mut tables);
            assert_eq!(sum.z.each_ref().map(|z| is_zero(z)), [0, 1 << lane], "step {step}, inverse {inverse}");
        }
    }
});
