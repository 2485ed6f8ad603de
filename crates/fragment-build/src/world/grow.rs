//! Installing packages into a world, one script at a time.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::dpkg::Database;
use crate::error::{Error, Result};
use crate::library::Library;
use crate::progress::{Event, Progress};
use crate::workspace::Workspace;
use crate::world::accounts::seeded;
use crate::world::attribution::{Watch, lists};
use crate::world::simulation::{Refused, Step, refusal, steps};
use crate::world::words::{configured, few, last_words, pending};
use crate::world::{Session, Worlds, io};

/// Paths that packages bring and no component holds; the copyright file says the licences.
const UNWANTED: &str = "--path-exclude='/usr/share/doc/*' --path-include='/usr/share/doc/*/copyright' \
    --path-exclude='/usr/share/man/*' --path-exclude='/usr/share/info/*' --path-exclude='/usr/share/lintian/*'";
/// Most rounds of triggers that set off others.
const TRIGGER_ROUNDS: usize = 5;

/// What became of an installation.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// Everything asked for was there.
    Nothing,
    /// A layer was added.
    Layer,
    /// apt would not.
    Refused(Refused),
}

/// What apt would do in `world`.
pub(crate) fn simulate(
    session: &mut Session,
    packages: &[String],
) -> Result<Result<Vec<Step>, Refused>> {
    let names = packages.join(" ");
    let status = session.run(&format!(
        "apt-get --simulate --no-install-recommends --no-remove install -- {names} >\"$job/steps\" 2>\"$job/errors\""
    ))?;
    let read = |name: &str| {
        let path = session.job.directory().join(name);
        fs::read_to_string(&path).map_err(io("reading", &path))
    };
    if status != 0 {
        let errors = read("errors")?;
        if is_full(session, &errors) {
            return Err(full(session));
        }
        return Ok(Err(refusal(packages, &errors)));
    }
    Ok(Ok(steps(&read("steps")?)))
}

/// apt's words on what it would download and how much room it would take.
pub(crate) fn sizes(session: &mut Session, packages: &[String]) -> Result<Vec<String>> {
    let names = packages.join(" ");
    session.run(&format!(
        "apt-get --assume-no --no-install-recommends --no-remove install -- {names} >\"$job/sizes\""
    ))?;
    let path = session.job.directory().join("sizes");
    let text = fs::read_to_string(&path).map_err(io("reading", &path))?;
    let tells = |line: &&str| line.starts_with("Need to get ") || line.starts_with("After this ");
    Ok(text.lines().filter(tells).map(str::to_owned).collect())
}

/// Installs `packages` as a layer of its own on top of `world`.
///
/// # Errors
/// [`Error::Download`], [`Error::Unpack`], and file errors; the world stays as it was then.
pub(crate) fn grow(
    workspace: &Workspace,
    library: &Library,
    worlds: &mut Worlds,
    world: usize,
    packages: &[String],
    database: &mut Database,
    progress: &dyn Progress,
) -> Result<Outcome> {
    let mut session = Session::start(workspace, worlds, world, "grow")?;
    let steps = match simulate(&mut session, packages)? {
        Ok(steps) if steps.is_empty() => return Ok(Outcome::Nothing),
        Ok(steps) => steps,
        Err(refused) => return Ok(Outcome::Refused(refused)),
    };
    let root = session.root_path();
    let base = lists(&workspace.base());
    seed(&root, &seeded(library, &worlds.state.accounts))?;
    let unpacked = |step: &&Step| matches!(step, Step::Unpack { .. });
    progress.event(&Event::Step {
        what: "downloading",
        done: 0,
        total: steps.iter().filter(unpacked).count(),
    });
    download(&mut session, packages, &steps, &workspace.cache())?;
    let mut run = Run {
        upper: session.job.upper(),
        watch: Watch::new(&session.job.upper(), &root)?,
        root,
        session: &mut session,
        failed: BTreeMap::new(),
        done: 0,
        total: steps.len(),
        progress,
    };
    run.install(&steps)?;
    run.triggers()?;
    run.watch.finish(&run.upper, &run.root)?;
    let Run {
        watch,
        failed,
        root,
        ..
    } = run;
    let accounts = lists(&root).without(&base);
    // kept only when the layer is: what goes wrong from here on ends the run or is installed again
    let mut grown = std::mem::take(database);
    grown.renew(&session.root())?;
    *database = grown;
    for step in &steps {
        if let Step::Unpack { package, .. } = step
            && database.package(package).is_none()
        {
            let log = session.log_tail();
            return Err(Error::Unpack {
                package: package.clone(),
                log,
            });
        }
    }
    let finished = session.finish()?;
    let number = worlds.publish(world, finished.job())?;
    let layers = worlds.lowers(world);
    worlds.state.accounts.add(&accounts);
    if let Some(world) = worlds.state.worlds.get_mut(world) {
        watch.settle(world, number, database, &layers);
        world.failed.extend(failed);
        for step in steps {
            if let Step::Unpack { package, .. } = step {
                world.touched.insert(package, number);
            }
        }
    }
    worlds.save()?;
    worlds.merge(world)?;
    Ok(Outcome::Layer)
}

