//! Explanations as text for people.

use std::fmt::Write as _;

use fragment::Plan;
use fragment::explain::capability::NeededCapability;
use fragment::explain::diff::{Component, Difference, NeedOf};
use fragment::explain::path::{Holding, Provenance, What};
use fragment::explain::why_not::{Absence, NeedBrief, Rule, WhyNot};
use fragment::explain::{Document, Explanation};

use super::bytes;

/// Columns that a line may have.
const WIDTH: usize = 110;

/// What was asked for: one question, or everything.
pub(crate) fn document(plan: &Plan, document: &Document) -> String {
    if let Some(answer) = &document.why_not {
        return why_not(plan, document, answer);
    }
    if let Some(answer) = &document.path {
        return path(answer);
    }
    if let Some(answer) = &document.diff {
        return difference(answer);
    }
    let mut text = String::new();
    if document.components.is_empty() {
        let _ = writeln!(
            text,
            "{} needs nothing that the bundle does not hold",
            plan.entry.path
        );
    }
    for explanation in &document.components {
        let _ = writeln!(
            text,
            "{} {}  {}",
            explanation.component,
            explanation.version,
            bytes(explanation.stored)
        );
        chain(&mut text, explanation);
    }
    text.push_str(&capabilities(&document.capabilities));
    text
}

/// `entry /app -> needed libssl.so.3 -> OPENSSL_3.0.0 -> openssl 3.0.17-1`, broken before arrows where it is too long.
pub(crate) fn chain(text: &mut String, explanation: &Explanation) {
    let mut line = String::from(" ");
    for (at, step) in explanation.steps.iter().enumerate() {
        let step = if at == 0 {
            format!(" {step}")
        } else {
            format!(" -> {step}")
        };
        if line.chars().count() + step.chars().count() > WIDTH && line.len() > 4 {
            let _ = writeln!(text, "{line}");
            line = String::from("   ");
        }
        line.push_str(&step);
    }
    let _ = writeln!(text, "{line}");
}

/// The capabilities with how sure they are.
pub(crate) fn capabilities(needed: &[NeededCapability]) -> String {
    let mut text = String::new();
    if needed.is_empty() {
        return text;
    }
    let _ = writeln!(text, "capabilities that there is evidence for:");
    for one in needed {
        let by: Vec<&str> = one
            .granted_by
            .iter()
            .map(fragment::ComponentName::as_str)
            .collect();
        let granted = match (one.counts, by.as_slice()) {
            (true, []) => "granted by nobody".to_owned(),
            (true, _) => format!("granted by {}", by.join(" ")),
            (false, []) => "too weak to compose for".to_owned(),
            (false, _) => format!("too weak to compose for; {} grants it", by.join(" ")),
        };
        let evidence = one.evidence.last().map_or_else(String::new, |last| {
            format!("{} ({})", last.detail, last.source)
        });
        let _ = writeln!(
            text,
            "    {:20} {:15} {granted}  <- {evidence}",
            one.name.as_str(),
            one.grade.as_str()
        );
    }
    text
}

fn why_not(plan: &Plan, document: &Document, answer: &WhyNot) -> String {
    let mut text = String::new();
    let asked = &answer.asked;
    let own = answer
        .components
        .first()
        .map_or(asked.as_str(), |name| name.as_str());
    if own != asked && answer.reasons.len() == 1 {
        let names: Vec<&str> = answer
            .components
            .iter()
            .map(fragment::ComponentName::as_str)
            .collect();
        let _ = writeln!(
            text,
            "`{asked}` is what the library has as {}",
            names.join(", ")
        );
    }
    for reason in &answer.reasons {
        let line = absence(plan, document, own, reason);
        let _ = writeln!(text, "{line}");
    }
    text
}

