//! The whole way from an image to a thin one: read, decide, plan, prove, write.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use fragment::{Library, Settings, Wishes, planner};
use fragment_sys::root::Root;
use fragment_types::plan::Plan;
use fragment_types::{Catalogue as _, ComponentName, Digest, Lock};
use serde_json::{Value, json};

use crate::decision::{Decision, Keep, Question, Why};
use crate::dpkg::Database;
use crate::error::ImageError;
use crate::evidence;
use crate::inventory::Inventory;
use crate::layer::{self, Extra};
use crate::layout::{self, Image, LOCK};
use crate::observer::Observer;
use crate::process::Process;
use crate::shelf::Shelf;
use crate::trial::{self, Bundle, Outcome, Terms};
use crate::unpack::Tree;
use crate::view::{Step, View};

/// Where a thin image says what lies below it.
const CONTROL: &str = ".fragment.yaml";
/// Time of an image whose source tells none.
const EPOCH: &str = "1970-01-01T00:00:00Z";

/// What a root filesystem starts, which has no configuration of its own; of an image, what replaces its configuration.
#[derive(Debug, Clone, Default)]
pub struct Command {
    /// Entrypoint.
    pub entrypoint: Option<Vec<String>>,
    /// Command, or the entrypoint's arguments.
    pub cmd: Option<Vec<String>>,
    /// Variables, `NAME=VALUE`.
    pub env: Vec<String>,
    /// User, and group after a colon.
    pub user: Option<String>,
    /// Working directory.
    pub workdir: Option<String>,
}

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Options {
    /// A root filesystem, or an OCI image layout.
    pub source: PathBuf,
    /// The image of the layout; without it, the only one.
    pub image: Option<String>,
    /// The layout to write, which must not exist. `None`: only tell what would leave.
    pub output: Option<PathBuf>,
    /// Tag of the thin image; without it, that of the source.
    pub tag: Option<String>,
    /// What it starts.
    pub command: Command,
    /// What stays.
    pub keep: Keep,
    /// How it is proven.
    pub terms: Terms,
}

/// What one package, or what no package owns, loses.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Loss {
    /// Paths, directories not counted.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What was done, or would be.
#[derive(Debug, Clone, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Bytes of the image's files.
    pub full_bytes: u64,
    /// Bytes of its layers as stored; a root filesystem has none.
    pub full_stored: Option<u64>,
    /// Bytes of the files that stay.
    pub thin_bytes: u64,
    /// Bytes of the thin layer as stored; none before it is written.
    pub thin_stored: Option<u64>,
    /// What leaves, by reason and then by package; the empty name stands for what no package owns.
    pub leaves: BTreeMap<Why, BTreeMap<String, Loss>>,
    /// What stays, by package.
    pub stays: BTreeMap<String, Loss>,
    /// Why packages are needed.
    pub needed: BTreeMap<String, String>,
    /// Components that are not used because they would bring back a path that the image has removed.
    pub refused: BTreeMap<ComponentName, String>,
    /// The lock; none in a dry run, which makes no plan.
    #[serde(serialize_with = "as_text")]
    pub lock: Option<Lock>,
    /// How the image's process went, whole and thin.
    pub outcome: Option<Outcome>,
    /// Digest of the thin image's manifest.
    pub manifest: Option<Digest>,
    /// What a person should know.
    pub warnings: Vec<String>,
}

#[expect(clippy::ref_option, reason = "serde's signature")]
fn as_text<S: serde::Serializer>(lock: &Option<Lock>, to: S) -> Result<S::Ok, S::Error> {
    match lock {
        Some(lock) => to.collect_str(lock),
        None => to.serialize_none(),
    }
}

/// Makes a thin image as `options` say.
///
/// # Errors
/// [`ImageError`]; nothing is written then.
pub fn thin(settings: &Settings, options: &Options) -> Result<Report, ImageError> {
    let library = Library::open(settings)?;
    let scratch = scratch(options)?;
    let (source, inventory, stored) = open(options, scratch.path())?;
    if inventory.nodes.contains_key("/.fragment.yaml") {
        return Err(ImageError::AlreadyThin);
    }
    let root = Root::open(inventory.host_path())?;
    let database = Database::read(&root);
    let config = configured(source.as_ref(), &options.command);
    let mut terms = options.terms.clone();
    if terms.check.is_empty() {
        terms.check = health_check(&config);
    }
    // what this node asks of compositions is no part of the image
    let settings = Settings {
        said: Vec::new(),
        lock_required: false,
        ..settings.clone()
    };
    let work = Work {
        settings,
        terms,
        scratch: scratch.path(),
        process: Process::of(&config, &root)?,
        library: &library,
        inventory: &inventory,
        database: &database,
    };
    let mut evidence =
        evidence::of_programs(&inventory, &database, &library, &work.process.task())?;
    let whole = match options.output {
        Some(_) => Some(work.run_whole()?),
        None => None,
    };
    let opened = whole.iter().flat_map(|whole| &whole.opened);
    for path in opened {
        evidence.extend(evidence::resolved(&inventory, path));
    }
    let shelf = Shelf::new(&library)?;
    let mut question = Question::new(&inventory, &database, &options.keep, shelf);
    let decision = question.decide(&evidence)?;
    let mut report = work.report(&decision, stored);
    if let (Some(output), Some(whole)) = (&options.output, whole) {
        let tag = options.tag.clone();
        let tag = tag.or_else(|| source.as_ref().and_then(|image| image.tag.clone()));
        let thin = Thin {
            work: &work,
            decision: &decision,
            whole,
        };
        thin.prove_and_write(
            output,
            tag.as_deref().unwrap_or("thin"),
            &config,
            &mut report,
        )?;
    }
    Ok(report)
}

