//! From a bundle or task to a plan: analysis, resolution and the choice of the overlay's form. Needs no root, changes nothing.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use fragment_analysis::{Analysis, AnalysisError, AnalysisErrorKind, MergedError};
use fragment_compose::{ComposeError, Composition, GeneratedError, Inputs, Route, generated};
use fragment_launch::{Bundle, BundleError, oci};
use fragment_resolve::{Policy, Refusal, RefusalKind, Request, Resolution};
use fragment_store::StoreError;
use fragment_sys::root::{Root, RootError, Witnesses};
use fragment_types::manifest::Size;
use fragment_types::plan::{Entry, Form, Generated, Layer};
use fragment_types::{
    Capability, Catalogue as _, CatalogueError, ComponentName, Digest, Grade, Plan, Requirement,
};
use serde::{Deserialize, Serialize};

use crate::cache::{self, Kept, PlanCache};
use crate::control::{self, ControlError, Said, Wishes};
use crate::library::Library;
use crate::mounts;
use crate::settings::Settings;
use crate::subject;
use crate::task::Task;

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// The bundle cannot be read.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The rootfs cannot be opened.
    #[error(transparent)]
    Root(#[from] RootError),
    /// A wish that cannot be followed.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The entrypoint cannot run, whatever the library holds.
    #[error(transparent)]
    Analysis(#[from] AnalysisError),
    /// Something is missing that nobody supplies.
    #[error(transparent)]
    Refusal(Box<Refusal>),
    /// The same, on a node without a library.
    #[error("{refusal}; there is no component library at {}: build one with `fragment library build`", directory.display())]
    NoLibrary {
        /// Where it was looked for.
        directory: PathBuf,
        /// What is missing.
        refusal: Box<Refusal>,
    },
    /// Files of the bundle that lie above components and do not fit them.
    #[error(transparent)]
    Merged(#[from] MergedError),
    /// The rootfs and the layers cannot be put together.
    #[error(transparent)]
    Compose(#[from] ComposeError),
    /// Files that are to be made of those of several components do not fit together.
    #[error(transparent)]
    Generated(#[from] GeneratedError),
    /// Something has to be mounted and the container has no mount namespace to mount it in.
    #[error(
        "{components} components have to be composed, and the bundle asks for no mount namespace of its own: add {{\"type\": \"mount\"}} to linux.namespaces"
    )]
    NoMountNamespace {
        /// How many.
        components: usize,
    },
    /// The same for the user namespace of a user who is not root: the layers are mounted before it is entered.
    #[error(
        "{components} components have to be composed, and composition in a user namespace needs root, be it of another user namespace (as in `podman unshare`): remove the user namespace or add what is missing to the bundle"
    )]
    UserNamespace {
        /// How many.
        components: usize,
    },
    /// The library cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The library cannot be searched.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
}

/// What a shell would make of an error: 127 not found, 126 not executable, 1 anything else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PlanErrorKind {
    /// The command does not exist.
    NotFound,
    /// The command cannot be executed.
    NotExecutable,
    /// Anything else.
    Other,
}

impl PlanError {
    /// What a shell would make of it.
    #[must_use]
    pub fn kind(&self) -> PlanErrorKind {
        match self {
            Self::Analysis(error) => match error.kind() {
                AnalysisErrorKind::NotFound => PlanErrorKind::NotFound,
                AnalysisErrorKind::NotExecutable => PlanErrorKind::NotExecutable,
                AnalysisErrorKind::Other => PlanErrorKind::Other,
            },
            Self::Refusal(refusal) | Self::NoLibrary { refusal, .. } => match refusal.kind() {
                RefusalKind::CommandNotFound => PlanErrorKind::NotFound,
                _ => PlanErrorKind::Other,
            },
            _ => PlanErrorKind::Other,
        }
    }
}

/// A plan, and what it was made of.
#[derive(Debug, Clone)]
pub struct Planned {
    /// The plan.
    pub plan: Plan,
    /// What was asked for.
    pub policy: Policy,
    /// Where each of it was asked for, strongest first.
    pub said: Vec<Said>,
    /// The root filesystem; a task has none.
    pub rootfs: Option<PathBuf>,
}

