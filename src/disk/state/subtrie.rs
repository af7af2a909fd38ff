//! The nodes of small subtries, built from their leaves.
//!
//! In: the sorted leaves of many subtries. Out: for each the RLP of its nodes, and its item in the
//! parent. The nodes of all subtries are hashed together, level by level from the leaves on, so that
//! the lanes of the Keccak kernel are full.

use super::leaf::Leaf;
use crate::arena::keccak::{Batch, Width, keccak256};
use crate::arena::node::nibble;
use crate::arena::path::{NodePath, fork};
use crate::trie::{ItemBytes, put_branch, put_extension};
use alloy_primitives::B256;

/// The leaves of one subtrie: sorted by key, at least one, all with the same first `depth` nibbles.
pub(super) struct Leaves<'a, L> {
    pub(super) depth: usize,
    pub(super) leaves: &'a [L],
}

/// The separately stored nodes of a subtrie, in RLP.
#[derive(Clone, Debug, Default)]
pub(super) struct Nodes {
    /// Depth of each node, first leaf below it, and end of its RLP.
    rows: Vec<(u8, u16, u32)>,
    rlp: Vec<u8>,
}

impl Nodes {
    /// RLP of the node at `path`, if it is one of these; `key` returns the key of a leaf by row.
    pub(super) fn find<'k>(&self, path: &NodePath, key: impl Fn(usize) -> &'k B256) -> Option<&[u8]> {
        let mut start = 0;
        for (depth, leaf, end) in &self.rows {
            if *depth == path.len && NodePath::new(key(*leaf as usize), *depth as usize) == *path {
                return Some(&self.rlp[start..*end as usize]);
            }
            start = *end as usize;
        }
        None
    }

    /// Bytes of memory.
    pub(super) fn bytes(&self) -> usize {
        self.rows.len() * size_of::<(u8, u16, u32)>() + self.rlp.len()
    }
}

/// End of the leaves from `lo` on with the same nibble at `depth` as `leaves[lo]`.
pub(super) fn group_end<L: Leaf>(leaves: &[L], lo: usize, depth: usize) -> usize {
    let n = nibble(leaves[lo].key(), depth);
    lo + leaves[lo..].iter().take_while(|leaf| nibble(leaf.key(), depth) == n).count()
}

#[derive(Clone, Copy)]
enum Shape {
    Leaf,
    /// Down to the depth of its child, the next node.
    Extension(u8),
    /// First of its rows in `children`, and their number.
    Branch(u32, u8),
}

struct Plan {
    trie: u32,
    depth: u8,
    leaf: u16,
    shape: Shape,
    height: u8,
}

struct Builder<'a, L> {
    tries: &'a [Leaves<'a, L>],
    plans: Vec<Plan>,
    /// Nibble and plan of each child of a branch.
    children: Vec<(u8, u32)>,
}

impl<L: Leaf> Builder<'_, L> {
    /// Adds the node at `depth` over the leaves `lo..hi`, after all nodes below it. Returns its row.
    fn plan(&mut self, trie: usize, lo: usize, hi: usize, depth: usize) -> u32 {
        let leaves = self.tries[trie].leaves;
        let mut plan = Plan { trie: trie as u32, depth: depth as u8, leaf: lo as u16, shape: Shape::Leaf, height: 0 };
        if hi - lo > 1 {
            let end = fork(leaves[lo].key(), leaves[hi - 1].key(), depth);
            if end > depth {
                let child = self.plan(trie, lo, hi, end);
                plan.shape = Shape::Extension(end as u8);
                plan.height = self.plans[child as usize].height + 1;
            } else {
                let (mut children, mut count, mut at) = ([(0, 0); 16], 0, lo);
                while at < hi {
                    let end = group_end(&leaves[..hi], at, depth);
                    let child = self.plan(trie, at, end, depth + 1);
                    children[count] = (nibble(leaves[at].key(), depth), child);
                    plan.height = plan.height.max(self.plans[child as usize].height + 1);
                    count += 1;
                    at = end;
                }
                plan.shape = Shape::Branch(self.children.len() as u32, count as u8);
                self.children.extend_from_slice(&children[..count]);
            }
        }
        self.plans.push(plan);
        self.plans.len() as u32 - 1
    }
}

/// The nodes of each subtrie, and its item in its parent.
pub(super) fn build<L: Leaf>(tries: &[Leaves<'_, L>], width: Width) -> Vec<(Nodes, ItemBytes)> {
    let mut builder = Builder { tries, plans: Vec::new(), children: Vec::new() };
    let tops: Vec<u32> =
        tries.iter().enumerate().map(|(i, trie)| builder.plan(i, 0, trie.leaves.len(), trie.depth)).collect();
    let Builder { plans, children, .. } = builder;
    let mut by_height: Vec<u32> = (0..plans.len() as u32).collect();
    by_height.sort_by_key(|row| plans[*row as usize].height);

    let mut items: Vec<ItemBytes> = vec![[0; 33]; plans.len()];
    let mut spans = vec![(0usize, 0usize); plans.len()];
    let mut digests = vec![B256::ZERO; plans.len()];
    let mut rlp = Vec::with_capacity(128 * plans.len());
    let mut batch = Batch::new(width);
    for level in by_height.chunk_by(|a, b| plans[*a as usize].height == plans[*b as usize].height) {
        for row in level.iter().map(|row| *row as usize) {
            let plan = &plans[row];
            let leaf = &tries[plan.trie as usize].leaves[plan.leaf as usize];
            let start = rlp.len();
            match plan.shape {
                Shape::Leaf => leaf.put_rlp(plan.depth as usize, &mut rlp),
                Shape::Extension(end) => {
                    // The child was planned directly before.
                    put_extension(leaf.key(), plan.depth as usize, end as usize, &items[row - 1], &mut rlp);
                }
                Shape::Branch(first, count) => {
                    let children = &children[first as usize..first as usize + count as usize];
                    put_branch(children.iter().map(|(n, child)| (*n, &items[*child as usize])), &mut rlp);
                }
            }
            spans[row] = (start, rlp.len());
            if rlp.len() - start < 32 {
                items[row][..rlp.len() - start].copy_from_slice(&rlp[start..]);
            } else {
                batch.push(&rlp[start..], row, &mut digests);
            }
        }
        batch.finish(&mut digests);
        for row in level.iter().map(|row| *row as usize) {
            if spans[row].1 - spans[row].0 >= 32 {
                items[row][0] = 0xa0;
                items[row][1..].copy_from_slice(digests[row].as_slice());
            }
        }
    }

    let mut out = Vec::with_capacity(tries.len());
    let mut next = 0;
    for top in tops {
        let rows = next..top as usize + 1;
        next = rows.end;
        let mut nodes = Nodes::default();
        // The top first: it is looked up most often.
        for row in rows.rev() {
            let (start, end) = spans[row];
            if end - start >= 32 || row == top as usize {
                nodes.rlp.extend_from_slice(&rlp[start..end]);
                nodes.rows.push((plans[row].depth, plans[row].leaf, nodes.rlp.len() as u32));
            }
        }
        out.push((nodes, items[top as usize]));
    }
    out
}

/// The hash of a root: unlike other nodes, a root is hashed even if its RLP is shorter than 32 bytes.
pub(super) fn root_of(item: &ItemBytes) -> B256 {
    if item[0] == 0xa0 { B256::from_slice(&item[1..]) } else { keccak256(&item[..1 + (item[0] - 0xc0) as usize]) }
}
