//! Plans, explanations and libraries as text for people.

pub(crate) mod explain;

use std::fmt::Write as _;
use std::path::Path;

use fragment::control::effective::Effective;
use fragment::inspect::Inspection;
use fragment::plan::{EntryKind, Form, Layer, PartKind, Reason};
use fragment::store::VerifyReport;
use fragment::{Capability, ComponentName, ComponentSummary, Manifest, Plan};

use crate::doctor::{Finding, Level};

pub(crate) use fragment::explain::graph::bytes;

/// What the doctor found, what needs doing last.
pub(crate) fn findings(findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        let level = match finding.level {
            Level::Ok => "ok",
            Level::Warning => "warning",
            Level::Problem => "PROBLEM",
        };
        let _ = writeln!(text, "{level:8} {:18} {}", finding.subject, finding.finding);
        if let Some(remedy) = &finding.remedy {
            let _ = writeln!(text, "{:27} -> {remedy}", "");
        }
    }
    let count = |level| findings.iter().filter(|one| one.level == level).count();
    let _ = writeln!(
        text,
        "{} problems, {} warnings",
        count(Level::Problem),
        count(Level::Warning)
    );
    text
}

/// Settings and where each was said.
pub(crate) fn settings(all: &[Effective]) -> String {
    let widest = |of: &dyn Fn(&Effective) -> usize, least: usize, most: usize| {
        let widths = all.iter().map(|one| of(one).min(most));
        widths.max().unwrap_or_default().max(least)
    };
    let key = widest(&|one| one.key.len(), 3, 48);
    let value = widest(&|one| one.text.len(), 5, 40);
    let mut text = String::new();
    let _ = writeln!(text, "{:key$}  {:value$}  FROM", "KEY", "VALUE");
    for one in all {
        let shown = if one.text.is_empty() { "-" } else { &one.text };
        let _ = writeln!(text, "{:key$}  {shown:value$}  {}", one.key, one.from);
    }
    text
}

/// What is wrong with a configuration.
pub(crate) fn configuration(problems: &[String], notes: &[String]) -> String {
    let mut text = String::new();
    for problem in problems {
        let _ = writeln!(text, "{problem}");
    }
    for note in notes {
        let _ = writeln!(text, "note: {note}");
    }
    let _ = match problems.len() {
        0 => writeln!(text, "nothing is wrong"),
        1 => writeln!(text, "1 problem"),
        many => writeln!(text, "{many} problems"),
    };
    text
}

/// The plan as a table.
pub(crate) fn plan(plan: &Plan) -> String {
    let mut text = String::new();
    let kind = match plan.entry.kind {
        EntryKind::DynamicElf => "dynamic ELF",
        EntryKind::StaticElf => "static ELF",
        EntryKind::Script => "script",
        EntryKind::Other => "neither ELF nor `#!`: exec format error unless binfmt_misc knows it",
        EntryKind::Component => "from the library",
    };
    let _ = writeln!(text, "entry     {} ({kind})", plan.entry.path);
    let _ = writeln!(text, "fragment  {}", plan.id());
    let form = match plan.form {
        Form::Plain => "nothing is missing: the rootfs as it is, nothing is overlaid",
        Form::Upper => "overlay, the bundle's rootfs on top",
        Form::ReadOnly => "read-only overlay, the bundle's rootfs on top",
        Form::Replace => "overlay in the place of the engine's, with its layers on top",
        Form::Flat => {
            "overlay with the engine's layers on top, which stay mounted for the engine too"
        }
        Form::Stack => {
            "overlay with a layer of its own above the bundle's rootfs; its writes go with the container"
        }
    };
    let _ = writeln!(text, "rootfs    {form}");
    let (granting, files): (Vec<&Layer>, Vec<&Layer>) = plan
        .layers
        .iter()
        .partition(|layer| !layer.capabilities.is_empty());
    group(
        &mut text,
        "operating system (components that grant capabilities)",
        &granting,
    );
    group(&mut text, "the program's own files and libraries", &files);
    generated(&mut text, plan);
    if plan.is_composed() {
        let _ = writeln!(
            text,
            "total     {} components, {} stored, {} unpacked",
            plan.layers.len(),
            bytes(plan.size.stored),
            bytes(plan.size.plain)
        );
        let names: Vec<&str> = plan.capabilities.iter().map(Capability::as_str).collect();
        let _ = writeln!(text, "grants    {}", names.join(" "));
    }
    for warning in &plan.warnings {
        let _ = writeln!(text, "warning   {warning}");
    }
    text
}

/// What is made of files of several layers.
fn generated(text: &mut String, plan: &Plan) {
    for part in plan.generated.iter().flat_map(|made| &made.parts) {
        let names: Vec<&str> = plan
            .layers
            .iter()
            .filter(|layer| part.from.contains(&layer.diff_id))
            .map(|layer| layer.name.as_str())
            .collect();
        let what = match &part.kind {
            PartKind::Accounts => "the users and groups of",
            PartKind::LoaderCache { .. } => "the loader's cache of libraries of",
            PartKind::Merged => "everything of",
            PartKind::Links => "links to what lies below /usr in",
        };
        let _ = writeln!(text, "made      {}: {what} {}", part.path, names.join(" "));
    }
}

