//! A plan: which file gets which value, in which order. Making one changes nothing and needs no rights.

use std::path::{Path, PathBuf};

use fragment_sys::file;
use rustix::io::Errno as Code;

use crate::error::{CgroupError, Errno};
use crate::group::{read, write, write_raw};

/// One value for one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// pids, memory, …: names the directory on v1.
    pub controller: &'static str,
    /// The file's name.
    pub file: String,
    /// What is written.
    pub value: String,
    /// What is special about it.
    pub(crate) care: Care,
}

/// What a write needs beyond being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Care {
    None,
    /// The kernel rounds silently: read it back.
    ReadBack,
    /// EINVAL is fine: it is written once more after what stood in its way.
    First,
    /// Not written when the first attempt succeeded.
    Again,
    /// EBUSY means that more is in use.
    Usage,
    /// A file that is not there is no error: the setting means "none of it".
    Optional,
    /// A key of the unified map.
    Unified,
}

impl Write {
    pub(crate) fn new(
        controller: &'static str,
        file: impl Into<String>,
        value: impl ToString,
    ) -> Self {
        Self {
            controller,
            file: file.into(),
            value: value.to_string(),
            care: Care::None,
        }
    }

    pub(crate) fn with(mut self, care: Care) -> Self {
        self.care = care;
        self
    }

    /// Whether it would keep the runtime from setting the container up, whose processes are in the cgroup by then: less memory
    /// or fewer processes than that takes are the program's problem, and so is time. runc too writes limits when its init
    /// waits.
    #[must_use]
    pub fn is_late(&self) -> bool {
        matches!(self.controller, "memory" | "pids" | "cpu" | "unified")
    }
}

/// What a plan depends on besides the limits: files of the cgroup.
pub(crate) trait View {
    /// Whether the controller's directory has the file.
    fn has(&self, controller: &str, file: &str) -> bool;
    /// What it holds.
    fn text(&self, controller: &str, file: &str) -> Option<String>;
}

/// Does the writes of a plan. `directory` says where a controller is.
pub(crate) fn carry_out(
    writes: &[Write],
    directory: impl Fn(&'static str) -> Option<PathBuf>,
) -> Result<(), CgroupError> {
    let mut taken: Vec<&str> = Vec::new();
    for one in writes {
        let Some(directory) = directory(one.controller) else {
            return Err(CgroupError::NoController {
                controller: one.controller,
            });
        };
        match one.care {
            Care::Again if taken.contains(&one.file.as_str()) => {}
            Care::First if attempt(&directory, one)? => taken.push(&one.file),
            Care::First => {}
            _ => carefully(&directory, one)?,
        }
    }
    Ok(())
}

/// `false` when the kernel calls it invalid as things are.
fn attempt(directory: &Path, one: &Write) -> Result<bool, CgroupError> {
    let path = directory.join(&one.file);
    match write_raw(&path, &one.value) {
        Ok(()) => Ok(true),
        Err(error) if error.raw_os_error() == Some(Code::INVAL.raw_os_error()) => Ok(false),
        Err(error) => Err(CgroupError::write(&path, &one.value, error)),
    }
}

fn carefully(directory: &Path, one: &Write) -> Result<(), CgroupError> {
    let path = directory.join(&one.file);
    match one.care {
        Care::ReadBack => {
            write(&path, &one.value)?;
            read_back(&path, &one.value)
        }
        Care::Usage => write_raw(&path, &one.value).map_err(|error| {
            if error.raw_os_error() == Some(Code::BUSY.raw_os_error()) {
                in_use(directory, &one.value)
            } else {
                CgroupError::write(&path, &one.value, error)
            }
        }),
        Care::Optional => match write_raw(&path, &one.value) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(CgroupError::write(&path, &one.value, error)),
            Ok(()) => Ok(()),
        },
        Care::Unified => unified(directory, one),
        Care::None | Care::First | Care::Again => write(&path, &one.value),
    }
}

