//! A container's unit: its name, its place, its start and its end.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::devices::Allowed;
use crate::error::CgroupError;
use crate::layout::Kind;
use crate::limits::in_user_namespace;
use crate::resources::Resources;
use crate::systemd::bus::{Bus, Refusal, set_body, start_body, stop_body, text};
use crate::systemd::properties;
use crate::systemd::wire::{Property, Value};

const START: &str = "StartTransientUnit";
const START_SIGNATURE: &str = "ssa(sv)a(sa(sv))";

/// A transient unit of systemd's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unit {
    name: String,
    slice: String,
    /// Of the user's systemd, not the machine's.
    user: bool,
    /// For people.
    description: String,
}

/// Whether systemd is the first process (sd_booted(3)).
pub(crate) fn booted() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

impl Unit {
    /// From `slice:prefix:name`, the systemd driver's form of `linux.cgroupsPath`.
    pub(crate) fn named(
        path: Option<&Path>,
        id: &str,
        rootless: bool,
    ) -> Result<Self, CgroupError> {
        let text = path.map(Path::to_string_lossy).unwrap_or_default();
        let default = if rootless {
            "user.slice"
        } else {
            "system.slice"
        };
        let (slice, prefix, name) = if text.is_empty() {
            (default, "fragment", id)
        } else {
            match text.split(':').collect::<Vec<_>>()[..] {
                [slice, prefix, name] => {
                    (if slice.is_empty() { default } else { slice }, prefix, name)
                }
                _ => return Err(CgroupError::SystemdPath(text.into_owned())),
            }
        };
        let unit = if name.ends_with(".slice") {
            name.to_owned()
        } else {
            format!("{prefix}-{name}.scope")
        };
        let valid = |text: &str| !text.is_empty() && !text.contains('/') && text.len() < 256;
        if !valid(&unit) || name.is_empty() {
            return Err(CgroupError::SystemdPath(text.into_owned()));
        }
        Ok(Self {
            name: unit,
            slice: slice.to_owned(),
            user: rootless,
            description: format!("libcontainer container {name}"),
        })
    }

    /// The unit's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The slice it lies in.
    pub(crate) fn slice(&self) -> &str {
        &self.slice
    }

    /// Makes the scope with a process in it. A unit of that name that is left over from a container that died is taken away
    /// first.
    pub(crate) fn start(
        &self,
        kind: Kind,
        resources: &Resources,
        annotations: &[Property],
        pid: u32,
    ) -> Result<(), CgroupError> {
        let mut bus = Bus::open(self.user)?;
        let mut list = self.fixed(kind, pid);
        list.extend(self.limits(kind, resources, &mut bus)?);
        if !in_user_namespace() && !self.user {
            list.extend(properties::devices(&Allowed::by(&resources.devices)?));
        }
        list.extend(annotations.iter().cloned());
        let body = start_body(&self.name, &list);
        let mut result = bus.job(START, START_SIGNATURE, &body)?;
        if let Err(refusal) = &result
            && refusal.name.ends_with(".UnitExists")
        {
            // failed before, and kept to be looked at
            let _ = bus.manage("ResetFailedUnit", "s", &text(&self.name))?;
            result = bus.job(START, START_SIGNATURE, &body)?;
        }
        match result {
            Ok(result) if result == "done" => Ok(()),
            Ok(result) => {
                let _ = bus.manage("ResetFailedUnit", "s", &text(&self.name))?;
                Err(self.refused("start", format!("got `{result}`")))
            }
            Err(refusal) => Err(self.refused("start", refusal.message)),
        }
    }

    fn fixed(&self, kind: Kind, pid: u32) -> Vec<Property> {
        let on = |name: &str| (name.to_owned(), Value::Bool(true));
        let text = |name: &str, text: &str| (name.to_owned(), Value::Text(text.to_owned()));
        let mut list = vec![text("Description", &self.description)];
        if self.name.ends_with(".slice") {
            list.push(("Wants".to_owned(), Value::Texts(vec![self.slice.clone()])));
        } else {
            list.push(text("Slice", &self.slice));
            list.push(on("Delegate"));
            list.push(("PIDs".to_owned(), Value::Numbers(vec![pid])));
        }
        list.extend(["MemoryAccounting", "CPUAccounting", "TasksAccounting"].map(on));
        list.push(on(match kind {
            Kind::Unified => "IOAccounting",
            _ => "BlockIOAccounting",
        }));
        list.push(("DefaultDependencies".to_owned(), Value::Bool(false)));
        list
    }

    /// The version is asked for only where it matters: a question is a round trip.
    fn limits(
        &self,
        kind: Kind,
        resources: &Resources,
        bus: &mut Bus,
    ) -> Result<Vec<Property>, CgroupError> {
        let newest = properties::of(resources, kind, u32::MAX)?;
        let matters = |(name, _): &Property| name.starts_with("Allowed") || name.starts_with("CPU");
        if !newest.iter().any(matters) {
            return Ok(newest);
        }
        let version = properties::version_number(&bus.property("Version")?);
        properties::of(resources, kind, version)
    }

