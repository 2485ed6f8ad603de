//! A plan in the language of graphviz (<https://graphviz.org/doc/info/lang.html>).

use std::fmt::Write as _;

use super::graph::{Graph, Node, Role, bytes};

/// The graph, for `dot -Tsvg`.
#[must_use]
pub fn dot(graph: &Graph) -> String {
    let mut text = String::from(
        "digraph fragment {\n  rankdir=LR;\n  bgcolor=\"transparent\";\n  nodesep=0.25;\n  ranksep=0.9;\n  \
         node [shape=box, style=\"rounded,filled\", fontname=\"Helvetica\", fontsize=11, margin=\"0.16,0.08\", color=\"#8b98a9\", fillcolor=\"#f4f7fb\"];\n  \
         edge [fontname=\"Helvetica\", fontsize=9, color=\"#8b98a9\", fontcolor=\"#57606a\", arrowsize=0.7];\n",
    );
    for (at, node) in graph.nodes.iter().enumerate() {
        let _ = writeln!(text, "  n{at} [{}];", attributes(node));
    }
    for edge in &graph.edges {
        let style = if edge.soft { ", style=dashed" } else { "" };
        let _ = writeln!(
            text,
            "  n{} -> n{} [label={}, tooltip={}{style}];",
            edge.from,
            edge.to,
            quoted(&edge.label),
            quoted(&edge.reasons.join("\n"))
        );
    }
    text.push_str("}\n");
    text
}

fn attributes(node: &Node) -> String {
    let size = node
        .stored
        .map_or_else(String::new, |stored| format!(" · {}", bytes(stored)));
    let label = quoted(&format!("{}\n{}{size}", node.name, node.version));
    let look = match node.role {
        Role::Entry => ", fillcolor=\"#24292f\", color=\"#24292f\", fontcolor=\"#ffffff\"",
        Role::Core => ", fillcolor=\"#dbe9ff\", color=\"#3b6fb6\", penwidth=1.6",
        Role::Granting => ", fillcolor=\"#e3f5e8\", color=\"#3f8f5b\"",
        Role::Component => "",
    };
    let tooltip = match node.capabilities.as_slice() {
        [] => String::new(),
        several => format!(
            ", tooltip={}",
            quoted(&format!("grants {}", several.join(", ")))
        ),
    };
    format!("label={label}{look}{tooltip}")
}

/// A text in double quotes; a line feed is graphviz's `\n`, and every other backslash stands for itself.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            other if other.is_control() => quoted.push('?'),
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::sample;

    #[test]
    fn every_node_and_edge_is_a_statement() {
        let text = dot(&Graph::of(&sample::plan()));
        assert!(
            text.starts_with("digraph fragment {") && text.ends_with("}\n"),
            "{text}"
        );
        assert_eq!(text.matches("  n").count() - 2, 5 + 4, "{text}");
        assert!(
            text.contains("n0 -> n1 [label=\"argument https://…\""),
            "{text}"
        );
        assert!(text.contains("openssl\\n1.0-1 · 600.0 kB"), "{text}");
        assert_eq!(text.matches("style=dashed").count(), 1);
    }

    #[test]
    fn hostile_texts_stay_inside_their_quotes() {
        assert_eq!(quoted("a\"]; b\\\n\u{1b}"), "\"a\\\"]; b\\\\\\n?\"");
    }
}
