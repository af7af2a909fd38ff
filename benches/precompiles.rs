//! Time of one call of each precompile, ours and `revm-precompile`'s, on inputs as they occur in blocks.

use alloy_primitives::{Address, B256, U256, hex, keccak256, uint};
use balustrade::exec::evm::precompile::{Recoveries, run};
use balustrade::exec::rules::fork::Fork;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use revm_precompile::{PrecompileSpecId, Precompiles};

const GAS: u64 = 1 << 40;

/// A reproducible pseudo-random word.
fn word(seed: u64) -> [u8; 32] {
    keccak256(seed.to_be_bytes()).0
}

fn ours(number: u16, input: &[u8]) -> Vec<u8> {
    let mut output = Vec::new();
    run(Fork::Osaka, number, input, GAS, &mut Recoveries::default(), &mut output).expect("valid input");
    output
}

fn modexp(base: &[u8], exponent: &[u8], modulus: &[u8]) -> Vec<u8> {
    let lengths = [base, exponent, modulus].map(|number| U256::from(number.len()).to_be_bytes::<32>());
    [lengths.as_flattened(), base, exponent, modulus].concat()
}

/// A pseudo-random odd number of `len` bytes whose first byte is not 0.
fn number(len: usize, seed: u64) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..len.div_ceil(32) as u64).flat_map(|at| word(seed + at)).take(len).collect();
    bytes[0] |= 1 << 7;
    bytes[len - 1] |= 1;
    bytes
}

/// One input for each of 16 seeds, so that the branch predictor cannot learn a single input.
fn seeds(make: impl Fn(u64) -> Vec<u8>) -> Vec<Vec<u8>> {
    (1..=16).map(|seed| make(seed * 1_000)).collect()
}

/// `factor` times the generator of BN254's G1.
fn bn254_g1(factor: [u8; 32]) -> Vec<u8> {
    ours(7, &[U256::ONE.to_be_bytes::<32>(), U256::from(2).to_be_bytes(), factor].concat())
}

/// Input of a pairing check that succeeds: `pairs` pairs of the form (aG, H), (-aG, H), whose product is one.
fn bn254_pairs(pairs: u64, seed: u64) -> Vec<u8> {
    let modulus = uint!(0x30644e72e131a029b85045b68181585d97816a916871ca8d3c208c16d87cfd47_U256);
    let g2 = hex!(
        "198e9393920d483a7260bfb731fb5d25f1aa493335a9e71297e485b7aef312c2"
        "1800deef121f1e76426a00665e5c4479674322d4f75edadd46debd5cd992f6ed"
        "090689d0585ff075ec9e99ad690c3395bc4b313370b38ef355acdadcd122975b"
        "12c85ea5db8c6deb4aab71808dcb408fe3d1e7690c43d37b4ce6cc0166fa7daa"
    );
    let mut input = Vec::new();
    for at in 0..pairs / 2 {
        let point = bn254_g1(word(seed + at));
        let y = modulus - U256::from_be_slice(&point[32..]);
        input.extend([&point, &g2[..], &point[..32], &y.to_be_bytes::<32>(), &g2].concat());
    }
    input
}

/// A point evaluation that holds (consensus-specs, `verify_kzg_proof_case_correct_proof_4_4`).
fn point_evaluation() -> Vec<u8> {
    let commitment =
        hex!("8f59a8d2a1a625a17f3fea0fe5eb8c896db3764f3185481bc22f91b4aaffcca25f26936857bc3a7c2539ea8ec3a952b7");
    let mut hash = <[u8; 32]>::try_from(ours(2, &commitment)).expect("32 bytes");
    hash[0] = 1;
    let rest = hex!(
        "73eda753299d7d483339d80809a1d80553bda402fffe5bfeffffffff00000000"
        "1522a4a7f34e1ea350ae07c29c96c7e79655aa926122e95fe69fcbd932ca49e9"
    );
    let proof =
        hex!("a62ad71d14c5719385c0686f1871430475bf3a00f0aa3f7b8dd99a9abc2160744faf0070725e00b60ad9a026a15b1a8c");
    [&hash[..], &rest, &commitment, &proof].concat()
}

/// A point of BLS12-381: G1 for 64 bytes of coordinate, G2 for 128.
fn bls(seed: u64, number: u16) -> Vec<u8> {
    let coordinate = |seed: u64| [[0; 32], word(seed)].concat();
    match number {
        0x10 => ours(0x10, &coordinate(seed)),
        _ => ours(0x11, &[coordinate(seed), coordinate(seed + 1)].concat()),
    }
}

