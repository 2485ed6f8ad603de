//! `fragment.yaml`: what the administrator of a node, or a user for containers of their own, wants of every composition.

use std::ffi::OsString;
use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use super::document::{Content, Document, DocumentError, Entry, LIMIT, WISHES};
use super::{ControlError, Origin, Place, Said, components, environment, schema};
use crate::settings::Settings;

/// The configuration of the node.
pub const NODE: &str = "/etc/fragment/fragment.yaml";

/// A user's configuration, below `$XDG_CONFIG_HOME` or `~/.config`.
const USER: &str = "fragment/fragment.yaml";

/// The keys of the document itself.
const KEYS: [&str; 18] = [
    "store",
    "state",
    "compose",
    "components",
    "exclude",
    "require",
    "min_grade",
    "lock_policy",
    "core",
    "cache",
    "performance",
    "memory",
    "disk",
    "retention",
    "preload",
    "strategies",
    "log_level",
    "debug",
];

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

/// Puts what the configuration `path` says over what `settings` has, and its wishes before those that are there. Gives what of it
/// cannot be followed; `None` when there is no such file.
///
/// # Errors
/// [`ControlError::Read`] when it cannot be read.
pub fn load(
    path: &Path,
    settings: &mut Settings,
) -> Result<Option<Vec<DocumentError>>, ControlError> {
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
    Ok(Some(put(path, &bytes, settings)))
}

/// The same of a document that is read already; `path` is for origins and messages.
pub fn put(path: &Path, bytes: &[u8], settings: &mut Settings) -> Vec<DocumentError> {
    let document = match Document::parse(&path.to_string_lossy(), bytes) {
        Ok(document) => document,
        Err(mistake) => return vec![mistake],
    };
    let mut reader = Reader {
        document: &document,
        path,
        said: Said::by(Place::File(path.to_owned()), super::Wishes::default()),
        settings,
        mistakes: Vec::new(),
    };
    for entry in &document.entries {
        reader.take(entry);
    }
    let Reader { said, mistakes, .. } = reader;
    settings.said.insert(0, said);
    mistakes
}

/// Reads one document.
pub(super) struct Reader<'d> {
    pub(super) document: &'d Document,
    path: &'d Path,
    /// What it wants of every composition.
    pub(super) said: Said,
    pub(super) settings: &'d mut Settings,
    pub(super) mistakes: Vec<DocumentError>,
}

impl<'d> Reader<'d> {
    fn take(&mut self, entry: &'d Entry) {
        let is_map = matches!(entry.value.content, Content::Map(_));
        match entry.key.as_str() {
            "components" if is_map => components::map(self, entry),
            "core" => components::core(self, entry),
            "strategies" => components::strategies(self, entry),
            key if WISHES.contains(&key) => {
                if entry.value.content != Content::Null {
                    self.said.lines.insert(entry.key.clone(), entry.line);
                }
                let wishes = &mut self.said.wishes;
                self.document.wish(wishes, entry, &mut self.mistakes);
            }
            key if KEYS.contains(&key) && schema::key(key).is_none() => self.section(entry),
            key => match schema::key(key).filter(|_| !key.contains('.')) {
                Some(key) => self.setting(key, entry),
                None => {
                    let others: Vec<&str> = schema::KEYS.iter().map(|key| key.name).collect();
                    self.unknown(entry, "", &KEYS, &others);
                }
            },
        }
    }

    /// A map of settings.
    fn section(&mut self, section: &'d Entry) {
        let prefix = format!("{}.", section.key);
        let names = || schema::KEYS.iter().map(|key| key.name);
        let here = names().filter_map(|name| name.strip_prefix(&prefix));
        let here: Vec<&str> = here.collect();
        for entry in self.entries(section, &section.key) {
            match schema::key(&format!("{prefix}{}", entry.key)) {
                Some(key) => self.setting(key, entry),
                None => self.unknown(entry, &prefix, &here, &names().collect::<Vec<_>>()),
            }
        }
    }

