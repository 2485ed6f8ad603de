//! From a bundle or task to a plan: analysis, resolution and the choice of the overlay's form. Needs no root, changes nothing.

use std::path::{Path, PathBuf};

use fragment_analysis::{Analysis, AnalysisError, AnalysisErrorKind, MergedError};
use fragment_compose::{ComposeError, Composition, GeneratedError, Inputs, Route, generated};
use fragment_launch::{Bundle, BundleError, oci};
use fragment_resolve::{Policy, Refusal, RefusalKind, Request, Resolution};
use fragment_store::StoreError;
use fragment_sys::root::{Root, RootError};
use fragment_types::plan::Form;
use fragment_types::{Catalogue as _, CatalogueError, Digest, Plan};

use crate::control::{self, ControlError, Wishes};
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
    /// The bundle names no rootfs.
    #[error("{}/config.json: root.path is missing: name the directory of the root filesystem", .0.display())]
    NoRootfs(PathBuf),
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    let bundle = Bundle::load(directory)?;
    let policy = control::of_bundle(settings, &bundle, flags)?;
    let (plan, _) = plan_and_compose(library, &bundle, "plan", Path::new("/run"), policy)?;
    Ok(plan)
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
    let policy = control::of_task(settings, flags);
    let (root, task) = (Root::empty(), task.subject());
    let analysis = fragment_analysis::analyse(&root, &task, library)?;
    let decision = choose(library, &root, &task, analysis, policy)?;
    let form = if decision.resolution.is_empty() {
        Form::Plain
    } else {
        Form::Upper
    };
    Ok(decision.into_plan(library, form, Vec::new()))
}

/// Plans a loaded bundle, with what launch needs to carry the plan out.
pub(crate) fn plan_and_compose(
    library: &Library,
    bundle: &Bundle,
    id: &str,
    scratch: &Path,
    policy: Policy,
) -> Result<(Plan, Composition), PlanError> {
    let spec = &bundle.spec;
    let rootfs = bundle
        .rootfs()
        .ok_or_else(|| PlanError::NoRootfs(bundle.dir.clone()))?;
    let root = Root::open(&rootfs)?;
    let task = subject::task_of(spec);
    let mut analysis = fragment_analysis::analyse(&root, &task, library)?;
    mounts::satisfy(
        &mut analysis.requirements,
        spec,
        &bundle.dir,
        &task.path_directories(),
    );
    let decision = choose(library, &root, &task, analysis, policy)?;
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
        layers: &decision.resolution.layers,
        tree: &|diff_id: &Digest| {
            library
                .store()
                .map(|store| store.tree_path(diff_id))
                .unwrap_or_default()
        },
        scratch,
        mount_targets: &subject::mount_targets(spec),
    })?;
    check_namespaces(spec, &composition, decision.resolution.layers.len())?;
    let plan = decision.into_plan(library, composition.form, composition.warnings.clone());
    Ok((plan, composition))
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
    analysis: Analysis,
    resolution: Resolution,
    generated: generated::Decision,
}

fn choose(
    library: &Library,
    root: &Root,
    task: &fragment_analysis::Task,
    analysis: Analysis,
    policy: Policy,
) -> Result<Decision, PlanError> {
    let request = Request {
        requirements: analysis.requirements.clone(),
        policy,
    };
    let resolution = fragment_resolve::resolve(library, &request).map_err(|refusal| {
        let refusal = Box::new(refusal);
        if library.is_empty() {
            PlanError::NoLibrary {
                directory: library.directory().to_owned(),
                refusal,
            }
        } else {
            PlanError::Refusal(refusal)
        }
    })?;
    let mut made = generated::Decision::default();
    if !resolution.is_empty() {
        fragment_analysis::check_merged(root, library, &resolution.chosen, task)?;
        made = generated::decide(root, library, &resolution.chosen, &resolution.layers)?;
    }
    Ok(Decision {
        analysis,
        resolution,
        generated: made,
    })
}

impl Decision {
    fn into_plan(self, library: &Library, form: Form, more_warnings: Vec<String>) -> Plan {
        let Self {
            analysis,
            resolution,
            generated,
        } = self;
        Plan {
            schema: fragment_types::plan::SCHEMA.to_owned(),
            runtime: crate::version(),
            library: library.generation(),
            entry: analysis.entry,
            form,
            layers: resolution.layers,
            generated: generated.generated,
            requirements: analysis.requirements,
            capabilities: resolution.capabilities,
            size: resolution.size,
            warnings: [
                analysis.warnings,
                resolution.warnings,
                generated.warnings,
                more_warnings,
            ]
            .concat(),
        }
    }
}
