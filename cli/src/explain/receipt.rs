//! Decodes receipts and compares them.
//!
//! In: EIP-2718 encodings. Out: the fields, and the differences between two receipts in words.

use alloy_primitives::{Bloom, Bytes, Log};
use alloy_rlp::{Decodable, Error, Header};

/// One decoded receipt.
#[derive(Debug)]
pub struct Receipt {
    tx_type: u8,
    /// The status (EIP-658), or before Byzantium the state root.
    outcome: Bytes,
    /// Gas of all transactions up to this one.
    pub cumulative_gas: u64,
    bloom: Bloom,
    logs: Vec<Log>,
}

impl Receipt {
    /// Decodes a receipt that fills `bytes` exactly.
    ///
    /// # Errors
    /// The encoding is invalid.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let (tx_type, mut rest) = match bytes {
            [tx_type @ ..0x80, rest @ ..] => (*tx_type, rest),
            bytes => (0, bytes),
        };
        let mut fields = Header::decode_bytes(&mut rest, true)?;
        let receipt = Self {
            tx_type,
            outcome: Bytes::decode(&mut fields)?,
            cumulative_gas: u64::decode(&mut fields)?,
            bloom: Bloom::decode(&mut fields)?,
            logs: Vec::<Log>::decode(&mut fields)?,
        };
        if rest.is_empty() && fields.is_empty() { Ok(receipt) } else { Err(Error::UnexpectedLength) }
    }

    /// Differences from the receipt of a file, in words. `before`: the cumulative gas before this
    /// transaction, here and in the file. Before Byzantium, status and state root are not
    /// compared, since a file may have either.
    pub fn differences(&self, file: &Self, before: [u64; 2], byzantium: bool) -> Vec<String> {
        let mut found = Vec::new();
        let mut compare = |what: &str, produced: String, expected: String| {
            if produced != expected {
                found.push(format!("{what} {produced}, the file says {expected}"));
            }
        };
        compare("type", self.tx_type.to_string(), file.tx_type.to_string());
        if byzantium {
            compare("status", self.outcome_name(), file.outcome_name());
        }
        let [produced, expected] = [(self, before[0]), (file, before[1])]
            .map(|(receipt, before)| receipt.cumulative_gas.wrapping_sub(before).to_string());
        compare("gas used", produced, expected);
        compare("number of logs", self.logs.len().to_string(), file.logs.len().to_string());
        for (at, (produced, expected)) in self.logs.iter().zip(&file.logs).enumerate() {
            compare(&format!("log {at}: address"), produced.address.to_string(), expected.address.to_string());
            compare(&format!("log {at}: topics"), topics(produced), topics(expected));
            compare(&format!("log {at}: data"), shortened(&produced.data.data), shortened(&expected.data.data));
        }
        if found.is_empty() && self.bloom != file.bloom {
            found.push("its logs bloom is not that of its logs in the file".to_owned());
        }
        found
    }

    fn outcome_name(&self) -> String {
        match self.outcome.as_ref() {
            [] => "failure".to_owned(),
            [1] => "success".to_owned(),
            _ => self.outcome.to_string(),
        }
    }
}

fn topics(log: &Log) -> String {
    let topics: Vec<String> = log.topics().iter().map(ToString::to_string).collect();
    format!("[{}]", topics.join(", "))
}

/// Data in hex; long data as length and hash, so that two different ones stay different.
fn shortened(data: &Bytes) -> String {
    if data.len() <= 64 {
        return data.to_string();
    }
    format!("{} bytes with keccak256 {}", data.len(), alloy_primitives::keccak256(data))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::{Address, B256};
    use alloy_rlp::Encodable;

    fn encoded(status: bool, gas: u64, logs: &[Log]) -> Vec<u8> {
        let mut fields = Vec::new();
        status.encode(&mut fields);
        gas.encode(&mut fields);
        Bloom::ZERO.encode(&mut fields);
        logs.to_vec().encode(&mut fields);
        let mut out = vec![2];
        Header { list: true, payload_length: fields.len() }.encode(&mut out);
        out.extend(fields);
        out
    }

    #[test]
    fn two_receipts_differ_in_named_fields() {
        let log = |topic| {
            let topics = vec![B256::repeat_byte(topic)];
            Log::new(Address::repeat_byte(9), topics, Bytes::from_static(&[7])).expect("one topic")
        };
        let ours = Receipt::decode(&encoded(true, 50, &[log(1)])).expect("a receipt");
        let same = Receipt::decode(&encoded(true, 60, &[log(1)])).expect("a receipt");
        assert_eq!(ours.differences(&same, [20, 30], true), Vec::<String>::new(), "only the gas before differs");
        let other = Receipt::decode(&encoded(false, 61, &[log(2)])).expect("a receipt");
        let found = ours.differences(&other, [20, 30], true);
        assert_eq!(found[..2], ["status success, the file says failure", "gas used 30, the file says 31"]);
        assert!(found[2].starts_with("log 0: topics [0x0101"), "{found:?}");
        assert_eq!(ours.differences(&other, [20, 30], false).len(), 2, "before Byzantium without the status");
        let longer = Receipt::decode(&encoded(true, 60, &[log(1), log(1)])).expect("a receipt");
        assert_eq!(ours.differences(&longer, [20, 30], true), ["number of logs 1, the file says 2"]);
    }

    #[test]
    fn damaged_receipts_are_errors() {
        let whole = encoded(true, 50, &[]);
        for len in 0..whole.len() {
            assert!(Receipt::decode(&whole[..len]).is_err(), "{len}");
        }
        assert!(Receipt::decode(&[&whole[..], &[0]].concat()).is_err());
    }
}