/// Appends the users and groups that `root` does not have yet.
fn seed(root: &Path, known: &super::Lists) -> Result<()> {
    let missing = known.clone().without(&lists(root));
    for (file, lines) in [("etc/passwd", missing.users), ("etc/group", missing.groups)] {
        let path = root.join(file);
        let mut text = fs::read_to_string(&path).map_err(io("reading", &path))?;
        if lines.is_empty() {
            continue;
        }
        for line in lines.values() {
            text.push_str(line);
            text.push('\n');
        }
        fs::write(&path, text).map_err(io("writing", &path))?;
    }
    Ok(())
}

fn download(
    session: &mut Session,
    packages: &[String],
    steps: &[Step],
    cache: &Path,
) -> Result<()> {
    let names = packages.join(" ");
    let status = session.run(&format!(
        "apt-get --quiet --yes --no-install-recommends --no-remove --download-only install -- {names}"
    ))?;
    if status == 0 {
        return Ok(());
    }
    let missing = steps.iter().filter_map(|step| match step {
        Step::Unpack { package, file } if !cache.join(file).exists() => Some(package.as_str()),
        _ => None,
    });
    let packages = few(&missing.collect::<Vec<_>>());
    Err(failure(session, |log| Error::Download { packages, log }))
}

/// The error for what the session said last; a full disk is one of its own.
fn failure(session: &Session, other: impl FnOnce(String) -> Error) -> Error {
    let log = session.log_tail();
    match is_full(session, &log) {
        true => full(session),
        false => other(log),
    }
}

/// Whether what went wrong, with these last words, did because no space is left. The words may be a script's that never
/// says so, or may not have fitted on the disk themselves.
fn is_full(session: &Session, words: &str) -> bool {
    const LITTLE: u64 = 1 << 20;
    let said = ["No space left on device", "don't have enough free space"];
    let left = rustix::fs::statvfs(session.job.directory());
    said.iter().any(|said| words.contains(said))
        || left.is_ok_and(|left| left.f_bavail.saturating_mul(left.f_frsize) < LITTLE)
}

fn full(session: &Session) -> Error {
    Error::DiskFull {
        path: session.job.directory().to_owned(),
    }
}

/// An installation in progress.
struct Run<'a> {
    session: &'a mut Session,
    watch: Watch,
    upper: PathBuf,
    root: PathBuf,
    failed: BTreeMap<String, String>,
    done: usize,
    total: usize,
    progress: &'a dyn Progress,
}

