//! Where the dynamic loader looks for shared objects, without running it.
//!
//! glibc: ld.so(8). `/etc/ld.so.cache` is not parsed: its content is the directories of `/etc/ld.so.conf`, which count only
//! where there is a cache. The legacy hwcap directories (`tls`, `haswell`, …), gone since glibc 2.37, are not searched.
//! musl: ldso/dynlink.c, one path file for all.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use fragment_sys::root::{Found, Kind, Root};
use fragment_types::manifest::Machine;

use crate::elf::Elf;
use crate::task::Task;

/// Longest `ld.so.conf` or musl path file that is read.
const MAX_CONFIGURATION: usize = 64 << 10;
/// Most directories that are searched for one shared object.
const MAX_DIRECTORIES: usize = 512;
/// Most files that are looked for.
pub(crate) const MAX_LOOKUPS: usize = 6 << 10;
/// Most files in `/etc/ld.so.conf.d` that are read.
const MAX_INCLUDES: usize = 256;

/// Directories as spelled, with their path free of links.
type Variants = Vec<(String, String)>;

/// An object of the program, as the search for what it needs sees it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct User<'o> {
    pub(crate) elf: &'o Elf,
    /// Directory that `$ORIGIN` stands for.
    pub(crate) origin: &'o str,
}

/// Which loader, and what it finds on its own.
#[derive(Debug)]
pub(crate) struct Loader<'a> {
    root: &'a Root,
    musl: bool,
    machine: Machine,
    working_directory: String,
    /// Directories of `LD_LIBRARY_PATH`.
    library_path: Vec<String>,
    /// Directories searched for everybody.
    system: Vec<String>,
    /// What to try for a directory of a search path; empty where it does not exist.
    known: HashMap<String, Rc<Variants>>,
    /// Files looked for so far.
    lookups: usize,
}

impl<'a> Loader<'a> {
    /// The loader `interpreter`. `own` tells whether it is the bundle's: components have Debian's, which knows no `/lib64`.
    pub(crate) fn new(
        root: &'a Root,
        task: &Task,
        interpreter: &str,
        own: bool,
        machine: Machine,
    ) -> Self {
        let musl = is_musl(interpreter);
        let library_path = match task.variable("LD_LIBRARY_PATH") {
            None | Some("") => Vec::new(),
            Some(list) => list.split([':', ';']).map(str::to_owned).collect(),
        };
        let system = if musl {
            musl_directories(root, interpreter)
        } else {
            let mut directories = configured_directories(root);
            directories.extend(default_directories(machine, own));
            directories
        };
        let working_directory = task.absolute("");
        Self {
            root,
            musl,
            machine,
            working_directory,
            library_path,
            system,
            known: HashMap::new(),
            lookups: 0,
        }
    }

