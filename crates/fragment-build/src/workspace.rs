//! The builder's working directory: the base root, the package cache and one directory for each installation.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use fragment_types::Digest;
use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::isolation::{explain, isolated, run};
use crate::machine::Machine;

/// Changes when base roots of earlier builders cannot be used any more.
const BASE_FORMAT: u32 = 1;
/// Installs packages into an overlay over the base root.
const INSTALL: &str = concat!(include_str!("mount.sh"), include_str!("install.sh"));
/// `OVERLAYFS_SUPER_MAGIC` of statfs(2).
const OVERLAYFS: rustix::fs::FsWord = 0x794c_7630;

/// The working directory, locked.
#[derive(Debug)]
pub(crate) struct Workspace {
    directory: PathBuf,
    generation: Option<Generation>,
    _lock: File,
}

/// What a base root was made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Generation {
    format: u32,
    codename: String,
    architecture: String,
    sources: Vec<String>,
    /// Digest of the base's packages and of the archive's indexes.
    pub(crate) id: Digest,
}

/// One installation's directory; removed when dropped.
#[derive(Debug)]
pub(crate) struct Job {
    directory: PathBuf,
}

impl Workspace {
    /// Opens `directory`, waits for nobody: a second build in it is an error. What a killed build left is removed.
    pub(crate) fn open(directory: &Path) -> Result<Self> {
        let io = |operation| {
            move |source| Error::Io {
                operation,
                path: directory.to_owned(),
                source,
            }
        };
        fs::create_dir_all(directory).map_err(io("creating"))?;
        let directory = directory.canonicalize().map_err(io("resolving"))?;
        // filesystems/overlayfs.rst, "Nesting overlayfs mounts": an overlay cannot be the upper layer of another one
        let kind = rustix::fs::statfs(&directory).map(|s| s.f_type);
        if kind.is_ok_and(|k| k == OVERLAYFS) {
            return Err(Error::WorkDirectoryFilesystem { path: directory });
        }
        // the path stands in mount options and in apt.conf(5) strings
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"/._+-".contains(&b);
        if !directory.to_string_lossy().bytes().all(plain) {
            return Err(Error::WorkDirectoryName { path: directory });
        }
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o700)).map_err(|source| {
            Error::Io {
                operation: "protecting",
                path: directory.clone(),
                source,
            }
        })?;
        let path = directory.join("lock");
        let lock = File::create(&path).map_err(|source| Error::Io {
            operation: "creating",
            path,
            source,
        })?;
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|_| {
            Error::Busy {
                path: directory.clone(),
            }
        })?;
        for left in ["jobs", "generation.new"] {
            remove(&directory.join(left))?;
        }
        let generation = fs::read(directory.join("generation/generation.json"))
            .ok()
            .and_then(|text| serde_json::from_slice::<Generation>(&text).ok())
            .filter(|g| g.format == BASE_FORMAT);
        Ok(Self {
            directory,
            generation,
            _lock: lock,
        })
    }

    /// The base root's generation, if there is one.
    pub(crate) fn generation(&self) -> Option<&Generation> {
        self.generation.as_ref()
    }

    /// The directory itself.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// An empty directory for an installation.
    pub(crate) fn job(&self, name: &str) -> Result<Job> {
        let job = Job {
            directory: self.directory.join("jobs").join(name),
        };
        remove(&job.directory)?;
        for directory in ["upper", "work", "root"] {
            let path = job.directory.join(directory);
            fs::create_dir_all(&path).map_err(|source| Error::Io {
                operation: "creating",
                path,
                source,
            })?;
        }
        Ok(job)
    }

    /// Where the base root lies.
    pub(crate) fn base(&self) -> PathBuf {
        self.directory.join("generation/base")
    }

    /// The packages downloaded so far.
    pub(crate) fn cache(&self) -> PathBuf {
        self.directory.join("archives")
    }

    /// Makes the base root afresh.
    pub(crate) fn make_base(&mut self, machine: &Machine) -> Result<()> {
        let new = self.directory.join("generation.new");
        let io = |operation| {
            let new = new.clone();
            move |source| Error::Io {
                operation,
                path: new,
                source,
            }
        };
        for directory in [
            "keys",
            "empty/etc/apt/apt.conf.d",
            "empty/etc/apt/preferences.d",
        ] {
            fs::create_dir_all(new.join(directory)).map_err(io("creating"))?;
        }
        for (number, key) in machine.keys.iter().enumerate() {
            let extension = key.extension().unwrap_or_default().to_string_lossy();
            fs::copy(key, new.join(format!("keys/{number}.{extension}")))
                .map_err(io("copying keys to"))?;
        }
        fs::write(new.join("sources.list"), machine.sources.join("\n") + "\n")
            .map_err(io("writing"))?;
        let options = format!(
            "{}Acquire::Languages \"none\";\nAPT::Sandbox::User \"root\";\n",
            machine.acquire
        );
        fs::write(new.join("acquire.conf"), &options).map_err(io("writing"))?;
        self.bootstrap(machine, &new)?;
        prepare_base(&new).map_err(io("preparing"))?;
        let id = generation_id(&new).map_err(io("digesting"))?;
        let generation = Generation {
            format: BASE_FORMAT,
            codename: machine.codename.clone(),
            architecture: machine.architecture.clone(),
            sources: machine.sources.clone(),
            id,
        };
        let text =
            serde_json::to_vec_pretty(&generation).map_err(|e| io("describing")(e.into()))?;
        fs::write(new.join("generation.json"), text).map_err(io("writing"))?;
        let current = self.directory.join("generation");
        remove(&current)?;
        fs::rename(&new, &current).map_err(io("publishing"))?;
        self.generation = Some(generation);
        Ok(())
    }

    fn bootstrap(&self, machine: &Machine, new: &Path) -> Result<()> {
        let log = new.join("log");
        let mut command = isolated(&log)?;
        let sources = new.join("sources.list");
        command
            .args([
                "mmdebstrap",
                "--quiet",
                "--mode=root",
                "--variant=essential",
                "--format=directory",
            ])
            // the indexes serve all installations: they stay the same for a whole generation
            .arg("--skip=check/signed-by,cleanup/apt")
            .arg(format!("--architectures={}", machine.architecture))
            .arg(format!("--keyring={}", new.join("keys").display()))
            .arg(format!("--aptopt={}", new.join("acquire.conf").display()))
            .arg(&machine.codename)
            .arg(new.join("base"))
            .arg(&sources);
        run(command, "mmdebstrap", &log)
    }

    /// Installs `packages` into an overlay of its own.
    ///
    /// # Errors
    /// [`Error::Install`] with apt's last lines, [`Error::UnknownPackage`].
    pub(crate) fn install(&self, name: &str, packages: &[&str], python: &[String]) -> Result<Job> {
        let job = Job {
            directory: self.directory.join("jobs").join(name),
        };
        let io = |operation| {
            let path = job.directory.clone();
            move |source| Error::Io {
                operation,
                path,
                source,
            }
        };
        for directory in ["upper", "work", "root", "archives/partial"] {
            fs::create_dir_all(job.directory.join(directory)).map_err(io("creating"))?;
        }
        fs::create_dir_all(self.cache()).map_err(io("creating"))?;
        link_packages(&self.cache(), &job.archives())
            .map_err(io("filling the package cache of"))?;
        let config = job.directory.join("apt.conf");
        fs::write(&config, self.apt_config(&job.directory)).map_err(io("writing"))?;
        let log = job.directory.join("log");
        let mut command = isolated(&log)?;
        command.env("PYTHON_DIRECTORIES", python.join(" "));
        command.args(["/bin/sh", "-c", INSTALL, "install"]);
        command
            .arg(self.base())
            .arg(&job.directory)
            .arg(job.archives())
            .arg(&config)
            .args(packages);
        match run(command, "apt-get install", &log) {
            Ok(()) => {
                link_packages(&job.archives(), &self.cache())
                    .map_err(io("keeping the packages of"))?;
                Ok(job)
            }
            Err(Error::Tool { status, log, .. }) => Err(explain(name, packages, status, log)),
            Err(other) => Err(other),
        }
    }

    /// apt runs on the machine, with the machine's way to the archive, and installs into the root of the directory `job`.
    pub(crate) fn apt_config(&self, job: &Path) -> String {
        let generation = self.directory.join("generation");
        let (generation, job) = (generation.display(), job.display());
        let acquire =
            fs::read_to_string(self.directory.join("generation/acquire.conf")).unwrap_or_default();
        let architecture = self
            .generation
            .as_ref()
            .map_or("", |g| g.architecture.as_str());
        format!(
            "Dir \"{generation}/empty\";\n\
             Dir::Etc::sourcelist \"{generation}/sources.list\";\n\
             Dir::Etc::sourceparts \"/dev/null\";\n\
             Dir::Etc::trusted \"/dev/null\";\n\
             Dir::Etc::trustedparts \"{generation}/keys/\";\n\
             Dir::Etc::netrc \"/etc/apt/auth.conf\";\n\
             Dir::Etc::netrcparts \"/etc/apt/auth.conf.d\";\n\
             Dir::State::lists \"{generation}/lists/\";\n\
             Dir::State::status \"{job}/root/var/lib/dpkg/status\";\n\
             Dir::State::extended_states \"{job}/extended_states\";\n\
             Dir::Cache::archives \"{job}/root/var/cache/apt/archives/\";\n\
             Dir::Cache::pkgcache \"\";\n\
             Dir::Cache::srcpkgcache \"{generation}/srcpkgcache.bin\";\n\
             Dir::Log \"{job}/\";\n\
             Dir::Log::Terminal \"\";\n\
             DPkg::Chroot-Directory \"{job}/root\";\n\
             DPkg::Options {{ \"--force-unsafe-io\"; \"--force-confnew\"; }};\n\
             Dpkg::Use-Pty \"false\";\n\
             APT::Architecture \"{architecture}\";\n\
             APT::Architectures {{ \"{architecture}\"; }};\n\
             APT::Install-Recommends \"false\";\n\
             APT::Install-Suggests \"false\";\n\
             APT::Keep-Downloaded-Packages \"true\";\n\
             APT::Get::Assume-Yes \"true\";\n\
             Binary::apt-get::APT::Keep-Downloaded-Packages \"true\";\n\
             {acquire}"
        )
    }
}

