//! Where things are on this node, and what it and this process want of every composition.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::control::configuration::{self, Configuration};
use crate::control::{ControlError, Place, Said, Wishes, environment};

/// Default store directory.
pub const DEFAULT_STORE: &str = "/var/lib/fragment";
/// Variable that names another store directory.
pub const STORE_VARIABLE: &str = environment::STORE;

/// Default state directory of `fragment run`.
pub const DEFAULT_STATE: &str = "/run/fragment";
/// Variable that names another state directory.
pub const STATE_VARIABLE: &str = environment::STATE;

/// Settings of this process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Directory of the component store.
    pub store: PathBuf,
    /// Directory of the bundles and containers of `fragment run`; best on a tmpfs, as `/run` is.
    pub state: PathBuf,
    /// What environment and configuration ask of every composition, strongest first.
    pub said: Vec<Said>,
    /// Whether a composition without a lock is refused.
    pub lock_required: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            store: DEFAULT_STORE.into(),
            state: DEFAULT_STATE.into(),
            said: Vec::new(),
            lock_required: false,
        }
    }
}

impl Settings {
    /// Settings from the environment and the configuration files; an empty variable counts as unset.
    ///
    /// # Errors
    /// [`ControlError`] for a variable or file that cannot be followed.
    pub fn load() -> Result<Self, ControlError> {
        Self::from(&|name| std::env::var_os(name), is_rootless())
    }

    /// Settings from one configuration file, if it exists, and nothing else.
    ///
    /// # Errors
    /// [`ControlError`] when it cannot be followed.
    pub fn from_file(path: &Path) -> Result<Self, ControlError> {
        let mut settings = Self::default();
        if let Some(file) = configuration::load(path)? {
            settings.put(&file);
            let place = Place::File(path.to_owned());
            settings.said.push(Said::by(place, file.wishes));
        }
        Ok(settings)
    }

    /// Where the environment says things are, whatever else it and the configuration say: for what has to work with mistakes
    /// in them, as removing a container has to.
    #[must_use]
    pub fn of_environment() -> Self {
        let mut settings = Self::default();
        settings.place(&|name| std::env::var_os(name));
        settings
    }

    fn from(
        variable: &impl Fn(&str) -> Option<OsString>,
        is_rootless: bool,
    ) -> Result<Self, ControlError> {
        let mut settings = Self::default();
        let wishes = environment::wishes(variable)?;
        settings.said.push(Said::by(Place::Variable, wishes));
        if is_rootless && let Some(own) = own_store(variable) {
            settings.store = own;
        }
        let mut files = Vec::new();
        for (path, must_exist) in configuration::files(variable, is_rootless) {
            match configuration::load(&path)? {
                Some(configuration) => files.push((path, configuration)),
                None if must_exist => {
                    let source = std::io::ErrorKind::NotFound.into();
                    return Err(ControlError::Read { path, source });
                }
                None => {}
            }
        }
        // the weakest first: what is stronger is put over it
        for (_, file) in files.iter().rev() {
            settings.put(file);
        }
        settings.place(variable);
        let said = files
            .into_iter()
            .map(|(path, file)| Said::by(Place::File(path), file.wishes));
        settings.said.extend(said);
        settings.said.retain(|one| one.wishes != Wishes::default());
        Ok(settings)
    }

    /// The store that a user may fill: of users without rights their own, where nothing names another.
    #[must_use]
    pub fn store_to_fill(&self) -> PathBuf {
        let variable = |name: &str| std::env::var_os(name);
        let own = || own_store_path(&variable).filter(|_| is_rootless());
        if self.store == Path::new(DEFAULT_STORE) {
            own().unwrap_or_else(|| self.store.clone())
        } else {
            self.store.clone()
        }
    }

    fn put(&mut self, file: &Configuration) {
        if let Some(store) = &file.store {
            self.store.clone_from(store);
        }
        if let Some(state) = &file.state {
            self.state.clone_from(state);
        }
        self.lock_required = file.lock_required.unwrap_or(self.lock_required);
    }

    fn place(&mut self, variable: &impl Fn(&str) -> Option<OsString>) {
        for (name, path) in [
            (STORE_VARIABLE, &mut self.store),
            (STATE_VARIABLE, &mut self.state),
        ] {
            if let Some(value) = environment::set(variable, name) {
                *path = value.into();
            }
        }
    }
}