/// A directory of ours beside the output: the same filesystem, so that the end is one rename.
fn scratch(options: &Options) -> Result<tempfile::TempDir, ImageError> {
    let beside = options.output.as_deref().and_then(Path::parent);
    let beside = beside.filter(|parent| !parent.as_os_str().is_empty());
    let here = if options.output.is_some() {
        beside.unwrap_or(Path::new(".")).to_owned()
    } else {
        std::env::temp_dir()
    };
    if let Some(output) = &options.output
        && fs::symlink_metadata(output).is_ok()
    {
        return Err(ImageError::layout(output, "exists already"));
    }
    let here = fs::canonicalize(&here).map_err(ImageError::io("open", &here))?;
    tempfile::Builder::new()
        .prefix(".fragment-image-")
        .tempdir_in(&here)
        .map_err(ImageError::io("create a directory in", here))
}

fn open(
    options: &Options,
    scratch: &Path,
) -> Result<(Option<Image>, Inventory, Option<u64>), ImageError> {
    if !layout::is_layout(&options.source) {
        return Ok((None, Inventory::read(&options.source)?, None));
    }
    let image = Image::open(&options.source, options.image.as_deref())?;
    let whole = create(&scratch.join("source"))?;
    image.unpack(&whole)?;
    let stored = image.stored();
    Ok((Some(image), Inventory::read(&whole)?, Some(stored)))
}

/// The configuration of the image, with what the command line replaces.
fn configured(image: Option<&Image>, command: &Command) -> Value {
    let mut config = match image {
        Some(image) => image.config.clone(),
        None => json!({ "architecture": layout::architecture(), "os": "linux" }),
    };
    let inner = &mut config["config"];
    let lists = [("Entrypoint", &command.entrypoint), ("Cmd", &command.cmd)];
    for (key, value) in lists {
        if let Some(words) = value {
            inner[key] = json!(words);
        }
    }
    // a new entrypoint has nothing to do with the old one's arguments
    if command.entrypoint.is_some() && command.cmd.is_none() {
        inner["Cmd"] = Value::Null;
    }
    for (key, value) in [("User", &command.user), ("WorkingDir", &command.workdir)] {
        if let Some(text) = value {
            inner[key] = json!(text);
        }
    }
    for variable in &command.env {
        let name = variable.split('=').next().unwrap_or_default();
        let mut list = inner["Env"].as_array().cloned().unwrap_or_default();
        list.retain(|old| {
            old.as_str()
                .is_none_or(|old| old.split('=').next() != Some(name))
        });
        list.push(json!(variable));
        inner["Env"] = Value::Array(list);
    }
    config
}

/// The command of the image's health check (`CMD` and `CMD-SHELL` of the Dockerfile reference, "HEALTHCHECK").
fn health_check(config: &Value) -> Vec<String> {
    let words: Vec<String> =
        serde_json::from_value(config["config"]["Healthcheck"]["Test"].clone()).unwrap_or_default();
    match words.split_first() {
        Some((kind, command)) if kind == "CMD" => command.to_vec(),
        Some((kind, command)) if kind == "CMD-SHELL" => ["/bin/sh", "-c"]
            .map(str::to_owned)
            .into_iter()
            .chain(command.first().cloned())
            .collect(),
        _ => Vec::new(),
    }
}

fn create(path: &Path) -> Result<PathBuf, ImageError> {
    fs::create_dir_all(path).map_err(ImageError::io("create", path))?;
    Ok(path.to_owned())
}

/// What every step needs.
struct Work<'w> {
    settings: Settings,
    terms: Terms,
    scratch: &'w Path,
    process: Process,
    library: &'w Library,
    inventory: &'w Inventory,
    database: &'w Database,
}

