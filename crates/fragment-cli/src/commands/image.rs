//! `fragment image thin`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use fragment::Settings;
use fragment_image::thin::Loss;
use fragment_image::{Keep, Options, Outcome, Report, Terms, Why};

use crate::render;

/// Variable that names the runtime.
const RUNTIME_VARIABLE: &str = "FRAGMENT_RUNC";
/// Its name beside this command and on `PATH`.
const RUNTIME: &str = "fragment-runc";
/// Most packages that are listed for one reason.
const LISTED: usize = 12;

/// Commands for images.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Write an image without what the library provides, proven to run as before
    Thin(Box<Arguments>),
}

/// Arguments of `fragment image thin`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Root filesystem, or OCI image layout
    source: PathBuf,
    /// OCI image layout to write; must not exist
    #[arg(short, long, value_name = "DIR", required_unless_present = "dry_run")]
    output: Option<PathBuf>,
    /// Image of the source layout, by its tag [default: the only one]
    #[arg(long, value_name = "TAG")]
    image: Option<String>,
    /// Tag of the thin image [default: that of the source, else `thin`]
    #[arg(long, value_name = "TAG")]
    tag: Option<String>,
    /// Entrypoint, words separated by spaces or as a JSON list
    #[arg(long, value_name = "WORDS")]
    entrypoint: Option<String>,
    /// Command, or the entrypoint's arguments
    #[arg(long, value_name = "WORDS")]
    cmd: Option<String>,
    /// Variable of its environment (may be repeated)
    #[arg(short, long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// User, and group after a colon
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// Working directory
    #[arg(long, value_name = "DIR")]
    workdir: Option<String>,
    /// Path that stays, with everything below it (may be repeated)
    #[arg(long, value_name = "PATH")]
    keep: Vec<String>,
    /// Package that stays, whole (may be repeated)
    #[arg(long, value_name = "NAME")]
    keep_package: Vec<String>,
    /// Command that is run in the container until it succeeds; whole and thin image must answer the same
    #[arg(long, value_name = "WORDS")]
    check: Option<String>,
    /// Seconds that a service must stay alive
    #[arg(long, value_name = "SECONDS", default_value_t = 3)]
    alive: u64,
    /// Seconds that a command, or a service until its check succeeds, may take
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    limit: u64,
    /// Only tell what would leave, and why
    #[arg(long, conflicts_with_all = ["output", "tag", "check"])]
    dry_run: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) fn run(settings: &Settings, command: Command) -> anyhow::Result<ExitCode> {
    let Command::Thin(arguments) = command;
    let json = arguments.json;
    let report = fragment_image::thin(settings, &options(settings, *arguments)?)?;
    if json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{}", text(&report));
    }
    Ok(ExitCode::SUCCESS)
}

fn options(settings: &Settings, arguments: Arguments) -> anyhow::Result<Options> {
    if !arguments.dry_run {
        let status = std::fs::read_to_string("/proc/self/status").context("read who we are")?;
        let is_root = status.lines().any(|line| line.starts_with("Uid:\t0\t0\t"));
        ensure!(
            is_root,
            "`fragment image thin` sets owners and runs containers: run it with sudo, or with --dry-run"
        );
    }
    let command = fragment_image::Command {
        entrypoint: arguments.entrypoint.as_deref().map(words).transpose()?,
        cmd: arguments.cmd.as_deref().map(words).transpose()?,
        env: arguments.env,
        user: arguments.user,
        workdir: arguments.workdir,
    };
    let check = arguments.check.as_deref().map(words).transpose()?;
    Ok(Options {
        source: arguments.source,
        image: arguments.image,
        output: arguments.output.filter(|_| !arguments.dry_run),
        tag: arguments.tag,
        command,
        keep: Keep {
            paths: arguments.keep,
            packages: arguments.keep_package.into_iter().collect(),
        },
        terms: Terms {
            runtime: runtime(),
            store: settings.store.clone(),
            check: check.unwrap_or_default(),
            alive: Duration::from_secs(arguments.alive),
            limit: Duration::from_secs(arguments.limit),
        },
    })
}

