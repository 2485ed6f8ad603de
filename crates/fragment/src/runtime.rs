//! Containers with composition: plan, lease, launch, and the way back.

use std::path::PathBuf;
use std::time::Instant;

use fragment_compose::{Composition, GeneratedError, KernelVersion};
use fragment_launch::{Bundle, ContainerId, CreateOptions, LaunchError, Underway};
use fragment_store::{Holder, LeasedComponent, Store, StoreError};
use fragment_types::plan::Generated;
use fragment_types::{Digest, Plan};
use serde::{Deserialize, Serialize};
use tracing::debug_span;

use crate::cache::PlanCache;
use crate::control::{self, Wishes};
use crate::library::Library;
use crate::life;
use crate::metrics::{Counter, Metrics};
use crate::observe::{self, ObserveError, Observer, Request};
use crate::planner::{self, PlanError, PlanErrorKind};
use crate::process;
use crate::settings::Settings;

/// A failed operation on a container.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RuntimeError {
    /// There is no way to run it.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The container could not be made, started or removed.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// The library could not be opened, or a lease neither written nor released.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The layer of files made for this composition could not be made.
    #[error(transparent)]
    Generated(GeneratedError),
    /// It was to be observed and cannot be.
    #[error(transparent)]
    Observe(#[from] ObserveError),
    /// A record that this release did not write.
    #[error("the record of container {id} holds no composition this release can read")]
    Record {
        /// The container.
        id: String,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
}

impl RuntimeError {
    /// What a shell would make of it.
    #[must_use]
    pub fn kind(&self) -> PlanErrorKind {
        match self {
            Self::Plan(error) => error.kind(),
            _ => PlanErrorKind::Other,
        }
    }
}

/// What is kept with a composed container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Composed {
    /// The plan it was started with; it never changes under it.
    pub plan: Plan,
    /// The store its layers lie in.
    pub store: PathBuf,
}

/// What the end of a container needs of that.
#[derive(Deserialize)]
struct Place {
    store: PathBuf,
}

/// The OCI operations, with composition. Those that do not differ from a runtime without composition are
/// [`Runtime::launch`]'s.
#[derive(Debug)]
pub struct Runtime {
    launch: fragment_launch::Runtime,
    settings: Settings,
}

impl Runtime {
    /// A runtime over `launch`'s state directory and the library of `settings`.
    #[must_use]
    pub fn new(launch: fragment_launch::Runtime, settings: Settings) -> Self {
        Self { launch, settings }
    }

    /// The runtime below: state, start, kill, exec, list, ps.
    #[must_use]
    pub fn launch(&self) -> &fragment_launch::Runtime {
        &self.launch
    }

    /// Creates a container; the program waits for start.
    ///
    /// # Errors
    /// [`RuntimeError`]; nothing of the container is left then.
    pub fn create(&self, bundle: &Bundle, options: &CreateOptions) -> Result<(), RuntimeError> {
        let request = Request::of_bundle(&self.settings, bundle, options.id.as_str());
        let launch =
            |bundle: &Bundle, underway, composition: Option<&Composition>, extra: &[u8]| {
                self.launch
                    .create(bundle, options, underway, composition, extra)
            };
        // the observer outlives this process: nobody waits for it
        self.composed(bundle, options, Wishes::default(), request, false, launch)?;
        Ok(())
    }

    /// Creates a container and starts it; in the foreground waits for its end and gives the exit code of the program.
    ///
    /// # Errors
    /// As [`Runtime::create`].
    pub fn run(&self, bundle: &Bundle, options: &CreateOptions) -> Result<i32, RuntimeError> {
        self.run_with(bundle, options, Wishes::default())
    }

    /// The same with wishes that are stronger than what the bundle asks for.
    pub(crate) fn run_with(
        &self,
        bundle: &Bundle,
        options: &CreateOptions,
        wishes: Wishes,
    ) -> Result<i32, RuntimeError> {
        let request = Request::of_bundle(&self.settings, bundle, options.id.as_str());
        Ok(self.run_observed(bundle, options, wishes, request)?.0)
    }

