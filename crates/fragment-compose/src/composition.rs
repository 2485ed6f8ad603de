//! The decision how a rootfs and layers become one root, and its preparation.
//!
//! [`compose`] looks and decides; [`Composition::prepare`] makes the directories that the decision needs.

use std::os::fd::BorrowedFd;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, PermissionsExt as _};
use std::path::{Component, Path, PathBuf};

use fragment_types::plan::{Form, Generated, Layer};
use fragment_types::{ComponentName, Digest};

use crate::engine::{self, Engine};
use crate::error::ComposeError;
use crate::exchange::{exchange, flat, give_back};
use crate::filesystem::Filesystem;
use crate::generated::merged;
use crate::kernel::KernelVersion;
use crate::layout;
use crate::mapped::Mapped;
use crate::mounting::{self, OverlayMount};
use crate::overlay::{self, MountOptions, Overlay, Room};
use crate::residue::{Residue, SCRATCH_NAME, WORK_PREFIX, cleanup};
use crate::rootfs::{self, RootfsFacts};

/// Name of the directory of ours where an engine keeps what is the container's.
const KEPT_NAME: &str = ".fragment";

/// Longest part of a container id that appears in the name of a work directory: it is for people, and NAME_MAX is 255.
const MAX_ID: usize = 100;

/// What is to be composed.
#[derive(Clone, Copy)]
pub struct Inputs<'a> {
    /// The container's id.
    pub id: &'a str,
    /// The bundle directory.
    pub bundle: &'a Path,
    /// The rootfs (`root.path` of the spec, made absolute).
    pub rootfs: &'a Path,
    /// `root.readonly` of the spec.
    pub readonly: bool,
    /// Whether the container has a user namespace of its own.
    pub user_namespace: bool,
    /// The layers, topmost first; none: nothing is composed.
    pub layers: &'a [Layer],
    /// Where the tree with this `diff_id` lies.
    pub tree: &'a dyn Fn(&Digest) -> PathBuf,
    /// A directory for this container alone, absolute, on a filesystem that can hold an upper directory. It need not
    /// exist; what is made there lies in a directory `overlay` of its own.
    pub scratch: &'a Path,
    /// Destinations of the spec's mounts: a read-only root needs somewhere to put them.
    pub mount_targets: &'a [String],
}

impl std::fmt::Debug for Inputs<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inputs")
            .field("id", &self.id)
            .field("rootfs", &self.rootfs)
            .field("readonly", &self.readonly)
            .field("layers", &self.layers.len())
            .finish_non_exhaustive()
    }
}

/// Where an overlay is mounted, and by whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// By the container's first process, as the first mount of its own namespace: nothing ever lies on the host.
    Inside,
    /// By this process, above the rootfs, until the container is made and has its own view of it: where its user namespace has no
    /// right to the layers.
    Hosted,
    /// By this process, in the place of the engine's own overlay, whose unmount removes it.
    InPlace,
}

/// How a rootfs and layers become one root. Nothing is made yet.
#[derive(Debug, Clone)]
pub struct Composition {
    /// The form, for the plan.
    pub form: Form,
    /// Where its overlay is mounted.
    pub route: Route,
    /// What a person should know, for the plan: no path of this host is in it.
    pub warnings: Vec<String>,
    /// What [`Composition::prepare`] will make: store it first, and [`cleanup`] works whatever happens.
    pub residue: Residue,
    basis: Option<Basis>,
    layers: Vec<(ComponentName, PathBuf)>,
    mount_targets: Vec<String>,
}

/// What lies on top of the components.
#[derive(Debug, Clone)]
struct Basis {
    facts: RootfsFacts,
    /// The rootfs, by a path beside which there is room on the same mount.
    directory: PathBuf,
    /// The engine's overlay, where its layers can be used.
    engine: Option<OverlayMount>,
    /// Where the engine keeps what the container writes, if that is to be known.
    kept: Option<PathBuf>,
}

