//! The decision how a rootfs and layers become one root, and its preparation.
//!
//! [`compose`] looks and decides; [`Composition::prepare`] makes the directories that the decision needs.

use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, PermissionsExt as _};
use std::path::{Component, Path, PathBuf};

use fragment_types::plan::{Form, Layer};
use fragment_types::{ComponentName, Digest};

use crate::error::ComposeError;
use crate::filesystem::Filesystem;
use crate::kernel::KernelVersion;
use crate::layout;
use crate::overlay::{MountOptions, Overlay};
use crate::residue::{Residue, SCRATCH_NAME, WORK_PREFIX, cleanup};
use crate::rootfs::{self, RootfsFacts};

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

/// How a rootfs and layers become one root. Nothing is made yet.
#[derive(Debug, Clone)]
pub struct Composition {
    /// The form, for the plan.
    pub form: Form,
    /// What a person should know, for the plan: no path of this host is in it.
    pub warnings: Vec<String>,
    /// What [`Composition::prepare`] will make: store it first, and [`cleanup`] works whatever happens.
    pub residue: Residue,
    rootfs: Option<RootfsFacts>,
    layers: Vec<(ComponentName, PathBuf)>,
    mount_targets: Vec<String>,
}

/// Decides. Needs no more rights than to look at the rootfs; changes nothing.
///
/// # Errors
/// When the rootfs is no directory, or holds something that would hide what the layers supply.
pub fn compose(inputs: &Inputs<'_>) -> Result<Composition, ComposeError> {
    if inputs.layers.is_empty() {
        return Ok(Composition {
            form: Form::Plain,
            warnings: Vec::new(),
            residue: Residue::default(),
            rootfs: None,
            layers: Vec::new(),
            mount_targets: Vec::new(),
        });
    }
    let facts = RootfsFacts::probe(inputs.rootfs)?;
    let mut warnings = layout::check(&facts, inputs.layers)?;
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
    let mut residue = Residue {
        work: None,
        scratch: Some(inputs.scratch.join(SCRATCH_NAME)),
    };
    let form = if inputs.readonly {
        Form::ReadOnly
    } else if let Some(reason) = cannot_be_upper(&facts, inputs.bundle)? {
        warnings.push(format!(
            "what this container writes is dropped with it: {reason}"
        ));
        Form::Stack
    } else {
        residue.work = Some(work_directory(inputs)?);
        Form::Upper
    };
    Ok(Composition {
        form,
        warnings,
        residue,
        rootfs: Some(facts),
        layers,
        mount_targets: inputs.mount_targets.to_vec(),
    })
}

/// Why the rootfs cannot be the upper directory of an overlay; none: it can.
fn cannot_be_upper(facts: &RootfsFacts, bundle: &Path) -> Result<Option<String>, ComposeError> {
    if facts.filesystem == Filesystem::Overlay {
        return Ok(Some(
            "the rootfs is an overlay itself and cannot be the upper directory of another"
                .to_owned(),
        ));
    }
    if !facts.filesystem.holds_upper() {
        return Ok(Some(format!(
            "the rootfs lies on {}, which cannot hold the upper directory of an overlay",
            facts.filesystem
        )));
    }
    if facts.read_only {
        return Ok(Some(
            "the rootfs lies on a filesystem that is mounted read-only".to_owned(),
        ));
    }
    if facts.is_mount_point {
        return Ok(Some(
            "the rootfs is a mount of its own, and an overlay needs its work directory on the same mount"
                .to_owned(),
        ));
    }
    let place = rootfs::place(bundle)?;
    let same = match (place.mount, facts.place.mount) {
        // fs/overlayfs: "workdir and upperdir must reside under the same mount"
        (Some(bundle), Some(rootfs)) => bundle == rootfs,
        _ => place.device == facts.place.device,
    };
    if !same {
        return Ok(Some(
            "the bundle directory lies on another mount than the rootfs, and an overlay needs its work directory on the same mount"
                .to_owned(),
        ));
    }
    if canonical(bundle)?.starts_with(&facts.path) {
        return Ok(Some(
            "the bundle directory lies inside the rootfs, and an overlay needs its work directory beside it"
                .to_owned(),
        ));
    }
    Ok(None)
}

fn canonical(bundle: &Path) -> Result<PathBuf, ComposeError> {
    bundle.canonicalize().map_err(|source| ComposeError::Look {
        operation: "resolve the path of the bundle",
        path: bundle.to_path_buf(),
        source,
    })
}

/// A name in the bundle that is this container's alone: ids are unique only within one state directory, scratch
/// directories everywhere.
fn work_directory(inputs: &Inputs<'_>) -> Result<PathBuf, ComposeError> {
    let plain =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'+' | b'-' | b'.');
    let id = if inputs.id.len() <= MAX_ID && inputs.id.bytes().all(plain) {
        inputs.id
    } else {
        ""
    };
    let owner = Digest::of(format!("{}\0{}", inputs.scratch.display(), inputs.id).as_bytes());
    Ok(canonical(inputs.bundle)?.join(format!("{WORK_PREFIX}{id}-{}", owner.short())))
}