    /// The same with an observer where there is a request, whose report is to be waited for.
    pub(crate) fn run_observed(
        &self,
        bundle: &Bundle,
        options: &CreateOptions,
        wishes: Wishes,
        request: Option<Request>,
    ) -> Result<(i32, Option<Observer>), RuntimeError> {
        let launch =
            |bundle: &Bundle, underway, composition: Option<&Composition>, extra: &[u8]| {
                self.launch
                    .run(bundle, options, underway, composition, extra)
            };
        let is_over = !options.detach && !options.keep;
        self.composed(bundle, options, wishes, request, is_over, launch)
    }

    /// Removes a container and everything it has on the host.
    ///
    /// # Errors
    /// As [`fragment_launch::Runtime::delete`].
    pub fn delete(&self, id: &ContainerId, force: bool) -> Result<(), RuntimeError> {
        let extra = self.launch.delete(id, force)?;
        let place = left_with::<Place>(id, &extra)?;
        if let Some(store) = place.and_then(|place| Store::open(place.store).ok()) {
            store.release(&self.lease_key(id))?;
        } else if force {
            // a create that was killed between its lease and its record
            self.release(id)?;
        }
        Ok(())
    }

    /// What the container was composed of; `None` when nothing was overlaid.
    ///
    /// # Errors
    /// When there is no such container or its record cannot be read.
    pub fn composition(&self, id: &ContainerId) -> Result<Option<Composed>, RuntimeError> {
        left_with(id, &self.launch.extra(id)?)
    }

    /// Plans, leases what the plan names, and hands both to `launch`; without the container there is no lease, nor with one that is over
    /// when `launch` returns (`is_over`).
    fn composed<T>(
        &self,
        bundle: &Bundle,
        options: &CreateOptions,
        wishes: Wishes,
        request: Option<Request>,
        is_over: bool,
        launch: impl FnOnce(&Bundle, Underway, Option<&Composition>, &[u8]) -> Result<T, LaunchError>,
    ) -> Result<(T, Option<Observer>), RuntimeError> {
        let (id, started) = (&options.id, Instant::now());
        // a name that is taken is told before anything about the bundle: its lease must not be replaced
        if self.launch.exists(id) {
            return Err(LaunchError::Exists { id: id.to_string() }.into());
        }
        let underway = self.launch.begin(bundle, options)?;
        self.reclaim(bundle, id)?;
        let library = Library::open(&self.settings)?;
        let policy = control::of_bundle(&self.settings, bundle, wishes).map_err(PlanError::from)?;
        let scratch = self.launch.scratch(id);
        let cache = PlanCache::open(&self.settings);
        let metrics = Metrics::open(&self.settings.state);
        metrics.add(Counter::Containers, 1);
        let (plan, mut composition, is_kept) = planner::plan_and_compose(
            &library,
            bundle,
            id.as_str(),
            &scratch,
            policy,
            cache.as_ref(),
        )
        .inspect_err(|_| metrics.add(Counter::Failures, 1))?;
        metrics.cache(is_kept);
        for warning in &plan.warnings {
            tracing::warn!("{warning}");
        }
        let (observer, observed) = match request {
            Some(request) => self
                .observer(bundle, &plan, request)
                .map(|(observer, bundle)| (Some(observer), Some(bundle)))?,
            None => (None, None),
        };
        let bundle = observed.as_ref().unwrap_or(bundle);
        let Some(store) = library.store().filter(|_| plan.is_composed()) else {
            return Ok((launch(bundle, underway, None, &[])?, observer));
        };
        let key = self.lease_key(id);
        let holder = Holder {
            runtime_root: self.launch.root().to_owned(),
            id: id.to_string(),
            process: process::this(),
        };
        let kernel = KernelVersion::running();
        let generated = composition.condense(&plan.layers, plan.generated.clone(), kernel);
        let digest = generated.as_ref().map(|made| made.digest);
        let components = leased(&plan);
        debug_span!("lease").in_scope(|| store.lease(&key, holder, &components, digest))?;
        let options = life::load_options(&self.settings.life);
        let ready = debug_span!("load").in_scope(|| store.ready(&components, &options));
        let placed = ready.map_err(RuntimeError::from).and_then(|loads| {
            let names = components.iter().map(|component| &component.name);
            life::loaded(store, &self.settings.life, &metrics, names, &loads);
            if !is_kept {
                let checked = composition.check_trees().map_err(PlanError::from);
                checked.inspect_err(|_| cache.iter().for_each(PlanCache::take_back))?;
            }
            generated
                .map(|generated| place(store, &generated))
                .transpose()
        });
        match placed {
            Ok(tree) => tree.into_iter().for_each(|tree| composition.cover(tree)),
            Err(error) => {
                metrics.add(Counter::Failures, 1);
                store.release(&key)?;
                return Err(error);
            }
        }
        let composed = Composed {
            plan,
            store: store.root().to_owned(),
        };
        let extra = serde_json::to_vec(&composed).map_err(|source| RuntimeError::Record {
            id: id.to_string(),
            source,
        })?;
        metrics.add(Counter::Composed, 1);
        metrics.composed(started.elapsed());
        let launched = launch(bundle, underway, Some(&composition), &extra).map_err(|error| {
            // another create of the same name owns the lease then
            if !matches!(error, LaunchError::Exists { .. })
                && let Err(second) = store.release(&key)
            {
                tracing::warn!("release the components of {id}: {second}");
            }
            RuntimeError::from(error)
        })?;
        if is_over {
            store.release(&key)?;
        }
        Ok((launched, observer))
    }

