//! `fragment.yaml`: what the administrator of a node, or a user for containers of their own, wants of every composition.

use std::ffi::OsString;
use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use super::document::{Content, Document, DocumentError, Entry, LIMIT};
use super::{ControlError, Wishes, environment};

/// The configuration of the node.
pub const NODE: &str = "/etc/fragment/fragment.yaml";

/// A user's configuration, below `$XDG_CONFIG_HOME` or `~/.config`.
const USER: &str = "fragment/fragment.yaml";

const KEYS: &str = "store, state, compose, components, exclude, require, min_grade or lock_policy";

/// What one file says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Configuration {
    /// Directory of the component library.
    pub store: Option<PathBuf>,
    /// State directory of `fragment run`.
    pub state: Option<PathBuf>,
    /// Whether a composition without a lock is refused.
    pub lock_required: Option<bool>,
    /// What to compose.
    pub wishes: Wishes,
}

/// Files to read, strongest first, and whether each has to exist: the one that `FRAGMENT_CONFIG` names and no other; or those
/// of the user, unless that is root, and of the node.
#[must_use]
pub fn files(
    variable: &impl Fn(&str) -> Option<OsString>,
    is_rootless: bool,
) -> Vec<(PathBuf, bool)> {
    if let Some(file) = environment::set(variable, environment::CONFIG) {
        return vec![(file.into(), true)];
    }
    // a relative path is to be ignored (XDG Base Directory Specification)
    let directory = |name: &str| {
        environment::set(variable, name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let base = directory("XDG_CONFIG_HOME")
        .or_else(|| directory("HOME").map(|home| home.join(".config")))
        .filter(|_| is_rootless);
    let user = base.map(|base| (base.join(USER), false));
    user.into_iter()
        .chain([(PathBuf::from(NODE), false)])
        .collect()
}

/// Reads the configuration `path`; `None` when there is none.
///
/// # Errors
/// [`ControlError`] when it cannot be read or followed.
pub fn load(path: &Path) -> Result<Option<Configuration>, ControlError> {
    let read = |source| ControlError::Read {
        path: path.to_owned(),
        source,
    };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(read(error)),
    };
    let mut bytes = Vec::new();
    file.take(LIMIT as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(read)?;
    Ok(Some(parse(&path.to_string_lossy(), &bytes)?))
}

/// Reads a document; `file` is for messages.
///
/// # Errors
/// [`DocumentError`] that names key, value, file and line.
pub fn parse(file: &str, bytes: &[u8]) -> Result<Configuration, DocumentError> {
    let document = Document::parse(file, bytes)?;
    let mut configuration = Configuration::default();
    for entry in &document.entries {
        let is_null = entry.value.content == Content::Null;
        match entry.key.as_str() {
            "store" | "state" | "lock_policy" if is_null => {}
            "store" => configuration.store = Some(directory(&document, entry)?),
            "state" => configuration.state = Some(directory(&document, entry)?),
            "lock_policy" => configuration.lock_required = Some(lock_policy(&document, entry)?),
            _ if document.wish(&mut configuration.wishes, entry)? => {}
            _ => return Err(document.unknown(entry, KEYS)),
        }
    }
    Ok(configuration)
}

fn directory(document: &Document, entry: &Entry) -> Result<PathBuf, DocumentError> {
    let text = document.text(entry)?;
    if Path::new(text).is_absolute() {
        Ok(text.into())
    } else {
        Err(document.invalid(entry.value.line, &entry.key, text, &"an absolute path"))
    }
}

fn lock_policy(document: &Document, entry: &Entry) -> Result<bool, DocumentError> {
    match document.text(entry)? {
        "optional" => Ok(false),
        "required" => Ok(true),
        other => {
            Err(document.invalid(entry.value.line, &entry.key, other, &"optional or required"))
        }
    }
}

#[cfg(test)]
mod tests {
    use fragment_resolve::Compose;

    use super::*;

    #[test]
    fn every_key_is_read() {
        let text = "store: /srv/library\nstate: /run/x\ncompose: always\ncomponents: [bash]\nexclude: [curl]\nrequire: [tcp_listen]\nlock_policy: required\n";
        let read = parse("fragment.yaml", text.as_bytes()).unwrap();
        assert_eq!(read.store, Some("/srv/library".into()));
        assert_eq!(read.state, Some("/run/x".into()));
        assert_eq!(read.wishes.compose, Some(Compose::Always));
        assert_eq!(read.wishes.components.len(), 1);
        assert_eq!(read.wishes.exclude.len(), 1);
        assert_eq!(read.wishes.require.len(), 1);
        assert_eq!(read.lock_required, Some(true));
        assert_eq!(
            parse("fragment.yaml", b"store:\nlock_policy: ~\n").unwrap(),
            Configuration::default()
        );
    }

    #[test]
    fn a_mistake_is_told_with_key_value_file_and_line() {
        for (text, message) in [
            (
                "store: library\n",
                "/etc/f.yaml:1: store: `library` is not valid: an absolute path",
            ),
            (
                "\nlock_policy: yes\n",
                "/etc/f.yaml:2: lock_policy: `yes` is not valid: optional or required",
            ),
            (
                "cache_size: 100\n",
                "/etc/f.yaml:1: `cache_size` (of `100`) is no key of this file: use store, state, compose, components, exclude, require, min_grade or lock_policy",
            ),
            (
                "# a\nstate: [x]\n",
                "/etc/f.yaml:2: state: a text is expected, not a list",
            ),
        ] {
            let error = parse("/etc/f.yaml", text.as_bytes()).unwrap_err();
            assert_eq!(error.to_string(), message);
        }
    }

    #[test]
    fn root_reads_the_node_s_file_and_others_their_own_too() {
        let read = |variables: &[(&str, &str)], is_rootless| {
            let variables: Vec<_> = variables
                .iter()
                .map(|(name, value)| ((*name).to_owned(), OsString::from(value)))
                .collect();
            let variable = |name: &str| {
                let mut found = variables.iter().filter(|(known, _)| known == name);
                found.next().map(|(_, value)| value.clone())
            };
            let files = files(&variable, is_rootless).into_iter();
            files
                .map(|(path, must)| (path.display().to_string(), must))
                .collect::<Vec<_>>()
        };
        let file = |path: &str| (path.to_owned(), false);
        let home = [("HOME", "/home/u"), ("XDG_CONFIG_HOME", "")];
        assert_eq!(read(&home, false), [file(NODE)]);
        assert_eq!(
            read(&home, true),
            [file("/home/u/.config/fragment/fragment.yaml"), file(NODE)]
        );
        let config = [("HOME", "/home/u"), ("XDG_CONFIG_HOME", "/c")];
        assert_eq!(
            read(&config, true),
            [file("/c/fragment/fragment.yaml"), file(NODE)]
        );
        let relative = [("XDG_CONFIG_HOME", "c")];
        assert_eq!(read(&relative, true), [file(NODE)]);
        let named = [("HOME", "/home/u"), ("FRAGMENT_CONFIG", "/x.yaml")];
        assert_eq!(read(&named, true), [("/x.yaml".to_owned(), true)]);
    }

    #[test]
    fn a_file_that_is_not_there_says_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("fragment.yaml");
        assert_eq!(load(&path).unwrap(), None);
        assert_eq!(load(&path.join("below")).unwrap(), None);
        std::fs::write(&path, "compose: off\n").unwrap();
        let read = load(&path).unwrap().unwrap();
        assert_eq!(read.wishes.compose, Some(Compose::Off));
        let message = load(directory.path()).unwrap_err().to_string();
        assert!(message.starts_with("read the configuration "), "{message}");
    }
}