fn absence(plan: &Plan, document: &Document, name: &str, reason: &Absence) -> String {
    match reason {
        Absence::InPlan { component } => {
            let mut text = format!("component `{component}` is in the plan:\n");
            let own = document
                .components
                .iter()
                .find(|one| one.component == component.as_str());
            if let Some(explanation) = own {
                chain(&mut text, explanation);
            }
            text.trim_end().to_owned()
        }
        Absence::NotInLibrary { similar } => not_in_library(name, similar),
        Absence::Off { place } => format!("composition is off: {place} says so"),
        Absence::Excluded { place } => format!("component `{name}` is excluded: {place} says so"),
        Absence::NotLocked { place } => format!(
            "component `{name}` is not in the lock of {place}; make it again with `fragment plan --lock`"
        ),
        Absence::Complete { needs } => format!(
            "the bundle holds all that {} cannot start without, so nothing is composed; component `{name}` would supply what is only likely to be used: {} (compose it with --component {name})",
            plan.entry.path,
            needs.iter().map(brief).collect::<Vec<_>>().join(", ")
        ),
        Absence::InBundle { need, path } => {
            format!("{} is the bundle's own: {path}", brief(need))
        }
        Absence::BelowGrade {
            need,
            grade,
            minimum,
            evidence,
        } => {
            let evidence = evidence.as_ref().map_or_else(String::new, |last| {
                format!(" ({} of {})", last.detail, last.source)
            });
            format!(
                "{} has evidence of grade {grade} only{evidence}, and {minimum} is asked for (--min-grade {grade} composes it)",
                brief(need)
            )
        }
        Absence::SuppliedByAnother { need, by, rule } => format!(
            "{} is supplied by component `{by}`, {}",
            brief(need),
            self::rule(name, rule)
        ),
        Absence::Unusable { need, detail } => format!("{}: {detail}", brief(need)),
        Absence::NotNeeded => format!(
            "nothing that {} needs is anything that component `{name}` has (compose it with --component {name})",
            plan.entry.path
        ),
    }
}

fn not_in_library(name: &str, similar: &[fragment::ComponentName]) -> String {
    let mut text = format!("component `{name}` is not in the library: ");
    // where `fragment library build` looks for recipes
    let recipe = std::path::Path::new("library").join(format!("{name}.yaml"));
    if fragment::ComponentName::new(name).is_ok() && recipe.is_file() {
        let _ = write!(
            text,
            "`fragment library build {name}` builds it from its recipe"
        );
    } else {
        let _ = write!(
            text,
            "`fragment library add {name}` makes it of the Debian package of that name, if there is one"
        );
    }
    if !similar.is_empty() {
        let names: Vec<&str> = similar
            .iter()
            .map(fragment::ComponentName::as_str)
            .collect();
        let _ = write!(text, "; the library has {}", names.join(", "));
    }
    text
}

fn brief(need: &NeedBrief) -> String {
    match &need.needed_by {
        None => need.need.to_string(),
        Some(by) => format!("{} (needed by component `{by}`)", need.need),
    }
}

fn rule(name: &str, rule: &Rule) -> String {
    match rule {
        Rule::Core => "which lies below every composition".to_owned(),
        Rule::Conflict { with } => format!("and `{name}` conflicts with `{with}`"),
        Rule::Anyway => "which is there for another reason too".to_owned(),
        Rule::OwnName => format!("whose own name it is; `{name}` has it as an alias"),
        Rule::Preference { own, other } => {
            format!("which is preferred ({other}, `{name}` has {own})")
        }
        Rule::Size { own, other } => format!(
            "which is smaller ({}, `{name}` would add {})",
            bytes(*other),
            bytes(*own)
        ),
        Rule::Order => format!(
            "and no rule prefers one: taken by name (choose `{name}` with --component {name})"
        ),
    }
}

