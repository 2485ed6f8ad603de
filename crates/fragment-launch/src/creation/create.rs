//! One container's creation, from the reserved name to the process that waits for the start.

use std::fs::{self, File};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fragment_cgroup::{Cgroup, CgroupError, Resources, in_user_namespace};
use fragment_compose::{Composition, KernelVersion, Prepared, Residue, Route, Site};
use fragment_sys::lock::FileLock;
use fragment_sys::network::Ahead;
use libcgroups::common::EntranceSet;
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::container::{Container, ContainerStatus};
use libcontainer::oci_spec::runtime::{LinuxNamespaceType, LinuxSeccomp};
use libcontainer::syscall::syscall::SyscallType;
use rustix::mount::MountPropagationFlags;

use crate::creation::capture;
use crate::creation::cgroup::{self, Errand};
use crate::creation::cgroup_mounts;
use crate::creation::hook;
use crate::creation::joined::Joined;
use crate::creation::network::{self, Underway};
use crate::creation::user_namespace;
use crate::error::LaunchError;
use crate::inside::executor::{FragmentExecutor, Init};
use crate::inside::first::{FirstProcess, Introduction};
use crate::inside::listener::Agent;
use crate::lifecycle::start::Made;
use crate::lifecycle::{self, delete};
use crate::records::process::Identity;
use crate::records::record::{Place, Record, Stage};
use crate::runtime::{
    CreateOptions, Original, Surroundings, announce, keyring, process_error, write_json,
};
use crate::specification::bundle::Bundle;
use crate::specification::derived::Derived;

/// A container being created: dropped before it is done, it leaves nothing behind.
pub(crate) struct Creation {
    place: Place,
    record: Record,
    lock: Option<FileLock>,
    derived: Derived,
    options: CreateOptions,
    cgroup_owner: Option<u32>,
    /// Whether there may be something of it to remove: before, a cgroup of that name is somebody else's.
    cgroup_made: bool,
    seccomp: Option<LinuxSeccomp>,
    prepared: Option<Prepared>,
    /// Open until libcontainer has joined it.
    user_namespace: Option<File>,
    joined: Joined,
    /// Being made.
    network: Option<Ahead>,
    /// What libcontainer's clone does when another goes on in its place.
    errand: Option<Arc<Errand>>,
    reached_hooks: bool,
}

impl Creation {
    /// Takes the container's name. From here on there is something to remove.
    pub(crate) fn reserve(
        place: Place,
        bundle: &Bundle,
        options: &CreateOptions,
        derived: Derived,
        cgroup: (Cgroup, Resources),
    ) -> Result<Self, LaunchError> {
        let lock = place.reserve()?;
        let mut derived = derived;
        if options.no_pivot {
            derived.without_pivot();
        }
        Ok(Self {
            record: new_record(bundle, options, &derived, cgroup),
            place,
            lock: Some(lock),
            derived,
            options: options.clone(),
            cgroup_owner: cgroup::owner(&bundle.spec),
            cgroup_made: false,
            seccomp: None,
            prepared: None,
            user_namespace: None,
            joined: Joined::default(),
            network: None,
            errand: None,
            reached_hooks: false,
        })
    }

    /// Our directory of the container.
    pub(crate) fn directory(&self) -> PathBuf {
        self.place.ours()
    }

