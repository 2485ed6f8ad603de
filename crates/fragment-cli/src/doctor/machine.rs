//! Where findings are read: this machine, or a root filesystem of another.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// Directories of programs.
const PROGRAMS: [&str; 7] = [
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
    "/opt/bin",
];

/// See the module.
#[derive(Debug)]
pub(crate) struct Machine {
    root: PathBuf,
    /// Whether the caller has no rights over the machine.
    pub(crate) is_rootless: bool,
    /// The caller's directory of configurations, as a path of the machine.
    pub(crate) configurations: Option<PathBuf>,
}

impl Machine {
    /// The machine whose root filesystem is at `root`, seen by the caller.
    pub(crate) fn new(root: PathBuf) -> Self {
        let directory = |name: &str| {
            std::env::var_os(name)
                .map(PathBuf::from)
                .filter(|path| path.is_absolute())
        };
        Self {
            root,
            is_rootless: fragment::settings::is_rootless(),
            configurations: directory("XDG_CONFIG_HOME")
                .or_else(|| directory("HOME").map(|home| home.join(".config"))),
        }
    }

    /// Whether it is the one that runs.
    pub(crate) fn is_this(&self) -> bool {
        self.root == Path::new("/")
    }

    /// Where a path of the machine lies.
    pub(crate) fn place(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// A file's text; `None` when there is none.
    pub(crate) fn read(&self, path: impl AsRef<Path>) -> io::Result<Option<String>> {
        match fs::read(self.place(path)) {
            Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// A short file of the kernel's, without the end of the line; `None` when it cannot be read.
    pub(crate) fn setting(&self, path: &str) -> Option<String> {
        let text = self.read(path).ok().flatten()?;
        Some(text.trim().to_owned())
    }

    /// The same as a number.
    pub(crate) fn number(&self, path: &str) -> Option<u64> {
        self.setting(path)?.parse().ok()
    }

    /// Whether the path exists.
    pub(crate) fn has(&self, path: impl AsRef<Path>) -> bool {
        self.place(path).exists()
    }

    /// Paths of the files in a directory whose name ends so, sorted.
    pub(crate) fn files(&self, directory: impl AsRef<Path>, ending: &str) -> Vec<PathBuf> {
        let directory = directory.as_ref();
        let entries = fs::read_dir(self.place(directory)).into_iter().flatten();
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut paths: Vec<_> = names
            .filter(|name| name.ends_with(ending))
            .map(|name| directory.join(name))
            .collect();
        paths.sort();
        paths
    }

    /// Whether there is a program of this name where programs are.
    pub(crate) fn has_program(&self, name: &str) -> bool {
        PROGRAMS
            .iter()
            .any(|directory| self.is_program(&Path::new(directory).join(name)))
    }

    /// Whether `path` is a file that can be executed; a name without a directory is looked for where programs are.
    pub(crate) fn is_program(&self, path: &Path) -> bool {
        if !path.is_absolute() {
            return path.to_str().is_some_and(|name| self.has_program(name));
        }
        fs::metadata(self.place(path))
            .is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
    }
}