/// The store of a user without rights, if there is one: `$XDG_DATA_HOME/fragment` or `~/.local/share/fragment`. Trees of root's are not
/// theirs to read, nor to change in a container.
fn own_store(variable: &impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    own_store_path(variable).filter(|store| store.join("oci-layout").exists())
}

fn own_store_path(variable: &impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let data = match environment::set(variable, "XDG_DATA_HOME") {
        Some(directory) => PathBuf::from(directory),
        None => PathBuf::from(environment::set(variable, "HOME")?).join(".local/share"),
    };
    Some(data.join("fragment"))
}

/// Whether this is a user without rights over the machine: one that is not root, or root of a user namespace, unless it says
/// that it is root there (podman's rootless engine leaves USER as it was; a system container, in which /run is root's own as
/// everywhere, sets it).
#[must_use]
pub fn is_rootless() -> bool {
    if !rustix::process::geteuid().is_root() {
        return true;
    }
    fragment_cgroup::in_user_namespace()
        && std::env::var_os("USER").is_none_or(|user| user != "root")
}

#[cfg(test)]
mod tests {
    use fragment_resolve::Compose;

    use super::*;

    #[test]
    fn an_empty_variable_counts_as_unset() {
        for (value, store) in [
            (None, DEFAULT_STORE),
            (Some(""), DEFAULT_STORE),
            (Some("/s"), "/s"),
        ] {
            let mut settings = Settings::default();
            settings.place(&|_: &str| value.map(Into::into));
            assert_eq!(settings.store, std::path::Path::new(store), "{value:?}");
        }
    }

    #[test]
    fn users_without_rights_have_a_store_of_their_own_where_they_made_one() {
        let home = tempfile::tempdir().unwrap();
        let own = home.path().join(".local/share/fragment");
        let variable = |name: &str| match name {
            "HOME" => Some(home.path().into()),
            "FRAGMENT_CONFIG" => Some("/dev/null".into()),
            _ => None,
        };
        let store = |rootless| Settings::from(&variable, rootless).unwrap().store;
        assert_eq!(store(true), Path::new(DEFAULT_STORE));
        std::fs::create_dir_all(&own).unwrap();
        std::fs::write(own.join("oci-layout"), "").unwrap();
        assert_eq!(store(true), own);
        assert_eq!(store(false), Path::new(DEFAULT_STORE));
    }

    #[test]
    fn environment_over_user_over_node() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("node.yaml");
        std::fs::write(&path, "store: /node\nstate: /node\ncompose: off\n").unwrap();
        let variable = |name: &str| match name {
            "FRAGMENT_CONFIG" => Some(path.clone().into_os_string()),
            "FRAGMENT_STORE" => Some("/variable".into()),
            "FRAGMENT_COMPOSE" => Some("always".into()),
            _ => None,
        };
        let settings = Settings::from(&variable, false).unwrap();
        assert_eq!(settings.store, PathBuf::from("/variable"));
        assert_eq!(settings.state, PathBuf::from("/node"));
        let compose: Vec<_> = settings.said.iter().map(|one| one.wishes.compose).collect();
        assert_eq!(compose, [Some(Compose::Always), Some(Compose::Off)]);

        // a file that is asked for by name has to be there
        std::fs::remove_file(&path).unwrap();
        let error = Settings::from(&variable, false).unwrap_err();
        assert!(error.to_string().contains("node.yaml"), "{error}");
    }

    #[test]
    fn a_user_s_file_is_put_over_the_node_s() {
        let home = tempfile::tempdir().unwrap();
        let directory = home.path().join("fragment");
        std::fs::create_dir(&directory).unwrap();
        let path = directory.join("fragment.yaml");
        std::fs::write(&path, "store: /mine\nlock_policy: required\n").unwrap();
        let variable =
            |name: &str| (name == "XDG_CONFIG_HOME").then(|| home.path().as_os_str().to_owned());
        let settings = Settings::from(&variable, true).unwrap();
        assert_eq!(settings.store, PathBuf::from("/mine"));
        assert!(settings.lock_required);
        let root = Settings::from(&variable, false).unwrap();
        assert_ne!(
            root.store,
            PathBuf::from("/mine"),
            "root's own is the node's"
        );
    }
}