    /// Makes everything ready for libcontainer. The record comes first: a later process has to find what is made after it.
    pub(crate) fn prepare(
        &mut self,
        composition: Option<&Composition>,
        seccomp: Option<LinuxSeccomp>,
        underway: Underway,
        extra: &[u8],
    ) -> Result<(), LaunchError> {
        self.record.cgroup.check_unused()?;
        if let Some(composition) = composition {
            self.record.residue = composition.residue.clone();
        }
        self.place.save_extra(extra)?;
        self.place.save(&self.record)?;
        self.make_cgroup().map_err(LaunchError::ApplyCgroup)?;
        let user = self.derived.joined_user_namespace()?;
        if let Some(linux) = self.derived.spec.linux_mut() {
            self.user_namespace = user_namespace::arrange(linux, &self.derived.process)?;
        }
        let user = self.user_namespace.as_ref().or(user.as_ref());
        self.derived.open(user)?;
        if let Some(composition) = composition {
            let prepared = compose(&self.place, composition, user)?;
            self.take_overlay(composition.route, prepared);
        }
        if let Some(rootfs) = self.derived.shared_root.clone() {
            self.bind_root(&rootfs)?;
        }
        let linux = self.derived.spec.linux().as_ref();
        let original = Original {
            process: self.derived.process.clone(),
            seccomp,
            personality: linux.and_then(|linux| linux.personality().clone()),
            memory_policy: linux.and_then(|linux| linux.memory_policy().clone()),
        };
        self.joined = Joined::take_from(&mut self.derived.spec)?;
        cgroup_mounts::resolve(&mut self.derived.spec, &self.record.cgroup);
        self.network = underway.network;
        if let Some(network) = &self.network {
            network::name(&mut self.derived.spec, Some(network.number()));
        }
        self.write_derived()?;
        original.save(&self.place)?;
        self.seccomp = original.seccomp;
        Ok(())
    }

    fn write_derived(&self) -> Result<(), LaunchError> {
        write_json(&self.directory().join("config.json"), &self.derived.spec)
    }

    /// Makes the cgroup and puts on it what the set-up of the container can stand.
    fn make_cgroup(&mut self) -> Result<(), CgroupError> {
        let _span = tracing::debug_span!("cgroup").entered();
        let Record {
            cgroup, resources, ..
        } = &mut self.record;
        self.cgroup_made = true;
        if cgroup.unit().is_some() {
            // by the first process
            return Ok(());
        }
        cgroup.create(resources)?;
        cgroup.set_before(resources)?;
        self.errand = Errand::of(cgroup, resources, &self.derived.spec);
        let later = self.errand.as_ref().is_some_and(|it| it.sets_devices());
        if !later {
            cgroup.set_devices(resources)?;
        }
        match self.cgroup_owner {
            Some(owner) => cgroup.delegate(owner),
            None => Ok(()),
        }
    }

    fn take_overlay(&mut self, route: Route, mut prepared: Prepared) {
        for warning in &prepared.warnings {
            tracing::warn!("{warning}");
        }
        if route == Route::Inside {
            self.derived
                .overlay(std::mem::take(&mut prepared.options.list));
        }
        self.prepared = Some(prepared);
    }

    /// Puts the root where it and all that is mounted on it can be told from mounts of others (see [`Place::remove`]).
    fn bind_root(&self, rootfs: &Path) -> Result<(), LaunchError> {
        let mount_point = self.place.mount_point();
        fs::create_dir(&mount_point).map_err(LaunchError::io("create", mount_point.clone()))?;
        rustix::mount::mount_bind_recursive(rootfs, &mount_point)
            // what is mounted on it is not to be mounted on the bundle's as well
            .and_then(|()| {
                let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
                rustix::mount::mount_change(&mount_point, private)
            })
            .map_err(|errno| LaunchError::io("bind", rootfs)(errno.into()))
    }

    /// Has libcontainer make the container. `stage` is what is recorded then: a run says at once that it starts the container.
    pub(crate) fn build(
        mut self,
        console: Option<&Path>,
        stage: Stage,
    ) -> Result<Made, LaunchError> {
        let _span = tracing::debug_span!("build").entered();
        self.reached_hooks = true;
        let container = self.call_libcontainer(console)?;
        let pid = container.state.pid.unwrap_or_default();
        // libcontainer refuses exec in a container it holds for created; where it is in its life is ours to know
        let mut state = container.state;
        state.status = ContainerStatus::Running;
        write_json(
            &libcontainer::container::State::file_path(&self.place.libcontainer()),
            &state,
        )?;
        if let Some(errand) = self.errand.take() {
            errand.finish().map_err(LaunchError::ApplyCgroup)?;
        }
        self.know(pid)?;
        let limited = self.record.cgroup.set_after(&self.record.resources);
        limited.map_err(LaunchError::ApplyCgroup)?;
        self.reach(stage, pid)?;
        if let Some(prepared) = self.prepared.take() {
            // the record names what stays; delete removes it
            prepared.commit()?;
        }
        let lock = self.lock.take().ok_or_else(|| LaunchError::Busy {
            id: self.record.id.clone(),
        })?;
        Ok(Made {
            place: self.place.clone(),
            record: self.record.clone(),
            lock,
        })
    }