/// Decides. Needs no more rights than to look at the rootfs; changes nothing.
///
/// # Errors
/// When the rootfs is no directory, or holds something that would hide what the layers supply.
pub fn compose(inputs: &Inputs<'_>) -> Result<Composition, ComposeError> {
    if inputs.layers.is_empty() {
        return Ok(Composition {
            form: Form::Plain,
            route: Route::Inside,
            warnings: Vec::new(),
            residue: Residue::default(),
            basis: None,
            layers: Vec::new(),
            mount_targets: Vec::new(),
        });
    }
    let facts = RootfsFacts::probe(inputs.rootfs)?;
    let warnings = layout::check(&facts, inputs.layers)?;
    let layers: Vec<_> = inputs
        .layers
        .iter()
        .map(|layer| (layer.name.clone(), (inputs.tree)(&layer.diff_id)))
        .collect();
    for (_, tree) in &layers {
        if tree.starts_with(&facts.path) || facts.path.starts_with(tree) {
            let (rootfs, tree) = (facts.path.clone(), tree.clone());
            return Err(ComposeError::Overlap { rootfs, tree });
        }
    }
    let mut composition = Composition {
        form: Form::Stack,
        route: if inputs.user_namespace {
            Route::Hosted
        } else {
            Route::Inside
        },
        warnings,
        residue: Residue {
            scratch: Some(inputs.scratch.join(SCRATCH_NAME)),
            ..Residue::default()
        },
        basis: None,
        layers,
        mount_targets: inputs.mount_targets.to_vec(),
    };
    composition.choose(inputs, facts)?;
    Ok(composition)
}

impl Composition {
    /// Chooses the form.
    fn choose(&mut self, inputs: &Inputs<'_>, facts: RootfsFacts) -> Result<(), ComposeError> {
        let mut basis = Basis {
            directory: facts.path.clone(),
            engine: None,
            kept: None,
            facts,
        };
        let mut reason = None;
        if basis.facts.filesystem == Filesystem::Overlay && basis.facts.is_mount_point {
            match Engine::of(&basis.facts)? {
                Engine::Alone(theirs) => {
                    self.form = Form::Replace;
                    self.route = Route::InPlace;
                    self.residue.work = work_beside(&theirs, inputs);
                    self.residue.replaced = Some(theirs.clone());
                    basis.engine = Some(theirs);
                }
                Engine::Shared(theirs) if theirs.upper.is_some() => {
                    self.form = Form::Flat;
                    self.route = Route::Hosted;
                    self.residue.work = work_beside(&theirs, inputs);
                    self.residue.refreshed = Some(theirs.point.clone());
                    basis.engine = Some(theirs);
                }
                Engine::Shared(_) => {
                    reason = Some("it is mounted read-only, and elsewhere too".to_owned());
                }
                Engine::Closed(why) => reason = Some(why),
            }
        }
        if basis.engine.is_none() {
            self.choose_plain(inputs, &mut basis, reason)?;
        }
        if self.route == Route::Hosted {
            self.residue.hosted = Some(basis.facts.path.clone());
        }
        self.basis = Some(basis);
        Ok(())
    }

    /// Chooses the form where there is no overlay of an engine whose layers can be used; `reason` is why not.
    fn choose_plain(
        &mut self,
        inputs: &Inputs<'_>,
        basis: &mut Basis,
        reason: Option<String>,
    ) -> Result<(), ComposeError> {
        if inputs.readonly {
            self.form = Form::ReadOnly;
            return Ok(());
        }
        let place = match reason {
            Some(reason) => Err(format!("the engine's overlay cannot be used: {reason}")),
            None => upper_place(&basis.facts, inputs)?,
        };
        match place {
            Ok(UpperPlace { directory, beside }) => {
                self.form = Form::Upper;
                self.residue.work = Some(work_directory(&beside, inputs));
                basis.directory = directory;
            }
            Err(reason) => {
                basis.kept = engine_directory(&basis.facts.path).map(|at| at.join(KEPT_NAME));
                self.warnings.push(match basis.kept {
                    Some(_) => format!(
                        "what this container writes is kept with it, but not seen by the engine's diff and commit: {reason}"
                    ),
                    None => format!("what this container writes is dropped with it: {reason}"),
                });
            }
        }
        Ok(())
    }
}

/// Where the engine keeps what is a container's own, beside the mount point: podman, buildah and docker have `merged` (or
/// `mapped`) and `diff` in one directory that goes with the container.
fn engine_directory(rootfs: &Path) -> Option<PathBuf> {
    let directory = rootfs.parent()?;
    let known = rootfs.file_name()? == "merged" && directory.join("diff").is_dir();
    let statfs = rustix::fs::statfs(directory).ok()?;
    (known && Filesystem::of(&statfs).holds_upper()).then(|| directory.to_path_buf())
}

/// A directory that can be an upper directory, and one on the same mount for the work directory.
struct UpperPlace {
    directory: PathBuf,
    beside: PathBuf,
}