impl Job {
    /// Its own package cache: hard links to the shared one, so that installations in parallel need no lock.
    fn archives(&self) -> PathBuf {
        self.directory.join("archives")
    }

    /// The overlay's upper directory.
    pub(crate) fn upper(&self) -> PathBuf {
        self.directory.join("upper")
    }

    /// The job's own directory.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        // nothing is mounted any more: the mount namespace went with its last process. What cannot be removed now is
        // removed when the next build opens the directory.
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Moves apt's indexes out of the base, forbids starting services in it, and makes the places mounts need.
fn prepare_base(new: &Path) -> std::io::Result<()> {
    let base = new.join("base");
    fs::rename(base.join("var/lib/apt/lists"), new.join("lists"))?;
    for cache in ["pkgcache.bin", "srcpkgcache.bin"] {
        let _ = fs::remove_file(base.join("var/cache/apt").join(cache));
    }
    fs::create_dir_all(base.join("var/cache/apt/archives"))?;
    fs::create_dir_all(base.join("var/lib/apt/lists"))?;
    for directory in ["proc", "sys", "dev", "run", "tmp"] {
        fs::create_dir_all(base.join(directory))?;
    }
    // invoke-rc.d(8): 101 forbids the action
    let policy = base.join("usr/sbin/policy-rc.d");
    fs::write(&policy, "#!/bin/sh\nexit 101\n")?;
    fs::set_permissions(&policy, fs::Permissions::from_mode(0o755))
}

/// Two bases with one id install the same packages.
fn generation_id(new: &Path) -> std::io::Result<Digest> {
    let mut text = format!(
        "{BASE_FORMAT}\n{}\n",
        Digest::of(&fs::read(new.join("base/var/lib/dpkg/status"))?)
    );
    let mut lists: Vec<PathBuf> = fs::read_dir(new.join("lists"))?
        .filter_map(|e| Some(e.ok()?.path()))
        .collect();
    lists.sort();
    for list in lists.iter().filter(|l| l.is_file()) {
        let name = list.file_name().unwrap_or_default().to_string_lossy();
        if name.contains("Packages") {
            text.push_str(&format!("{}\n", Digest::of(&fs::read(list)?)));
        }
    }
    Ok(Digest::of(text.as_bytes()))
}

/// Hard-links the packages of `from` that `to` does not have.
fn link_packages(from: &Path, to: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        if let Some(name) = path
            .file_name()
            .filter(|_| path.extension().is_some_and(|e| e == "deb"))
        {
            match fs::hard_link(&path, to.join(name)) {
                Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                    return Err(error);
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// Removes a directory if it is there.
pub(crate) fn remove(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(Error::Io {
            operation: "removing",
            path: path.to_owned(),
            source,
        }),
        _ => Ok(()),
    }
}
