//! A plan as nodes and edges, for pictures.
//!
//! A picture of everything would show nothing: where a component is reached over another one, an edge past that says nothing new and
//! is left out (a transitive reduction), so that core is not the end of thirty arrows.

use std::collections::{BTreeMap, BTreeSet};

use fragment_types::plan::Reason;
use fragment_types::{EvidenceKind, Plan, Strength};

use super::chain;

/// What a node stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The entrypoint.
    Entry,
    /// A component.
    Component,
    /// A component that grants capabilities.
    Granting,
    /// The component below every composition.
    Core,
}

/// A box.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// What it is called.
    pub name: String,
    /// Its version; of the entrypoint, what kind of file it is.
    pub version: String,
    /// Bytes as stored; the entrypoint has none.
    pub stored: Option<u64>,
    /// What it is.
    pub role: Role,
    /// The capabilities it grants.
    pub capabilities: Vec<String>,
}

/// An arrow from a user to what it uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edge {
    /// Position of the user among the nodes.
    pub from: usize,
    /// Position of what it uses.
    pub to: usize,
    /// Why, in a few words.
    pub label: String,
    /// All of the reasons, a line each.
    pub reasons: Vec<String>,
    /// Whether the entrypoint would start without it.
    pub soft: bool,
}

/// Nodes and edges: the entrypoint is the first node, components follow as the layers lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Graph {
    /// The boxes.
    pub nodes: Vec<Node>,
    /// The arrows.
    pub edges: Vec<Edge>,
}

/// A number of bytes, decimal units as the budgets use them.
#[must_use]
pub fn bytes(number: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "two decimals are shown")]
    let value = number as f64;
    match number {
        0..1_000 => format!("{number} B"),
        1_000..1_000_000 => format!("{:.1} kB", value / 1e3),
        1_000_000..1_000_000_000 => format!("{:.2} MB", value / 1e6),
        _ => format!("{:.2} GB", value / 1e9),
    }
}

/// Longest label, in characters.
const MAX_LABEL: usize = 34;

impl Graph {
    /// The graph of a plan.
    #[must_use]
    pub fn of(plan: &Plan) -> Self {
        let nodes = nodes(plan);
        let place: BTreeMap<&str, usize> = plan
            .layers
            .iter()
            .enumerate()
            .map(|(at, layer)| (layer.name.as_str(), at + 1))
            .collect();
        let mut edges: BTreeMap<(usize, usize), Edge> = BTreeMap::new();
        let mut add = |from, to, label: String, reason: String, soft: bool| {
            let edge = edges.entry((from, to)).or_insert_with(|| Edge {
                from,
                to,
                label: String::new(),
                reasons: Vec::new(),
                soft: true,
            });
            if edge.label.is_empty() || edge.soft && !soft {
                edge.label = label;
            }
            edge.soft &= soft;
            edge.reasons.push(reason);
        };
        for (at, layer) in plan.layers.iter().enumerate() {
            for reason in &layer.reasons {
                match reason {
                    Reason::Supplies { requirement } => {
                        let found = chain::best_requirement(plan, requirement);
                        let Some(found) = found else { continue };
                        let soft = found.strength == Strength::Soft;
                        let steps: Vec<String> = found.chain.iter().map(chain::step).collect();
                        let label = found.chain.last().map_or_else(String::new, |last| {
                            label(last.kind, &last.detail, &requirement.to_string())
                        });
                        add(0, at + 1, label, steps.join(" → "), soft);
                    }
                    Reason::RequiredBy { component, via } => {
                        if let Some(from) = place.get(component.as_str()) {
                            // nearly everything needs libc: that says nothing
                            let is_plain = *via == *layer.name.as_str()
                                || layer.reasons.contains(&Reason::Core);
                            let label = if is_plain { "" } else { via };
                            let reason = format!("{component} needs {via}");
                            add(*from, at + 1, cut(label), reason, false);
                        }
                    }
                    Reason::Core => {}
                }
            }
        }
        let mut graph = Self {
            nodes,
            edges: edges.into_values().collect(),
        };
        graph.reduce();
        graph.join();
        graph
    }