/// As a Dockerfile writes them: a JSON list, or words.
fn words(text: &str) -> anyhow::Result<Vec<String>> {
    if text.trim_start().starts_with('[') {
        return serde_json::from_str(text).with_context(|| format!("read the list {text}"));
    }
    Ok(text.split_whitespace().map(str::to_owned).collect())
}

/// The runtime that the environment names, else the one beside this command, else the one on `PATH`.
fn runtime() -> PathBuf {
    if let Some(named) = std::env::var_os(RUNTIME_VARIABLE).filter(|named| !named.is_empty()) {
        return named.into();
    }
    let beside = std::env::current_exe().ok();
    let beside = beside.map(|path| path.with_file_name(RUNTIME));
    beside
        .filter(|path| path.is_file())
        .unwrap_or_else(|| RUNTIME.into())
}

fn text(report: &Report) -> String {
    let mut out = String::new();
    for (why, packages) in &report.leaves {
        let bytes: u64 = packages.values().map(|loss| loss.bytes).sum();
        let files: u64 = packages.values().map(|loss| loss.files).sum();
        let _ = writeln!(
            out,
            "{}: {files} files, {}",
            reason(*why),
            render::bytes(bytes)
        );
        list(&mut out, packages, &BTreeMap::new());
    }
    let _ = writeln!(out, "stays: {}", render::bytes(report.thin_bytes));
    list(&mut out, &report.stays, &report.needed);
    for (component, path) in &report.refused {
        let _ = writeln!(
            out,
            "component {component} is not used: it would bring back {path}, which the image has removed"
        );
    }
    if let Some(lock) = &report.lock {
        let names: Vec<&str> = lock.iter().map(|(name, _)| name.as_str()).collect();
        let _ = writeln!(out, "locked components: {}", names.join(" "));
    }
    for warning in &report.warnings {
        let _ = writeln!(out, "warning: {warning}");
    }
    let ratio = |thin: u64, full: u64| full.checked_div(thin).unwrap_or_default();
    let (full, thin) = (report.full_bytes, report.thin_bytes);
    let _ = writeln!(
        out,
        "unpacked: {} of {}, 1/{}",
        render::bytes(thin),
        render::bytes(full),
        ratio(thin, full)
    );
    if let (Some(thin), Some(full)) = (report.thin_stored, report.full_stored) {
        let _ = writeln!(
            out,
            "stored: {} of {}, 1/{}",
            render::bytes(thin),
            render::bytes(full),
            ratio(thin, full)
        );
    }
    if let Some(outcome) = &report.outcome {
        let how = match outcome {
            Outcome::Serving { .. } => "runs on, as the whole image does",
            Outcome::Ended { .. } | Outcome::Silent { .. } => "ends as the whole image does",
        };
        let _ = writeln!(out, "proven: the thin image {how}");
    }
    out
}

fn reason(why: Why) -> &'static str {
    match why {
        Why::Identical => "leaves, a component holds the same",
        Why::Supplied => "leaves, a component holds the package",
        Why::Unneeded => "leaves, nothing that stays needs the package",
        Why::Documentation => "leaves, documentation",
        Why::Derived => "leaves, made from what leaves",
    }
}

/// The largest first.
fn list(out: &mut String, packages: &BTreeMap<String, Loss>, needed: &BTreeMap<String, String>) {
    let mut sorted: Vec<_> = packages.iter().collect();
    sorted.sort_by_key(|(name, loss)| (std::cmp::Reverse(loss.bytes), name.as_str()));
    for (name, loss) in sorted.iter().take(LISTED) {
        let why = needed.get(*name).map_or("", String::as_str);
        let name = if name.is_empty() {
            "(no package)"
        } else {
            name
        };
        let bytes = render::bytes(loss.bytes);
        let line = format!("  {name:<28} {:>6}  {bytes:<9}  {why}", loss.files);
        let _ = writeln!(out, "{}", line.trim_end());
    }
    if sorted.len() > LISTED {
        let rest: u64 = sorted[LISTED..].iter().map(|(_, loss)| loss.bytes).sum();
        let _ = writeln!(
            out,
            "  {} more packages: {}",
            sorted.len() - LISTED,
            render::bytes(rest)
        );
    }
}
