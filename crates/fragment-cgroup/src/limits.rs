//! Limits put on a cgroup that exists.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use fragment_sys::bpf::DeviceProgram;
use fragment_sys::file;

use crate::devices::{Allowed, Rule, only_allow};
use crate::error::{CgroupError, Errno};
use crate::filter;
use crate::group::{Cgroup, read, write};
use crate::layout::Kind;
use crate::plan::{View, Write, carry_out};
use crate::resources::Resources;
use crate::{v1, v2};

impl View for Cgroup {
    fn has(&self, controller: &str, file: &str) -> bool {
        self.directory(controller)
            .is_some_and(|directory| directory.join(file).exists())
    }

    fn text(&self, controller: &str, file: &str) -> Option<String> {
        file::read_text(self.directory(controller)?.join(file)).ok()
    }
}

impl Cgroup {
    /// What would be written for `resources`, in order. Nothing is changed.
    ///
    /// # Errors
    /// Settings that contradict each other or the layout.
    pub fn plan(&self, resources: &Resources) -> Result<Vec<Write>, CgroupError> {
        match self.kind {
            Kind::Unified => v2::plan(resources, self),
            _ => v1::plan(resources, self),
        }
    }

    /// Before the first process is in: everything that does not keep it from being set up, but for [`Cgroup::set_devices`].
    ///
    /// # Errors
    /// The first setting that cannot be made.
    pub fn set_before(&self, resources: &Resources) -> Result<(), CgroupError> {
        let writes = self.plan(resources)?;
        let (_, before): (Vec<_>, Vec<_>) = writes.into_iter().partition(Write::is_late);
        self.write_all(&before)
    }

    /// Which devices its processes may use.
    ///
    /// # Errors
    /// Rules that contradict each other; when the kernel refuses them.
    pub fn set_devices(&self, resources: &Resources) -> Result<(), CgroupError> {
        self.apply_rules(&resources.devices)
    }

    /// When the first process waits for its program: the rest.
    ///
    /// # Errors
    /// The first setting that cannot be made.
    pub fn set_after(&self, resources: &Resources) -> Result<(), CgroupError> {
        let writes = self.plan(resources)?;
        let (late, _): (Vec<_>, Vec<_>) = writes.into_iter().partition(Write::is_late);
        self.write_all(&late)
    }

    /// Changes the limits of a running container; `old` is what holds so far, and holds again when it fails. Device rules are
    /// left alone, as by runc: others (a GPU's hook) may have changed them.
    ///
    /// # Errors
    /// The first setting that cannot be made.
    pub fn update(&self, old: &Resources, change: &Resources) -> Result<(), CgroupError> {
        let written = old.to_write(change);
        let set = |resources: &Resources| -> Result<(), CgroupError> {
            if let Some(unit) = &self.unit {
                unit.set_properties(self.kind, resources)?;
            }
            self.write_all(&self.plan(resources)?)
        };
        set(&written).inspect_err(|_| {
            let back = Resources {
                devices: Vec::new(),
                ..old.clone()
            };
            if let Err(error) = set(&back) {
                tracing::warn!("restore the limits of before: {error}");
            }
        })
    }

    fn write_all(&self, writes: &[Write]) -> Result<(), CgroupError> {
        carry_out(writes, |controller| {
            let controller = if controller == "unified" {
                ""
            } else {
                controller
            };
            self.directory(controller).map(Path::to_owned)
        })
    }

    fn apply_rules(&self, rules: &[Rule]) -> Result<(), CgroupError> {
        let allowed = Allowed::by(rules)?;
        if in_user_namespace() {
            // neither version lets its root do that
            return Ok(());
        }
        let set = match self.kind {
            Kind::Unified => self.set_device_program(&allowed),
            _ => self.set_device_list(&allowed),
        };
        match set {
            // as runc: not expected to work for an ordinary user, who cannot open devices beyond their permissions anyway
            Err(error) if self.rootless => {
                if !only_allow(rules) {
                    tracing::warn!("device rules are not applied: {error}");
                }
                Ok(())
            }
            Err(error @ CgroupError::DeviceProgram { .. }) if only_allow(rules) => {
                tracing::warn!("device rules are not applied: {error}");
                Ok(())
            }
            other => other,
        }
    }