    /// Leaves out what is reached over others anyway. What the entrypoint itself needs for certain is always shown, save core.
    fn reduce(&mut self) {
        let mut next: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); self.nodes.len()];
        for edge in &self.edges {
            next[edge.from].insert(edge.to);
        }
        // one after the other, each in what is left: in a cycle, every edge is what another one could be left out for
        self.edges.retain(|edge| {
            let is_evidence = edge.from == 0 && self.nodes[edge.to].role != Role::Core;
            next[edge.from].remove(&edge.to);
            let stays = is_evidence || !leads(&next, edge.from, edge.to);
            if stays {
                next[edge.from].insert(edge.to);
            }
            stays
        });
    }

    /// Ties what nothing leads to (core, where no file needs it) to the entrypoint.
    fn join(&mut self) {
        let reached: BTreeSet<usize> = self.edges.iter().map(|edge| edge.to).collect();
        for to in 1..self.nodes.len() {
            if !reached.contains(&to) {
                self.edges.push(Edge {
                    from: 0,
                    to,
                    label: String::new(),
                    reasons: vec!["lies below every composition".to_owned()],
                    soft: false,
                });
            }
        }
    }
}

/// Whether there is a way from one node to another.
fn leads(next: &[BTreeSet<usize>], from: usize, to: usize) -> bool {
    let (mut seen, mut queue) = (BTreeSet::new(), vec![from]);
    while let Some(at) = queue.pop() {
        if at == to && !seen.is_empty() {
            return true;
        }
        queue.extend(next[at].iter().filter(|one| seen.insert(**one)));
    }
    false
}

fn nodes(plan: &Plan) -> Vec<Node> {
    let kind = match plan.entry.kind {
        fragment_types::plan::EntryKind::DynamicElf => "dynamic ELF",
        fragment_types::plan::EntryKind::StaticElf => "static ELF",
        fragment_types::plan::EntryKind::Script => "script",
        fragment_types::plan::EntryKind::Other => "file",
        fragment_types::plan::EntryKind::Component => "from the library",
    };
    let entry = Node {
        name: plan.entry.path.clone(),
        version: kind.to_owned(),
        stored: None,
        role: Role::Entry,
        capabilities: Vec::new(),
    };
    let components = plan.layers.iter().map(|layer| Node {
        name: layer.name.to_string(),
        version: layer.upstream_version.clone(),
        stored: Some(layer.size.stored),
        role: if layer.reasons.contains(&Reason::Core) {
            Role::Core
        } else if layer.capabilities.is_empty() {
            Role::Component
        } else {
            Role::Granting
        },
        capabilities: layer.capabilities.iter().map(ToString::to_string).collect(),
    });
    std::iter::once(entry).chain(components).collect()
}

/// The words on an arrow from the entrypoint: `needed libssl.so.3`, `argument https://…`.
fn label(kind: EvidenceKind, detail: &str, need: &str) -> String {
    match kind {
        EvidenceKind::Entry | EvidenceKind::Declared => cut(need),
        // `libssl.so.3 (OPENSSL_3.0.0)`: the versions are in the reasons
        EvidenceKind::Needed => cut(detail.split(' ').next().unwrap_or(detail)),
        kind => cut(&format!("{} {detail}", chain::kind(kind))),
    }
}

fn cut(text: &str) -> String {
    if text.chars().count() <= MAX_LABEL {
        return text.to_owned();
    }
    text.chars().take(MAX_LABEL - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::sample;

    fn edges(graph: &Graph) -> Vec<String> {
        let name = |at: usize| graph.nodes[at].name.as_str();
        let text = |edge: &Edge| {
            let arrow = if edge.soft { "~>" } else { "->" };
            format!(
                "{} {arrow} {} [{}]",
                name(edge.from),
                name(edge.to),
                edge.label
            )
        };
        graph.edges.iter().map(text).collect()
    }

    #[test]
    fn arrows_past_others_are_left_out() {
        let graph = Graph::of(&sample::plan());
        assert_eq!(
            edges(&graph),
            [
                "/app ~> certificates [argument https://…]",
                "/app -> openssl [libssl.so.3]",
                "openssl -> zlib [libz.so.1]",
                "openssl -> core []",
            ],
            "core is reached over openssl"
        );
        assert_eq!(graph.nodes[4].role, Role::Core);
    }

    #[test]
    fn a_cycle_keeps_its_arrows_and_nothing_is_left_alone() {
        let mut plan = sample::plan();
        plan.layers[1]
            .reasons
            .push(sample::required_by("zlib", "libssl.so.3"));
        let cycle = edges(&Graph::of(&plan));
        assert!(
            cycle.contains(&"zlib -> openssl [libssl.so.3]".to_owned()),
            "{cycle:?}"
        );
        assert!(
            cycle.contains(&"openssl -> zlib [libz.so.1]".to_owned()),
            "{cycle:?}"
        );
        plan.layers[3].reasons = vec![Reason::Core];
        let alone = edges(&Graph::of(&plan));
        assert!(alone.contains(&"/app -> core []".to_owned()), "{alone:?}");
    }

    #[test]
    fn long_labels_are_cut() {
        assert_eq!(cut(&"ü".repeat(50)).chars().count(), MAX_LABEL);
    }
}
