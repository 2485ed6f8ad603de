//! Where things are on this node, and what it and this process want of every composition.

pub mod level;
pub mod life;
pub mod quantity;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::control::schema::{self, KEYS};
use crate::control::{
    ControlError, Origin, Place, Said, Wishes, configuration, environment, nearest,
};

pub use level::LogLevel;
pub use life::Life;

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
    /// How components and decisions live on this node.
    pub life: Life,
    /// The least severe events that are logged; ask [`Settings::logged`].
    pub log_level: LogLevel,
    /// Whether each step is logged, whatever `log_level` says.
    pub debug: bool,
    /// The file that the phases of commands are appended to ([`crate::trace`]).
    pub trace: Option<PathBuf>,
    /// Where keys were said, by name; ask [`Settings::origin`].
    pub origins: BTreeMap<String, Origin>,
}

/// A setting on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// The option (`--store`), for messages.
    pub option: String,
    /// The key as in [`KEYS`].
    pub key: String,
    /// Its value; lists are separated by commas.
    pub value: OsString,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            store: DEFAULT_STORE.into(),
            state: DEFAULT_STATE.into(),
            said: Vec::new(),
            lock_required: false,
            life: Life::default(),
            log_level: LogLevel::default(),
            debug: false,
            trace: None,
            origins: BTreeMap::new(),
        }
    }
}

impl Settings {
    /// Settings from the environment and the configuration files; an empty variable counts as unset.
    ///
    /// # Errors
    /// [`ControlError`] for a variable or file that cannot be followed.
    pub fn load() -> Result<Self, ControlError> {
        Self::load_with(&[])
    }

    /// The same with what is said on the command line, which is stronger.
    ///
    /// # Errors
    /// [`ControlError`] for a variable, file or option that cannot be followed: of several the first.
    pub fn load_with(options: &[Assignment]) -> Result<Self, ControlError> {
        let (settings, mistakes) = Self::examine(None, options);
        mistakes.into_iter().next().map_or(Ok(settings), Err)
    }

    /// The same with every mistake, without which the settings are made. `file` is read in the place of those of user and node.
    #[must_use]
    pub fn examine(file: Option<&Path>, options: &[Assignment]) -> (Self, Vec<ControlError>) {
        let variable = |name: &str| match (name, file) {
            (environment::CONFIG, Some(file)) => Some(file.as_os_str().to_owned()),
            _ => std::env::var_os(name),
        };
        Self::from(&variable, is_rootless(), options)
    }

    /// Settings from one configuration file, if it exists, and nothing else.
    ///
    /// # Errors
    /// [`ControlError`] when it cannot be followed.
    pub fn from_file(path: &Path) -> Result<Self, ControlError> {
        let mut settings = Self::default();
        let mut mistakes = Vec::new();
        settings.read(path, false, &mut mistakes);
        settings.settle(&mut mistakes);
        mistakes.into_iter().next().map_or(Ok(settings), Err)
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
        options: &[Assignment],
    ) -> (Self, Vec<ControlError>) {
        let (mut settings, mut mistakes) = (Self::default(), Vec::new());
        if is_rootless && let Some(own) = own_store(variable) {
            settings.store = own;
        }
        // the weakest first: what is stronger is put over it
        for (path, must_exist) in configuration::files(variable, is_rootless).iter().rev() {
            settings.read(path, *must_exist, &mut mistakes);
        }
        match environment::wishes(variable) {
            Ok(wishes) => settings.said.insert(0, Said::by(Place::Variable, wishes)),
            Err(error) => mistakes.push(error),
        }
        settings.follow_variables(variable, &mut mistakes);
        settings.follow_options(options, &mut mistakes);
        settings.said.retain(|one| one.wishes != Wishes::default());
        settings.settle(&mut mistakes);
        (settings, mistakes)
    }

    fn read(&mut self, path: &Path, must_exist: bool, mistakes: &mut Vec<ControlError>) {
        match configuration::load(path, self) {
            Ok(Some(of_file)) => mistakes.extend(of_file.into_iter().map(ControlError::from)),
            Ok(None) if must_exist => mistakes.push(ControlError::Read {
                path: path.to_owned(),
                source: std::io::ErrorKind::NotFound.into(),
            }),
            Ok(None) => {}
            Err(error) => mistakes.push(error),
        }
    }

