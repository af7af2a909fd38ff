//! Chain files that are written here and read back; damaged ones end with a typed error.

use super::*;
use alloy_primitives::B256;
use balustrade_cli::testing::{Folder, stored};
use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;
use std::io::Write;

/// A short block; from number 3 on its header commits to [`list`].
fn block(number: u64) -> Vec<u8> {
    let commits = number >= 3;
    let header = Header {
        number,
        extra_data: vec![number as u8; 3].into(),
        base_fee: commits.then_some(7),
        withdrawals_root: commits.then_some(B256::ZERO),
        blob_gas_used: commits.then_some(0),
        excess_blob_gas: commits.then_some(0),
        parent_beacon_root: commits.then_some(B256::ZERO),
        requests_hash: commits.then_some(B256::ZERO),
        block_access_list_hash: commits.then(|| keccak256(list(number))),
        slot_number: commits.then_some(number),
        ..Header::default()
    };
    let mut parts = Vec::new();
    header.encode(&mut parts);
    parts.extend_from_slice(&[0xc0, 0xc0]);
    rlp_list(&parts)
}

/// The block access list of a block: one account.
fn list(number: u64) -> Vec<u8> {
    let account = [&[0x94][..], &[number as u8; 20], &[0xc0; 5]].concat();
    rlp_list(&rlp_list(&account))
}

fn rlp_list(payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    alloy_rlp::Header { list: true, payload_length: payload.len() }.encode(&mut out);
    out.extend_from_slice(payload);
    out
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gz = GzEncoder::new(Vec::new(), Compression::default());
    gz.write_all(bytes).expect("memory");
    gz.finish().expect("memory")
}

fn snappy(bytes: &[u8]) -> Vec<u8> {
    let mut frames = snap::write::FrameEncoder::new(Vec::new());
    frames.write_all(bytes).expect("memory");
    frames.into_inner().expect("memory")
}

/// An entry of an e2store file.
fn entry(kind: [u8; 2], data: &[u8]) -> Vec<u8> {
    [&kind[..], &(data.len() as u32).to_le_bytes(), &[0, 0], data].concat()
}

/// An index entry without offsets, which the reader does not use.
fn index(kind: [u8; 2], count: u64) -> Vec<u8> {
    let offsets = vec![0; 8 * count as usize];
    entry(kind, &[&1u64.to_le_bytes()[..], &offsets, &count.to_le_bytes()].concat())
}

/// The entries of a header and of a body.
fn header_and_body(block: &[u8]) -> [Vec<u8>; 2] {
    let mut payload = block;
    alloy_rlp::Header::decode(&mut payload).expect("a list");
    let mut body = payload;
    let header = alloy_rlp::Header::decode(&mut body).expect("a list");
    body = &body[header.payload_length..];
    let header = &payload[..payload.len() - body.len()];
    [entry([3, 0], &snappy(header)), entry([4, 0], &snappy(&rlp_list(body)))]
}

fn era1(blocks: &[Vec<u8>]) -> Vec<u8> {
    let mut out = entry([0x65, 0x32], &[]);
    for block in blocks {
        let [header, body] = header_and_body(block);
        let receipts = entry([5, 0], &snappy(&[0xc0]));
        let difficulty = entry([6, 0], &[0; 32]);
        out.extend([header, body, receipts, difficulty].concat());
    }
    out.extend(entry([7, 0], &[1; 32]));
    out.extend(index([0x66, 0x32], blocks.len() as u64));
    out
}

fn ere(blocks: &[Vec<u8>], index_kind: [u8; 2]) -> Vec<u8> {
    let parts: Vec<[Vec<u8>; 2]> = blocks.iter().map(|block| header_and_body(block)).collect();
    let mut out = entry([0x65, 0x32], &[]);
    out.extend(parts.iter().flat_map(|[header, _]| header.clone()));
    out.extend(parts.iter().flat_map(|[_, body]| body.clone()));
    out.extend(blocks.iter().flat_map(|_| entry([0x0a, 0], &snappy(&[0xc0]))));
    out.extend(entry([0x55, 0x55], b"an entry of a later version"));
    out.extend(index(index_kind, blocks.len() as u64));
    out
}

fn blocks(count: u64) -> Vec<Vec<u8>> {
    (1..=count).map(block).collect()
}

