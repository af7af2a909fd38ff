//! The rounds of Keccak-f[1600] (FIPS 202) for all vector types: the constants, and a macro over
//! the operations of a vector type.

/// Round constants of Keccak-f[1600] (FIPS 202, iota).
pub(super) const ROUND: [u64; 24] = [
    0x0000_0000_0000_0001,
    0x0000_0000_0000_8082,
    0x8000_0000_0000_808a,
    0x8000_0000_8000_8000,
    0x0000_0000_0000_808b,
    0x0000_0000_8000_0001,
    0x8000_0000_8000_8081,
    0x8000_0000_0000_8009,
    0x0000_0000_0000_008a,
    0x0000_0000_0000_0088,
    0x0000_0000_8000_8009,
    0x0000_0000_8000_000a,
    0x0000_0000_8000_808b,
    0x8000_0000_0000_008b,
    0x8000_0000_0000_8089,
    0x8000_0000_0000_8003,
    0x8000_0000_0000_8002,
    0x8000_0000_0000_0080,
    0x0000_0000_0000_800a,
    0x8000_0000_8000_000a,
    0x8000_0000_8000_8081,
    0x8000_0000_0000_8080,
    0x0000_0000_8000_0001,
    0x8000_0000_8000_8008,
];

/// The 24 rounds of Keccak-f[1600], in a loop over groups of four, for all vector types.
///
/// Differences from the specification, all to reduce register pressure: output rows are computed
/// one after the other from the five lanes that rho and pi combine, so that a row's inputs are dead
/// after it; the column parities for the next round's theta are accumulated as the rows are
/// computed. After four rounds the lanes are back in their places. Unrolling all 24 rounds makes
/// the register allocator spill.
macro_rules! rounds {
    ($a:ident, $c:ident, $rc:expr, $xor:ident, $xor3:ident, $chi:ident, $rol:ident, $splat:ident) => {{
        for four in $rc.as_chunks::<4>().0 {
            rounds!(@round $a, $c, four[0], $xor, $xor3, $chi, $rol, $splat);
            rounds!(@round $a, $c, four[1], $xor, $xor3, $chi, $rol, $splat);
            rounds!(@round $a, $c, four[2], $xor, $xor3, $chi, $rol, $splat);
            rounds!(@round $a, $c, four[3], $xor, $xor3, $chi, $rol, $splat);
        }
    }};
    (@round $a:ident, $c:ident, $rc:expr, $xor:ident, $xor3:ident, $chi:ident, $rol:ident, $splat:ident) => {{
        let d0 = $xor($c[4], $rol::<1>($c[1]));
        let d1 = $xor($c[0], $rol::<1>($c[2]));
        let d2 = $xor($c[1], $rol::<1>($c[3]));
        let d3 = $xor($c[2], $rol::<1>($c[4]));
        let d4 = $xor($c[3], $rol::<1>($c[0]));

        let (b0, b1, b2, b3, b4) = (
            $xor($a[0], d0),
            $rol::<44>($xor($a[6], d1)),
            $rol::<43>($xor($a[12], d2)),
            $rol::<21>($xor($a[18], d3)),
            $rol::<14>($xor($a[24], d4)),
        );
        let r0 = [$xor($chi(b0, b1, b2), $splat($rc)), $chi(b1, b2, b3), $chi(b2, b3, b4), $chi(b3, b4, b0), $chi(b4, b0, b1)];

        let (b0, b1, b2, b3, b4) = (
            $rol::<28>($xor($a[3], d3)),
            $rol::<20>($xor($a[9], d4)),
            $rol::<3>($xor($a[10], d0)),
            $rol::<45>($xor($a[16], d1)),
            $rol::<61>($xor($a[22], d2)),
        );
        let r1 = [$chi(b0, b1, b2), $chi(b1, b2, b3), $chi(b2, b3, b4), $chi(b3, b4, b0), $chi(b4, b0, b1)];

        let (b0, b1, b2, b3, b4) = (
            $rol::<1>($xor($a[1], d1)),
            $rol::<6>($xor($a[7], d2)),
            $rol::<25>($xor($a[13], d3)),
            $rol::<8>($xor($a[19], d4)),
            $rol::<18>($xor($a[20], d0)),
        );
        let r2 = [$chi(b0, b1, b2), $chi(b1, b2, b3), $chi(b2, b3, b4), $chi(b3, b4, b0), $chi(b4, b0, b1)];
        let c = [
            $xor3(r0[0], r1[0], r2[0]),
            $xor3(r0[1], r1[1], r2[1]),
            $xor3(r0[2], r1[2], r2[2]),
            $xor3(r0[3], r1[3], r2[3]),
            $xor3(r0[4], r1[4], r2[4]),
        ];

        let (b0, b1, b2, b3, b4) = (
            $rol::<27>($xor($a[4], d4)),
            $rol::<36>($xor($a[5], d0)),
            $rol::<10>($xor($a[11], d1)),
            $rol::<15>($xor($a[17], d2)),
            $rol::<56>($xor($a[23], d3)),
        );
        let r3 = [$chi(b0, b1, b2), $chi(b1, b2, b3), $chi(b2, b3, b4), $chi(b3, b4, b0), $chi(b4, b0, b1)];

        let (b0, b1, b2, b3, b4) = (
            $rol::<62>($xor($a[2], d2)),
            $rol::<55>($xor($a[8], d3)),
            $rol::<39>($xor($a[14], d4)),
            $rol::<41>($xor($a[15], d0)),
            $rol::<2>($xor($a[21], d1)),
        );
        let r4 = [$chi(b0, b1, b2), $chi(b1, b2, b3), $chi(b2, b3, b4), $chi(b3, b4, b0), $chi(b4, b0, b1)];
        $c = [
            $xor3(c[0], r3[0], r4[0]),
            $xor3(c[1], r3[1], r4[1]),
            $xor3(c[2], r3[2], r4[2]),
            $xor3(c[3], r3[3], r4[3]),
            $xor3(c[4], r3[4], r4[4]),
        ];
        $a = [
            r0[0], r0[1], r0[2], r0[3], r0[4], r1[0], r1[1], r1[2], r1[3], r1[4], r2[0], r2[1], r2[2], r2[3], r2[4],
            r3[0], r3[1], r3[2], r3[3], r3[4], r4[0], r4[1], r4[2], r4[3], r4[4],
        ];
    }};
}
pub(super) use rounds;