/// A composition whose directories are there. Dropped, it removes them; [`Prepared::commit`] keeps them.
#[derive(Debug)]
pub struct Prepared {
    /// The overlay; none: nothing is composed.
    pub overlay: Option<Overlay>,
    /// Its mount options, and where they hold.
    pub options: MountOptions,
    /// What was met on the way, for the log.
    pub warnings: Vec<String>,
    residue: Residue,
    committed: bool,
}

impl Prepared {
    /// Keeps the directories: the container owns them now. Give the residue to [`cleanup`] when it is deleted.
    #[must_use]
    pub fn commit(mut self) -> Residue {
        self.committed = true;
        self.residue.clone()
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        if !self.committed {
            // nobody is left to tell; the caller's record still names what could not be removed
            let _ = cleanup(&self.residue);
        }
    }
}

impl Composition {
    /// Puts a generated layer, which lies at `tree`, above the components.
    pub fn cover(&mut self, tree: PathBuf) {
        if let Ok(name) = ComponentName::new("generated") {
            self.layers.insert(0, (name, tree));
        }
    }

    /// Makes the directories and works out the mount options for `kernel`. What an earlier attempt of the same container
    /// left is removed first.
    ///
    /// # Errors
    /// When a tree is missing or a directory cannot be made; nothing is left then.
    pub fn prepare(&self, kernel: KernelVersion) -> Result<Prepared, ComposeError> {
        let mut prepared = Prepared {
            overlay: None,
            options: MountOptions::default(),
            warnings: Vec::new(),
            residue: self.residue.clone(),
            committed: false,
        };
        let (Some(facts), Some(scratch)) = (&self.rootfs, &self.residue.scratch) else {
            return Ok(prepared);
        };
        self.check_trees()?;
        cleanup(&self.residue)?;
        let mut overlay = Overlay {
            lowers: self.layers.iter().map(|(_, tree)| tree.clone()).collect(),
            upper: None,
            work: None,
            throw_away: false,
        };
        match (&self.residue.work, self.form) {
            (Some(work), Form::Upper) => {
                prepared.warnings.extend(rivals(work));
                make_directory(work)?;
                overlay.upper = Some(facts.path.clone());
                overlay.work = Some(work.clone());
            }
            (_, form) => {
                overlay.lowers.insert(0, facts.path.clone());
                // a read-only root without a place for every mount gets an upper too: the runtime makes the places as it
                // would in a plain rootfs, and only then remounts the root read-only
                if form == Form::Stack || !self.has_mount_targets(&overlay.lowers) {
                    self.make_upper(facts, scratch, &mut overlay)?;
                }
            }
        }
        prepared.options = overlay.mount_options(kernel, &scratch.join("l"))?;
        prepared.overlay = Some(overlay);
        Ok(prepared)
    }

    /// An upper and a work directory in the scratch directory. The root of the merged view has the upper's owner and
    /// mode: with others a container in a user namespace could not even enter its root.
    fn make_upper(
        &self,
        facts: &RootfsFacts,
        scratch: &Path,
        overlay: &mut Overlay,
    ) -> Result<(), ComposeError> {
        let (upper, work) = (scratch.join("upper"), scratch.join("work"));
        make_directory(&upper)?;
        make_directory(&work)?;
        let statfs = rustix::fs::statfs(scratch).map_err(|errno| ComposeError::Look {
            operation: "examine the filesystem of the state directory",
            path: scratch.to_path_buf(),
            source: errno.into(),
        })?;
        let filesystem = Filesystem::of(&statfs);
        if !filesystem.holds_upper() {
            return Err(ComposeError::Scratch {
                path: scratch.to_path_buf(),
                filesystem,
            });
        }
        let made = |source| ComposeError::Make {
            path: upper.clone(),
            source,
        };
        std::os::unix::fs::chown(&upper, Some(facts.uid), Some(facts.gid)).map_err(made)?;
        let mode = std::fs::Permissions::from_mode(facts.mode);
        std::fs::set_permissions(&upper, mode).map_err(made)?;
        overlay.upper = Some(upper);
        overlay.work = Some(work);
        overlay.throw_away = true;
        Ok(())
    }

    fn check_trees(&self) -> Result<(), ComposeError> {
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
fn make_directory(path: &Path) -> Result<(), ComposeError> {
    let made = |source| ComposeError::Make {
        path: path.to_path_buf(),
        source,
    };
    if let Some(parent) = path.parent() {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(parent)
            .map_err(made)?;
    }
    std::fs::DirBuilder::new()
        .mode(0o700)
        .create(path)
        .map_err(made)
}