    /// Tells systemd what it has names for.
    pub(crate) fn set_properties(
        &self,
        kind: Kind,
        resources: &Resources,
    ) -> Result<(), CgroupError> {
        let mut bus = Bus::open(self.user)?;
        let list = self.limits(kind, resources, &mut bus)?;
        if list.is_empty() {
            return Ok(());
        }
        let body = set_body(&self.name, &list);
        let set = bus.manage("SetUnitProperties", "sba(sv)", &body)?;
        set.map_err(|refusal| self.refused("set properties of", refusal.message))
    }

    /// Stops it and forgets that it failed; one that is gone already is what is wanted.
    pub(crate) fn stop(&self) -> Result<(), CgroupError> {
        let mut bus = Bus::open(self.user)?;
        match bus.job("StopUnit", "ss", &stop_body(&self.name))? {
            Ok(_) => {}
            Err(refusal) if is_gone(&refusal) => return Ok(()),
            Err(refusal) => return Err(self.refused("stop", refusal.message)),
        }
        let _ = bus.manage("ResetFailedUnit", "s", &text(&self.name))?;
        Ok(())
    }

    fn refused(&self, operation: &'static str, message: String) -> CgroupError {
        CgroupError::Unit {
            operation,
            unit: self.name.clone(),
            message,
        }
    }
}

fn is_gone(refusal: &Refusal) -> bool {
    refusal.name.ends_with(".NoSuchUnit")
}

/// `a-b.slice` lies in `a.slice` (systemd.slice(5)).
pub(crate) fn expand_slice(slice: &str) -> Result<String, CgroupError> {
    let wrong = || CgroupError::SystemdValue(format!("invalid slice name: {slice}"));
    let stem = slice
        .strip_suffix(".slice")
        .filter(|stem| !stem.contains('/'))
        .ok_or_else(wrong)?;
    if stem == "-" {
        return Ok("/".to_owned());
    }
    let mut path = String::new();
    let mut prefix = String::new();
    for part in stem.split('-') {
        if part.is_empty() {
            return Err(wrong());
        }
        path.push_str(&format!("/{prefix}{part}.slice"));
        prefix.push_str(&format!("{part}-"));
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(path: Option<&str>, rootless: bool) -> Result<Unit, CgroupError> {
        Unit::named(path.map(Path::new), "c1", rootless)
    }

    #[test]
    fn names_are_runcs() {
        let made = unit(Some("system.slice:docker:1234"), false).unwrap();
        assert_eq!(
            (made.name.as_str(), made.slice.as_str()),
            ("docker-1234.scope", "system.slice")
        );
        let made = unit(Some(":libpod:1234"), true).unwrap();
        assert_eq!(
            (made.name.as_str(), made.slice.as_str()),
            ("libpod-1234.scope", "user.slice")
        );
        let made = unit(None, false).unwrap();
        assert_eq!(
            (made.name.as_str(), made.slice.as_str()),
            ("fragment-c1.scope", "system.slice")
        );
        let made = unit(Some("machine.slice::pod.slice"), false).unwrap();
        assert_eq!(made.name, "pod.slice");
        for wrong in ["/absolute/path", "a:b", "a:b:c:d", "a:b:", "a:b:c/d"] {
            assert!(unit(Some(wrong), false).is_err(), "{wrong}");
        }
    }

    #[test]
    fn slices_are_nested_by_their_names() {
        let cases = [
            ("system.slice", "/system.slice"),
            ("a-b-c.slice", "/a.slice/a-b.slice/a-b-c.slice"),
            ("-.slice", "/"),
        ];
        for (slice, path) in cases {
            assert_eq!(expand_slice(slice).unwrap(), path);
        }
        for wrong in ["x", ".slice", "a--b.slice", "-a.slice", "a/b.slice"] {
            assert!(expand_slice(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_scope_is_started_with_its_process_and_accounts() {
        let made = unit(Some("system.slice:docker:1234"), false).unwrap();
        let list = made.fixed(Kind::Unified, 77);
        let value = |name: &str| {
            list.iter()
                .find(|(own, _)| own == name)
                .map(|(_, value)| value)
        };
        assert_eq!(value("PIDs"), Some(&Value::Numbers(vec![77])));
        assert_eq!(
            value("Slice"),
            Some(&Value::Text("system.slice".to_owned()))
        );
        assert_eq!(value("Delegate"), Some(&Value::Bool(true)));
        assert_eq!(value("DefaultDependencies"), Some(&Value::Bool(false)));
        assert_eq!(value("IOAccounting"), Some(&Value::Bool(true)));
        assert_eq!(value("BlockIOAccounting"), None);
    }
}