    /// Whether search paths lead to so many places that they are not followed any more.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.lookups > MAX_LOOKUPS
    }

    pub(crate) fn is_musl(&self) -> bool {
        self.musl
    }

    /// Directories in which every program finds its libraries, in order: those of `LD_LIBRARY_PATH`, then the system's.
    pub(crate) fn public_directories(&self) -> Vec<String> {
        let path = self
            .library_path
            .iter()
            .map(|dir| self.absolute(dir.clone()));
        path.chain(self.system.iter().cloned()).collect()
    }

    /// The first file for `name`, in the order in which the loader tries them, that `accept` takes: the path by which it
    /// is opened and the file itself. `users` begins with the object that needs it, followed by the one that loaded that,
    /// and so on to the program.
    pub(crate) fn find<T, E>(
        &mut self,
        name: &str,
        users: &[User<'_>],
        mut accept: impl FnMut(&str, &Found) -> Result<Option<T>, E>,
    ) -> Result<Option<T>, E> {
        let Some(user) = users.first() else {
            return Ok(None);
        };
        if name.contains('/') {
            for path in self.expand(name, user.origin) {
                if let Some(found) = self.file(&path)
                    && let Some(accepted) = accept(&path, &found)?
                {
                    return Ok(Some(accepted));
                }
            }
            return Ok(None);
        }
        // A search path can name one directory in many ways.
        let mut searched = HashSet::new();
        for directory in self.search_path(users) {
            let variants = self.variants(&directory);
            for (spelled, canonical) in variants.iter() {
                if !searched.insert(canonical.clone()) {
                    continue;
                }
                self.lookups += 1;
                if self.is_exhausted() {
                    return Ok(None);
                }
                if let Some(found) = self.file(&format!("{canonical}/{name}"))
                    && let Some(accepted) = accept(&format!("{spelled}/{name}"), &found)?
                {
                    return Ok(Some(accepted));
                }
            }
        }
        Ok(None)
    }

    fn file(&self, path: &str) -> Option<Found> {
        // What cannot be looked up, the loader passes over in silence.
        self.root
            .lookup(path)
            .ok()?
            .filter(|found| found.kind == Kind::File)
    }

    /// The directories that the run path of an object names, whether they exist or not.
    pub(crate) fn run_path(&self, user: &User<'_>) -> Vec<String> {
        let list = user.elf.runpath.as_ref().or(user.elf.rpath.as_ref());
        list.into_iter()
            .flatten()
            .take(MAX_DIRECTORIES)
            .flat_map(|entry| self.expand(entry, user.origin))
            .collect()
    }

    fn search_path(&self, users: &[User<'_>]) -> Vec<String> {
        let mut out = Vec::new();
        let Some(user) = users.first() else {
            return out;
        };
        let mut seen = HashSet::new();
        let mut add = |list: &[String], origin: &str| {
            for entry in list {
                if out.len() < MAX_DIRECTORIES && seen.insert((entry.clone(), origin.to_owned())) {
                    out.extend(self.expand(entry, origin));
                }
            }
        };
        let program = users.last().map_or(user.origin, |program| program.origin);
        if self.musl {
            // musl makes no difference between RPATH and RUNPATH: both are inherited and come after LD_LIBRARY_PATH.
            add(&self.library_path, program);
            for user in users {
                add(user.elf.runpath.as_deref().unwrap_or_default(), user.origin);
                add(user.elf.rpath.as_deref().unwrap_or_default(), user.origin);
            }
        } else {
            if user.elf.runpath.is_none() {
                for user in users.iter().filter(|user| user.elf.runpath.is_none()) {
                    add(user.elf.rpath.as_deref().unwrap_or_default(), user.origin);
                }
            }
            add(&self.library_path, program);
            add(user.elf.runpath.as_deref().unwrap_or_default(), user.origin);
        }
        if !user.elf.no_default_directories {
            out.extend(self.system.iter().cloned());
        }
        out
    }

    /// Replaces the dynamic string tokens of a search path entry (ld.so(8), "Dynamic string tokens"). `$LIB` depends on how
    /// the loader was built: every spelling in use is tried.
    fn expand(&self, entry: &str, origin: &str) -> Vec<String> {
        let replace = |text: &str, token: &str, value: &str| {
            text.replace(&format!("${{{token}}}"), value)
                .replace(&format!("${token}"), value)
        };
        let platform = match self.machine {
            Machine::X86_64 => "x86_64",
            Machine::I386 => "i686",
            Machine::Aarch64 => "aarch64",
            Machine::Other => "",
        };
        let entry = replace(&replace(entry, "ORIGIN", origin), "PLATFORM", platform);
        if !entry.contains("$LIB") && !entry.contains("${LIB}") {
            return vec![self.absolute(entry)];
        }
        let multiarch = multiarch(self.machine).map(|triplet| format!("lib/{triplet}"));
        let spellings = multiarch
            .into_iter()
            .chain(["lib64".to_owned(), "lib".to_owned()]);
        spellings
            .map(|lib| self.absolute(replace(&entry, "LIB", &lib)))
            .collect()
    }

    fn absolute(&self, path: String) -> String {
        match path.as_str() {
            "" => self.working_directory.clone(),
            path if path.starts_with('/') => path.to_owned(),
            path => format!("{}/{path}", self.working_directory.trim_end_matches('/')),
        }
    }

    /// The directory itself and before it those for the CPU's level, as far as they exist: as spelled, and free of links.
    fn variants(&mut self, directory: &str) -> Rc<Variants> {
        if let Some(known) = self.known.get(directory) {
            return Rc::clone(known);
        }
        self.lookups += 1;
        let canonical = |path: &str| match self.root.lookup(path) {
            Ok(Some(found)) if found.kind == Kind::Directory => Some(found.path),
            _ => None,
        };
        let mut out = Vec::new();
        if let Some(own) = canonical(directory) {
            if !self.musl && self.machine == Machine::X86_64 {
                let hwcaps = format!("{own}/glibc-hwcaps");
                let levels = if canonical(&hwcaps).is_some() {
                    cpu_levels()
                } else {
                    &[]
                };
                for level in levels {
                    let spelled = format!("{directory}/glibc-hwcaps/{level}");
                    out.extend(canonical(&format!("{hwcaps}/{level}")).map(|own| (spelled, own)));
                }
            }
            out.push((directory.to_owned(), own));
        }
        let out = Rc::new(out);
        self.known.insert(directory.to_owned(), Rc::clone(&out));
        out
    }
}

/// Whether a program interpreter is musl's.
pub(crate) fn is_musl(interpreter: &str) -> bool {
    crate::words::file_name(interpreter).starts_with("ld-musl-")
}

/// Whether musl's loader is itself the library `soname` (`load_library` in ldso/dynlink.c).
pub(crate) fn is_inside_musl(soname: &str) -> bool {
    const RESERVED: [&str; 7] = ["c", "pthread", "rt", "m", "dl", "util", "xnet"];
    soname
        .strip_prefix("lib")
        .and_then(|rest| rest.split_once('.'))
        .is_some_and(|(name, _)| RESERVED.contains(&name))
}

fn multiarch(machine: Machine) -> Option<&'static str> {
    match machine {
        Machine::X86_64 => Some("x86_64-linux-gnu"),
        Machine::I386 => Some("i386-linux-gnu"),
        Machine::Aarch64 => Some("aarch64-linux-gnu"),
        Machine::Other => None,
    }
}