impl Planned {
    /// The root filesystem opened; a task's is empty.
    ///
    /// # Errors
    /// [`RootError`].
    pub fn root(&self) -> Result<Root, RootError> {
        self.rootfs
            .as_ref()
            .map_or_else(|| Ok(Root::empty()), Root::open)
    }
}

/// Plans a bundle; `flags` are stronger than what it, the environment and the configuration ask for.
///
/// # Errors
/// [`PlanError`]: why it cannot run as it is and what to do.
pub fn plan_bundle(
    settings: &Settings,
    library: &Library,
    directory: &Path,
    flags: Wishes,
) -> Result<Plan, PlanError> {
    Ok(bundle(settings, library, directory, flags)?.plan)
}

/// Plans a bundle, for those who ask why.
///
/// # Errors
/// As [`plan_bundle`].
pub fn bundle(
    settings: &Settings,
    library: &Library,
    directory: &Path,
    flags: Wishes,
) -> Result<Planned, PlanError> {
    let bundle = Bundle::load(directory)?;
    let said = control::said_of_bundle(settings, &bundle, flags)?;
    let policy = control::policy(settings, &said);
    let scratch = Path::new("/run");
    let (plan, _, _) = plan_and_compose(library, &bundle, "plan", scratch, policy.clone(), None)?;
    Ok(Planned {
        plan,
        policy,
        said,
        rootfs: bundle.rootfs(),
    })
}

/// Plans a task, whose rootfs is empty; `flags` are stronger than what environment and configuration ask for.
///
/// # Errors
/// As [`plan_bundle`].
pub fn plan_task(
    settings: &Settings,
    library: &Library,
    task: &Task,
    flags: Wishes,
) -> Result<Plan, PlanError> {
    Ok(self::task(settings, library, task, flags)?.plan)
}

/// Plans a task, for those who ask why.
///
/// # Errors
/// As [`plan_bundle`].
pub fn task(
    settings: &Settings,
    library: &Library,
    task: &Task,
    flags: Wishes,
) -> Result<Planned, PlanError> {
    Ok(task_kept(settings, library, task, flags, None)?.0)
}

/// The same with decisions that `cache` holds; whether it was one.
pub(crate) fn task_kept(
    settings: &Settings,
    library: &Library,
    task: &Task,
    flags: Wishes,
    cache: Option<&PlanCache>,
) -> Result<(Planned, bool), PlanError> {
    let _span = tracing::debug_span!("plan").entered();
    let said = control::said_of_task(settings, flags);
    let policy = control::policy(settings, &said);
    let (root, task) = (Root::empty(), task.subject());
    let key = cache::Key::of_task(&task, &policy, library.generation());
    let kept = cache.map(|cache| (cache, key));
    let (decision, is_kept) = decide(library, root, &task, policy.clone(), &|_| {}, kept)?;
    let form = if decision.layers.is_empty() {
        Form::Plain
    } else {
        Form::Upper
    };
    let planned = Planned {
        plan: decision.into_plan(library, form, Vec::new()),
        policy,
        said,
        rootfs: None,
    };
    Ok((planned, is_kept))
}

/// Components with all they require, topmost first.
///
/// # Errors
/// [`PlanError::Refusal`] when one is not in the library, or something it requires.
pub fn closure(library: &Library, components: &[ComponentName]) -> Result<Vec<Layer>, PlanError> {
    let policy = Policy {
        components: components.to_vec(),
        ..Policy::default()
    };
    let request = Request {
        requirements: Vec::new(),
        policy,
    };
    resolve(library, &request).map(|resolution| resolution.layers)
}