/// Every form of the same blocks.
fn forms(blocks: &[Vec<u8>]) -> Vec<(&'static str, Vec<u8>)> {
    let (first, rest) = blocks.split_at(1);
    let members = [gzip(&first.concat()), gzip(&rest.concat())].concat();
    let groups = [era1(first), era1(rest)].concat();
    vec![
        ("plain.rlp", blocks.concat()),
        ("one.rlp.gz", gzip(&blocks.concat())),
        ("appended.rlp.gz", members),
        ("mainnet-00000-00000000.era1", era1(blocks)),
        ("groups.era1", groups),
        ("mainnet-00000-00000000.erae", ere(blocks, [0x66, 0x32])),
        ("mainnet-00000-00000000-noproofs.ere", ere(blocks, [0x67, 0x32])),
    ]
}

fn read(path: &Path) -> (Vec<Vec<u8>>, Option<ChainFileError>) {
    collect(ChainReader::open(&[path.to_owned()], None).expect("a file"))
}

fn collect(reader: ChainReader) -> (Vec<Vec<u8>>, Option<ChainFileError>) {
    let mut blocks = Vec::new();
    for item in reader {
        match item {
            Ok(item) => blocks.push(item.block.to_vec()),
            Err(error) => return (blocks, Some(error)),
        }
    }
    (blocks, None)
}

fn write(folder: &Folder, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.0.join(name);
    std::fs::write(&path, bytes).expect("writable");
    path
}

#[test]
fn every_form_gives_the_same_blocks() {
    let folder = Folder::new("chain-forms");
    let blocks = blocks(5);
    for (name, bytes) in forms(&blocks) {
        let path = write(&folder, name, &bytes);
        let mut reader = ChainReader::open(&[path], None).expect("a file");
        assert_eq!(reader.bytes_total(), bytes.len() as u64);
        let mut before = 0;
        for (number, block) in blocks.iter().enumerate() {
            let item = reader.next().expect("an item").unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(item.block, *block, "{name}: block {number}");
            assert!(reader.bytes_read() >= before && reader.bytes_read() <= reader.bytes_total(), "{name}");
            before = reader.bytes_read();
        }
        assert!(reader.next().is_none() && reader.next().is_none(), "{name}");
        assert_eq!(reader.bytes_read(), bytes.len() as u64, "{name}");
    }
}