    /// From here on there may be processes, to be ended when this is dropped; the record, which is what names them.
    pub(crate) fn begin_processes(&mut self) -> &Record {
        self.reached_hooks = true;
        &self.record
    }

    /// Takes a first process on that somebody else has made, and whose program runs.
    pub(crate) fn adopt(mut self, pid: i32) -> Result<Record, LaunchError> {
        self.know(pid)?;
        self.reach(Stage::Started, pid)?;
        self.lock = None;
        Ok(self.record.clone())
    }

    fn know(&mut self, pid: i32) -> Result<(), LaunchError> {
        let init =
            Identity::of(pid).map_err(LaunchError::system("find the container's process"))?;
        self.record.init = Some(init);
        Ok(())
    }

    /// Records how far the container has come, and tells who asked for its number.
    fn reach(&mut self, stage: Stage, pid: i32) -> Result<(), LaunchError> {
        self.record.stage = stage;
        self.place.save(&self.record)?;
        announce(
            pid,
            self.options.pid_file.as_deref(),
            self.options.pidfd_socket.as_deref(),
        )
    }

    fn call_libcontainer(&mut self, console: Option<&Path>) -> Result<Container, LaunchError> {
        let _span = tracing::debug_span!("libcontainer").entered();
        let nameless = self.record.cgroup.directories().next().is_none();
        let introduction = nameless.then(|| Introduction::new(&self.place.introductions()));
        let introduction = introduction.transpose()?;
        let entrance = self.open_cgroup(introduction.clone());
        let _entrance = entrance.map_err(LaunchError::ApplyCgroup)?;
        let filter = self.seccomp.as_ref();
        let agent = filter.map(|filter| Agent::of(filter, &self.record));
        let agent = agent.transpose()?.flatten();
        let _network = self.wait_for_network()?;
        let mark = capture::mark();
        let composed = self.prepared.as_ref();
        let _surroundings = Surroundings::calm_in(
            composed.and_then(|prepared| prepared.options.directory.as_deref()),
        )
        .map_err(LaunchError::system(
            "change to the directory of the layers' names",
        ))?;
        let waiting = lifecycle::start::make_waiting(&self.place)?;
        let first = FirstProcess::new(self.executor(), agent, introduction, waiting)
            .open_to_its_user(self.is_apart());
        let mut builder = ContainerBuilder::new(self.place.id().to_owned(), SyscallType::default())
            .with_executor(first)
            .with_preserved_fds(self.options.preserve_fds)
            .with_console_socket(console);
        builder = builder
            .with_root_path(self.place.root())
            .map_err(|error| process_error(&error, &mark, Some(&self.derived.spec)))?;
        builder
            .as_init(self.place.ours())
            .with_no_pivot(self.options.no_pivot)
            // the foreground loop is ours, and so is its terminal
            .with_detach(true)
            .build()
            .map_err(|error| process_error(&error, &mark, Some(&self.derived.spec)))
    }

    /// What is to be open until libcontainer has joined it.
    fn wait_for_network(&mut self) -> Result<Option<OwnedFd>, LaunchError> {
        let Some(network) = self.network.take() else {
            return Ok(None);
        };
        if let Ok(namespace) = network.finish() {
            return Ok(Some(namespace));
        }
        // libcontainer says what is wrong
        network::name(&mut self.derived.spec, None);
        self.write_derived().map(|()| None)
    }