    /// An observer, and the bundle with a filter that tells it.
    fn observer(
        &self,
        bundle: &Bundle,
        plan: &Plan,
        request: Request,
    ) -> Result<(Observer, Bundle), ObserveError> {
        let observer = observe::begin(&observe::Subject {
            settings: self.settings.clone(),
            plan: plan.clone(),
            request,
        })?;
        let mut bundle = bundle.clone();
        observe::profile::listen(&mut bundle.spec, &observer.listener)?;
        Ok((observer, bundle))
    }

    /// An engine may start a container again on a root that it has not unmounted since, on which the components of the last
    /// time lie: what is missing is asked of the engine's own.
    fn reclaim(&self, bundle: &Bundle, id: &ContainerId) -> Result<(), RuntimeError> {
        let Some(rootfs) = bundle.rootfs() else {
            return Ok(());
        };
        let links = self.launch.root().join(format!(".links-{id}"));
        let again = fragment_compose::reclaim(&rootfs, KernelVersion::running(), &links);
        again
            .map(drop)
            .map_err(|error| PlanError::from(error).into())
    }

    fn release(&self, id: &ContainerId) -> Result<(), RuntimeError> {
        match Store::open(&self.settings.store) {
            Ok(store) => {
                store.release(&self.lease_key(id))?;
                Ok(())
            }
            Err(StoreError::Absent { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Containers of the same id in different state directories are different containers.
    fn lease_key(&self, id: &ContainerId) -> String {
        format!("{}\0{id}", self.launch.root().display())
    }
}

/// What was left with a composed container; `None` for one that nothing was overlaid in.
fn left_with<T: serde::de::DeserializeOwned>(
    id: &ContainerId,
    extra: &[u8],
) -> Result<Option<T>, RuntimeError> {
    if extra.is_empty() {
        return Ok(None);
    }
    let read = serde_json::from_slice(extra).map(Some);
    read.map_err(|source| RuntimeError::Record {
        id: id.to_string(),
        source,
    })
}

/// Where the generated layer lies, made if no container before had the same.
fn place(store: &Store, generated: &Generated) -> Result<PathBuf, RuntimeError> {
    let _span = tracing::debug_span!("generate").entered();
    store.generated(&generated.digest, |directory| {
        let tree = |diff_id: &Digest| store.tree_path(diff_id);
        fragment_compose::generated::layer::make(generated, &tree, directory)
            .map_err(RuntimeError::Generated)
    })
}

fn leased(plan: &Plan) -> Vec<LeasedComponent> {
    plan.layers.iter().map(Into::into).collect()
}
