//! Network and fork names of fixtures and bundles to the rules of a block.
//!
//! In: `Cancun`, `ShanghaiToCancunAtTime15k`, blob schedules. Out: [`ChainRules`] by number and timestamp.
//! Not here: the rules themselves.

use super::json;
use alloy_primitives::{Address, address};
use balustrade::exec::fork::{BlobSchedule, ChainRules, Fork, MAINNET_DEPOSIT_CONTRACT};
use serde::Deserialize;

/// Blob parameters as JSON writes them.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BlobScheduleJson {
    #[serde(deserialize_with = "json::u64")]
    target: u64,
    #[serde(deserialize_with = "json::u64")]
    max: u64,
    #[serde(deserialize_with = "json::u64")]
    base_fee_update_fraction: u64,
}

impl From<BlobScheduleJson> for BlobSchedule {
    fn from(json: BlobScheduleJson) -> Self {
        Self { target: json.target, max: json.max, base_fee_update_fraction: json.base_fee_update_fraction }
    }
}

/// When a transition network changes from its first to its second rule set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Activation {
    Number(u64),
    Timestamp(u64),
}

/// The rule sets of a test network: one, or two with a transition between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    before: ChainRules,
    transition: Option<(Activation, ChainRules)>,
}

impl Network {
    /// The network of this name, or nothing where a fork in it is unknown. `schedules` are the fixture's blob
    /// parameters by fork name; mainnet's hold where one is absent.
    pub fn from_name(name: &str, chain_id: u64, schedules: &[(String, BlobScheduleJson)]) -> Option<Self> {
        let rules = |name: &str| {
            let fixed = schedules.iter().find(|(fork, _)| fork == name).map(|(_, schedule)| (*schedule).into());
            named_rules(name, chain_id, fixed)
        };
        if let Some(before) = rules(name) {
            return Some(Self { before, transition: None });
        }
        let (names, at) = name.rsplit_once("At")?;
        let (before, after) = names.split_once("To")?;
        let activation = match at.strip_prefix("Time") {
            Some(time) => Activation::Timestamp(thousands(time)?),
            None => Activation::Number(thousands(at)?),
        };
        let mut after_rules = rules(after)?;
        // The DAO fork is Homestead plus one transfer, in the very block of the transition.
        after_rules.dao_transfer = after.eq_ignore_ascii_case("dao");
        Some(Self { before: rules(before)?, transition: Some((activation, after_rules)) })
    }

    /// The rules of the block with this number and timestamp.
    pub fn rules(&self, number: u64, timestamp: u64) -> ChainRules {
        let Some((activation, after)) = self.transition else { return self.before };
        let (active, first) = match activation {
            Activation::Number(at) => (number >= at, number == at),
            Activation::Timestamp(at) => (timestamp >= at, false),
        };
        if active { ChainRules { dao_transfer: after.dao_transfer && first, ..after } } else { self.before }
    }
}

fn thousands(text: &str) -> Option<u64> {
    match text.strip_suffix('k') {
        Some(digits) => digits.parse::<u64>().ok()?.checked_mul(1000),
        None => text.parse().ok(),
    }
}

/// Rules of one fork by name, with a blob schedule given or mainnet's, on no chain in particular.
fn named_rules(name: &str, chain_id: u64, schedule: Option<BlobSchedule>) -> Option<ChainRules> {
    let fork = if name.eq_ignore_ascii_case("dao") { Fork::Homestead } else { Fork::from_name(name)? };
    let mut rules = ChainRules { chain_id, ..ChainRules::mainnet(fork) };
    match name {
        "BPO1" => rules.blob_schedule = BlobSchedule::BPO1,
        "BPO2" => rules.blob_schedule = BlobSchedule::BPO2,
        "MuirGlacier" => rules.bomb_delay = 9_000_000,
        "ArrowGlacier" => rules.bomb_delay = 10_700_000,
        "GrayGlacier" => rules.bomb_delay = 11_400_000,
        _ => {}
    }
    if let Some(schedule) = schedule {
        rules.blob_schedule = schedule;
    }
    Some(rules)
}

/// The rules of a bundle: fork and schedule are the file's word; the chain decides the deposit contract, and its block
/// number the length of the difficulty bomb's delay and the DAO transfer.
pub fn bundle_rules(fork: &str, chain_id: u64, number: u64, schedule: Option<BlobSchedule>) -> Option<ChainRules> {
    /// First mainnet blocks of Muir, Arrow and Gray Glacier, which share a neighbour's rules but for the bomb.
    const BOMB_DELAYS: [(u64, u64); 3] = [(9_200_000, 9_000_000), (13_773_000, 10_700_000), (15_050_000, 11_400_000)];
    let mut rules = named_rules(fork, chain_id, schedule)?;
    rules.deposit_contract = deposit_contract(chain_id);
    if chain_id == 1 && matches!(rules.fork, Fork::Istanbul | Fork::London) {
        let delays = BOMB_DELAYS.iter().filter(|(first, _)| number >= *first);
        rules.bomb_delay = delays.map(|(_, delay)| *delay).fold(rules.bomb_delay, u64::max);
    }
    rules.dao_transfer = chain_id == 1 && number == 1_920_000;
    Some(rules)
}

/// Where deposits are logged (EIP-6110); mainnet's address for unknown chains.
const fn deposit_contract(chain_id: u64) -> Address {
    match chain_id {
        11_155_111 => address!("7f02C3E3c98b133055B8B348B2Ac625669Ed295D"),
        17_000 => address!("4242424242424242424242424242424242424242"),
        _ => MAINNET_DEPOSIT_CONTRACT,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transitions_by_time_and_number() {
        let network = Network::from_name("ShanghaiToCancunAtTime15k", 1, &[]).expect("known");
        assert_eq!(network.rules(9, 14_999).fork, Fork::Shanghai);
        assert_eq!(network.rules(9, 15_000).fork, Fork::Cancun);
        let network = Network::from_name("HomesteadToDaoAt5", 1, &[]).expect("known");
        let dao: Vec<bool> = (4..7).map(|number| network.rules(number, 0).dao_transfer).collect();
        assert_eq!(dao, [false, true, false]);
        let network = Network::from_name("BPO1ToBPO2AtTime15k", 1, &[]).expect("known");
        assert_eq!(network.rules(1, 0).blob_schedule, BlobSchedule::BPO1);
        assert_eq!(network.rules(1, 15_000).blob_schedule, BlobSchedule::BPO2);
        assert_eq!(network.rules(1, 15_000).fork, Fork::Osaka);
        for unknown in [
            "",
            "Utopia",
            "CancunToUtopiaAtTime15k",
            "CancunToPragueAt",
            "ToAtTime1k",
            "CancunToPragueAtTime99999999999999999999k",
        ] {
            assert_eq!(Network::from_name(unknown, 1, &[]), None, "{unknown}");
        }
    }

    #[test]
    fn bundles_follow_their_chain() {
        assert_eq!(bundle_rules("London", 1, 13_000_000, None).map(|rules| rules.bomb_delay), Some(9_700_000));
        assert_eq!(bundle_rules("London", 1, 14_000_000, None).map(|rules| rules.bomb_delay), Some(10_700_000));
        assert_eq!(bundle_rules("London", 1, 15_050_000, None).map(|rules| rules.bomb_delay), Some(11_400_000));
        assert!(bundle_rules("Homestead", 1, 1_920_000, None).is_some_and(|rules| rules.dao_transfer));
        assert!(bundle_rules("Homestead", 1, 1_920_001, None).is_some_and(|rules| !rules.dao_transfer));
    }
}