    fn open_cgroup(
        &mut self,
        introduction: Option<Introduction>,
    ) -> Result<EntranceSet, CgroupError> {
        let errand = self.errand.clone();
        let Record {
            cgroup,
            resources,
            annotations,
            ..
        } = &mut self.record;
        Ok(if cgroup.unit().is_some() {
            let scope = cgroup.scoped(resources, annotations, self.cgroup_owner)?;
            cgroup::open_scope(scope, self.joined.namespaces())
        } else {
            cgroup::open(
                cgroup.entrances()?,
                errand,
                self.joined.namespaces(),
                introduction,
            )
        })
    }

    /// A container of an unprivileged user that shares no namespace with others: nobody else can reach its first process.
    fn is_apart(&self) -> bool {
        let linux = self.derived.spec.linux().as_ref();
        let namespaces = linux.and_then(|linux| linux.namespaces().as_ref());
        let mut namespaces = namespaces.into_iter().flatten();
        let (mut users, mut processes) = (false, false);
        let new = namespaces.all(|namespace| {
            users |= namespace.typ() == LinuxNamespaceType::User;
            processes |= namespace.typ() == LinuxNamespaceType::Pid;
            namespace.path().is_none()
        });
        new && users && processes
    }

    fn executor(&self) -> FragmentExecutor {
        let init = Init {
            new_network: network::is_new(&self.derived.spec),
            after_mounts: self.derived.after_mounts.clone(),
            sysctls: self.joined.sysctls.clone(),
            start_container: self.derived.start_container.clone(),
            state: hook::state_of(&self.record, ContainerStatus::Created),
        };
        let keyring = keyring(self.options.no_new_keyring, self.place.id());
        let process = self.derived.process.clone();
        FragmentExecutor::new(process, self.seccomp.clone(), keyring, Some(init))
    }
}

/// Carries the composition out, as far as that is not left to the container.
fn compose(
    place: &Place,
    composition: &Composition,
    user: Option<&File>,
) -> Result<Prepared, LaunchError> {
    let _span = tracing::debug_span!("overlay").entered();
    if composition.route == Route::Inside {
        let mount_point = place.mount_point();
        fs::create_dir(&mount_point).map_err(LaunchError::io("create", mount_point))?;
    }
    let site = Site {
        kernel: KernelVersion::running(),
        identities: user.map(AsFd::as_fd),
        nested: in_user_namespace(),
    };
    Ok(composition.prepare(&site)?)
}

impl Drop for Creation {
    fn drop(&mut self) {
        if self.lock.is_none() {
            return;
        }
        // the error that brought us here is on its way to the caller; what cannot be removed now, delete --force can
        if self.reached_hooks {
            delete::kill_introduced(&self.place);
            if let Err(error) = delete::end_processes(&self.record) {
                tracing::warn!("clean up after a failed create: {error}");
                return;
            }
            // config.md, "Lifecycle": after a failed hook of creation the container is destroyed, poststop included
            hook::run_poststop(&self.record);
        }
        drop(self.prepared.take());
        if self.cgroup_made && !self.record.cgroup.remove() {
            tracing::warn!("clean up after a failed create: the cgroup is still in use");
            return;
        }
        if let Err(error) = self.place.remove() {
            tracing::warn!("clean up after a failed create: {error}");
        }
    }
}

fn new_record(
    bundle: &Bundle,
    options: &CreateOptions,
    derived: &Derived,
    (cgroup, resources): (Cgroup, Resources),
) -> Record {
    Record {
        id: options.id.to_string(),
        bundle: bundle.dir.clone(),
        rootfs: bundle.rootfs().unwrap_or_default(),
        annotations: bundle.spec.annotations().clone().unwrap_or_default(),
        created: chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Nanos, true),
        owner: rustix::process::geteuid().as_raw(),
        stage: Stage::Creating,
        init: None,
        cgroup,
        resources,
        no_new_keyring: options.no_new_keyring,
        poststart: derived.poststart.clone(),
        poststop: derived.poststop.clone(),
        residue: Residue::default(),
        extra: serde_json::Value::Null,
    }
}
