//! A bundle as the caller gave it: a directory with `config.json`.

use std::fs::File;
use std::io::{self, BufReader, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use fragment_sys::file;
use libcontainer::oci_spec::runtime::{Capability, Spec};
use rustix::fs::MemfdFlags;
use serde::de::DeserializeOwned;
use serde_json::Value;
use thiserror::Error;

use crate::specification::names;

/// Larger than any real config.json (docker's are about 20 KB), small enough to read whole.
const LARGEST_CONFIG: u64 = 16 << 20;

/// The caller's bundle, read once.
#[derive(Debug, Clone)]
pub struct Bundle {
    /// The bundle's directory, absolute and without symlinks.
    pub dir: PathBuf,
    /// What `config.json` says, as written there.
    pub spec: Spec,
}

/// Why a bundle cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BundleError {
    /// The directory is not there or cannot be entered.
    #[error("bundle {path}", path = .path.display())]
    Directory {
        /// As given.
        path: PathBuf,
        /// The errno.
        #[source]
        source: io::Error,
    },
    /// config.json cannot be read.
    #[error("JSON specification file {path}", path = .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The errno.
        #[source]
        source: io::Error,
    },
    /// There is no config.json.
    #[error("JSON specification file config.json not found in {dir}", dir = .dir.display())]
    Missing {
        /// The bundle.
        dir: PathBuf,
    },
    /// config.json is larger than any specification.
    #[error("{path} is larger than {LARGEST_CONFIG} bytes: not an OCI runtime specification", path = .path.display())]
    Size {
        /// The file.
        path: PathBuf,
    },
    /// config.json is not JSON or not a specification; the source names line, column and key.
    #[error("{path}: {key}", path = .path.display(), key = .key.as_deref().unwrap_or("not valid JSON"))]
    Parse {
        /// The file.
        path: PathBuf,
        /// The key the problem lies under, as `process.user.uid`; `None` for broken JSON.
        key: Option<String>,
        /// What is wrong, with line and column.
        #[source]
        source: serde_json::Error,
    },
    /// config.json names no root filesystem.
    #[error("{dir}/config.json: root.path is missing: name the directory of the root filesystem", dir = .dir.display())]
    NoRootfs {
        /// The bundle.
        dir: PathBuf,
    },
}

impl Bundle {
    /// Reads the bundle in `dir`.
    ///
    /// # Errors
    /// Names the file, the line and column, and the key.
    pub fn load(dir: impl AsRef<Path>) -> Result<Self, BundleError> {
        let _span = tracing::debug_span!("bundle").entered();
        let dir = dir.as_ref();
        let dir = dir
            .canonicalize()
            .map_err(|source| BundleError::Directory {
                path: dir.to_owned(),
                source,
            })?;
        let path = dir.join("config.json");
        let text = read(&path).map_err(|error| match error {
            BundleError::Read { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                BundleError::Missing { dir: dir.clone() }
            }
            other => other,
        })?;
        let spec = match read_as(&text) {
            Ok(spec) if !names::is_respelled(&text) => spec,
            read => match (adapted(&text), read) {
                (Some(spec), _) | (None, Ok(spec)) => spec,
                (None, Err(error)) => {
                    return Err(BundleError::Parse {
                        key: key_at(&text, error.line(), error.column()),
                        path,
                        source: error,
                    });
                }
            },
        };
        Ok(Self { dir, spec })
    }

    /// The rootfs named by the specification, absolute; `None` when it names none.
    #[must_use]
    pub fn rootfs(&self) -> Option<PathBuf> {
        self.spec
            .root()
            .as_ref()
            .map(|root| self.dir.join(root.path()))
    }

    /// The same for those who cannot do without.
    ///
    /// # Errors
    /// [`BundleError::NoRootfs`].
    pub fn required_rootfs(&self) -> Result<PathBuf, BundleError> {
        let dir = || self.dir.clone();
        self.rootfs()
            .ok_or_else(|| BundleError::NoRootfs { dir: dir() })
    }
}