    fn set_device_list(&self, allowed: &Allowed) -> Result<(), CgroupError> {
        let Some(directory) = self.directory("devices") else {
            return Err(CgroupError::NoController {
                controller: "devices",
            });
        };
        let list = directory.join("devices.list");
        let text = read(&list)?;
        let now = Allowed::of_list(&text).ok_or(CgroupError::Parse {
            path: list,
            line: text,
        })?;
        for (allow, rule) in allowed.transition(&now) {
            let file = if allow {
                "devices.allow"
            } else {
                "devices.deny"
            };
            write(&directory.join(file), &rule)?;
        }
        Ok(())
    }

    fn set_device_program(&self, allowed: &Allowed) -> Result<(), CgroupError> {
        let Some(path) = self.unified() else {
            return Ok(());
        };
        attach_program(path, allowed)
    }
}

fn attach_program(path: &Path, allowed: &Allowed) -> Result<(), CgroupError> {
    let fail = |operation| {
        move |source| CgroupError::DeviceProgram {
            operation,
            path: PathBuf::from(path),
            source: Errno(source),
        }
    };
    let directory = File::open(path).map_err(|error| CgroupError::read(path, error))?;
    let program = DeviceProgram::load(&filter::program(allowed)).map_err(fail("load"))?;
    program.attach(directory.as_fd()).map_err(fail("attach"))
}

/// Whether this process is root of a user namespace other than the machine's, which maps everything (user_namespaces(7)).
///
/// Looked at once: the runtime itself stays where it is, and what it clones is not asked.
#[must_use]
pub fn in_user_namespace() -> bool {
    static ANSWER: LazyLock<bool> = LazyLock::new(|| {
        file::read_text("/proc/self/uid_map").is_ok_and(|map| {
            let fields: Vec<_> = map.split_ascii_whitespace().take(3).collect();
            fields != ["0", "0", "4294967295"]
        })
    });
    *ANSWER
}

#[cfg(test)]
mod tests {
    use std::fs;

    use std::process::Command;

    use super::*;
    use crate::devices::tests::allowed;

    /// A v2 cgroup of this test's own, where the machine lets it have one.
    struct Own(PathBuf);

    impl Own {
        fn new(name: &str) -> Option<Self> {
            let root = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"].map(Path::new);
            let root = root
                .into_iter()
                .find(|root| root.join("cgroup.procs").exists())?;
            let path = root.join(format!(
                "fragment-cgroup-test-{name}-{}",
                std::process::id()
            ));
            fs::create_dir(&path).ok()?;
            Some(Self(path))
        }
    }

    impl Drop for Own {
        fn drop(&mut self) {
            let _ = fs::remove_dir(&self.0);
        }
    }

    fn reads(cgroup: &Own, device: &str) -> bool {
        let script = format!(
            "echo $$ > {}/cgroup.procs && : < {device}",
            cgroup.0.display()
        );
        let output = Command::new("sh").args(["-c", &script]).output().unwrap();
        output.status.success()
    }

    #[test]
    fn a_device_program_refuses_and_is_replaced_without_cap_sys_resource() {
        let Some(cgroup) = Own::new("devices") else {
            println!("skipped: no cgroup v2 hierarchy that can be written");
            return;
        };
        match attach_program(&cgroup.0, &allowed("[]").unwrap()) {
            Err(CgroupError::DeviceProgram { source, .. })
                if source.0.kind() == std::io::ErrorKind::PermissionDenied =>
            {
                println!("skipped: bpf(2) is not permitted here");
                return;
            }
            other => other.unwrap(),
        }
        assert!(reads(&cgroup, "/dev/zero"));
        assert!(!reads(&cgroup, "/dev/kmsg"));
        let more = r#"[{"allow":true,"type":"c","major":1,"minor":11,"access":"r"}]"#;
        attach_program(&cgroup.0, &allowed(more).unwrap()).unwrap();
        assert!(reads(&cgroup, "/dev/kmsg"));
        attach_program(&cgroup.0, &allowed("[]").unwrap()).unwrap();
        assert!(!reads(&cgroup, "/dev/kmsg"));
    }
}
