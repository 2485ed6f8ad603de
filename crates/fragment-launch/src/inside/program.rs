//! Which file a command names, by runc's rules and in runc's words: engines turn the words into exit codes.

use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD};
use rustix::io::Errno;
use thiserror::Error;

/// Why a command cannot be executed.
#[derive(Debug, PartialEq, Eq, Error)]
pub(crate) enum ProgramError {
    #[error("exec: {0:?}: executable file not found in $PATH")]
    NotInPath(String),
    #[error("exec: {0:?}: stat {0}: no such file or directory")]
    Missing(String),
    #[error("exec: {0:?}: stat {0}: not a directory")]
    BelowFile(String),
    #[error("exec: {0:?}: permission denied")]
    Permission(String),
    #[error("exec: {0:?}: is a directory: permission denied")]
    Directory(String),
    #[error("exec: {0:?}: {1}")]
    Other(String, Errno),
}

/// The file `command` names: itself when it holds a slash, else the first executable of that name in `path`.
///
/// An absolute command needs no PATH at all: images without any environment are common (Kubernetes' pause).
pub(crate) fn find(command: &str, path: Option<&str>) -> Result<PathBuf, ProgramError> {
    if command.contains('/') {
        let file = PathBuf::from(command);
        return match executable(&file) {
            Ok(()) => Ok(file),
            Err(Errno::NOENT) => Err(ProgramError::Missing(command.to_owned())),
            Err(Errno::NOTDIR) => Err(ProgramError::BelowFile(command.to_owned())),
            Err(Errno::ACCESS) => Err(ProgramError::Permission(command.to_owned())),
            Err(Errno::ISDIR) => Err(ProgramError::Directory(command.to_owned())),
            Err(errno) => Err(ProgramError::Other(command.to_owned(), errno)),
        };
    }
    if command.is_empty() {
        return Err(ProgramError::NotInPath(String::new()));
    }
    let directories = path
        .unwrap_or_default()
        .split(':')
        .filter(|_| path.is_some());
    directories
        .map(|directory| {
            Path::new(if directory.is_empty() { "." } else { directory }).join(command)
        })
        .find(|file| executable(file).is_ok())
        .ok_or_else(|| ProgramError::NotInPath(command.to_owned()))
}

/// Whether execve(2) would get past the permission checks, for the user and capabilities of now: a file of mode 0700 is
/// executable for its owner.
fn executable(file: &Path) -> Result<(), Errno> {
    let status = rustix::fs::stat(file)?;
    match rustix::fs::FileType::from_raw_mode(status.st_mode) {
        rustix::fs::FileType::Directory => return Err(Errno::ISDIR),
        rustix::fs::FileType::RegularFile => {}
        _ => return Err(Errno::ACCESS),
    }
    match rustix::fs::accessat(CWD, file, Access::EXEC_OK, AtFlags::EACCESS) {
        // faccessat2(2) is Linux 5.8 and may be filtered; the bits then have to do
        Err(Errno::NOSYS | Errno::PERM | Errno::INVAL) if status.st_mode & 0o111 != 0 => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn directory() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, mode) in [("run", 0o755), ("own", 0o700), ("data", 0o644)] {
            let file = dir.path().join(name);
            std::fs::write(&file, "").unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        }
        std::fs::create_dir(dir.path().join("dir")).unwrap();
        dir
    }

    #[test]
    fn an_absolute_command_needs_no_path() {
        let dir = directory();
        let command = dir.path().join("run");
        assert_eq!(find(command.to_str().unwrap(), None), Ok(command));
    }

    #[test]
    fn mode_0700_is_executable_for_its_owner() {
        let dir = directory();
        assert!(find("own", dir.path().to_str()).is_ok());
    }

    #[test]
    fn runc_s_words() {
        let dir = directory();
        let path = dir.path().to_str();
        let text = |command: &str, path| find(command, path).unwrap_err().to_string();
        assert_eq!(
            text("no", path),
            "exec: \"no\": executable file not found in $PATH"
        );
        assert_eq!(
            text("run", None),
            "exec: \"run\": executable file not found in $PATH"
        );
        assert_eq!(
            text("data", path),
            "exec: \"data\": executable file not found in $PATH"
        );
        assert_eq!(
            text("/no/x", path),
            "exec: \"/no/x\": stat /no/x: no such file or directory"
        );
        let data = dir.path().join("data");
        assert!(text(data.to_str().unwrap(), None).ends_with("permission denied"));
        let sub = dir.path().join("dir");
        assert!(text(sub.to_str().unwrap(), None).ends_with("is a directory: permission denied"));
    }
}
