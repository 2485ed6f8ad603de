//! `fragment sbom`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::Context as _;
use fragment::store::Store;
use fragment::{Manifest, Plan, Settings, inspect, own_files};
use fragment_sbom::{Bill, OwnFile, cyclonedx, spdx};

use super::plan::Subject;

/// Arguments of `fragment sbom`.
#[derive(Debug, clap::Args)]
#[command(mut_arg("command", |a| a.required_unless_present("container").conflicts_with("container")))]
#[command(mut_arg("bundle", |a| a.conflicts_with("container")))]
pub(crate) struct Arguments {
    #[command(flatten)]
    subject: Subject,
    /// Describe what this container was created with (its name, or the beginning of it)
    #[arg(long, value_name = "ID")]
    container: Option<String>,
    /// State directory of the container's runtime
    #[arg(long, value_name = "DIR", requires = "container")]
    root: Option<PathBuf>,
    /// Format of the document
    #[arg(long, value_name = "FORMAT", default_value = "spdx")]
    format: Format,
    /// Write to this file
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Seconds since 1970 that the document says it was made at [default: $SOURCE_DATE_EPOCH, else now]
    #[arg(long, value_name = "SECONDS")]
    created: Option<i64>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Format {
    /// SPDX 2.3
    Spdx,
    /// CycloneDX 1.5
    Cyclonedx,
}

/// Prints the document.
pub(crate) fn run(settings: &Settings, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let created = match arguments.created {
        Some(created) => created,
        None => now()?,
    };
    let (plan, store) = match &arguments.container {
        Some(container) => of_container(settings, container, arguments)?,
        None => (arguments.subject.plan(settings)?, settings.store.clone()),
    };
    let manifests = manifests(&plan, &store)?;
    let mut bill = Bill::new(&plan, &manifests, created);
    if let Some(bundle) = arguments.subject.bundle() {
        let own = own_files::of_bundle(bundle)?;
        let remark = own.truncated.then(|| {
            format!(
                "The app has more files of its own than the {} that are listed.",
                own.files.len()
            )
        });
        let files = own.files.into_iter();
        let files = files.map(|(path, digest)| OwnFile { path, digest });
        bill = bill.with_files(files.collect(), remark);
    } else if arguments.container.is_some() {
        let remark = "The app's own files are not listed: the container may have changed them.";
        bill = bill.with_files(Vec::new(), Some(remark.to_owned()));
    }
    let document = match arguments.format {
        Format::Spdx => spdx::document(&bill),
        Format::Cyclonedx => cyclonedx::document(&bill),
    };
    let mut text = serde_json::to_string_pretty(&document)?;
    text.push('\n');
    match &arguments.output {
        Some(file) => {
            std::fs::write(file, text).with_context(|| format!("write {}", file.display()))?;
        }
        None => print!("{text}"),
    }
    Ok(ExitCode::SUCCESS)
}

fn of_container(
    settings: &Settings,
    container: &str,
    arguments: &Arguments,
) -> anyhow::Result<(Plan, PathBuf)> {
    let found = inspect::inspect(settings, container, arguments.root.as_deref())?;
    let composition = found.composition.with_context(|| {
        format!(
            "nothing is composed below container {}: its image is all there is of it, and a scanner of images describes that",
            found.id
        )
    })?;
    Ok((composition.plan, composition.store))
}

/// The manifests of the plan's components, which tell of packages.
fn manifests(plan: &Plan, store: &std::path::Path) -> anyhow::Result<Vec<Manifest>> {
    if plan.layers.is_empty() {
        return Ok(Vec::new());
    }
    let store = Store::open(store)?;
    plan.layers
        .iter()
        .map(|layer| {
            store
                .manifest(&layer.digest)
                .with_context(|| format!("read the manifest of {} {}", layer.name, layer.version))
        })
        .collect()
}

/// reproducible-builds.org: the time that stands for now.
fn now() -> anyhow::Result<i64> {
    if let Some(epoch) = std::env::var_os("SOURCE_DATE_EPOCH") {
        return epoch
            .to_str()
            .and_then(|text| text.parse().ok())
            .with_context(|| {
                format!(
                    "SOURCE_DATE_EPOCH={}: give seconds since 1970",
                    epoch.display()
                )
            });
    }
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    Ok(i64::try_from(now.as_secs())?)
}