/// Where the rootfs can be the upper directory of an overlay, or why it cannot.
fn upper_place(
    facts: &RootfsFacts,
    inputs: &Inputs<'_>,
) -> Result<Result<UpperPlace, String>, ComposeError> {
    if facts.filesystem == Filesystem::Overlay {
        return Ok(Err(
            "the rootfs is an overlay itself and cannot be the upper directory of another"
                .to_owned(),
        ));
    }
    if !facts.filesystem.holds_upper() {
        return Ok(Err(format!(
            "the rootfs lies on {}, which cannot hold the upper directory of an overlay",
            facts.filesystem
        )));
    }
    if facts.read_only {
        return Ok(Err(
            "the rootfs lies on a filesystem that is mounted read-only".to_owned(),
        ));
    }
    let bundle = canonical(inputs.bundle)?;
    if !facts.is_mount_point && !bundle.starts_with(&facts.path) && same_mount(&bundle, facts)? {
        return Ok(Ok(UpperPlace {
            directory: facts.path.clone(),
            beside: bundle,
        }));
    }
    let directory = if facts.is_mount_point {
        engine::other_way(facts)?
    } else {
        Some(facts.path.clone())
    };
    let beside = directory.as_deref().and_then(Path::parent);
    Ok(match (&directory, beside) {
        (Some(directory), Some(beside)) => Ok(UpperPlace {
            directory: directory.clone(),
            beside: beside.to_path_buf(),
        }),
        _ => Err(
            "the rootfs is a mount of its own, and an overlay needs its work directory on the same mount"
                .to_owned(),
        ),
    })
}

/// Whether an overlay takes both. fs/overlayfs: "workdir and upperdir must reside under the same mount".
fn same_mount(bundle: &Path, facts: &RootfsFacts) -> Result<bool, ComposeError> {
    let place = rootfs::place(bundle)?;
    Ok(match (place.mount, facts.place.mount) {
        (Some(bundle), Some(rootfs)) => bundle == rootfs,
        _ => place.device == facts.place.device,
    })
}

fn canonical(bundle: &Path) -> Result<PathBuf, ComposeError> {
    bundle.canonicalize().map_err(|source| ComposeError::Look {
        operation: "resolve the path of the bundle",
        path: bundle.to_path_buf(),
        source,
    })
}

/// A name in `place` that is this container's alone: ids are unique only within one state directory, scratch directories
/// everywhere.
fn work_directory(place: &Path, inputs: &Inputs<'_>) -> PathBuf {
    let plain =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'+' | b'-' | b'.');
    let id = if inputs.id.len() <= MAX_ID && inputs.id.bytes().all(plain) {
        inputs.id
    } else {
        ""
    };
    let owner = Digest::of(format!("{}\0{}", inputs.scratch.display(), inputs.id).as_bytes());
    place.join(format!("{WORK_PREFIX}{id}-{}", owner.short()))
}

/// A work directory beside the engine's, for a second overlay on its upper directory.
fn work_beside(theirs: &OverlayMount, inputs: &Inputs<'_>) -> Option<PathBuf> {
    let place = theirs.work.as_deref()?.parent()?;
    Some(work_directory(place, inputs))
}

/// Where a composition is carried out.
#[derive(Debug, Clone, Copy)]
pub struct Site<'a> {
    /// The running kernel.
    pub kernel: KernelVersion,
    /// The container's user namespace, whose identities the components' files are to have.
    pub identities: Option<BorrowedFd<'a>>,
    /// Whether this process is itself in a user namespace, as a rootless engine runs it.
    pub nested: bool,
}

/// A composition whose directories and mounts are there. Dropped, it removes them; [`Prepared::commit`] keeps them.
#[derive(Debug)]
pub struct Prepared {
    /// The overlay; none: nothing is composed, or it is mounted already.
    pub overlay: Option<Overlay>,
    /// Its mount options, and where they hold.
    pub options: MountOptions,
    /// What was met on the way, for the log.
    pub warnings: Vec<String>,
    residue: Residue,
    committed: bool,
}

impl Prepared {
    /// Keeps the directories: the container owns them now. Give the residue to [`cleanup`] when it is deleted. What was mounted
    /// only until the container is made goes.
    ///
    /// # Errors
    /// When it cannot be unmounted.
    pub fn commit(mut self) -> Result<Residue, ComposeError> {
        if let Some(point) = &self.residue.hosted {
            mounting::detach(point)?;
        }
        self.committed = true;
        Ok(self.residue.clone())
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        if !self.committed {
            // nobody is left to tell; the caller's record still names what could not be removed
            let _ = give_back(&self.residue).and(cleanup(&self.residue));
        }
    }
}

