//! Where the boxes and arrows of a layered drawing go, left to right (Sugiyama, Tagawa and Toda 1981).
//!
//! Ranks by the longest way from the entrypoint; an arrow over several ranks gets a point in each; points are ordered by the mean of
//! their neighbours, the order with the fewest crossings is kept; heights follow the neighbours as closely as the distances allow.

use std::collections::BTreeMap;

use crate::explain::graph::Graph;

/// Rounds of ordering and of placing: more change nothing visible.
const ROUNDS: usize = 16;
/// Distance between two boxes, and between an arrow that passes and its neighbours.
const GAP: f64 = 16.0;

/// Width and height of a box.
pub(super) type Extent = (f64, f64);

/// A finished layout.
#[derive(Debug)]
pub(super) struct Layout {
    /// Left upper corner and extent of each node's box.
    pub(super) boxes: Vec<(f64, f64, Extent)>,
    /// For each edge, its points: from the right side of the user to the left side of what it uses. Pairs of points of one rank are
    /// joined by a straight line, those between ranks by a curve.
    pub(super) routes: Vec<Vec<(f64, f64)>>,
    /// Extent of the whole.
    pub(super) size: Extent,
}

/// Something with a place in a rank: a node's box, or an arrow that passes.
#[derive(Debug, Clone, Copy)]
struct Item {
    rank: usize,
    extent: Extent,
    /// Middle.
    y: f64,
}

struct Drawing {
    items: Vec<Item>,
    ranks: Vec<Vec<usize>>,
    /// Neighbours in the rank before and in the rank after.
    before: Vec<Vec<usize>>,
    after: Vec<Vec<usize>>,
}

/// Lays out `graph`; `extents` are the boxes of its nodes, `labels` the widths of its edges' labels.
pub(super) fn layout(graph: &Graph, extents: &[Extent], labels: &[f64]) -> Layout {
    let forward = forward(graph);
    let ranks = ranks(graph, &forward);
    let mut drawing = Drawing::new(&ranks, extents);
    let chains: Vec<Vec<usize>> = graph
        .edges
        .iter()
        .zip(&forward)
        .map(|(edge, forward)| match forward {
            true => drawing.chain(edge.from, edge.to),
            false => drawing.chain(edge.to, edge.from),
        })
        .collect();
    drawing.order();
    drawing.place();
    drawing.finish(graph, &forward, &chains, labels)
}

/// Which edges go forward: all but those that close a cycle on the way from the entrypoint.
fn forward(graph: &Graph) -> Vec<bool> {
    let mut out: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (at, edge) in graph.edges.iter().enumerate() {
        out.entry(edge.from).or_default().push(at);
    }
    let mut forward = vec![true; graph.edges.len()];
    // 0 not seen, 1 on the way, 2 done
    let mut state = vec![0_u8; graph.nodes.len()];
    for start in 0..graph.nodes.len() {
        let mut stack = vec![(start, 0)];
        while let Some((node, next)) = stack.pop() {
            if next == 0 {
                if state[node] != 0 {
                    continue;
                }
                state[node] = 1;
            }
            match out.get(&node).and_then(|edges| edges.get(next)) {
                Some(edge) => {
                    stack.push((node, next + 1));
                    let to = graph.edges[*edge].to;
                    match state[to] {
                        0 => stack.push((to, 0)),
                        1 => forward[*edge] = false,
                        _ => {}
                    }
                }
                None => state[node] = 2,
            }
        }
    }
    forward
}

/// The rank of each node: the length of the longest way to it.
fn ranks(graph: &Graph, forward: &[bool]) -> Vec<usize> {
    let mut ranks = vec![0; graph.nodes.len()];
    // without cycles, a longest way has at most as many steps as there are nodes
    for _ in 0..graph.nodes.len() {
        let mut changed = false;
        for (edge, forward) in graph.edges.iter().zip(forward) {
            let (from, to) = if *forward {
                (edge.from, edge.to)
            } else {
                (edge.to, edge.from)
            };
            if ranks[to] <= ranks[from] {
                ranks[to] = ranks[from] + 1;
                changed = true;
            }
        }
        if !changed {
            break;
        }
    }
    ranks
}

impl Drawing {
    fn new(ranks: &[usize], extents: &[Extent]) -> Self {
        let count = ranks.iter().max().map_or(0, |last| last + 1);
        let mut drawing = Self {
            items: Vec::new(),
            ranks: vec![Vec::new(); count],
            before: Vec::new(),
            after: Vec::new(),
        };
        for (rank, extent) in ranks.iter().zip(extents) {
            drawing.add(*rank, *extent);
        }
        drawing
    }

    fn add(&mut self, rank: usize, extent: Extent) -> usize {
        let index = self.items.len();
        self.items.push(Item {
            rank,
            extent,
            y: 0.0,
        });
        self.ranks[rank].push(index);
        self.before.push(Vec::new());
        self.after.push(Vec::new());
        index
    }