fn inputs() -> Vec<(&'static str, u16, Vec<Vec<u8>>)> {
    let order = uint!(0x30644e72e131a029b85045b68181585d2833e84879b9709143e1f593f0000001_U256);
    let inversion =
        |seed| modexp(&word(seed), &(order - U256::from(2)).to_be_bytes::<32>(), &order.to_be_bytes::<32>());
    let signature = |seed| {
        let v = U256::from(27).to_be_bytes::<32>();
        let recovered = |seed: &u64| {
            let input = [word(*seed), v, word(seed + 1), word(seed + 2)].concat();
            (!ours(1, &input).is_empty()).then_some(input)
        };
        (seed..).find_map(|seed| recovered(&seed)).expect("every second r is the x coordinate of a point")
    };
    let p256 = hex!(
        "4cee90eb86eaa050036147a12d49004b6b9c72bd725d39d4785011fe190f0b4d"
        "a73bd4903f0ce3b639bbbf6e8e80d16931ff4bcf5993d58468e8fb19086e8cac"
        "36dbcd03009df8c59286b162af3bd7fcc0450c9aa81be5d10d312af6c66b1d60"
        "4aebd3099c618202fcfe16ae7770b0c49ab5eadf74b754204a3bb6060e44eff3"
        "7618b065f9832de4ca6ca971a7a1adc826d0f7c00181a5fb2ddf79ae00b4e10e"
    );
    let g1_product = |seed| [bls(seed, 0x10), word(seed + 9).to_vec()].concat();
    let g2_product = |seed| [bls(seed, 0x11), word(seed + 9).to_vec()].concat();
    vec![
        ("ecrecover", 1, seeds(signature)),
        ("sha256 64 B", 2, seeds(|seed| number(64, seed))),
        ("sha256 4 KiB", 2, seeds(|seed| number(4_096, seed))),
        ("ripemd160 64 B", 3, seeds(|seed| number(64, seed))),
        ("identity 96 B", 4, seeds(|seed| number(96, seed))),
        ("modexp inverse", 5, seeds(inversion)),
        ("modexp 32 B", 5, seeds(|seed| modexp(&number(32, seed), &number(32, seed + 1), &number(32, seed + 2)))),
        ("modexp 64 B", 5, seeds(|seed| modexp(&number(64, seed), &number(32, seed + 5), &number(64, seed + 9)))),
        ("modexp 256 B e=65537", 5, seeds(|seed| modexp(&number(256, seed), &[1, 0, 1], &number(256, seed + 9)))),
        ("modexp 256 B", 5, seeds(|seed| modexp(&number(256, seed), &number(32, seed + 9), &number(256, seed + 19)))),
        ("bn254 add", 6, seeds(|seed| [bn254_g1(word(seed)), bn254_g1(word(seed + 1))].concat())),
        ("bn254 mul", 7, seeds(|seed| [bn254_g1(word(seed)), word(seed + 1).to_vec()].concat())),
        ("bn254 pairing 2", 8, seeds(|seed| bn254_pairs(2, seed))),
        ("bn254 pairing 4", 8, seeds(|seed| bn254_pairs(4, seed))),
        ("blake2f 12", 9, seeds(|seed| [&[0, 0, 0, 12][..], &number(208, seed), &[1]].concat())),
        ("point evaluation", 10, vec![point_evaluation()]),
        ("bls12-381 g1 add", 11, seeds(|seed| [bls(seed, 0x10), bls(seed + 1, 0x10)].concat())),
        ("bls12-381 g1 msm 1", 12, seeds(g1_product)),
        ("bls12-381 g1 msm 8", 12, seeds(|seed| (0..8).flat_map(|at| g1_product(seed + 20 * at)).collect())),
        ("bls12-381 g2 add", 13, seeds(|seed| [bls(seed, 0x11), bls(seed + 2, 0x11)].concat())),
        ("bls12-381 g2 msm 1", 14, seeds(g2_product)),
        (
            "bls12-381 pairing 2",
            15,
            seeds(|seed| [bls(seed, 0x10), bls(seed, 0x11), bls(seed + 1, 0x10), bls(seed + 1, 0x11)].concat()),
        ),
        ("bls12-381 map to g1", 16, seeds(|seed| [[0; 32], word(seed)].concat())),
        ("p256verify", 0x100, vec![p256.to_vec()]),
    ]
}

fn precompiles(criterion: &mut Criterion) {
    let table = Precompiles::new(PrecompileSpecId::OSAKA);
    let mut group = criterion.benchmark_group("precompiles");
    let mut outputs = Vec::new();
    for (name, number, inputs) in inputs() {
        let reference = table.get(&Address::left_padding_from(&number.to_be_bytes())).expect("in the table");
        for input in &inputs {
            let output = ours(number, input);
            assert_eq!(output, reference.execute(input, GAS, 0).expect("no fatal error").bytes, "{name}");
            outputs.extend(output);
        }
        let mut output = Vec::with_capacity(4_096);
        let mut turn = inputs.iter().cycle();
        group.bench_function(BenchmarkId::new("ours", name), |b| {
            b.iter(|| {
                output.clear();
                turn.next()
                    .and_then(|input| run(Fork::Osaka, number, input, GAS, &mut Recoveries::default(), &mut output))
            });
        });
        let mut turn = inputs.iter().cycle();
        group.bench_function(BenchmarkId::new("revm-precompile", name), |b| {
            b.iter(|| turn.next().map(|input| reference.execute(input, GAS, 0)));
        });
    }
    group.finish();
    println!("result hash: {}", B256::from(keccak256(outputs)));
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10)
        .warm_up_time(std::time::Duration::from_millis(200)).measurement_time(std::time::Duration::from_millis(500));
    targets = precompiles
}
criterion_main!(benches);
