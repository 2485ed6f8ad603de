//! What is to be run.

/// `PATH` of a container whose environment has none, as the OCI engines set it.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The process of a container: the part of config.json that analysis reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// Command and arguments.
    pub argv: Vec<String>,
    /// Environment, `NAME=VALUE`.
    pub env: Vec<String>,
    /// Working directory inside the container.
    pub cwd: String,
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Whether its standard streams are a terminal.
    pub terminal: bool,
}

impl Task {
    /// Value of an environment variable; of several the last, which is the one runc keeps.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.env
            .iter()
            .rev()
            .find_map(|entry| entry.strip_prefix(name)?.strip_prefix('='))
    }

    /// Directories that are searched for commands, absolute, in order.
    #[must_use]
    pub fn path_directories(&self) -> Vec<String> {
        self.variable("PATH")
            .unwrap_or(DEFAULT_PATH)
            .split(':')
            .map(|dir| self.absolute(dir))
            .collect()
    }

    /// `path` as seen from the working directory.
    #[must_use]
    pub fn absolute(&self, path: &str) -> String {
        match (path, self.cwd.trim_end_matches('/')) {
            (path, _) if path.starts_with('/') => path.to_owned(),
            ("", cwd) => format!("/{}", cwd.trim_start_matches('/')),
            (path, cwd) => {
                format!("/{}/{path}", cwd.trim_start_matches('/')).replacen("//", "/", 1)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Task;

    #[test]
    fn paths_are_seen_from_the_working_directory() {
        let task = |cwd: &str| Task {
            argv: vec![],
            env: vec![
                "A=1".into(),
                "A=2".into(),
                "AB=3".into(),
                "PATH=/x::bin".into(),
            ],
            cwd: cwd.into(),
            uid: 0,
            gid: 0,
            terminal: false,
        };
        for (cwd, path, expected) in [
            ("/", "x", "/x"),
            ("", "x", "/x"),
            ("/app", "./x", "/app/./x"),
            ("/app/", "x/y", "/app/x/y"),
            ("/app", "/x", "/x"),
            ("/app", "", "/app"),
            ("/", "", "/"),
        ] {
            assert_eq!(task(cwd).absolute(path), expected, "{cwd} {path}");
        }
        assert_eq!(task("/").variable("A"), Some("2"));
        assert_eq!(task("/").variable("B"), None);
        assert_eq!(task("/w").path_directories(), ["/x", "/w", "/w/bin"]);
    }
}
