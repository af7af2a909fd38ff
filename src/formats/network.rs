//! Conversion of the network and fork names of fixtures and bundles to chain configurations.
//!
//! In: names such as `Cancun` or `ShanghaiToCancunAtTime15k`, blob schedules. Out: a
//! [`ChainConfig`] whose forks up to the named one are active from genesis, or from the transition
//! on; the [`ChainRules`] of a bundle.
//! Not here: the rules themselves.

use super::genesis::BlobScheduleJson;
use crate::exec::rules::chain::{ChainConfig, Step};
use crate::exec::rules::fork::{BlobSchedule, ChainRules, Fork, MAINNET_DEPOSIT_CONTRACT};
use crate::exec::wire::Header;

/// The chain of a fixture's network; `None` if a fork in its name is unknown. EIP-7610 is active:
/// releases until August 2026 were filled with it in all forks, and no test of later ones depends
/// on it (execution-specs#3417, #3425).
pub(super) fn fixture_network(
    name: &str,
    chain_id: u64,
    schedules: &[(String, BlobScheduleJson)],
) -> Option<ChainConfig> {
    Some(ChainConfig { storage_collision: Some(true), ..network(name, chain_id, schedules)? })
}

/// The chain of a network by the name of its fork (`Cancun`) or of a transition
/// (`ShanghaiToCancunAtTime15k`), with the deposit contract of mainnet; `None` if a fork in it is
/// unknown.
pub fn network_chain(name: &str, chain_id: u64) -> Option<ChainConfig> {
    network(name, chain_id, &[])
}

/// The chain whose blocks have the rules of a bundle: that of its chain id, or else one with all forks
/// up to the bundle's from the genesis on. `None` if neither has these rules at the bundle's block.
pub(super) fn bundle_chain(
    fork: Option<&str>,
    chain_id: u64,
    header: &Header,
    rules: &ChainRules,
) -> Option<ChainConfig> {
    let with_blobs = |chain: ChainConfig| {
        let last = Step::BLOBS.into_iter().rev().find(|step| chain.at(*step).is_some())?;
        Some(chain.with_blobs(last, rules.blob_schedule))
    };
    let network = fork.and_then(|fork| network(fork, chain_id, &[]));
    let network = network.map(|chain| ChainConfig { deposit_contract: rules.deposit_contract, ..chain });
    let chains = [ChainConfig::of_chain_id(chain_id), network.clone(), network.and_then(with_blobs)];
    chains.into_iter().flatten().find(|chain| chain.rules_of(header) == *rules)
}

/// The chain of a network by the name of its fork or transition; `None` if a fork in it is unknown.
/// `schedules`: blob parameters by fork name; forks that it lacks have mainnet's.
fn network(name: &str, chain_id: u64, schedules: &[(String, BlobScheduleJson)]) -> Option<ChainConfig> {
    let mut chain = ChainConfig { deposit_contract: MAINNET_DEPOSIT_CONTRACT, ..ChainConfig::frontier(chain_id) }
        .with_blobs(Step::Bpo1, BlobSchedule::BPO1)
        .with_blobs(Step::Bpo2, BlobSchedule::BPO2);
    for (fork, schedule) in schedules {
        if let Some(step) = last_step(fork).flatten() {
            chain = chain.with_blobs(step, (*schedule).into());
        }
    }
    if let Some(last) = last_step(name) {
        return Some(taken(chain, last, 0));
    }
    let (names, at) = name.rsplit_once("At")?;
    let (before, after) = names.split_once("To")?;
    let (before, after) = (last_step(before)?, last_step(after)??);
    let (by_time, at) = match at.strip_prefix("Time") {
        Some(time) => (true, thousands(time)?),
        None => (false, thousands(at)?),
    };
    if after.is_by_time() != by_time || before >= Some(after) {
        return None;
    }
    let chain = taken(chain, Some(after), at);
    Some(taken(chain, before, 0))
}