/// A specification that is one, though not for its reader here: `None` when it is not readable then either.
fn adapted(text: &[u8]) -> Option<Spec> {
    let mut document: Value = serde_json::from_slice(text).ok()?;
    names::respell(&mut document);
    if let Some(process) = document.get_mut("process") {
        adapt_process(process);
    }
    read_as(document.to_string().as_bytes()).ok()
}

/// Reads a specification, or a part of one, as libcontainer does: from a file. The code that reads all of one is long, and there would be
/// another for each other kind of source.
///
/// # Errors
/// When it is no JSON or not what is wanted, or no file can be made.
pub fn read_as<T: DeserializeOwned>(text: &[u8]) -> serde_json::Result<T> {
    let file = rustix::fs::memfd_create("fragment-text", MemfdFlags::CLOEXEC)
        .map_err(io::Error::from)
        .map(File::from)
        .and_then(|mut file| {
            file.write_all(text)?;
            file.rewind()?;
            Ok(file)
        })
        .map_err(serde_json::Error::io)?;
    serde_json::from_reader(BufReader::new(file))
}

/// Puts a process into the form oci-spec reads:
///
/// * the user may be missing and is root then, as for Go's reader;
/// * capabilities that are not known are warned of and no error (config.md, "capabilities");
/// * two flags of the scheduler have other names in the specification (config.md, "scheduler").
pub fn adapt_process(process: &mut Value) {
    let Some(process) = process.as_object_mut() else {
        return;
    };
    process
        .entry("user")
        .or_insert_with(|| serde_json::json!({ "uid": 0, "gid": 0 }));
    if let Some(sets) = process
        .get_mut("capabilities")
        .and_then(Value::as_object_mut)
    {
        for (set, names) in sets {
            let Some(names) = names.as_array_mut() else {
                continue;
            };
            names.retain(|name| {
                let known = serde_json::from_value::<Capability>(name.clone()).is_ok();
                if !known {
                    tracing::warn!(
                        "ignoring unknown capability {name} in process.capabilities.{set}"
                    );
                }
                known
            });
        }
    }
    let flags = process
        .get_mut("scheduler")
        .and_then(|scheduler| scheduler.get_mut("flags"));
    for flag in flags.and_then(Value::as_array_mut).into_iter().flatten() {
        match flag.as_str() {
            Some("SCHED_FLAG_RESET_ON_FORK") => *flag = "SCHED_RESET_ON_FORK".into(),
            Some("SCHED_FLAG_DL_OVERRUN") => *flag = "SCHED_FLAG_D_L_OVERRUN".into(),
            _ => {}
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, BundleError> {
    let fail = |source| BundleError::Read {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(fail)?;
    let text = file::read_at_most(file, LARGEST_CONFIG + 1).map_err(fail)?;
    if text.len() as u64 > LARGEST_CONFIG {
        return Err(BundleError::Size {
            path: path.to_owned(),
        });
    }
    Ok(text)
}

/// The dotted key that encloses a position of a JSON text: serde names line and column, people look for the key.
fn key_at(text: &[u8], line: usize, column: usize) -> Option<String> {
    if serde_json::from_slice::<serde::de::IgnoredAny>(text).is_err() {
        return None;
    }
    let before = text
        .split_inclusive(|byte| *byte == b'\n')
        .take(line.saturating_sub(1))
        .map(<[u8]>::len)
        .sum::<usize>();
    let end = (before + column).min(text.len());
    let mut levels: Vec<Level> = Vec::new();
    let mut position = 0;
    while position < end {
        match text[position] {
            b'{' => levels.push(Level::Object(None)),
            b'[' => levels.push(Level::Array(0)),
            b'}' | b']' if position + 1 < end => {
                levels.pop();
            }
            b',' => {
                if let Some(Level::Array(index)) = levels.last_mut() {
                    *index += 1;
                }
            }
            b'"' => {
                let (string, after) = string_at(text, position);
                let is_key = names::is_value_next(&text[after..]);
                if let (true, Some(Level::Object(key))) = (is_key, levels.last_mut()) {
                    *key = Some(string);
                }
                position = after;
                continue;
            }
            _ => {}
        }
        position += 1;
    }
    let path: Vec<String> = levels.iter().filter_map(Level::name).collect();
    (!path.is_empty()).then(|| path.join("."))
}

enum Level {
    Object(Option<String>),
    Array(usize),
}

impl Level {
    fn name(&self) -> Option<String> {
        match self {
            Self::Object(key) => key.clone(),
            Self::Array(index) => Some(index.to_string()),
        }
    }
}

/// The string that starts at `position` and where it ends.
fn string_at(text: &[u8], position: usize) -> (String, usize) {
    let rest = &text[position + 1..];
    let length = names::end_of_string(rest).unwrap_or(rest.len());
    (
        String::from_utf8_lossy(&rest[..length]).into_owned(),
        (position + 1 + length + 1).min(text.len()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(config: &str) -> Result<Bundle, BundleError> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("config.json"), config).unwrap();
        Bundle::load(dir.path())
    }

    #[test]
    fn a_wrong_type_names_the_key_and_the_line() {
        let config = "{\n \"ociVersion\": \"1.0.2\",\n \"process\": {\"cwd\": \"/\", \"user\": {\"uid\": \"x\", \"gid\": 0}}\n}";
        let Err(error) = load(config) else {
            panic!("accepted")
        };
        assert!(
            error.to_string().ends_with("config.json: process.user.uid"),
            "{error}"
        );
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(source.contains("line 3"), "{source}");
    }

    #[test]
    fn what_the_specification_names_otherwise_is_read() {
        let config = r#"{"ociVersion":"1.2.0","process":{"cwd":"/","args":["x"],
            "capabilities":{"bounding":["CAP_KILL","CAP_NOSUCH"]},
            "scheduler":{"policy":"SCHED_RR","flags":["SCHED_FLAG_RESET_ON_FORK","SCHED_FLAG_DL_OVERRUN"]}}}"#;
        let bundle = load(config).unwrap();
        let process = bundle.spec.process().as_ref().unwrap();
        assert_eq!(process.user().uid(), 0);
        let scheduler = process.scheduler().as_ref().unwrap();
        assert_eq!(scheduler.flags().as_ref().unwrap().len(), 2);
    }

    #[test]
    fn names_in_another_case_are_read() {
        let config = r#"{"ociVersion":"1.2.0","Linux":{"resources":{"CPU":{"Cpus":"0"}}}}"#;
        let bundle = load(config).unwrap();
        let linux = bundle.spec.linux().as_ref().unwrap();
        let cpu = linux.resources().as_ref().unwrap().cpu().clone();
        assert_eq!(cpu.unwrap().cpus().as_deref(), Some("0"));
    }

    #[test]
    fn array_elements_are_counted() {
        let config =
            "{\"ociVersion\":\"1.0.2\",\"mounts\":[{\"destination\":\"/a\"},{\"destination\":7}]}";
        let Err(error) = load(config) else {
            panic!("accepted")
        };
        assert!(
            error.to_string().ends_with("mounts.1.destination"),
            "{error}"
        );
    }

    #[test]
    fn broken_json_says_so() {
        let Err(error) = load("{\"ociVersion\": ") else {
            panic!("accepted")
        };
        assert!(error.to_string().ends_with("not valid JSON"), "{error}");
    }

    #[test]
    fn a_missing_file_and_a_missing_directory_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(
            Bundle::load(dir.path()),
            Err(BundleError::Missing { .. })
        ));
        assert!(matches!(
            Bundle::load(dir.path().join("no")),
            Err(BundleError::Directory { .. })
        ));
    }
}