fn default_directories(machine: Machine, own: bool) -> Vec<String> {
    let mut out = Vec::new();
    if let Some(triplet) = multiarch(machine) {
        out.extend([format!("/lib/{triplet}"), format!("/usr/lib/{triplet}")]);
    }
    if own && machine != Machine::I386 {
        out.extend(["/lib64".to_owned(), "/usr/lib64".to_owned()]);
    }
    out.extend(["/lib".to_owned(), "/usr/lib".to_owned()]);
    out
}

/// Directories of `/etc/ld.so.conf`, one level of `include` followed; none where there is no cache of them.
fn configured_directories(root: &Root) -> Vec<String> {
    let mut out = Vec::new();
    if !matches!(root.lookup("/etc/ld.so.cache"), Ok(Some(_))) {
        return out;
    }
    let text = configuration(root, "/etc/ld.so.conf");
    for line in lines(&text) {
        let Some(pattern) = line
            .strip_prefix("include")
            .filter(|rest| rest.starts_with([' ', '\t']))
        else {
            out.push(line.to_owned());
            continue;
        };
        for file in included(root, pattern.trim()) {
            let text = configuration(root, &file);
            out.extend(
                lines(&text)
                    .filter(|line| line.starts_with('/'))
                    .map(str::to_owned),
            );
        }
    }
    out.retain(|directory| directory.starts_with('/'));
    out
}

/// Files of an `include` line; a `*` is understood in the file name.
fn included(root: &Root, pattern: &str) -> Vec<String> {
    let pattern = if pattern.starts_with('/') {
        pattern.to_owned()
    } else {
        format!("/etc/{pattern}")
    };
    let Some((directory, name)) = pattern.rsplit_once('/') else {
        return Vec::new();
    };
    let Some((before, after)) = name.split_once('*') else {
        return vec![pattern];
    };
    let entries = root
        .read_dir(directory, MAX_INCLUDES)
        .ok()
        .flatten()
        .unwrap_or_default();
    let matches = |name: &str| {
        name.len() >= before.len() + after.len()
            && name.starts_with(before)
            && name.ends_with(after)
    };
    entries
        .into_iter()
        .filter(|entry| matches(&entry.name))
        .map(|entry| format!("{directory}/{}", entry.name))
        .collect()
}

fn configuration(root: &Root, path: &str) -> String {
    let bytes = root
        .read_prefix(path, MAX_CONFIGURATION)
        .unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .map(|line| line.split('#').next().unwrap_or_default().trim())
        .filter(|line| !line.is_empty())
}

/// musl: `/etc/ld-musl-ARCH.path` if it is there, else the built-in path.
fn musl_directories(root: &Root, interpreter: &str) -> Vec<String> {
    let name = crate::words::file_name(interpreter);
    let machine = name
        .trim_start_matches("ld-musl-")
        .split(".so")
        .next()
        .unwrap_or_default();
    // The path file lies beside the directory of the loader: /lib/ld-musl-x.so.1 has /etc/ld-musl-x.path.
    let prefix = interpreter
        .strip_suffix(name)
        .unwrap_or_default()
        .trim_end_matches('/');
    let prefix = prefix.rsplit_once('/').map_or("", |(prefix, _)| prefix);
    let text = configuration(root, &format!("{prefix}/etc/ld-musl-{machine}.path"));
    let directories: Vec<String> = text
        .split([':', '\n'])
        .map(str::trim)
        .filter(|dir| dir.starts_with('/'))
        .map(str::to_owned)
        .collect();
    if directories.is_empty() {
        return ["/lib", "/usr/local/lib", "/usr/lib"]
            .map(str::to_owned)
            .to_vec();
    }
    directories
}

/// Levels of x86-64 that this machine's CPU has, highest first (x86-64 psABI, section 3.1.1).
fn cpu_levels() -> &'static [&'static str] {
    const ALL: [&str; 3] = ["x86-64-v4", "x86-64-v3", "x86-64-v2"];
    #[cfg(target_arch = "x86_64")]
    {
        use std::is_x86_feature_detected as has;
        let v2 = has!("sse4.2") && has!("ssse3") && has!("popcnt") && has!("cmpxchg16b");
        let v3 = has!("avx2")
            && has!("bmi1")
            && has!("bmi2")
            && has!("f16c")
            && has!("fma")
            && has!("lzcnt")
            && has!("movbe");
        let v4 = has!("avx512f")
            && has!("avx512bw")
            && has!("avx512cd")
            && has!("avx512dq")
            && has!("avx512vl");
        match (v2, v3, v4) {
            (true, true, true) => &ALL,
            (true, true, false) => &ALL[1..],
            (true, false, _) => &ALL[2..],
            (false, ..) => &[],
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    &ALL[3..]
}