/// How the whole image went.
struct Whole {
    outcome: Outcome,
    /// Whether a second run printed the same.
    repeatable: bool,
    opened: BTreeSet<String>,
    warnings: Vec<String>,
}

impl Work<'_> {
    /// Copies what `stays` of the image into the directory `rootfs` of a new bundle.
    fn bundle(&self, name: &str, stays: impl Fn(&str) -> bool) -> Result<PathBuf, ImageError> {
        let bundle = create(&self.scratch.join(name))?;
        let (tar, rootfs) = (bundle.join("tar"), create(&bundle.join("rootfs"))?);
        layer::write_plain(self.inventory, stays, &tar)?;
        let failed = |source| ImageError::Layer {
            digest: Digest::of(b""),
            source,
        };
        let mut tree = Tree::new(&rootfs).map_err(failed)?;
        let file = fs::File::open(&tar).map_err(ImageError::io("open", &tar))?;
        tree.apply(std::io::BufReader::new(file)).map_err(failed)?;
        tree.finish().map_err(failed)?;
        fs::remove_file(&tar).map_err(ImageError::io("remove", &tar))?;
        Ok(bundle)
    }

    /// Runs the image as it is, twice where its output has to be compared: what differs by itself proves nothing.
    fn run_whole(&self) -> Result<Whole, ImageError> {
        let bundle = self.bundle("whole", |_| true)?;
        let watched = Inventory::read(&bundle.join("rootfs"))?;
        let mut observer = Observer::new(&watched)?;
        let off = json!({ "dev.fragment.compose": "off" });
        let trial = |what, observer: Option<&mut Observer>| {
            let bundle = Bundle {
                directory: &bundle,
                what,
                annotations: off.clone(),
            };
            trial::run(&self.terms, &bundle, &self.process, observer)
        };
        let outcome = trial("whole", Some(&mut observer))?;
        observer.drain()?;
        if let Outcome::Silent { .. } = outcome {
            return Err(ImageError::Run {
                what: "the whole image",
                detail: format!("it {}", trial::told(&outcome)),
            });
        }
        let compares = !matches!(outcome, Outcome::Serving { answer: None });
        let repeatable = !compares || trial::is_same(&outcome, &trial("again", None)?);
        let mut warnings = Vec::new();
        if !repeatable {
            warnings.push(
                "two runs of the whole image print different things: output is not compared"
                    .to_owned(),
            );
        }
        if observer.lost {
            warnings.push("some files that the whole image opens were not seen".to_owned());
        }
        fs::remove_dir_all(&bundle).map_err(ImageError::io("remove", &bundle))?;
        let inside = |path: &String| self.inventory.nodes.contains_key(&merged(path));
        Ok(Whole {
            outcome,
            repeatable,
            opened: observer.opened.into_iter().filter(inside).collect(),
            warnings,
        })
    }

    fn report(&self, decision: &Decision, full_stored: Option<u64>) -> Report {
        let mut leaves: BTreeMap<Why, BTreeMap<String, Loss>> = BTreeMap::new();
        let mut stays: BTreeMap<String, Loss> = BTreeMap::new();
        for (path, node) in &self.inventory.nodes {
            if node.is_directory() {
                continue;
            }
            let owner = self.database.owners(path).first().cloned();
            let of = match decision.leaves.get(path) {
                Some(why) => leaves.entry(*why).or_default(),
                None => &mut stays,
            };
            let loss = of.entry(owner.unwrap_or_default()).or_default();
            loss.files += 1;
            loss.bytes += node.size();
        }
        Report {
            full_bytes: self.inventory.bytes(|_| true),
            full_stored,
            thin_bytes: self.inventory.bytes(|path| decision.stays(path)),
            thin_stored: None,
            leaves,
            stays,
            needed: decision.needed.clone(),
            refused: decision.refused.clone(),
            lock: None,
            outcome: None,
            manifest: None,
            warnings: self.inventory.warnings.clone(),
        }
    }
}

fn merged(path: &str) -> String {
    fragment_types::path::merged_usr(path).into_owned()
}

/// A thin image on its way.
struct Thin<'t> {
    work: &'t Work<'t>,
    decision: &'t Decision,
    whole: Whole,
}