    /// Joins two items by one item in each rank between them.
    fn chain(&mut self, from: usize, to: usize) -> Vec<usize> {
        let mut chain = vec![from];
        for rank in self.items[from].rank + 1..self.items[to].rank {
            let passing = self.add(rank, (0.0, 2.0));
            chain.push(passing);
        }
        chain.push(to);
        for pair in chain.windows(2) {
            self.after[pair[0]].push(pair[1]);
            self.before[pair[1]].push(pair[0]);
        }
        chain
    }

    /// Orders each rank by the mean place of its neighbours, to and fro, and keeps the order with the fewest crossings.
    fn order(&mut self) {
        let (mut best, mut fewest) = (self.ranks.clone(), self.crossings());
        for round in 0..ROUNDS {
            let down = round % 2 == 0;
            let count = self.ranks.len();
            let order: Vec<usize> = if down {
                (1..count).collect()
            } else {
                (0..count.saturating_sub(1)).rev().collect()
            };
            for rank in order {
                let neighbours = if down { &self.before } else { &self.after };
                let place = places(&self.ranks);
                let mut keyed: Vec<(f64, usize)> = self.ranks[rank]
                    .iter()
                    .map(|item| {
                        let own = place[item];
                        let mean = mean(neighbours[*item].iter().map(|one| place[one]));
                        (mean.unwrap_or(own), *item)
                    })
                    .collect();
                keyed.sort_by(|a, b| a.0.total_cmp(&b.0));
                self.ranks[rank] = keyed.into_iter().map(|(_, item)| item).collect();
            }
            let crossings = self.crossings();
            if crossings < fewest {
                (best, fewest) = (self.ranks.clone(), crossings);
            }
        }
        self.ranks = best;
    }

    fn crossings(&self) -> usize {
        let place = places(&self.ranks);
        let mut count = 0;
        for rank in &self.ranks {
            let lines: Vec<(f64, f64)> = rank
                .iter()
                .flat_map(|from| self.after[*from].iter().map(|to| (place[from], place[to])))
                .collect();
            for (at, one) in lines.iter().enumerate() {
                let crosses = |other: &&(f64, f64)| {
                    (one.0 < other.0 && one.1 > other.1) || (one.0 > other.0 && one.1 < other.1)
                };
                count += lines[at + 1..].iter().filter(crosses).count();
            }
        }
        count
    }

    /// Heights: every item as near to the mean of its neighbours as the distances within its rank allow.
    fn place(&mut self) {
        for rank in self.ranks.clone() {
            self.settle(&rank, |_| 0.0);
        }
        for round in 0..ROUNDS {
            let count = self.ranks.len();
            for step in 0..count {
                let rank = if round % 2 == 0 {
                    step
                } else {
                    count - 1 - step
                };
                let items = self.ranks[rank].clone();
                let wanted: BTreeMap<usize, f64> = items
                    .iter()
                    .map(|item| {
                        let around = self.before[*item].iter().chain(&self.after[*item]);
                        let mean = mean(around.map(|one| self.items[*one].y));
                        (*item, mean.unwrap_or(self.items[*item].y))
                    })
                    .collect();
                self.settle(&items, |item| wanted[&item]);
            }
        }
    }

    /// Least squares of the distances to what is wanted, in the given order and with the gaps between: pool adjacent violators.
    fn settle(&mut self, items: &[usize], wanted: impl Fn(usize) -> f64) {
        let mut offset = 0.0;
        let mut offsets = Vec::with_capacity(items.len());
        for (at, item) in items.iter().enumerate() {
            if at > 0 {
                let half = |index: usize| self.items[index].extent.1 / 2.0;
                offset += half(items[at - 1]) + half(*item) + GAP;
            }
            offsets.push(offset);
        }
        // blocks of items that touch: sum of what they want, and how many
        let mut blocks: Vec<(f64, usize)> = Vec::new();
        for (item, offset) in items.iter().zip(&offsets) {
            blocks.push((wanted(*item) - offset, 1));
            while let [.., before, last] = blocks.as_slice()
                && before.0 / to_float(before.1) > last.0 / to_float(last.1)
            {
                let joined = (before.0 + last.0, before.1 + last.1);
                blocks.truncate(blocks.len() - 2);
                blocks.push(joined);
            }
        }
        let settled = blocks
            .iter()
            .flat_map(|(sum, count)| std::iter::repeat_n(sum / to_float(*count), *count));
        for ((item, offset), base) in items.iter().zip(&offsets).zip(settled) {
            self.items[*item].y = base + offset;
        }
    }

