//! What a composition leaves on the host, and its removal.
//!
//! Names are decided before anything is made: a caller that stores the [`Residue`] first can remove everything after a
//! crash at any point, and as often as it likes.

use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::ComposeError;
use crate::mounting::OverlayMount;

/// Start of the name of a work directory in a bundle.
pub const WORK_PREFIX: &str = ".fragment-work-";
/// Name of the directory below the scratch directory that holds everything else.
pub const SCRATCH_NAME: &str = "overlay";

/// What a composition makes or changes on the host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Residue {
    /// The work directory beside a rootfs that is the upper directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub work: Option<PathBuf>,
    /// Directory for links, and for upper and work where the rootfs is not the upper directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scratch: Option<PathBuf>,
    /// The engine's overlay that another takes the place of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaced: Option<OverlayMount>,
    /// Where an overlay lies until the container is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hosted: Option<PathBuf>,
    /// Where the engine's overlay lies whose upper directory another one changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refreshed: Option<PathBuf>,
}

impl Residue {
    /// Whether nothing is ever made.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.work.is_none() && self.scratch.is_none()
    }
}

/// Removes what a composition made; what is not there is no error. The container has to be gone: its overlay may still
/// use the directories.
///
/// # Errors
/// When something cannot be removed, or has no name that a composition gives.
pub fn cleanup(residue: &Residue) -> Result<(), ComposeError> {
    // both are tried before an error is told
    let work = residue
        .work
        .as_deref()
        .map_or(Ok(()), |path| remove(path, WORK_PREFIX));
    let scratch = residue
        .scratch
        .as_deref()
        .map_or(Ok(()), |path| remove(path, SCRATCH_NAME));
    work.and(scratch)
}

/// Removes the tree at `path`, whose name has to start with `prefix`: a damaged record must not cost anybody's files. No
/// link is followed.
fn remove(path: &Path, prefix: &str) -> Result<(), ComposeError> {
    let failed = |source| ComposeError::Remove {
        path: path.to_path_buf(),
        source,
    };
    let ours = path
        .file_name()
        .and_then(|name| name.to_str())
        .is_some_and(|name| name.starts_with(prefix));
    if !ours || !path.is_absolute() {
        return Err(failed(std::io::Error::new(
            ErrorKind::InvalidInput,
            "not the name of a directory that a composition makes",
        )));
    }
    match path.symlink_metadata() {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
        Ok(metadata) if !metadata.is_dir() => return std::fs::remove_file(path).map_err(failed),
        Ok(_) => {}
    }
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            open_up(path);
            std::fs::remove_dir_all(path).map_err(failed)
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other.map_err(failed),
    }
}

/// The kernel makes `work` and `index` in the work directory with mode 000 (`ovl_workdir_create` in
/// fs/overlayfs/super.c): their owner cannot even list them unless it is root.
fn open_up(path: &Path) {
    for directory in [path.to_path_buf(), path.join("work")] {
        for name in ["work", "index"] {
            let inner = directory.join(name);
            if inner
                .symlink_metadata()
                .is_ok_and(|metadata| metadata.is_dir())
            {
                // if it does not work, the removal that follows tells why
                let _ = std::fs::set_permissions(&inner, std::fs::Permissions::from_mode(0o700));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Residue, cleanup};

    #[test]
    fn cleaning_up_is_idempotent_and_follows_no_link() {
        let directory = tempfile::tempdir().unwrap();
        let outside = directory.path().join("outside");
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("file"), "kept").unwrap();
        let work = directory.path().join(".fragment-work-x");
        std::fs::create_dir_all(work.join("work")).unwrap();
        std::os::unix::fs::symlink(&outside, work.join("work/link")).unwrap();
        let scratch = directory.path().join("overlay");
        std::os::unix::fs::symlink(&outside, &scratch).unwrap();
        let residue = Residue {
            work: Some(work.clone()),
            scratch: Some(scratch.clone()),
            ..Residue::default()
        };
        for _ in 0..2 {
            cleanup(&residue).unwrap();
            assert!(!work.exists() && scratch.symlink_metadata().is_err());
        }
        assert_eq!(
            std::fs::read_to_string(outside.join("file")).unwrap(),
            "kept"
        );
    }

    #[test]
    fn what_does_not_bear_our_name_is_not_removed() {
        let directory = tempfile::tempdir().unwrap();
        let precious = directory.path().join("precious");
        std::fs::create_dir(&precious).unwrap();
        for residue in [
            Residue {
                work: Some(precious.clone()),
                scratch: None,
                ..Residue::default()
            },
            Residue {
                work: None,
                scratch: Some(precious.clone()),
                ..Residue::default()
            },
            Residue {
                work: Some("/".into()),
                scratch: None,
                ..Residue::default()
            },
            Residue {
                work: Some(".fragment-work-relative".into()),
                scratch: None,
                ..Residue::default()
            },
        ] {
            assert!(cleanup(&residue).is_err(), "{residue:?}");
        }
        assert!(precious.exists());
    }

    #[test]
    fn a_record_can_be_stored() {
        let residue = Residue {
            work: Some("/b/.fragment-work-x".into()),
            scratch: None,
            ..Residue::default()
        };
        let text = serde_json::to_string(&residue).unwrap();
        assert_eq!(text, r#"{"work":"/b/.fragment-work-x"}"#);
        assert_eq!(serde_json::from_str::<Residue>(&text).unwrap(), residue);
        assert!(serde_json::from_str::<Residue>("{}").unwrap().is_empty());
    }
}