    fn follow_variables(
        &mut self,
        variable: &impl Fn(&str) -> Option<OsString>,
        mistakes: &mut Vec<ControlError>,
    ) {
        for key in &KEYS {
            let Some(name) = key.variable else {
                continue;
            };
            let Some(value) = environment::set(variable, name) else {
                continue;
            };
            match key.set_raw(self, &value) {
                Ok(()) => self.note(key.name, Origin::Variable(name.to_owned())),
                Err(refused) => mistakes.push(refused.at(format!("variable {name}"))),
            }
        }
    }

    fn follow_options(&mut self, options: &[Assignment], mistakes: &mut Vec<ControlError>) {
        for Assignment { option, key, value } in options {
            let Some(known) = schema::key(key) else {
                let names = || KEYS.iter().map(|key| key.name);
                mistakes.push(ControlError::Value {
                    place: format!("option {option}"),
                    value: key.clone(),
                    expected: match nearest(key, names()) {
                        Some(meant) => format!("did you mean `{meant}`?"),
                        None => format!("one of {}", names().collect::<Vec<_>>().join(", ")),
                    },
                });
                continue;
            };
            match known.set_raw(self, value) {
                Ok(()) => self.note(known.name, Origin::Option(option.clone())),
                Err(refused) => mistakes.push(refused.at(format!("option {option}: {key}"))),
            }
        }
    }

    /// What follows from several settings.
    fn settle(&mut self, mistakes: &mut Vec<ControlError>) {
        // a list of variable or command line is all that is preloaded
        let list = self.origin("preload.components");
        if matches!(list, Origin::Variable(_) | Origin::Option(_)) {
            let listed = &self.life.preload.components;
            for (name, declared) in &mut self.life.components {
                // what is not to be preloaded and not listed is not preloaded by history either
                if declared.preload == Some(false) && !listed.contains(name) {
                    continue;
                }
                declared.preload = None;
                self.origins.remove(&format!("components.{name}.preload"));
            }
        }
        let memory = &mut self.life.memory;
        match (memory.soft_limit, memory.target) {
            (Some(limit), None) => memory.target = Some(limit / 5 * 4),
            (Some(limit), Some(target)) if target > limit => {
                memory.target = Some(limit);
                mistakes.push(ControlError::Value {
                    place: format!("{}: memory.target", self.origin("memory.target")),
                    value: quantity::size_text(target),
                    expected: format!(
                        "no more than memory.soft_limit, which is {}",
                        quantity::size_text(limit)
                    ),
                });
            }
            _ => {}
        }
    }

    /// Where the value of `key` was said: a key of [`KEYS`], or one of the maps `core`, `components` and `strategies` with dots.
    #[must_use]
    pub fn origin(&self, key: &str) -> Origin {
        self.origins.get(key).cloned().unwrap_or_default()
    }

    pub(crate) fn note(&mut self, key: &str, origin: Origin) {
        self.origins.insert(key.to_owned(), origin);
    }

    /// The least severe events that are logged.
    #[must_use]
    pub fn logged(&self) -> LogLevel {
        match self.debug {
            true => self.log_level.max(LogLevel::Debug),
            false => self.log_level,
        }
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

    fn loaded(variable: &impl Fn(&str) -> Option<OsString>, is_rootless: bool) -> Settings {
        let (settings, mistakes) = Settings::from(variable, is_rootless, &[]);
        assert!(mistakes.is_empty(), "{mistakes:?}");
        settings
    }

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
        let store = |rootless| loaded(&variable, rootless).store;
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
        let settings = loaded(&variable, false);
        assert_eq!(settings.store, PathBuf::from("/variable"));
        assert_eq!(settings.state, PathBuf::from("/node"));
        let compose: Vec<_> = settings.said.iter().map(|one| one.wishes.compose).collect();
        assert_eq!(compose, [Some(Compose::Always), Some(Compose::Off)]);

        // a file that is asked for by name has to be there
        std::fs::remove_file(&path).unwrap();
        let error = Settings::from(&variable, false, &[]).1.remove(0);
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
        let settings = loaded(&variable, true);
        assert_eq!(settings.store, PathBuf::from("/mine"));
        assert!(settings.lock_required);
        let root = loaded(&variable, false);
        assert_ne!(
            root.store,
            PathBuf::from("/mine"),
            "root's own is the node's"
        );
    }