fn path(found: &Provenance) -> String {
    let mut text = format!("{}\n", found.asked);
    for link in &found.links {
        let _ = writeln!(
            text,
            "  {} is a link to {}  ({})",
            link.path, link.target, link.place
        );
    }
    match &found.found {
        Some(top) => {
            let verb = match top.kind {
                What::Directory => "directory of",
                What::File => "file of",
                What::Symlink => "link of",
                What::Special => "device, FIFO or socket of",
            };
            let _ = writeln!(text, "  {}: {verb} {}", found.path, held(top));
        }
        None => {
            let _ = writeln!(text, "  {} does not exist in the composed root", found.path);
            if let Some(nearest) = &found.nearest {
                let _ = writeln!(text, "  what exists of it: {nearest}");
            }
        }
    }
    for other in &found.merged_with {
        let _ = writeln!(text, "  together with {}", held(other));
    }
    for other in &found.hidden {
        let same = match (&found.found, other.digest) {
            (Some(top), Some(_)) if top.digest == other.digest => ", the same content",
            _ => "",
        };
        let _ = writeln!(text, "  hides {}{same}", held(other));
    }
    for other in &found.elsewhere {
        let _ = writeln!(text, "  also in the library: {}", held(other));
    }
    for path in &found.similar {
        let _ = writeln!(text, "  similar: {path}");
    }
    text
}

fn held(holding: &Holding) -> String {
    let size = holding
        .size
        .map_or_else(String::new, |size| format!(", {}", bytes(size)));
    let target = holding
        .target
        .as_ref()
        .map_or_else(String::new, |target| format!(", a link to {target}"));
    format!("{}{size}{target}", holding.place)
}

fn difference(found: &Difference) -> String {
    if found.is_empty() {
        return format!("the two are one plan: {}\n", found.fragment.to);
    }
    let mut text = String::new();
    let mut line = |title: &str, from: &dyn std::fmt::Display, to: &dyn std::fmt::Display| {
        let _ = writeln!(text, "{title:9} {from} -> {to}");
    };
    if found.entry.is_one() {
        line("entry", &found.entry.from, &found.entry.to);
    }
    if found.library.is_one() {
        line("library", &found.library.from, &found.library.to);
    }
    if found.min_grade.is_one() {
        line("grade", &found.min_grade.from, &found.min_grade.to);
    }
    let (from, to) = (found.size.from, found.size.to);
    let stored = |size: u64| format!("{} stored", bytes(size));
    line(
        "size",
        &stored(from.stored),
        &format!("{} ({})", stored(to.stored), change(from.stored, to.stored)),
    );
    let mut component = |sign: char, one: &Component| {
        let _ = writeln!(
            text,
            "{sign} {:24} {:28} {:>10}",
            one.name.as_str(),
            one.version,
            bytes(one.size.stored)
        );
    };
    found.removed.iter().for_each(|one| component('-', one));
    found.added.iter().for_each(|one| component('+', one));
    for one in &found.changed {
        let version = if one.version.is_one() {
            format!("{} -> {}", one.version.from, one.version.to)
        } else {
            format!("{}, of another content", one.version.to)
        };
        let _ = writeln!(
            text,
            "~ {:24} {version} ({})",
            one.name.as_str(),
            change(one.size.from.stored, one.size.to.stored)
        );
    }
    needs(&mut text, "needed no more", &found.requirements_removed);
    needs(&mut text, "needed now", &found.requirements_added);
    for (title, names) in [
        ("granted no more", &found.capabilities_removed),
        ("granted now", &found.capabilities_added),
    ] {
        if !names.is_empty() {
            let names: Vec<&str> = names.iter().map(fragment::Capability::as_str).collect();
            let _ = writeln!(text, "{title}: {}", names.join(" "));
        }
    }
    for (sign, warnings) in [('-', &found.warnings_removed), ('+', &found.warnings_added)] {
        for warning in warnings {
            let _ = writeln!(text, "{sign} warning {warning}");
        }
    }
    text
}

fn needs(text: &mut String, title: &str, needs: &[NeedOf]) {
    if needs.is_empty() {
        return;
    }
    let _ = writeln!(text, "{title}:");
    for one in needs {
        let source = one.chain.last().map_or("", |last| last.source.as_str());
        let _ = writeln!(text, "    {} ({source})", one.need);
    }
}

/// `+1.20 MB`, `-3.0 kB`, `no more and no less`.
fn change(from: u64, to: u64) -> String {
    match to.cmp(&from) {
        std::cmp::Ordering::Greater => format!("+{}", bytes(to - from)),
        std::cmp::Ordering::Less => format!("-{}", bytes(from - to)),
        std::cmp::Ordering::Equal => "the same size".to_owned(),
    }
}
