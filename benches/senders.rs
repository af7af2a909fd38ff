//! Time of sender recovery in batches of 1 to 1024, compared with libsecp256k1 and k256 one signature at a time.

use alloy_primitives::{Address, U256};
use balustrade::exec::senders::{Signature, recover_batch, recover_scalar};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use k256::ecdsa::{RecoveryId, Signature as PeerSignature, VerifyingKey};

/// Valid signatures: every r that is the x coordinate of a curve point gives one.
fn signatures(count: usize) -> Vec<Signature> {
    let mut seed = U256::from(0x5eed_u64);
    let mut next = || {
        seed = alloy_primitives::keccak256(seed.to_be_bytes::<32>()).into();
        seed
    };
    core::iter::repeat_with(|| Signature {
        hash: next().into(),
        r: next(),
        s: next() >> 1,
        y_parity: next().bit(0),
        low_s: true,
    })
    .filter(|signature| recover_scalar(signature).is_some())
    .take(count)
    .collect()
}

fn recover_k256(signature: &Signature) -> Option<Address> {
    let parts = PeerSignature::from_scalars(signature.r.to_be_bytes::<32>(), signature.s.to_be_bytes::<32>()).ok()?;
    let id = RecoveryId::new(signature.y_parity, false);
    let key = VerifyingKey::recover_from_prehash(signature.hash.as_slice(), &parts, id).ok()?;
    Some(Address::from_raw_public_key(key.to_sec1_point(false).as_bytes().get(1..)?))
}

fn senders(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("senders");
    for count in [1, 8, 64, 1024] {
        let signatures = signatures(count);
        let mut out = vec![None; count];
        recover_batch(&signatures, &mut out);
        assert!(signatures.iter().zip(&out).all(|(signature, out)| *out == recover_k256(signature)));
        println!(
            "result hash: {}",
            alloy_primitives::keccak256(out.iter().flatten().flatten().copied().collect::<Vec<u8>>())
        );

        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(BenchmarkId::new("lanes", count), |b| b.iter(|| recover_batch(&signatures, &mut out)));
        group.bench_function(BenchmarkId::new("libsecp256k1", count), |b| {
            b.iter(|| signatures.iter().map(recover_scalar).filter(Option::is_some).count());
        });
        group.bench_function(BenchmarkId::new("k256", count), |b| {
            b.iter(|| signatures.iter().map(recover_k256).filter(Option::is_some).count());
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).measurement_time(std::time::Duration::from_secs(2));
    targets = senders
}
criterion_main!(benches);