    /// One setting. What is null says nothing.
    fn setting(&mut self, key: &'static schema::Key, entry: &Entry) {
        if entry.value.content == Content::Null {
            return;
        }
        if key.is_list() {
            let before = self.mistakes.len();
            let parse = fragment_types::ComponentName::new;
            let names = self.document.names(entry, parse, &mut self.mistakes);
            if self.mistakes.len() == before {
                key.set_components(self.settings, names);
                self.note(key.name, entry);
            }
            return;
        }
        let Some(text) = self.text(entry) else {
            return;
        };
        let is_relative = key.is_path(text) && !Path::new(text).is_absolute();
        let done = match is_relative {
            true => Err(schema::Refused {
                value: text.to_owned(),
                expected: "an absolute path".to_owned(),
            }),
            false => key.set(self.settings, text),
        };
        match done {
            Ok(()) => self.note(key.name, entry),
            Err(refused) => self.refuse(entry, key.name, &refused.value, &refused.expected),
        }
    }

    /// The keys of a map; of anything else that is not null a mistake.
    pub(super) fn entries(&mut self, entry: &'d Entry, key: &str) -> &'d [Entry] {
        match &entry.value.content {
            Content::Map(entries) => return entries,
            Content::Null => {}
            other => {
                let problem = format!("{key}: a map is expected, not {}", other.kind());
                let mistake = self.document.error(entry.value.line, problem);
                self.mistakes.push(mistake);
            }
        }
        &[]
    }

    /// A text; of anything else a mistake.
    pub(super) fn text<'e>(&mut self, entry: &'e Entry) -> Option<&'e str> {
        let text = self.document.text(entry);
        text.map_err(|mistake| self.mistakes.push(mistake)).ok()
    }

    /// Keeps where `key` is said.
    pub(super) fn note(&mut self, key: &str, entry: &Entry) {
        let origin = Origin::File {
            path: self.path.to_owned(),
            line: entry.line,
        };
        self.settings.note(key, origin);
    }

    /// A value outside its grammar.
    pub(super) fn refuse(
        &mut self,
        entry: &Entry,
        key: &str,
        value: &str,
        expected: &dyn std::fmt::Display,
    ) {
        let line = entry.value.line;
        let mistake = self.document.invalid(line, key, value, expected);
        self.mistakes.push(mistake);
    }

    /// A key that there is not.
    pub(super) fn unknown(&mut self, entry: &Entry, prefix: &str, known: &[&str], others: &[&str]) {
        let mistake = self.document.unknown(entry, prefix, known, others);
        self.mistakes.push(mistake);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use fragment_resolve::Compose;
    use fragment_types::ComponentName;

    use super::*;

    fn read(text: &str) -> (Settings, Vec<String>) {
        let mut settings = Settings::default();
        let mistakes = put(Path::new("/etc/f.yaml"), text.as_bytes(), &mut settings);
        (settings, mistakes.iter().map(ToString::to_string).collect())
    }

    fn name(text: &str) -> ComponentName {
        ComponentName::new(text).unwrap()
    }

    #[test]
    fn every_key_is_read() {
        let text = "store: /srv/library
state: /run/x
compose: always
components: [bash]
exclude: [curl]
require: [tcp_listen]
min_grade: string
lock_policy: required
core: {size: 3MB, capabilities: [process_execution], load_time: 1ms}
cache: {size: 20, cleanup_interval: 1m}
performance: {max_concurrent_loads: 2, load_timeout: 1500ms}
memory: {soft_limit: 200MB, target: 100 MiB}
disk: {limit: none, min_free: 0}
retention: 10m
preload: {components: [curl], adaptive: on, memory_pressure: 1%, io_pressure: 50}
strategies: {build: {components: [make, gcc]}}
log_level: Warn
debug: yes
";
        let (settings, mistakes) = read(text);
        assert_eq!(mistakes, [""; 0]);
        assert_eq!(settings.store, Path::new("/srv/library"));
        assert_eq!(settings.state, Path::new("/run/x"));
        assert!(settings.lock_required && settings.debug);
        let [said] = &settings.said[..] else { panic!() };
        assert_eq!(said.wishes.compose, Some(Compose::Always));
        assert_eq!(said.wishes.components, [name("bash")]);
        assert_eq!(said.wishes.exclude, [name("curl")].into());
        assert_eq!(said.wishes.require.len(), 1);
        assert_eq!(said.lines["exclude"], 5);
        let life = &settings.life;
        assert_eq!((life.cache.entries, life.cache.idle.as_secs()), (20, 60));
        assert_eq!(life.loads.concurrent, 2);
        assert_eq!(life.loads.timeout.as_millis(), 1500);
        assert_eq!(life.memory.soft_limit, Some(200_000_000));
        assert_eq!(life.memory.target, Some(100 << 20));
        assert_eq!((life.disk.limit, life.disk.min_free), (None, 0));
        assert_eq!(life.retention, Some(Duration::from_secs(600)));
        assert_eq!(life.preload.components, [name("curl")]);
        assert!(life.preload.adaptive);
        let preload = &life.preload;
        assert_eq!((preload.memory_pressure, preload.io_pressure), (1, 50));
        assert_eq!(
            life.strategies["build"].components,
            [name("make"), name("gcc")]
        );
        assert_eq!(life.core.size, Some(3_000_000));
        assert_eq!(life.core.load_time, Some(Duration::from_millis(1)));
        assert_eq!(settings.origin("cache.size").to_string(), "/etc/f.yaml:10");
        assert_eq!(settings.origin("core.size").to_string(), "/etc/f.yaml:9");
        for key in KEYS {
            assert!(
                text.contains(&format!("{key}: ")),
                "{key} is not tested here"
            );
        }
    }

    #[test]
    fn what_is_null_says_nothing() {
        for key in KEYS {
            let (settings, mistakes) = read(&format!("{key}:\n"));
            assert_eq!(mistakes, [""; 0], "{key}");
            assert_eq!(
                settings.said[0].wishes,
                super::super::Wishes::default(),
                "{key}"
            );
            let without = Settings {
                said: Vec::new(),
                ..settings
            };
            assert_eq!(without, Settings::default(), "{key}");
        }
        let (settings, mistakes) =
            read("cache: {size: }\ncomponents: {curl: , bash: {preload: ~}}\n");
        assert_eq!(mistakes, [""; 0]);
        assert_eq!(settings.life.cache.entries, 100);
        assert_eq!(settings.life.components.len(), 2);
    }

    #[test]
    fn components_are_listed_or_declared() {
        let text = "components:
  tcp-stack:
    size: 2MB
    capabilities: [tcp_connections, tcp_listen]
    load_time: 50ms
    preload: true
    retention: 1h
  bash:
    compose: always
  curl: {compose: off}
  sed: {compose: auto}
";
        let (settings, mistakes) = read(text);
        assert_eq!(mistakes, [""; 0]);
        let declared = &settings.life.components[&name("tcp-stack")];
        assert_eq!(declared.size, Some(2_000_000));
        assert_eq!(declared.capabilities.len(), 2);
        assert_eq!(declared.load_time, Some(Duration::from_millis(50)));
        assert_eq!(declared.preload, Some(true));
        assert_eq!(declared.retention, Some(Duration::from_secs(3600)));
        let wishes = &settings.said[0].wishes;
        assert_eq!(wishes.components, [name("bash")], "a map composes nothing");
        assert_eq!(wishes.exclude, [name("curl")].into());
        assert_eq!(settings.said[0].lines["components.bash.compose"], 9);
    }

    #[test]
    fn a_mistake_is_told_with_key_value_file_and_line() {
        for (text, message) in [
            (
                "store: library\n",
                "1: store: `library` is not valid: an absolute path",
            ),
            (
                "\nlock_policy: yes\n",
                "2: lock_policy: `yes` is not valid: optional or required",
            ),
            (
                "cache_size: 100\n",
                "1: `cache_size` (of `100`) is no key of this file: did you mean `cache.size`?",
            ),
            (
                "cache: {sise: 100}\n",
                "1: `cache.sise` (of `100`) is no key of this file: did you mean `cache.size`?",
            ),
            (
                "cache:\n  load_timeout: 1s\n",
                "2: `cache.load_timeout` (of `1s`) is no key of this file: did you mean `performance.load_timeout`?",
            ),
            (
                "cache.size: 100\n",
                "1: `cache.size` (of `100`) is no key of this file: did you mean `cache.size`?",
            ),
            (
                "memory: {colour: blue}\n",
                "1: `memory.colour` (of `blue`) is no key of this file: use soft_limit or target",
            ),
            (
                "# a\nstate: [x]\n",
                "2: state: a text is expected, not a list",
            ),
            ("cache: 100\n", "1: cache: a map is expected, not `100`"),
            (
                "cache:\n  size: lots\n",
                "2: cache.size: `lots` is not valid: a number of entries, 0 or more",
            ),
            (
                "performance: {max_concurrent_loads: 0}\n",
                "1: performance.max_concurrent_loads: `0` is not valid: a number of loads, 1 or more",
            ),
            (
                "performance: {load_timeout: 0}\n",
                "1: performance.load_timeout: `0` is not valid: a time, as 300s, 5m, 50ms or a number of seconds, more than 0",
            ),
            (
                "memory: {soft_limit: 10M}\n",
                "1: memory.soft_limit: `10M` is not valid: a size, as 100MB, 2GiB or a number of bytes, or none",
            ),
            (
                "preload: {io_pressure: 101%}\n",
                "1: preload.io_pressure: `101%` is not valid: a whole number of percent, as 20% or 20, at most 100",
            ),
            (
                "debug: maybe\n",
                "1: debug: `maybe` is not valid: true or false",
            ),
            (
                "log_level: loud\n",
                "1: log_level: `loud` is not valid: error, warning, info, debug or trace",
            ),
            (
                "components:\n  curl:\n    size: big\n",
                "3: components.curl.size: `big` is not valid: a size, as 100MB, 2GiB or a number of bytes",
            ),
            (
                "components: {curl: {sise: 1}}\n",
                "1: `components.curl.sise` (of `1`) is no key of this file: did you mean `components.curl.size`?",
            ),
            (
                "components: {curl: 3MB}\n",
                "1: components.curl: a map is expected, not `3MB`",
            ),
            (
                "core: {preload: true}\n",
                "1: `core.preload` is no key of this file: core is always there",
            ),
            (
                "strategies: {vm: [qemu]}\n",
                "1: strategies.vm: a map is expected, not a list",
            ),
        ] {
            assert_eq!(read(text).1, [format!("/etc/f.yaml:{message}")]);
        }
    }

    #[test]
    fn every_mistake_is_told() {
        let text = "compose: sometimes\ncolour: blue\ncache: {size: x, cleanup_interval: y}\nexclude: [Bash, curl, /etc]\ncomponents: {Curl: {}, sed: {capabilities: [X], preload: maybe}}\npreload: {components: [Sed]}\n";
        let (settings, mistakes) = read(text);
        let lines: Vec<_> = mistakes.iter().map(|text| &text[12..13]).collect();
        assert_eq!(
            lines,
            ["1", "2", "3", "3", "4", "4", "5", "5", "5", "6"],
            "{mistakes:#?}"
        );
        assert_eq!(
            settings.life.cache.entries, 100,
            "what cannot be followed changes nothing"
        );
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
        let mut settings = Settings::default();
        assert_eq!(load(&path, &mut settings).unwrap(), None);
        assert_eq!(load(&path.join("below"), &mut settings).unwrap(), None);
        assert_eq!(settings, Settings::default());
        std::fs::write(&path, "compose: off\n").unwrap();
        assert_eq!(load(&path, &mut settings).unwrap(), Some(Vec::new()));
        assert_eq!(settings.said[0].wishes.compose, Some(Compose::Off));
        let error = load(directory.path(), &mut settings).unwrap_err();
        let message = error.to_string();
        assert!(message.starts_with("read the configuration "), "{message}");
    }
}