    const VARIABLES: [(&str, &str, &str); 7] = [
        ("PHANTOM_FRAGMENT_CACHE_SIZE", "50", "cache.size"),
        (
            "PHANTOM_FRAGMENT_CLEANUP_INTERVAL",
            "60s",
            "cache.cleanup_interval",
        ),
        (
            "PHANTOM_FRAGMENT_PRELOAD_COMPONENTS",
            "bash, curl",
            "preload.components",
        ),
        (
            "PHANTOM_FRAGMENT_MAX_CONCURRENT_LOADS",
            "3",
            "performance.max_concurrent_loads",
        ),
        (
            "PHANTOM_FRAGMENT_LOAD_TIMEOUT",
            "1500ms",
            "performance.load_timeout",
        ),
        ("PHANTOM_FRAGMENT_DEBUG", "1", "debug"),
        ("PHANTOM_FRAGMENT_LOG_LEVEL", "info", "log_level"),
    ];

    /// With a configuration file of this content and these variables and options.
    fn examined(
        file: &str,
        variables: &[(&str, &str)],
        options: &[(&str, &str)],
    ) -> (Settings, Vec<String>) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("node.yaml");
        std::fs::write(&path, file).unwrap();
        let variable = |name: &str| match name {
            "FRAGMENT_CONFIG" => Some(path.clone().into_os_string()),
            _ => {
                let mut found = variables.iter().filter(|(known, _)| *known == name);
                found.next().map(|(_, value)| OsString::from(value))
            }
        };
        let options: Vec<_> = options
            .iter()
            .map(|(key, value)| Assignment {
                option: "--set".to_owned(),
                key: (*key).to_owned(),
                value: value.into(),
            })
            .collect();
        let (settings, mistakes) = Settings::from(&variable, false, &options);
        let place = format!("{}/", directory.path().display());
        let told = |error: &ControlError| error.to_string().replace(&place, "");
        (settings, mistakes.iter().map(told).collect())
    }

    #[test]
    fn every_variable_of_the_runtime_is_followed() {
        let variables = VARIABLES.map(|(name, value, _)| (name, value));
        let (settings, mistakes) = examined("", &variables, &[]);
        assert_eq!(mistakes, [""; 0]);
        let life = &settings.life;
        assert_eq!((life.cache.entries, life.cache.idle.as_secs()), (50, 60));
        assert_eq!(
            (life.loads.concurrent, life.loads.timeout.as_millis()),
            (3, 1500)
        );
        assert_eq!(life.preloaded().len(), 2);
        assert_eq!(settings.log_level, LogLevel::Info);
        assert_eq!(settings.logged(), LogLevel::Debug, "debug is said too");
        for (name, _, key) in VARIABLES {
            assert_eq!(settings.origin(key), Origin::Variable(name.to_owned()));
        }
        let said = KEYS.iter().filter_map(|key| key.variable);
        assert_eq!(
            said.filter(|name| name.starts_with("PHANTOM_")).count(),
            VARIABLES.len()
        );
    }

    #[test]
    fn a_bad_variable_is_told_with_its_name_and_value() {
        for (name, ..) in VARIABLES {
            let (settings, mistakes) = examined("", &[(name, "_")], &[]);
            let [mistake] = &mistakes[..] else {
                panic!("{name}: {mistakes:?}");
            };
            let start = format!("variable {name}: `_` is not valid: ");
            assert!(mistake.starts_with(&start), "{mistake}");
            assert_eq!(settings.life, Life::default(), "{name}");
        }
    }

    #[test]
    fn command_line_over_environment_over_file_over_default() {
        let file = "cache: {size: 1, cleanup_interval: 1s}\nretention: 1s\n";
        let variable = [("PHANTOM_FRAGMENT_CACHE_SIZE", "2")];
        let size = |file, variables: &[_], options: &[_]| {
            let (settings, mistakes) = examined(file, variables, options);
            assert_eq!(mistakes, [""; 0]);
            let from = settings.origin("cache.size").to_string();
            (
                settings.life.cache.entries,
                from.rsplit('/').next().unwrap().to_owned(),
            )
        };
        let said = |size, from: &str| (size, from.to_owned());
        let option = [("cache.size", "3")];
        assert_eq!(size("", &[], &[]), said(100, "default"));
        assert_eq!(size(file, &[], &[]), said(1, "node.yaml:1"));
        let name = "variable PHANTOM_FRAGMENT_CACHE_SIZE";
        assert_eq!(size(file, &variable, &[]), said(2, name));
        assert_eq!(size(file, &variable, &option), said(3, "option --set"));
        // an empty variable counts as unset
        let empty = [("PHANTOM_FRAGMENT_CACHE_SIZE", "")];
        assert_eq!(size(file, &empty, &[]), said(1, "node.yaml:1"));
    }

    #[test]
    fn every_mistake_of_every_place_is_told() {
        let (_, mistakes) = examined(
            "cache: {size: a}\ncolour: blue\n",
            &[("PHANTOM_FRAGMENT_DEBUG", "b"), ("FRAGMENT_COMPOSE", "c")],
            &[
                ("cache.size", "d"),
                ("cache.sise", "1"),
                ("privileged", "1"),
            ],
        );
        let starts = [
            "node.yaml:1: cache.size: `a` is not valid: ",
            "node.yaml:2: `colour` (of `blue`) is no key of this file: use store, ",
            "variable FRAGMENT_COMPOSE: `c` is not valid: ",
            "variable PHANTOM_FRAGMENT_DEBUG: `b` is not valid: ",
            "option --set: cache.size: `d` is not valid: ",
            "option --set: `cache.sise` is not valid: did you mean `cache.size`?",
            "option --set: `privileged` is not valid: one of store, ",
        ];
        assert_eq!(mistakes.len(), starts.len(), "{mistakes:#?}");
        for (mistake, start) in mistakes.iter().zip(starts) {
            assert!(mistake.starts_with(start), "{mistake}");
        }
    }

    #[test]
    fn memory_is_let_go_down_to_four_fifths_of_the_limit_or_what_is_said() {
        let target = |text: &str| {
            let (settings, mistakes) = examined(text, &[], &[]);
            assert_eq!(mistakes, [""; 0]);
            settings.life.memory.target
        };
        assert_eq!(target(""), None);
        assert_eq!(target("memory: {soft_limit: 100MB}\n"), Some(80_000_000));
        assert_eq!(target("memory: {soft_limit: 100MB, target: 0}\n"), Some(0));
        let (_, mistakes) = examined("memory:\n  soft_limit: 1MB\n  target: 2MB\n", &[], &[]);
        assert_eq!(
            mistakes,
            [
                "node.yaml:3: memory.target: `2MB` is not valid: no more than memory.soft_limit, which is 1MB"
            ]
        );
    }

    #[test]
    fn what_a_variable_preloads_is_all_that_is_preloaded() {
        let file = "preload: {components: [sed]}\ncomponents: {make: {preload: true, size: 1MB}}\n";
        let names = |variables: &[_]| {
            let (settings, mistakes) = examined(file, variables, &[]);
            assert_eq!(mistakes, [""; 0]);
            let names = settings.life.preloaded().into_iter();
            names.map(|name| name.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(names(&[]), ["make", "sed"]);
        let bash = [("PHANTOM_FRAGMENT_PRELOAD_COMPONENTS", "bash")];
        assert_eq!(names(&bash), ["bash"]);
        let file = "components: {make: {preload: false}, sed: {preload: false}}\n";
        let make = [("PHANTOM_FRAGMENT_PRELOAD_COMPONENTS", "make")];
        let (settings, _) = examined(file, &make, &[]);
        let said: Vec<_> = settings
            .life
            .components
            .values()
            .map(|one| one.preload)
            .collect();
        assert_eq!(said, [None, Some(false)]);
        assert_eq!(settings.life.preloaded().len(), 1);
    }
}