/// Plans a loaded bundle, with what launch needs to carry the plan out. A decision that `cache` holds is not made again; whether it was one.
pub(crate) fn plan_and_compose(
    library: &Library,
    bundle: &Bundle,
    id: &str,
    scratch: &Path,
    policy: Policy,
    cache: Option<&PlanCache>,
) -> Result<(Plan, Composition, bool), PlanError> {
    let _span = tracing::debug_span!("plan").entered();
    let spec = &bundle.spec;
    let rootfs = bundle.required_rootfs()?;
    let (root, task) = (Root::open(&rootfs)?, subject::task_of(&bundle.spec));
    let satisfy = |requirements: &mut [Requirement]| {
        let directories = task.path_directories();
        mounts::satisfy(requirements, &bundle.spec, &bundle.dir, &directories);
    };
    let kept = cache.map(|cache| {
        let key = cache::Key::new(&task, &policy, library.generation());
        (cache, key)
    });
    let (decision, is_kept) = decide(library, root, &task, policy, &satisfy, kept)?;
    let composition = fragment_compose::compose(&Inputs {
        id,
        bundle: &bundle.dir,
        rootfs: &rootfs,
        readonly: spec
            .root()
            .as_ref()
            .and_then(oci::Root::readonly)
            .unwrap_or(false),
        user_namespace: subject::has_user_namespace(spec),
        layers: &decision.layers,
        tree: &|diff_id: &Digest| {
            library
                .store()
                .map(|store| store.tree_path(diff_id))
                .unwrap_or_default()
        },
        scratch,
        mount_targets: &subject::mount_targets(spec),
    })?;
    check_namespaces(spec, &composition, decision.layers.len())?;
    let plan = decision.into_plan(library, composition.form, composition.warnings.clone());
    Ok((plan, composition, is_kept))
}

/// What is needed and what supplies it, kept from the last time or worked out; which of the two. `satisfy` marks what the bundle's mounts
/// supply, which can be other things each time.
fn decide(
    library: &Library,
    mut root: Root,
    task: &fragment_analysis::Task,
    policy: Policy,
    satisfy: &dyn Fn(&mut [Requirement]),
    kept: Option<(&PlanCache, cache::Key)>,
) -> Result<(Decision, bool), PlanError> {
    let Some((cache, key)) = kept else {
        let mut analysis = analysed(&root, task, library, &policy)?;
        satisfy(&mut analysis.requirements);
        return Ok((choose(library, &root, task, analysis, policy)?, false));
    };
    if let Some(mut kept) = cache.read(&key, &root)
        && supplied(&mut kept.found, satisfy) == kept.supplied
    {
        return Ok((Decision::kept(kept, policy.min_grade), true));
    }
    root = root.recording();
    let mut analysis = analysed(&root, task, library, &policy)?;
    let found = analysis.requirements.clone();
    let supplied = supplied(&mut analysis.requirements, satisfy);
    let decision = choose(library, &root, task, analysis, policy)?;
    if let (Some(witnesses), Some(added)) =
        (root.witnesses(), decision.requirements.get(found.len()..))
    {
        let added = added.to_vec();
        cache.write(&key, &decision.keep(found, supplied, added, witnesses));
    }
    Ok((decision, false))
}

/// Has mounts supply what they can of `requirements`: which they do, and where.
fn supplied(
    requirements: &mut [Requirement],
    satisfy: &dyn Fn(&mut [Requirement]),
) -> Vec<(usize, String)> {
    let is_missing: Vec<bool> = requirements.iter().map(Requirement::is_missing).collect();
    satisfy(requirements);
    let now = requirements.iter().zip(is_missing).enumerate();
    now.filter(|(_, (_, is_missing))| *is_missing)
        .filter_map(|(index, (one, _))| Some((index, one.satisfied_by.clone()?)))
        .collect()
}

/// What the entrypoint needs: of a bundle that is composed in any case, with all that can only add to a composition.
#[inline(never)]
fn analysed(
    root: &Root,
    task: &fragment_analysis::Task,
    library: &Library,
    policy: &Policy,
) -> Result<fragment_analysis::Analysis, fragment_analysis::AnalysisError> {
    let _span = tracing::debug_span!("analysis").entered();
    match policy.is_composed() {
        true => fragment_analysis::analyse_whole(root, task, library),
        false => fragment_analysis::analyse(root, task, library),
    }
}

