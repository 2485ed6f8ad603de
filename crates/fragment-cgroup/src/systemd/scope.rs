//! A container's scope: where it will be, and how its first process makes it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use fragment_sys::file;

use crate::entrance::Entrant;
use crate::error::CgroupError;
use crate::group::{Cgroup, Directory, Wish, inside, make, make_cpuset};
use crate::layout::{Hierarchy, Kind, Layout};
use crate::resources::Resources;
use crate::systemd::annotation;
use crate::systemd::bus::Bus;
use crate::systemd::unit::{Unit, booted, expand_slice};
use crate::systemd::wire::Property;
use crate::v2;

/// Everything a container's first process needs to make its own scope.
#[derive(Debug, Clone)]
pub struct Scoped {
    cgroup: Cgroup,
    resources: Resources,
    properties: Vec<Property>,
    owner: Option<u32>,
}

impl Cgroup {
    /// Where the systemd driver puts it; nothing is made yet.
    ///
    /// # Errors
    /// When systemd is not there, or the path is none of its.
    pub fn scope(layout: &Layout, wish: &Wish<'_>) -> Result<Self, CgroupError> {
        if !booted() {
            return Err(CgroupError::NoSystemd);
        }
        let unit = Unit::named(wish.path, wish.id, wish.rootless)?;
        let place = PathBuf::from(expand_slice(unit.slice())?).join(unit.name());
        let manager = if wish.rootless {
            Some(Bus::open(true)?.property("ControlGroup")?)
        } else {
            None
        };
        let first = file::read_text("/proc/1/cgroup").unwrap_or_default();
        let directories = layout.hierarchies.iter().map(|hierarchy| {
            let top = match &manager {
                Some(manager) => hierarchy.mount_point.join(inside(Path::new(manager))),
                None => top_of(hierarchy, &first),
            };
            Directory {
                names: hierarchy.names.clone(),
                path: top.join(inside(&place)),
            }
        });
        Ok(Self {
            kind: layout.kind(),
            directories: directories.collect(),
            unit: Some(unit),
            rootless: wish.rootless,
            named: true,
        })
    }

    /// The unit, when systemd makes the cgroup.
    #[must_use]
    pub fn unit(&self) -> Option<&Unit> {
        self.unit.as_ref()
    }

    /// What its first process needs: limits, the properties among a specification's annotations, and who is to own it.
    ///
    /// # Errors
    /// A property's name or value that systemd's bus has no form for.
    pub fn scoped(
        &self,
        resources: &Resources,
        annotations: &HashMap<String, String>,
        owner: Option<u32>,
    ) -> Result<Scoped, CgroupError> {
        Ok(Scoped {
            cgroup: self.clone(),
            resources: resources.clone(),
            properties: annotation::properties(annotations)?,
            owner,
        })
    }
}

/// systemd sits in init.scope, and its units beside that; where it is not at the top of a hierarchy they are not either.
fn top_of(hierarchy: &Hierarchy, first: &str) -> PathBuf {
    let own = hierarchy.path_in(first);
    let own = own.unwrap_or_else(|| hierarchy.mount_point.clone());
    match (own.file_name(), own.parent()) {
        (Some(name), Some(parent)) if name == "init.scope" => parent.to_owned(),
        _ => own,
    }
}

impl Scoped {
    /// Called by the first process, which has one thread and all the rights of the runtime still: makes the scope with itself
    /// in it, what systemd leaves out of it, and puts the limits on.
    ///
    /// # Errors
    /// When systemd refuses, or a limit cannot be had.
    pub fn enter(&self) -> Result<(), CgroupError> {
        let mut cgroup = self.cgroup.clone();
        if let Some(unit) = &cgroup.unit {
            unit.start(
                cgroup.kind,
                &self.resources,
                &self.properties,
                std::process::id(),
            )?;
        }
        match cgroup.unified().filter(|_| cgroup.kind == Kind::Unified) {
            // hands every controller down, not only those systemd was asked for
            Some(path) => v2::create(path, &self.resources)?,
            None => cgroup.join_the_rest()?,
        }
        cgroup.set_before(&self.resources)?;
        cgroup.set_devices(&self.resources)?;
        match self.owner {
            Some(owner) => cgroup.delegate(owner),
            None => Ok(()),
        }
    }
}

impl Cgroup {
    /// On v1 systemd makes its own hierarchy and those it was asked to account for; the others are made and entered here.
    fn join_the_rest(&mut self) -> Result<(), CgroupError> {
        self.directories.retain(|directory| {
            let made = if directory.has("cpuset") {
                make_cpuset(&directory.path)
            } else {
                make(&directory.path)
            };
            // the join tells
            made.is_ok() || !directory.is_unified()
        });
        self.entrances()?.enter(Entrant::This)
    }
}