impl Composition {
    /// What has to be generated for `kernel` to take the layers, which are `layers` of the plan: where they are too many, the
    /// topmost are one with what is `generated` anyway. [`Composition::cover`] puts it in their place.
    pub fn condense(
        &mut self,
        layers: &[Layer],
        generated: Option<Generated>,
        kernel: KernelVersion,
    ) -> Option<Generated> {
        let count = merged::excess(self.layers.len(), kernel);
        if count == 0 {
            return generated;
        }
        self.layers.drain(..count);
        Some(merged::with_layers(generated, layers, count))
    }

    /// Puts a generated layer, which lies at `tree`, above the components.
    pub fn cover(&mut self, tree: PathBuf) {
        if let Ok(name) = ComponentName::new("generated") {
            self.layers.insert(0, (name, tree));
        }
    }

    /// Makes the directories and works out the mount options, or mounts where that is not left to the container. What an
    /// earlier attempt of the same container left is removed first.
    ///
    /// # Errors
    /// When a tree is missing, a directory cannot be made or the kernel does not mount; nothing is left then.
    pub fn prepare(&self, site: &Site<'_>) -> Result<Prepared, ComposeError> {
        let mut prepared = Prepared {
            overlay: None,
            options: MountOptions::default(),
            warnings: Vec::new(),
            residue: self.residue.clone(),
            committed: false,
        };
        let (Some(basis), Some(scratch)) = (&self.basis, &self.residue.scratch) else {
            return Ok(prepared);
        };
        cleanup(&self.residue)?;
        let trees = self.layers.iter().map(|(_, tree)| tree.as_path());
        let added = Mapped::new(trees, site, &mut prepared.warnings);
        let links = scratch.join("l");
        let work = self.residue.work.as_deref();
        match (&basis.engine, self.form) {
            (Some(theirs), Form::Replace) => {
                exchange(theirs, &added.paths, work, site.kernel, &links)?;
            }
            (Some(theirs), Form::Flat) => {
                let mut ours = flat(theirs, &added.paths, work)?;
                ours.point.clone_from(&basis.facts.path);
                mounting::host(&ours, site.kernel, &links)?;
            }
            _ => {
                let overlay = self.overlay(basis, scratch, added.paths.clone(), &mut prepared)?;
                let options = overlay::fixed(site.nested);
                if self.route == Route::Hosted {
                    let ours = overlay.mounted_at(&basis.facts.path, options, site.kernel);
                    mounting::host(&ours, site.kernel, &links)?;
                } else {
                    prepared.options =
                        overlay.options_with(&options, site.kernel, &links, Room::Value)?;
                    prepared.overlay = Some(overlay);
                }
            }
        }
        Ok(prepared)
    }

    /// The overlay of a rootfs that no engine has mounted as one that can be used.
    fn overlay(
        &self,
        basis: &Basis,
        scratch: &Path,
        lowers: Vec<PathBuf>,
        prepared: &mut Prepared,
    ) -> Result<Overlay, ComposeError> {
        let mut overlay = Overlay {
            lowers,
            upper: None,
            work: None,
            throw_away: false,
        };
        if let (Some(work), Form::Upper) = (&self.residue.work, self.form) {
            prepared.warnings.extend(rivals(work));
            make_directory(work)?;
            overlay.upper = Some(basis.directory.clone());
            overlay.work = Some(work.clone());
            return Ok(overlay);
        }
        overlay.lowers.insert(0, basis.facts.path.clone());
        // a read-only root without a place for every mount gets an upper too: the runtime makes the places as it would in a
        // plain rootfs, and only then remounts the root read-only
        if self.form == Form::Stack || !self.has_mount_targets(&overlay.lowers) {
            let kept = basis.kept.as_deref().filter(|_| self.form == Form::Stack);
            make_upper(&basis.facts, scratch, kept, &mut overlay)?;
        }
        Ok(overlay)
    }

    /// Whether the layers are what a layer has to be. They never change: once is enough for a choice of layers.
    ///
    /// # Errors
    /// When one is missing, or has something else than directories where a container's own file systems are mounted.
    pub fn check_trees(&self) -> Result<(), ComposeError> {
        for (component, tree) in &self.layers {
            let unusable = |source| ComposeError::Tree {
                component: component.clone(),
                source,
            };
            let metadata = tree.symlink_metadata().map_err(unusable)?;
            if !metadata.is_dir() {
                return Err(unusable(std::io::ErrorKind::NotADirectory.into()));
            }
            for name in ["dev", "proc", "sys"] {
                if tree
                    .join(name)
                    .symlink_metadata()
                    .is_ok_and(|found| !found.is_dir())
                {
                    let component = component.clone();
                    return Err(ComposeError::LayerMustHoldDirectory { component, name });
                }
            }
        }
        Ok(())
    }