    fn finish(
        &self,
        graph: &Graph,
        forward: &[bool],
        chains: &[Vec<usize>],
        labels: &[f64],
    ) -> Layout {
        let columns = self.columns(graph, labels);
        let top = |item: &Item| item.y - item.extent.1 / 2.0;
        let highest = self.items.iter().map(top).fold(f64::INFINITY, f64::min);
        let lowest = self
            .items
            .iter()
            .map(|item| item.y + item.extent.1 / 2.0)
            .fold(f64::NEG_INFINITY, f64::max);
        let boxes: Vec<_> = self.items[..graph.nodes.len()]
            .iter()
            .map(|item| (columns[item.rank].0, top(item) - highest, item.extent))
            .collect();
        let route = |(chain, forward): (&Vec<usize>, &bool)| {
            let mut points = Vec::new();
            for (at, index) in chain.iter().enumerate() {
                let item = &self.items[*index];
                let (left, width) = columns[item.rank];
                let y = item.y - highest;
                let own = if *index < graph.nodes.len() {
                    item.extent.0
                } else {
                    width
                };
                if at > 0 {
                    points.push((left, y));
                }
                if at + 1 < chain.len() {
                    points.push((left + own, y));
                    if own < width {
                        points.push((left + width, y));
                    }
                }
            }
            if !forward {
                points.reverse();
            }
            points
        };
        Layout {
            boxes,
            routes: chains.iter().zip(forward).map(route).collect(),
            size: (
                columns.last().map_or(0.0, |(left, width)| left + width),
                (lowest - highest).max(0.0),
            ),
        }
    }

    /// Left side and width of each rank; between two of them there is room for the labels of what arrives.
    fn columns(&self, graph: &Graph, labels: &[f64]) -> Vec<(f64, f64)> {
        const NARROWEST: f64 = 64.0;
        const BESIDE: f64 = 40.0;
        let mut columns: Vec<(f64, f64)> = Vec::new();
        for (rank, items) in self.ranks.iter().enumerate() {
            let width = items
                .iter()
                .map(|item| self.items[*item].extent.0)
                .fold(0.0, f64::max);
            let label = graph
                .edges
                .iter()
                .zip(labels)
                .filter(|(edge, _)| self.items[edge.to].rank == rank)
                .map(|(_, width)| width + BESIDE)
                .fold(NARROWEST, f64::max);
            let left = columns
                .last()
                .map_or(0.0, |(left, width)| left + width + label);
            columns.push((left, width));
        }
        columns
    }
}

/// The place of each item in its rank.
fn places(ranks: &[Vec<usize>]) -> BTreeMap<usize, f64> {
    let numbered = ranks.iter().flat_map(|rank| rank.iter().enumerate());
    numbered.map(|(at, item)| (*item, to_float(at))).collect()
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0_usize), |(sum, count), value| {
        (sum + value, count + 1)
    });
    (count > 0).then(|| sum / to_float(count))
}

#[expect(clippy::cast_precision_loss, reason = "places in a picture")]
fn to_float(number: usize) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::graph::{Edge, Node, Role};

    fn graph(count: usize, edges: &[(usize, usize)]) -> Graph {
        let node = |at: usize| Node {
            name: at.to_string(),
            version: String::new(),
            stored: None,
            role: Role::Component,
            capabilities: Vec::new(),
        };
        let edge = |(from, to): &(usize, usize)| Edge {
            from: *from,
            to: *to,
            label: String::new(),
            reasons: Vec::new(),
            soft: false,
        };
        Graph {
            nodes: (0..count).map(node).collect(),
            edges: edges.iter().map(edge).collect(),
        }
    }

    fn laid_out(graph: &Graph) -> Layout {
        let extents = vec![(100.0, 40.0); graph.nodes.len()];
        layout(graph, &extents, &vec![0.0; graph.edges.len()])
    }

    #[test]
    fn boxes_never_overlap_and_arrows_go_to_the_right() {
        // a deterministic tangle of 40 nodes
        let mut edges = Vec::new();
        for to in 1..40_usize {
            edges.push((to * 7 % to, to));
            edges.push((to * 3 % to, to));
        }
        edges.dedup();
        let graph = graph(40, &edges);
        let layout = laid_out(&graph);
        for (at, (x, y, (width, height))) in layout.boxes.iter().enumerate() {
            for (left, top, (w, h)) in &layout.boxes[at + 1..] {
                let apart =
                    x + width <= *left || left + w <= *x || y + height <= *top || top + h <= *y;
                assert!(apart, "box {at} at {x},{y} and one at {left},{top}");
            }
            assert!(x + width <= layout.size.0 && y + height <= layout.size.1 + 0.01 && *y >= 0.0);
        }
        for (edge, route) in graph.edges.iter().zip(&layout.routes) {
            assert!(
                route.windows(2).all(|pair| pair[0].0 <= pair[1].0),
                "{edge:?} {route:?}"
            );
        }
    }

    #[test]
    fn cycles_and_single_nodes_are_drawn() {
        let cyclic = graph(3, &[(0, 1), (1, 2), (2, 1)]);
        let layout = laid_out(&cyclic);
        let back = &layout.routes[2];
        assert!(
            back[0].0 > back[back.len() - 1].0,
            "it leads back: {back:?}"
        );
        assert_eq!(laid_out(&graph(1, &[])).boxes.len(), 1);
    }

    #[test]
    fn crossings_that_need_not_be_are_not() {
        let crossed = graph(5, &[(0, 1), (0, 2), (1, 4), (2, 3)]);
        let layout = laid_out(&crossed);
        let y = |node: usize| layout.boxes[node].1;
        assert_eq!(y(1) < y(2), y(4) < y(3), "{:?}", layout.boxes);
    }
}