/// The chain with every fork up to `last` activated at block number or timestamp `at`.
fn taken(mut chain: ChainConfig, last: Option<Step>, at: u64) -> ChainConfig {
    let Some(last) = last else { return chain };
    for step in Step::ALL.into_iter().filter(|step| *step <= last) {
        let belongs = match step {
            // Only the DAO network includes the DAO fork.
            Step::Dao => last == Step::Dao,
            Step::MergeNetsplit => false,
            Step::Bpo3 | Step::Bpo4 | Step::Bpo5 => last < Step::Amsterdam,
            _ => true,
        };
        if belongs {
            chain = chain.with(step, at);
        }
    }
    match last {
        // Unless it is set, Petersburg is activated together with Constantinople.
        Step::Constantinople => chain.with(Step::Petersburg, u64::MAX),
        Step::Dao => ChainConfig { dao_support: true, ..chain },
        _ => chain,
    }
}

/// The step that activates the fork of this name, in the spellings of EEST, geth and bundles;
/// `Some(None)` for Frontier, `None` for an unknown name.
fn last_step(name: &str) -> Option<Option<Step>> {
    Some(Some(match name {
        "Frontier" => return Some(None),
        "Homestead" => Step::Homestead,
        _ if name.eq_ignore_ascii_case("dao") => Step::Dao,
        "Tangerine" | "TangerineWhistle" | "EIP150" => Step::TangerineWhistle,
        "SpuriousDragon" | "EIP158" => Step::SpuriousDragon,
        "Byzantium" => Step::Byzantium,
        "Constantinople" => Step::Constantinople,
        "Petersburg" | "ConstantinopleFix" => Step::Petersburg,
        "Istanbul" => Step::Istanbul,
        "MuirGlacier" => Step::MuirGlacier,
        "Berlin" => Step::Berlin,
        "London" => Step::London,
        "ArrowGlacier" => Step::ArrowGlacier,
        "GrayGlacier" => Step::GrayGlacier,
        "Paris" | "Merge" => Step::Paris,
        "Shanghai" => Step::Shanghai,
        "Cancun" => Step::Cancun,
        "Prague" => Step::Prague,
        "Osaka" => Step::Osaka,
        "BPO1" => Step::Bpo1,
        "BPO2" => Step::Bpo2,
        "BPO3" => Step::Bpo3,
        "BPO4" => Step::Bpo4,
        "BPO5" => Step::Bpo5,
        "Amsterdam" => Step::Amsterdam,
        _ => return None,
    }))
}

fn thousands(text: &str) -> Option<u64> {
    match text.strip_suffix('k') {
        Some(digits) => digits.parse::<u64>().ok()?.checked_mul(1000),
        None => text.parse().ok(),
    }
}