/// Whether the overlay can be mounted where the composition wants it.
fn check_namespaces(
    spec: &oci::Spec,
    composition: &Composition,
    components: usize,
) -> Result<(), PlanError> {
    if components == 0 || composition.route == Route::InPlace {
        return Ok(());
    }
    if !subject::has_own_mount_namespace(spec) {
        return Err(PlanError::NoMountNamespace { components });
    }
    if subject::has_user_namespace(spec) && !rustix::process::geteuid().is_root() {
        return Err(PlanError::UserNamespace { components });
    }
    Ok(())
}

/// What is needed, and what supplies it.
struct Decision {
    entry: Entry,
    requirements: Vec<Requirement>,
    min_grade: Grade,
    layers: Vec<Layer>,
    capabilities: BTreeSet<Capability>,
    size: Size,
    generated: Option<Generated>,
    warnings: Vec<String>,
}

fn resolve(library: &Library, request: &Request) -> Result<Resolution, PlanError> {
    fragment_resolve::resolve(library, request).map_err(|refusal| {
        let refusal = Box::new(refusal);
        match library.is_empty() {
            true => PlanError::NoLibrary {
                directory: library.directory().to_owned(),
                refusal,
            },
            false => PlanError::Refusal(refusal),
        }
    })
}

#[inline(never)]
fn choose(
    library: &Library,
    root: &Root,
    task: &fragment_analysis::Task,
    mut analysis: Analysis,
    policy: Policy,
) -> Result<Decision, PlanError> {
    let _span = tracing::debug_span!("resolve").entered();
    let min_grade = policy.min_grade;
    if Grade::LibraryImport.reaches(min_grade) && analysis.is_thin() {
        let imports = fragment_analysis::library_imports(&analysis.requirements, library)?;
        analysis.requirements.extend(imports);
    }
    let request = Request {
        requirements: analysis.requirements.clone(),
        policy,
    };
    let resolution = resolve(library, &request)?;
    let mut made = generated::Decision::default();
    if !resolution.is_empty() {
        fragment_analysis::check_merged(root, library, &resolution.chosen, task)?;
        made = generated::decide(root, library, &resolution.chosen, &resolution.layers)?;
    }
    Ok(Decision {
        entry: analysis.entry,
        requirements: analysis.requirements,
        min_grade,
        layers: resolution.layers,
        capabilities: resolution.capabilities,
        size: resolution.size,
        generated: made.generated,
        warnings: [analysis.warnings, resolution.warnings, made.warnings].concat(),
    })
}

impl Decision {
    fn kept(kept: Kept, min_grade: Grade) -> Self {
        let mut requirements = kept.found;
        requirements.extend(kept.added);
        Self {
            entry: kept.entry,
            requirements,
            min_grade,
            layers: kept.layers,
            capabilities: kept.capabilities,
            size: kept.size,
            generated: kept.generated,
            warnings: kept.warnings,
        }
    }

    /// To be kept, with what analysis found in the rootfs, and what of the requirements is not of it.
    fn keep(
        &self,
        found: Vec<Requirement>,
        supplied: Vec<(usize, String)>,
        added: Vec<Requirement>,
        witnesses: Witnesses,
    ) -> Kept {
        Kept {
            witnesses,
            entry: self.entry.clone(),
            found,
            supplied,
            added,
            layers: self.layers.clone(),
            capabilities: self.capabilities.clone(),
            size: self.size,
            generated: self.generated.clone(),
            warnings: self.warnings.clone(),
        }
    }

    fn into_plan(self, library: &Library, form: Form, more_warnings: Vec<String>) -> Plan {
        Plan {
            schema: fragment_types::plan::SCHEMA.to_owned(),
            runtime: crate::version(),
            library: library.generation(),
            entry: self.entry,
            form,
            layers: self.layers,
            generated: self.generated,
            requirements: self.requirements,
            min_grade: self.min_grade,
            capabilities: self.capabilities,
            size: self.size,
            warnings: [self.warnings, more_warnings].concat(),
        }
    }
}