#[test]
fn a_file_cut_anywhere_gives_whole_blocks_and_an_error() {
    let folder = Folder::new("chain-cuts");
    let blocks = blocks(4);
    let ends: Vec<usize> = (0..=4).map(|count| blocks[..count].concat().len()).collect();
    for (name, bytes) in forms(&blocks) {
        for len in 0..bytes.len() {
            let (read, error) = read(&write(&folder, name, &bytes[..len]));
            assert!(blocks.starts_with(&read), "{name} cut to {len} bytes");
            // Plain RLP has no mark of its end: a cut between two blocks is not seen, nor is one between the members of
            // a gzip file, or between the groups of an archive.
            let between = match name {
                "plain.rlp" => len > 0 && ends.contains(&len),
                "appended.rlp.gz" => len == gzip(&blocks[0]).len(),
                "groups.era1" => len == era1(&blocks[..1]).len(),
                _ => false,
            };
            assert_eq!(error.is_none(), between, "{name} cut to {len} bytes: {error:?}");
            if let Some(error) = error {
                assert!(error.offset <= ends[4].max(len) as u64 && error.path.ends_with(name), "{error}");
                assert!(len > 0 || matches!(error.fault, ChainFault::Empty), "{error}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn damaged_files_end_with_an_error_or_with_lists(
        form in 0usize..7,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let folder = Folder::new(&format!("chain-damage-{:?}", std::thread::current().id()));
        let (name, mut bytes) = forms(&blocks(3)).swap_remove(form);
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let (read, error) = read(&write(&folder, name, &bytes));
        prop_assert!(read.iter().all(|block| list_len(block) == Some(block.len())));
        prop_assert!(error.is_none_or(|error| !error.to_string().is_empty()));
    }
}

fn list_len(bytes: &[u8]) -> Option<usize> {
    let mut payload = bytes;
    let header = alloy_rlp::Header::decode(&mut payload).ok()?;
    header.list.then(|| bytes.len() - payload.len() + header.payload_length)
}

#[test]
fn lengths_are_limited_before_anything_is_reserved() {
    let folder = Folder::new("chain-lengths");
    let fault = |name: &str, bytes: &[u8]| match read(&write(&folder, name, bytes)) {
        (blocks, Some(error)) if blocks.is_empty() => error.fault,
        other => panic!("{name}: {other:?}"),
    };
    let max = crate::formats::cost::RLP_BYTES_MAX;
    let huge = [0xff, 255, 255, 255, 255, 255, 255, 255, 255];
    assert!(matches!(fault("huge.rlp", &huge), ChainFault::TooLong { len: u64::MAX, .. }));
    let claimed = [&[0xfb][..], &(max as u32 - 5).to_be_bytes()].concat();
    assert!(matches!(fault("claimed.rlp", &claimed), ChainFault::Truncated(_)));
    let over = [&[0xfb][..], &(max as u32 - 4).to_be_bytes()].concat();
    assert!(matches!(fault("over.rlp", &over), ChainFault::TooLong { .. }));
    assert!(matches!(fault("string.rlp", &[0xc0 - 1]), ChainFault::UnknownFormat));
    for not_shortest in [&[0xf8, 55][..], &[0xf9, 0, 56]] {
        assert!(matches!(fault("longer.rlp", not_shortest), ChainFault::NotAList(_)));
    }
    assert!(matches!(fault("empty.rlp", &[]), ChainFault::Empty));
    assert!(matches!(fault("text.rlp", b"blocks"), ChainFault::UnknownFormat));

    // A thousandfold more bytes than the entry has.
    let bomb = snappy(&vec![0; max + 1]);
    assert!(bomb.len() < max / 10);
    let bomb = [entry([0x65, 0x32], &[]), entry([3, 0], &bomb)].concat();
    assert!(matches!(fault("bomb.era1", &bomb), ChainFault::TooLong { what: "a header", .. }));
    let bomb = gzip(&[&over[..], &vec![0; max]].concat());
    assert!(matches!(fault("bomb.rlp.gz", &bomb), ChainFault::TooLong { .. }));
}

#[test]
fn entries_out_of_place_are_named() {
    let folder = Folder::new("chain-entries");
    let version = entry([0x65, 0x32], &[]);
    let [header, body] = header_and_body(&block(1));
    let end = index([0x66, 0x32], 1);
    let fault = |parts: &[&[u8]]| {
        let (blocks, error) = read(&write(&folder, "parts.era1", &parts.concat()));
        (blocks.len(), error.map(|error| error.fault))
    };
    assert!(matches!(fault(&[&version, &header, &body, &end]), (1, None)));
    let entry_fault = |parts: &[&[u8]]| matches!(fault(parts), (0, Some(ChainFault::Entry(_))));
    assert!(entry_fault(&[&version, &header, &end[..8], &end[8..]][..2]));
    assert!(entry_fault(&[&version, &body]));
    assert!(entry_fault(&[&entry([0x65, 0x32], &[1]), &header, &body, &end]));
    assert!(entry_fault(&[&version, &[3, 0, 0, 0, 0, 0, 1, 0]]));
    assert!(entry_fault(&[&version, &entry([0x66, 0x32], &[0; 8])]));
    assert!(matches!(fault(&[&version, &header, &body]), (1, Some(ChainFault::Truncated(_)))));
    let two = index([0x66, 0x32], 2);
    let counted = fault(&[&version, &header, &body, &two]);
    assert!(matches!(counted, (1, Some(ChainFault::Index { indexed: 2, found: 1 }))), "{counted:?}");
    let string = entry([3, 0], &snappy(&[0x80]));
    assert!(matches!(fault(&[&version, &string, &body, &end]), (0, Some(ChainFault::NotAList("a header")))));
    // A body behind which other bytes follow.
    let longer = entry([4, 0], &snappy(&[0xc2, 0xc0, 0xc0, 0xc0]));
    assert!(matches!(fault(&[&version, &header, &longer, &end]), (0, Some(ChainFault::NotAList("a body")))));
    assert!(matches!(fault(&[&version, &entry([3, 0], b"no frames"), &body]), (0, Some(ChainFault::Io(_)))));
}

#[test]
fn lists_belong_to_the_blocks_that_commit_to_them() {
    let folder = Folder::new("chain-lists");
    let chain = write(&folder, "chain.rlp", &blocks(5).concat());
    let with = |name: &str, bytes: &[u8]| {
        let lists = write(&folder, name, bytes);
        let reader = ChainReader::open(std::slice::from_ref(&chain), Some(&lists)).expect("files");
        let items: Vec<Result<ChainItem, ChainFileError>> = reader.collect();
        let lists: Vec<Option<Vec<u8>>> =
            items.iter().flatten().map(|item| item.bal.as_ref().map(|bal| bal.to_vec())).collect();
        (lists, items.into_iter().find_map(Result::err).map(|error| error.fault))
    };
    let lists = [list(3), list(4), list(5)];
    let expected = vec![None, None, Some(list(3)), Some(list(4)), Some(list(5))];
    for bytes in [lists.concat(), gzip(&lists.concat())] {
        assert!(matches!(with("lists", &bytes), (found, None) if found == expected));
    }
    assert!(matches!(with("short", &lists[..2].concat()), (found, Some(ChainFault::NoList(5))) if found.len() == 4));
    assert!(matches!(with("cut", &lists.concat()[..30]), (found, Some(ChainFault::Truncated(_))) if found.len() == 3));
    let more = [lists.concat(), list(6)].concat();
    assert!(matches!(with("more", &more), (found, Some(ChainFault::MoreLists)) if found.len() == 5));
    let swapped = [list(4), list(3), list(5)].concat();
    assert!(matches!(with("swapped", &swapped), (found, Some(ChainFault::OtherList(3))) if found.len() == 2));
}

#[test]
fn folders_are_read_in_the_order_of_the_numbers_in_names() {
    let folder = Folder::new("chain-folder");
    for number in [10, 9, 1] {
        write(&folder, &format!("{number}.rlp"), &block(number));
    }
    std::fs::create_dir(folder.0.join("2")).expect("writable");
    write(&folder, "2/part-07.rlp.gz", &gzip(&block(7)));
    write(&folder, "2/part-6.rlp", &block(6));
    write(&folder, "notes.txt", b"no chain");
    write(&folder, ".hidden.rlp", b"no chain");
    let (blocks, error) = read(&folder.0);
    assert!(error.is_none(), "{error:?}");
    assert_eq!(blocks, [1, 6, 7, 9, 10].map(block));

    let empty = folder.0.join("empty");
    std::fs::create_dir(&empty).expect("writable");
    let none = ChainReader::open(&[empty], None).map(drop);
    assert!(matches!(none, Err(ChainFileError { fault: ChainFault::Empty, .. })));
    assert!(matches!(read(&folder.0.join("missing")), (_, Some(ChainFileError { fault: ChainFault::Io(_), .. }))));
}

#[test]
fn bundles_and_block_tests_are_chain_files() {
    let mut reader = ChainReader::open(&[stored("existence-log.json.gz")], None).expect("a file");
    let item = reader.next().expect("a block").expect("readable");
    assert!(item.bal.is_some() && item.existence_log.is_some() && Header::of_block(&item.block).is_ok());
    assert!(reader.next().is_none());

    let folder = Folder::new("chain-tests");
    let rlp = |number| format!("0x{}", alloy_primitives::hex::encode(block(number)));
    let test = format!(
        "{{\"network\": \"Cancun\", \"pre\": {{}}, \"genesisRLP\": \"0x\", \"lastblockhash\": \"{}\", \
         \"blocks\": [{{\"rlp\": \"{}\"}}, {{\"rlp\": \"{}\"}}]}}",
        B256::ZERO,
        rlp(1),
        rlp(2)
    );
    let one = write(&folder, "one.json", format!("{{\"a\": {test}}}").as_bytes());
    assert!(matches!(read(&one), (found, None) if found == blocks(2)));
    let two = write(&folder, "two.json", format!("{{\"a\": {test}, \"b\": {test}}}").as_bytes());
    assert!(matches!(read(&two), (_, Some(ChainFileError { fault: ChainFault::Tests(2), .. }))));
    let none = write(&folder, "none.json", b"{}");
    assert!(matches!(read(&none), (_, Some(ChainFileError { fault: ChainFault::Document(_), .. }))));
}