    fn has_mount_targets(&self, layers: &[PathBuf]) -> bool {
        self.mount_targets
            .iter()
            .all(|target| is_in_merged(layers, Path::new(target)))
    }
}

/// An upper and a work directory in the scratch directory, or where the engine keeps the container's own. The root of the
/// merged view has the upper's owner and mode: with others a container in a user namespace could not even enter its root.
fn make_upper(
    facts: &RootfsFacts,
    scratch: &Path,
    kept: Option<&Path>,
    overlay: &mut Overlay,
) -> Result<(), ComposeError> {
    let place = kept.unwrap_or(scratch);
    let (upper, work) = (place.join("upper"), place.join("work"));
    let there = kept.is_some() && upper.is_dir();
    if !there {
        make_directory(&upper)?;
    }
    if kept.is_none() {
        make_beside(&work)?;
    } else if work.symlink_metadata().is_err() {
        make_directory(&work)?;
    }
    let statfs = rustix::fs::statfs(place).map_err(|errno| ComposeError::Look {
        operation: "examine the filesystem of the state directory",
        path: place.to_path_buf(),
        source: errno.into(),
    })?;
    let filesystem = Filesystem::of(&statfs);
    if !filesystem.holds_upper() {
        return Err(ComposeError::Scratch {
            path: place.to_path_buf(),
            filesystem,
        });
    }
    let made = |source| ComposeError::Make {
        path: upper.clone(),
        source,
    };
    if !there {
        std::os::unix::fs::chown(&upper, Some(facts.uid), Some(facts.gid)).map_err(made)?;
        let mode = std::fs::Permissions::from_mode(facts.mode);
        std::fs::set_permissions(&upper, mode).map_err(made)?;
    }
    overlay.upper = Some(upper);
    overlay.work = Some(work);
    // what a tmpfs holds reaches no disk; a volatile overlay would only leave directories behind that say it was one
    overlay.throw_away = kept.is_none() && filesystem != Filesystem::Tmpfs;
    Ok(())
}

/// Whether the merged view of `layers` (topmost first) holds `path` without a link on the way. Links count as missing:
/// where they lead in the merged view is for the kernel to say.
fn is_in_merged(layers: &[PathBuf], path: &Path) -> bool {
    let mut at = PathBuf::new();
    let mut parts = path.components().peekable();
    while let Some(part) = parts.next() {
        match part {
            Component::Normal(name) => at.push(name),
            Component::RootDir | Component::CurDir => continue,
            Component::ParentDir | Component::Prefix(_) => return false,
        }
        let topmost = layers
            .iter()
            .find_map(|layer| layer.join(&at).symlink_metadata().ok());
        match topmost.map(|metadata| metadata.file_type()) {
            Some(kind) if kind.is_dir() => {}
            Some(kind) if kind.is_symlink() || kind.is_char_device() => return false,
            Some(_) => return parts.peek().is_none(),
            None => return false,
        }
    }
    true
}

/// Other containers that use (or used, and crashed) the same bundle's rootfs as upper directory: the kernel calls the
/// behaviour undefined when two do at once (overlayfs.rst, "Sharing and copying layers").
fn rivals(work: &Path) -> Option<String> {
    let bundle = work.parent()?;
    let mine = work.file_name()?;
    let others: Vec<_> = std::fs::read_dir(bundle)
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.file_name()))
        .filter(|name| name != mine && name.to_str().is_some_and(|n| n.starts_with(WORK_PREFIX)))
        .collect();
    let other = others.iter().min()?;
    Some(format!(
        "another container writes to the rootfs of this bundle ({} in the bundle directory): what either sees of the \
         other's changes is undefined",
        other.display()
    ))
}

/// A directory for its owner alone, with those above it.
pub(crate) fn make_directory(path: &Path) -> Result<(), ComposeError> {
    if let Some(parent) = path.parent() {
        let mut directories = std::fs::DirBuilder::new();
        directories
            .recursive(true)
            .mode(0o700)
            .create(parent)
            .map_err(not_made(path))?;
    }
    make_beside(path)
}

/// A directory for its owner alone in one that is there.
fn make_beside(path: &Path) -> Result<(), ComposeError> {
    let mut directory = std::fs::DirBuilder::new();
    directory.mode(0o700).create(path).map_err(not_made(path))
}

fn not_made(path: &Path) -> impl FnOnce(std::io::Error) -> ComposeError {
    let path = path.to_path_buf();
    move |source| ComposeError::Make { path, source }
}