impl Thin<'_> {
    fn prove_and_write(
        self,
        output: &Path,
        tag: &str,
        config: &Value,
        report: &mut Report,
    ) -> Result<(), ImageError> {
        let work = self.work;
        let bundle = work.bundle("thin", |path| self.decision.stays(path))?;
        let lock = self.lock()?;
        let process = &work.process;
        let plan = self.plan(&bundle, process, &lock)?;
        self.plan_programs(&bundle, &lock)?;
        let control = lock.to_yaml();
        let path = bundle.join("rootfs").join(CONTROL);
        fs::write(&path, &control).map_err(ImageError::io("write", &path))?;

        let mut problems = self.missing(&plan)?;
        let terms = &work.terms;
        let trial = Bundle {
            directory: &bundle,
            what: "thin",
            annotations: json!({}),
        };
        let outcome = trial::run(terms, &trial, process, None)?;
        problems.extend(trial::difference(
            &self.whole.outcome,
            &outcome,
            self.whole.repeatable,
        ));
        if !problems.is_empty() {
            return Err(ImageError::NotProven(problems));
        }
        report.outcome = Some(outcome);
        report.warnings.extend(self.whole.warnings.clone());
        report.lock = Some(lock);
        self.write(output, tag, config, &control, report)
    }

    /// The components that stand for packages, with what they require: what the whole image had, and no more. Softer evidence,
    /// which adds to an image of which nothing else is known, has nothing to add to it.
    fn lock(&self) -> Result<Lock, ImageError> {
        let library = self.work.library;
        let mut lock = Lock::default();
        for name in Shelf::new(library)?.closure(&self.decision.components)? {
            for index in library.named(name.as_str())? {
                let component = library.component(index)?;
                if component.name == name {
                    // a closure names each once
                    let _ = lock.insert(component.name, component.digest);
                }
            }
        }
        Ok(lock)
    }

    /// Every program of the image's own that could run in it has a plan in the thin one, too.
    fn plan_programs(&self, bundle: &Path, lock: &Lock) -> Result<(), ImageError> {
        let work = self.work;
        let whole = Root::open(work.inventory.host_path())?;
        for program in evidence::programs(work.inventory, work.database)? {
            let process = work.process.with(vec![program]);
            let could = fragment_analysis::analyse(&whole, &process.task(), work.library);
            if could.is_ok_and(|analysis| !analysis.is_thin()) {
                self.plan(bundle, &process, lock)?;
            }
        }
        Ok(())
    }

    fn plan(&self, bundle: &Path, process: &Process, lock: &Lock) -> Result<Plan, ImageError> {
        process.write_bundle(bundle, "thin", &json!({}))?;
        let locked = Wishes {
            lock: Some(lock.clone()),
            ..Wishes::default()
        };
        let (settings, library) = (&self.work.settings, self.work.library);
        planner::plan_bundle(settings, library, bundle, locked).map_err(|source| ImageError::Plan {
            command: process.argv.join(" "),
            source: Box::new(source),
        })
    }

    /// What the whole image opens and neither the thin one nor a component of the plan has.
    fn missing(&self, plan: &Plan) -> Result<Vec<String>, ImageError> {
        let nodes = &self.work.inventory.nodes;
        let mut shelf = Shelf::new(self.work.library)?;
        let names = plan.layers.iter().map(|layer| layer.name.clone());
        let closure = shelf.closure(&names.collect())?;
        let supplied = shelf.paths(&closure);
        let view = View::new(|path: &str| {
            let own = nodes.get(path).filter(|_| self.decision.stays(path));
            own.map(Step::of_node).or_else(|| {
                let entries = supplied.get(path)?;
                entries.first().map(|entry| Step::of_entry(entry))
            })
        });
        let is_there = |path: &str| {
            let derived = self.decision.leaves.get(&merged(path)) == Some(&Why::Derived);
            derived || view.resolve(path).is_some()
        };
        let missing = trial::missing(&self.whole.opened, is_there);
        let told = missing.into_iter().map(|path| {
            format!("the whole image opens {path}, which nobody would supply: --keep {path}")
        });
        Ok(told.collect())
    }

    fn write(
        &self,
        output: &Path,
        tag: &str,
        config: &Value,
        control: &str,
        report: &mut Report,
    ) -> Result<(), ImageError> {
        let work = self.work;
        let lock = report.lock.as_ref().map(Lock::to_string);
        let lock = lock.unwrap_or_default();
        let extra = Extra {
            name: CONTROL,
            content: control,
        };
        let layer = layer::write(
            work.inventory,
            |path| self.decision.stays(path),
            Some(&extra),
            work.scratch.join("layer"),
        )?;
        let mut config = config.clone();
        let created = config["created"].as_str().unwrap_or(EPOCH).to_owned();
        config["created"] = json!(created);
        config["rootfs"] = json!({ "type": "layers", "diff_ids": [layer.diff_id] });
        config["history"] = json!([{ "created": created, "created_by": "fragment image thin" }]);
        config["config"]["Labels"][LOCK] = json!(lock);
        let whole = work.scratch.join("layout");
        report.manifest = Some(layout::write(&whole, tag, &config, &layer, &lock)?);
        report.thin_stored = Some(layer.size);
        fs::rename(&whole, output).map_err(ImageError::io("write", output))
    }
}