/// The rules of a bundle. Fork and blob schedule are taken from the file; deposit contract,
/// difficulty bomb and DAO fork from its chain. A bundle without a fork name has the rules of its
/// chain; `None` if the chain is unknown.
pub(super) fn bundle_rules(
    fork: Option<&str>,
    chain_id: u64,
    header: &Header,
    schedule: Option<BlobSchedule>,
) -> Option<ChainRules> {
    let chain = ChainConfig::of_chain_id(chain_id);
    let scheduled = chain.as_ref().map(|chain| chain.rules_of(header));
    let mut rules = match fork {
        Some(fork) => network(fork, chain_id, &[])?.rules(header.number, header.timestamp),
        None => scheduled?,
    };
    if let Some(schedule) = schedule {
        rules.blob_schedule = schedule;
    }
    if let Some(scheduled) = scheduled {
        rules.deposit_contract = scheduled.deposit_contract;
        rules.dao_transfer = scheduled.dao_transfer;
        rules.dao_extra_data = scheduled.dao_extra_data;
        if rules.fork == scheduled.fork && rules.fork < Fork::Paris {
            rules.bomb_delay = scheduled.bomb_delay;
        }
    }
    Some(rules)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::rules::fork::{DaoExtraData, DaoTransfer};

    #[test]
    fn transitions_by_time_and_number() {
        let chain = network("ShanghaiToCancunAtTime15k", 1, &[]).expect("known");
        assert_eq!(chain.rules(9, 14_999).fork, Fork::Shanghai);
        assert_eq!(chain.rules(9, 15_000).fork, Fork::Cancun);
        let chain = network("HomesteadToDaoAt5", 1, &[]).expect("known");
        let dao: Vec<bool> = (4..7).map(|number| chain.rules(number, 0).dao_transfer == DaoTransfer::First).collect();
        assert_eq!(dao, [false, true, false]);
        let marked = |number| chain.rules(number, 0).dao_extra_data == DaoExtraData::Required;
        assert_eq!([4, 5, 14, 15].map(marked), [false, true, true, false]);
        let chain = network("BPO1ToBPO2AtTime15k", 1, &[]).expect("known");
        assert_eq!(chain.rules(1, 0).blob_schedule, BlobSchedule::BPO1);
        assert_eq!(chain.rules(1, 15_000).blob_schedule, BlobSchedule::BPO2);
        assert_eq!(chain.rules(1, 15_000).fork, Fork::Osaka);
        for unknown in [
            "",
            "Utopia",
            "CancunToUtopiaAtTime15k",
            "CancunToPragueAt",
            "CancunToPragueAt5",
            "PragueToCancunAtTime15k",
            "ToAtTime1k",
            "CancunToPragueAtTime99999999999999999999k",
            "ArrowGlacierToParisAtDiffC0000",
        ] {
            assert_eq!(network(unknown, 1, &[]), None, "{unknown}");
        }
    }

    #[test]
    fn every_fork_is_found_by_its_name() {
        for fork in Fork::ALL {
            let chain = network(fork.name(), 1, &[]).expect("known");
            assert_eq!(chain.rules(0, 0), ChainRules::mainnet(fork), "{fork:?}");
        }
        let delay = |name| network(name, 1, &[]).expect("known").rules(7, 0).bomb_delay;
        assert_eq!(["MuirGlacier", "ArrowGlacier", "GrayGlacier"].map(delay), [9_000_000, 10_700_000, 11_400_000]);
    }

    #[test]
    fn fixtures_run_with_eip_7610_in_every_fork() {
        for fork in Fork::ALL {
            let by_fork = network(fork.name(), 1, &[]).expect("known").rules(1, 0);
            let filled = fixture_network(fork.name(), 1, &[]).expect("known").rules(1, 0);
            assert_eq!(filled, ChainRules { storage_collision: true, ..by_fork }, "{fork:?}");
            assert_eq!(by_fork.storage_collision, fork < Fork::Cancun, "{fork:?}");
        }
    }

    #[test]
    fn bundles_follow_their_chain() {
        let rules = |fork, number| bundle_rules(Some(fork), 1, &Header { number, ..Header::default() }, None);
        assert_eq!(rules("London", 13_000_000).map(|rules| rules.bomb_delay), Some(9_700_000));
        assert_eq!(rules("London", 14_000_000).map(|rules| rules.bomb_delay), Some(10_700_000));
        assert_eq!(rules("London", 15_050_000).map(|rules| rules.bomb_delay), Some(11_400_000));
        assert!(rules("Homestead", 1_920_000).is_some_and(|rules| rules.dao_transfer == DaoTransfer::Last));
        assert!(rules("Homestead", 1_920_001).is_some_and(|rules| rules.dao_transfer == DaoTransfer::None));
        let unnamed =
            |chain_id| bundle_rules(None, chain_id, &Header { number: 13_000_000, ..Header::default() }, None);
        assert_eq!(unnamed(1).map(|rules| rules.fork), Some(Fork::London));
        assert_eq!(unnamed(1337), None);
    }
}
