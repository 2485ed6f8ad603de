//! A plan as a picture: SVG that needs nothing else, readable on light and on dark ground.

mod layout;

use std::fmt::Write as _;

use super::graph::{Edge, Graph, Node, Role, bytes};
use layout::{Extent, Layout};

/// Room around everything.
const MARGIN: f64 = 28.0;
/// Height of the title above the drawing, and of the legend below.
const TITLE: f64 = 52.0;
const LEGEND: f64 = 40.0;
/// Widths of an average character, in pixels: of names (13 px, bold), of what stands below them (11 px), of labels (10 px).
const NAME: f64 = 7.9;
const BELOW: f64 = 6.3;
const LABEL: f64 = 5.6;
/// Longest label drawn; the whole reason is told when the pointer rests on the arrow.
const MAX_LABEL: usize = 30;
/// Longest name drawn.
const MAX_NAME: usize = 34;

/// Colours by class. Written out twice: not every reader of SVG knows variables.
const STYLE: &str = "
text{font-family:system-ui,-apple-system,'Segoe UI','DejaVu Sans',Helvetica,Arial,sans-serif}
.ground{fill:#ffffff}
.title{font-size:17px;font-weight:600;fill:#1f2328}
.sub{font-size:12px;fill:#59636e}
.box{fill:#f6f8fa;stroke:#b4bcc6;stroke-width:1.1}
.granting{fill:#e8f5ec;stroke:#4f9a6b}
.core{fill:#deebfd;stroke:#3b6fb6;stroke-width:1.8}
.entry{fill:#24292f;stroke:#24292f}
.name{font-size:13px;font-weight:600;fill:#1f2328}
.below{font-size:11px;fill:#59636e}
.entry-name{fill:#ffffff}
.entry-below{fill:#c3cad2}
.edge{fill:none;stroke:#9aa4af;stroke-width:1.25}
.soft{stroke-dasharray:5 4}
.head{fill:#9aa4af}
.label{font-size:10px;fill:#59636e;stroke:#ffffff;stroke-width:4px;stroke-linejoin:round;paint-order:stroke}
@media (prefers-color-scheme:dark){
.ground{fill:#0d1117}
.title{fill:#e6edf3}
.sub,.below{fill:#9198a1}
.box{fill:#161b22;stroke:#454d57}
.granting{fill:#10271a;stroke:#3f8f5b}
.core{fill:#0f2442;stroke:#4c8dff}
.entry{fill:#e6edf3;stroke:#e6edf3}
.name{fill:#e6edf3}
.entry-name{fill:#0d1117}
.entry-below{fill:#59636e}
.edge{stroke:#656f7b}
.head{fill:#656f7b}
.label{fill:#9198a1;stroke:#0d1117}
}
";

/// The graph as an SVG document.
#[must_use]
pub fn svg(graph: &Graph) -> String {
    let extents: Vec<Extent> = graph.nodes.iter().map(extent).collect();
    let labels: Vec<f64> = graph
        .edges
        .iter()
        .map(|edge| width(&shown(&edge.label, MAX_LABEL), LABEL))
        .collect();
    let layout = layout::layout(graph, &extents, &labels);
    let title = graph.nodes.first().map_or("", |entry| entry.name.as_str());
    let wide = (layout.size.0 + 2.0 * MARGIN).max(560.0);
    let high = layout.size.1 + 2.0 * MARGIN + TITLE + LEGEND;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {wide:.0} {high:.0}\" width=\"{wide:.0}\" height=\"{high:.0}\" role=\"img\">\n\
         <title>What {} is composed of</title>\n<style>{STYLE}</style>\n\
         <defs><marker id=\"head\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" orient=\"auto\">\
         <path class=\"head\" d=\"M0 .8 7.4 4 0 7.2Z\"/></marker></defs>\n\
         <rect class=\"ground\" width=\"100%\" height=\"100%\"/>\n",
        escaped(title)
    );
    heading(&mut text, graph, title);
    let _ = writeln!(
        text,
        "<g transform=\"translate({MARGIN} {:.0})\">",
        MARGIN + TITLE
    );
    for (edge, route) in graph.edges.iter().zip(&layout.routes) {
        arrow(&mut text, graph, edge, route);
    }
    words(&mut text, graph, &layout, &labels);
    for (node, place) in graph.nodes.iter().zip(&layout.boxes) {
        draw(&mut text, node, *place);
    }
    text.push_str("</g>\n");
    legend(&mut text, graph, high - LEGEND);
    text.push_str("</svg>\n");
    text
}

fn heading(text: &mut String, graph: &Graph, title: &str) {
    let stored: u64 = graph.nodes.iter().filter_map(|node| node.stored).sum();
    let below = match graph.nodes.len() - 1 {
        0 => "nothing is composed: the bundle holds all it needs".to_owned(),
        1 => format!("1 component, {} stored", bytes(stored)),
        count => format!("{count} components, {} stored", bytes(stored)),
    };
    let _ = writeln!(
        text,
        "<text class=\"title\" x=\"{MARGIN}\" y=\"38\">{}</text>\n<text class=\"sub\" x=\"{MARGIN}\" y=\"58\">{below}</text>",
        escaped(title)
    );
}

/// An arrow: straight through ranks that it passes, curved between them.
fn arrow(text: &mut String, graph: &Graph, edge: &Edge, route: &[(f64, f64)]) {
    let mut path = String::new();
    for (at, (x, y)) in route.iter().enumerate() {
        let (before_x, before_y) = route[at.saturating_sub(1)];
        let _ = if at == 0 {
            write!(path, "M{x:.1} {y:.1}")
        } else if (before_y - y).abs() < 0.5 {
            write!(path, "L{x:.1} {y:.1}")
        } else {
            let bend = (x - before_x) * 0.5;
            write!(
                path,
                "C{:.1} {before_y:.1} {:.1} {y:.1} {x:.1} {y:.1}",
                before_x + bend,
                x - bend
            )
        };
    }
    let soft = if edge.soft { " soft" } else { "" };
    let name = |at: usize| graph.nodes[at].name.as_str();
    let told = format!(
        "{} → {}\n{}",
        name(edge.from),
        name(edge.to),
        edge.reasons.join("\n")
    );
    let _ = writeln!(
        text,
        "<path class=\"edge{soft}\" d=\"{path}\" marker-end=\"url(#head)\"><title>{}</title></path>",
        escaped(&told)
    );
}

/// The labels, each where it covers no other: on the last stretch of its arrow, as near to its end as there is room.
fn words(text: &mut String, graph: &Graph, layout: &Layout, widths: &[f64]) {
    let mut taken: Vec<(f64, f64, f64)> = Vec::new();
    for ((edge, route), width) in graph.edges.iter().zip(&layout.routes).zip(widths) {
        let [.., (from_x, from_y), (to_x, to_y)] = route.as_slice() else {
            continue;
        };
        if edge.label.is_empty() {
            continue;
        }
        let at = |t: f64| {
            // a cubic with level ends, as drawn
            let (s, bend) = (1.0 - t, (to_x - from_x) * 0.5);
            let (b1, b2, b3) = (3.0 * s * s * t, 3.0 * s * t * t, t * t * t);
            let x = s.powi(3) * from_x + b1 * (from_x + bend) + b2 * (to_x - bend) + b3 * to_x;
            let y = (s.powi(3) + b1) * from_y + (b2 + b3) * to_y;
            (x, y)
        };
        let free = |(x, y): (f64, f64)| {
            taken.iter().all(|(other_x, other_y, other)| {
                (y - other_y).abs() >= 12.0 || (x - other_x).abs() >= (width + other) / 2.0 + 4.0
            })
        };
        let tries = [0.55, 0.65, 0.45, 0.75, 0.35, 0.85, 0.25].map(at);
        let (x, y) = tries
            .into_iter()
            .find(|place| free(*place))
            .unwrap_or(tries[0]);
        taken.push((x, y, *width));
        let _ = writeln!(
            text,
            "<text class=\"label\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            y + 3.5,
            escaped(&shown(&edge.label, MAX_LABEL))
        );
    }
}

fn draw(text: &mut String, node: &Node, (x, y, (width, height)): (f64, f64, Extent)) {
    let (class, name, below) = match node.role {
        Role::Entry => ("box entry", "name entry-name", "below entry-below"),
        Role::Core => ("box core", "name", "below"),
        Role::Granting => ("box granting", "name", "below"),
        Role::Component => ("box", "name", "below"),
    };
    let told = match node.capabilities.as_slice() {
        [] => format!("{} {}", node.name, node.version),
        several => format!(
            "{} {}\ngrants {}",
            node.name,
            node.version,
            several.join(", ")
        ),
    };
    let middle = x + width / 2.0;
    let _ = writeln!(
        text,
        "<g><title>{}</title><rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" rx=\"9\"/>\
         <text class=\"{name}\" x=\"{middle:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\
         <text class=\"{below}\" x=\"{middle:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text></g>",
        escaped(&told),
        y + 19.0,
        escaped(&shown(&node.name, MAX_NAME)),
        y + 35.0,
        escaped(&second(node))
    );
}

/// The second line of a box: version and size.
fn second(node: &Node) -> String {
    const MAX: usize = 24;
    let version = shown(&node.version, MAX);
    match node.stored {
        Some(stored) => format!("{version} · {}", bytes(stored)),
        None => version,
    }
}

fn extent(node: &Node) -> Extent {
    let name = width(&shown(&node.name, MAX_NAME), NAME);
    let below = width(&second(node), BELOW);
    (name.max(below).max(64.0) + 26.0, 46.0)
}

#[expect(clippy::cast_precision_loss, reason = "a length in a picture")]
fn width(text: &str, character: f64) -> f64 {
    text.chars().count() as f64 * character
}

/// What the colours mean, as far as they are there.
fn legend(text: &mut String, graph: &Graph, y: f64) {
    let has = |role| graph.nodes.iter().any(|node| node.role == role);
    let boxes = [
        (Role::Core, "box core", "below every composition"),
        (Role::Granting, "box granting", "grants capabilities"),
        (Role::Component, "box", "files and libraries"),
    ];
    let mut x = MARGIN;
    for (_, class, words) in boxes.into_iter().filter(|(role, ..)| has(*role)) {
        let _ = writeln!(
            text,
            "<rect class=\"{class}\" x=\"{x:.0}\" y=\"{:.0}\" width=\"20\" height=\"13\" rx=\"4\"/><text class=\"below\" x=\"{:.0}\" y=\"{:.0}\">{words}</text>",
            y + 4.0,
            x + 27.0,
            y + 14.5
        );
        x += 27.0 + width(words, BELOW) + 26.0;
    }
    for (soft, class, words) in [
        (false, "edge", "needed"),
        (true, "edge soft", "likely to be used"),
    ] {
        if graph.edges.iter().any(|edge| edge.soft == soft) {
            let _ = writeln!(
                text,
                "<path class=\"{class}\" d=\"M{x:.0} {:.1}h26\" marker-end=\"url(#head)\"/><text class=\"below\" x=\"{:.0}\" y=\"{:.0}\">{words}</text>",
                y + 10.5,
                x + 33.0,
                y + 14.5
            );
            x += 33.0 + width(words, BELOW) + 26.0;
        }
    }
}

fn shown(text: &str, limit: usize) -> String {
    if text.chars().count() <= limit {
        return text.to_owned();
    }
    text.chars().take(limit - 1).chain(['…']).collect()
}

/// Text as XML has it: what a bundle says cannot become an element, and control characters are no characters of XML 1.0.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            '\n' => escaped.push('\n'),
            '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            other if other.is_control() => escaped.push('\u{fffd}'),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::sample;

    #[test]
    fn every_component_and_arrow_is_drawn_and_both_grounds_have_colours() {
        let graph = Graph::of(&sample::plan());
        let text = svg(&graph);
        for name in ["/app", "openssl", "zlib", "core", "certificates"] {
            assert!(text.contains(&format!(">{name}</text>")), "{name}\n{text}");
        }
        assert!(text.contains("1.0-1 · 600.0 kB"), "{text}");
        assert_eq!(
            text.matches("marker-end").count(),
            graph.edges.len() + 2,
            "two in the legend"
        );
        assert_eq!(text.matches("<path class=\"edge soft\"").count(), 2);
        assert!(text.contains("prefers-color-scheme:dark"));
        assert!(text.contains("4 components, 1.95 MB stored"), "{text}");
    }

    #[test]
    fn what_a_bundle_says_cannot_become_an_element() {
        let mut plan = sample::plan();
        plan.entry.path = "/</title><script>alert(1)</script>\u{1}&\"".to_owned();
        plan.requirements[2].chain[1].detail = "<script>".to_owned();
        let text = svg(&Graph::of(&plan));
        assert!(!text.contains("<script>"), "{text}");
        assert!(!text.contains('\u{1}'));
        assert!(text.contains("&lt;script&gt;"), "{text}");
    }

    #[test]
    fn a_plan_of_nothing_is_a_picture_too() {
        let mut plan = sample::plan();
        plan.layers.clear();
        let text = svg(&Graph::of(&plan));
        assert!(text.contains("nothing is composed"), "{text}");
    }
}