fn group(text: &mut String, title: &str, layers: &[&Layer]) {
    if layers.is_empty() {
        return;
    }
    let stored: u64 = layers.iter().map(|layer| layer.size.stored).sum();
    let _ = writeln!(text, "  {title}: {}", bytes(stored));
    for layer in layers {
        let _ = writeln!(
            text,
            "    {:24} {:20} {:>10}  {}",
            layer.name,
            layer.upstream_version,
            bytes(layer.size.stored),
            layer.reasons.first().map(reason).unwrap_or_default()
        );
    }
}

fn reason(reason: &Reason) -> String {
    match reason {
        Reason::Core => "below every composition".to_owned(),
        Reason::Supplies { requirement } => requirement.to_string(),
        Reason::RequiredBy { component, .. } => format!("required by {component}"),
    }
}

/// A container.
pub(crate) fn inspection(found: &Inspection) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "container {} ({})", found.id, found.status);
    let _ = writeln!(text, "kept in   {}", found.root.display());
    let _ = writeln!(text, "bundle    {}", found.bundle.display());
    let _ = writeln!(text, "created   {}", found.created);
    let Some(composition) = &found.composition else {
        let _ = writeln!(text, "nothing is composed: its root is the bundle's own");
        return text;
    };
    let _ = writeln!(text, "fragment  {}", composition.fragment);
    let _ = writeln!(text, "store     {}", composition.store.display());
    for component in &composition.components {
        let explanation = &component.explanation;
        let shared = match component.shared_with {
            0 => "this container's alone".to_owned(),
            1 => "shared with 1 other container".to_owned(),
            many => format!("shared with {many} other containers"),
        };
        let _ = writeln!(
            text,
            "{} {}  {}  {}, {shared}",
            explanation.component,
            explanation.version,
            component.digest,
            bytes(component.bytes)
        );
        explain::chain(&mut text, explanation);
    }
    generated(&mut text, &composition.plan);
    let _ = writeln!(
        text,
        "total     {} components, {} unpacked, {} of it shared with other containers",
        composition.components.len(),
        bytes(composition.bytes),
        bytes(composition.shared_bytes)
    );
    text
}

/// One component.
pub(crate) fn component(summary: &ComponentSummary, manifest: &Manifest) -> String {
    let mut text = String::new();
    let _ = writeln!(
        text,
        "{} {}: {}",
        manifest.name, manifest.upstream_version, manifest.description
    );
    let size = manifest.size;
    let _ = writeln!(
        text,
        "size          {} stored, {} unpacked, {} entries",
        bytes(size.stored),
        bytes(size.plain),
        size.entries
    );
    let _ = writeln!(text, "digest        {}", summary.digest);
    let _ = writeln!(text, "version       {}", manifest.version);
    let mut line = |title: &str, words: Vec<&str>| {
        if !words.is_empty() {
            let _ = writeln!(text, "{title:13} {}", words.join(" "));
        }
    };
    line(
        "end of life",
        manifest.eol.iter().map(String::as_str).collect(),
    );
    line(
        "also known as",
        manifest.aliases.iter().map(ComponentName::as_str).collect(),
    );
    line(
        "capabilities",
        manifest
            .capabilities
            .iter()
            .map(Capability::as_str)
            .collect(),
    );
    line(
        "requires",
        summary.requires.iter().map(ComponentName::as_str).collect(),
    );
    line(
        "conflicts",
        manifest
            .conflicts
            .iter()
            .map(ComponentName::as_str)
            .collect(),
    );
    line(
        "commands",
        manifest
            .provides
            .commands
            .iter()
            .map(|command| command.name.as_str())
            .collect(),
    );
    line(
        "libraries",
        manifest
            .provides
            .sonames
            .iter()
            .filter(|one| one.public)
            .map(|one| one.soname.as_str())
            .collect(),
    );
    for package in &manifest.packages {
        let part = if package.sliced { ", part of it" } else { "" };
        let licences: Vec<&str> = package.licences.iter().map(String::as_str).collect();
        let _ = writeln!(
            text,
            "package       {} {}{part} ({})",
            package.name,
            package.version,
            licences.join(", ")
        );
    }
    text
}

/// A verification.
pub(crate) fn verification(report: &VerifyReport, store: &Path) -> String {
    let mut text = String::new();
    for component in report.damaged() {
        for finding in &component.findings {
            let _ = writeln!(text, "{}: {finding}", component.name);
        }
    }
    if let Some(damage) = &report.catalogue {
        let _ = writeln!(text, "catalogue: {damage}");
    }
    let damaged = report.damaged().count();
    let _ = if report.is_intact() {
        writeln!(
            text,
            "{} components in {}: intact",
            report.components.len(),
            store.display()
        )
    } else {
        writeln!(
            text,
            "{} components in {}: {damaged} damaged; mend them with `fragment library verify --repair`",
            report.components.len(),
            store.display()
        )
    };
    text
}