impl Run<'_> {
    /// Unpacks and configures in apt's order.
    fn install(&mut self, steps: &[Step]) -> Result<()> {
        let (mut files, mut unpacked) = (Vec::new(), Vec::new());
        let mut waiting: Vec<String> = Vec::new();
        for step in steps {
            match step {
                Step::Unpack { package, file } => {
                    self.configure_all(&mut waiting)?;
                    files.push(file.as_str());
                    unpacked.push(package.as_str());
                }
                Step::Configure { package } => {
                    self.unpack(&mut files, &mut unpacked)?;
                    waiting.push(package.clone());
                    // without a script nothing is made that the package does not list: it goes with the next that has one
                    if self.script(package, "postinst").is_some() {
                        self.configure_all(&mut waiting)?;
                    }
                }
            }
        }
        self.unpack(&mut files, &mut unpacked)?;
        self.configure_all(&mut waiting)
    }

    fn tell(&mut self, what: &'static str, by: usize) {
        self.done += by;
        self.progress.event(&Event::Step {
            what,
            done: self.done,
            total: self.total,
        });
    }

    fn unpack(&mut self, files: &mut Vec<&str>, packages: &mut Vec<&str>) -> Result<()> {
        if files.is_empty() {
            return Ok(());
        }
        let paths: Vec<String> = files
            .iter()
            .map(|f| format!("/var/cache/apt/archives/{f}"))
            .collect();
        let status = self.session.run(&format!(
            "in_root dpkg --force-unsafe-io --force-confnew --auto-deconfigure --no-triggers {UNWANTED} --unpack {}",
            paths.join(" ")
        ))?;
        if status != 0 {
            let package = few(packages);
            return Err(failure(self.session, |log| Error::Unpack { package, log }));
        }
        // what scripts did before unpacking belongs to one of those that have such a script
        let maker = packages
            .iter()
            .find(|p| self.script(p, "preinst").is_some())
            .or(packages.first());
        let maker = (*maker.unwrap_or(&"")).to_owned();
        self.watch.step(&self.upper, &self.root, &maker)?;
        self.tell("unpacking", packages.len());
        files.clear();
        packages.clear();
        Ok(())
    }

    /// Configures packages of which the last may have a script; what is new then is the last one's.
    fn configure_all(&mut self, waiting: &mut Vec<String>) -> Result<()> {
        let Some(last) = waiting.last().cloned() else {
            return Ok(());
        };
        let mut todo = waiting.clone();
        if self.configure("", &todo)? != 0 {
            // one that waits for triggers does not count as configured (dpkg-trigger(1), "await"), and of packages that
            // depend on each other apt names the first alone
            todo = self.unconfigured(&todo)?;
            if !todo.is_empty() {
                self.pending_triggers()?;
                self.configure("--force-depends", &todo)?;
                todo = self.unconfigured(&todo)?;
            }
            if !todo.is_empty() {
                self.configure_without_script(&last, &todo)?;
            }
        }
        self.watch.step(&self.upper, &self.root, &last)?;
        self.tell("configuring", waiting.len());
        waiting.clear();
        Ok(())
    }

    fn configure(&mut self, options: &str, packages: &[String]) -> Result<i32> {
        let names = packages.join(" ");
        self.session.run(&format!(
            "in_root dpkg --force-unsafe-io --force-confnew --no-triggers {options} --configure {names}"
        ))
    }

    /// Those of `packages` that dpkg has not configured.
    fn unconfigured(&self, packages: &[String]) -> Result<Vec<String>> {
        let status = self.status()?;
        let configured = configured(&status);
        let is_missing = |package: &&String| !configured.contains(package.as_str());
        Ok(packages.iter().filter(is_missing).cloned().collect())
    }

    fn status(&self) -> Result<String> {
        let path = self.root.join("var/lib/dpkg/status");
        fs::read_to_string(&path).map_err(io("reading", &path))
    }

    /// A script that fails in a root where nothing runs must not keep all others from being installed.
    fn configure_without_script(&mut self, package: &str, todo: &[String]) -> Result<()> {
        let log = self.session.log_tail();
        if is_full(self.session, &log) {
            return Err(full(self.session));
        }
        if let Some(script) = self.script(package, "postinst") {
            fs::write(&script, "#!/bin/sh\nexit 0\n").map_err(io("writing", &script))?;
        }
        self.configure("--force-depends", todo)?;
        self.failed
            .insert(package.to_owned(), last_words(package, &log));
        Ok(())
    }

    /// Runs what packages have set off, one package at a time.
    fn triggers(&mut self) -> Result<()> {
        for _ in 0..TRIGGER_ROUNDS {
            if !self.pending_triggers()? {
                break;
            }
        }
        let status = self
            .session
            .run("in_root dpkg --force-unsafe-io --force-confnew --configure --pending")?;
        self.tell("triggers", 0);
        match status {
            0 => Ok(()),
            _ => Err(failure(self.session, |log| Error::Unpack {
                package: "all".to_owned(),
                log,
            })),
        }
    }

    /// Runs what is set off now; answers whether anything was.
    fn pending_triggers(&mut self) -> Result<bool> {
        let pending = pending(&self.status()?);
        for package in &pending {
            self.session.run(&format!(
                "in_root dpkg --force-unsafe-io --no-triggers --triggers-only {package}"
            ))?;
            self.watch.step(&self.upper, &self.root, package)?;
        }
        Ok(!pending.is_empty())
    }

    /// A maintainer script of an unpacked package.
    fn script(&self, package: &str, kind: &str) -> Option<PathBuf> {
        let directory = self.root.join("var/lib/dpkg/info");
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        [
            format!("{package}.{kind}"),
            format!("{package}:{architecture}.{kind}"),
        ]
        .iter()
        .map(|name| directory.join(name))
        .find(|path| path.is_file())
    }
}