fn read_back(path: &Path, wanted: &str) -> Result<(), CgroupError> {
    let number = |text: &str| text.trim().parse::<u64>().unwrap_or_default();
    let (wanted, set) = (number(wanted), number(&read(path)?));
    let which = match wanted.cmp(&set) {
        std::cmp::Ordering::Equal => return Ok(()),
        std::cmp::Ordering::Less => "minimum",
        std::cmp::Ordering::Greater => "maximum",
    };
    Err(CgroupError::Shares { which, limit: set })
}

fn in_use(directory: &Path, limit: &str) -> CgroupError {
    let number = |file: &str| {
        let text = file::read_text(directory.join(file)).unwrap_or_default();
        text.trim().parse().unwrap_or_default()
    };
    CgroupError::MemoryInUse {
        limit: limit.to_owned(),
        usage: number("memory.usage_in_bytes"),
        peak: number("memory.max_usage_in_bytes"),
    }
}

fn unified(directory: &Path, one: &Write) -> Result<(), CgroupError> {
    let key = one.file.clone();
    let Err(error) = write_raw(&directory.join(&key), &one.value) else {
        return Ok(());
    };
    let missing = matches!(
        error.kind(),
        std::io::ErrorKind::NotFound | std::io::ErrorKind::PermissionDenied
    );
    if missing {
        let Some((controller, _)) = key.split_once('.') else {
            return Err(CgroupError::UnifiedForm(key));
        };
        let available = file::read_text(directory.join("cgroup.controllers"));
        let available = available.unwrap_or_default();
        if controller != "cgroup" && !available.split_whitespace().any(|name| name == controller) {
            let controller = controller.to_owned();
            return Err(CgroupError::UnifiedController { key, controller });
        }
    }
    Err(CgroupError::Unified {
        key,
        source: Errno(error),
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;
    use std::fs;

    use super::*;

    /// A cgroup that exists on paper.
    #[derive(Default)]
    pub(crate) struct Paper(pub(crate) BTreeMap<&'static str, &'static str>);

    impl View for Paper {
        fn has(&self, _: &str, file: &str) -> bool {
            self.0.contains_key(file)
        }

        fn text(&self, _: &str, file: &str) -> Option<String> {
            self.0.get(file).map(|text| (*text).to_owned())
        }
    }

    /// Pairs of file and value.
    pub(crate) fn pairs(writes: &[Write]) -> Vec<(&str, &str)> {
        (writes.iter())
            .map(|one| (one.file.as_str(), one.value.as_str()))
            .collect()
    }

    #[test]
    fn a_limit_without_a_controller_names_it() {
        let error = carry_out(&[Write::new("pids", "pids.max", 5)], |_| None).unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot set pids limit: container could not join or create cgroup"
        );
    }

    #[test]
    fn keys_of_the_unified_map_are_explained() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("cgroup.controllers"), "cpu memory\n").unwrap();
        let told = |key: &str| {
            let writes = [Write::new("unified", key, "1").with(Care::Unified)];
            carry_out(&writes, |_| Some(dir.path().to_owned()))
                .unwrap_err()
                .to_string()
        };
        assert_eq!(
            told("foo.bar"),
            "unified resource \"foo.bar\" can't be set: controller \"foo\" not available"
        );
        assert_eq!(
            told("nokey"),
            "unified resource \"nokey\" must be in the form CONTROLLER.PARAMETER"
        );
        assert_eq!(
            told("memory.none"),
            "unable to set unified resource \"memory.none\""
        );
    }

    #[test]
    fn what_was_taken_at_first_is_not_written_again() {
        let dir = tempfile::tempdir().unwrap();
        for file in ["period", "quota"] {
            fs::write(dir.path().join(file), "").unwrap();
        }
        let writes = [
            Write::new("cpu", "period", "1").with(Care::First),
            Write::new("cpu", "quota", "2"),
            Write::new("cpu", "period", "3").with(Care::Again),
        ];
        carry_out(&writes, |_| Some(dir.path().to_owned())).unwrap();
        assert_eq!(fs::read_to_string(dir.path().join("period")).unwrap(), "1");
    }
}
