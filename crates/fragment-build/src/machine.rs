//! What the machine's own apt is set up with: sources, keys, proxies.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::{Error, Result};

/// Environment that reaches apt and, through it, maintainer scripts; everything else is taken away.
pub(crate) const NETWORK_ENVIRONMENT: [&str; 10] = [
    "http_proxy",
    "https_proxy",
    "ftp_proxy",
    "all_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "SSL_CERT_FILE",
];
/// Programs used and the packages that have them.
const TOOLS: [(&str, &str); 6] = [
    ("apt-get", "apt"),
    ("mmdebstrap", "mmdebstrap"),
    ("unshare", "util-linux"),
    ("setpriv", "util-linux"),
    ("mount", "mount"),
    ("chroot", "coreutils"),
];

/// The machine's package sources.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    /// Release name, such as `bookworm`.
    pub(crate) codename: String,
    /// Debian architecture name.
    pub(crate) architecture: String,
    /// One `deb URI SUITE COMPONENT` line each.
    pub(crate) sources: Vec<String>,
    /// Acquire settings (proxies, certificates, retries) in apt.conf(5) form.
    pub(crate) acquire: String,
    /// Key files.
    pub(crate) keys: BTreeSet<PathBuf>,
}

impl Machine {
    /// Asks the machine's apt.
    ///
    /// # Errors
    /// [`Error::NotRoot`], [`Error::MissingTool`], [`Error::Sources`].
    pub(crate) fn inspect() -> Result<Self> {
        require_tools()?;
        let codename = codename()?;
        let architecture = output(Command::new("dpkg").arg("--print-architecture"))?
            .trim()
            .to_owned();
        let targets = output(Command::new("apt-get").args([
            "indextargets",
            "--format",
            "$(ORIGIN)|$(COMPONENT)|$(ARCHITECTURE)|$(RELEASE)|$(REPO_URI)",
            "Created-By: Packages",
        ]))?;
        let sources = sources(&targets, &codename, &architecture);
        if sources.is_empty() {
            return Err(Error::Sources { codename });
        }
        let acquire = acquire(&output(Command::new("apt-config").arg("dump"))?);
        Ok(Self {
            codename,
            architecture,
            sources,
            acquire,
            keys: keys(),
        })
    }
}

/// Fails unless all programs are there and we may use them.
pub(crate) fn require_tools() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Err(Error::NotRoot);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    for (tool, package) in TOOLS {
        if !std::env::split_paths(&path).any(|d| d.join(tool).is_file()) {
            return Err(Error::MissingTool { tool, package });
        }
    }
    Ok(())
}

/// Clears the environment of `command` but for what installation needs.
pub(crate) fn clean_environment(command: &mut Command) {
    command.env_clear();
    for name in NETWORK_ENVIRONMENT {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command
        .env(
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        )
        .env("HOME", "/root")
        .env("LC_ALL", "C.UTF-8")
        .env("TZ", "UTC")
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("DEBCONF_NONINTERACTIVE_SEEN", "true")
        // reproducible-builds.org: tools that write time stamps write this one
        .env("SOURCE_DATE_EPOCH", "1672531200");
}

fn codename() -> Result<String> {
    let file = Path::new("/etc/os-release");
    let text = std::fs::read_to_string(file).map_err(|source| Error::Io {
        operation: "reading",
        path: file.to_owned(),
        source,
    })?;
    text.lines()
        .find_map(|l| l.strip_prefix("VERSION_CODENAME="))
        .map(|name| name.trim_matches('"').to_owned())
        .filter(|name| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric()))
        .ok_or_else(|| Error::Sources {
            codename: "unknown".to_owned(),
        })
}

/// The lines of Debian's own main archive: this release with its updates; third-party archives never.
fn sources(targets: &str, codename: &str, architecture: &str) -> Vec<String> {
    let mut sources = Vec::new();
    for line in targets.lines() {
        let [origin, component, arch, release, uri] = line.splitn(5, '|').collect::<Vec<_>>()[..]
        else {
            continue;
        };
        let ours = release
            .strip_prefix(codename)
            .is_some_and(|rest| matches!(rest, "" | "-updates" | "-security" | "/updates"));
        if origin == "Debian" && component == "main" && arch == architecture && ours {
            let source = format!("deb {uri} {release} {component}");
            if !sources.contains(&source) {
                sources.push(source);
            }
        }
    }
    sources
}

/// The Acquire settings of an `apt-config dump` that say how to reach the archive.
fn acquire(dump: &str) -> String {
    const NOT_OURS: [&str; 5] = [
        "Acquire::IndexTargets",
        "Acquire::Changelogs",
        "Acquire::Languages",
        "Acquire::cdrom",
        "Acquire::CompressionTypes",
    ];
    dump.lines()
        .filter(|l| {
            l.starts_with("Acquire::")
                && !NOT_OURS.iter().any(|n| l.starts_with(n))
                && !l.ends_with(" \"\";")
        })
        .fold(String::new(), |mut all, line| {
            let _ = writeln!(all, "{line}");
            all
        })
}

/// The machine's archive keys: apt's trusted ones and those that its sources name.
fn keys() -> BTreeSet<PathBuf> {
    let files = |directory: &str| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(directory).into_iter().flatten();
        entries
            .filter_map(|e| Some(e.ok()?.path()))
            .filter(|p| p.is_file())
            .collect()
    };
    let is_key = |p: &PathBuf| p.extension().is_some_and(|e| e == "gpg" || e == "asc");
    let mut keys: BTreeSet<PathBuf> = files("/etc/apt/trusted.gpg.d")
        .into_iter()
        .filter(is_key)
        .collect();
    let mut source_files = files("/etc/apt/sources.list.d");
    source_files.push(PathBuf::from("/etc/apt/sources.list"));
    for text in source_files
        .iter()
        .filter_map(|f| std::fs::read_to_string(f).ok())
    {
        // `Signed-By: /path /path` in deb822 files, `[signed-by=/path,/path]` in one-line files
        let words = text.split(|c: char| c.is_whitespace() || matches!(c, '[' | ']' | '=' | ','));
        let named = words.filter(|w| w.starts_with('/')).map(PathBuf::from);
        keys.extend(named.filter(|p| is_key(p) && p.is_file()));
    }
    keys
}

pub(crate) fn output(command: &mut Command) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let spawn = |source| Error::Io {
        operation: "running",
        path: PathBuf::from(&program),
        source,
    };
    let output = command
        .env("LC_ALL", "C")
        .stdin(std::process::Stdio::null())
        .output()
        .map_err(spawn)?;
    if !output.status.success() {
        let log = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(Error::Tool {
            tool: program,
            status: output.status,
            log,
        });
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::{acquire, sources};

    #[test]
    fn only_the_main_archive_of_this_release() {
        let targets = "Debian|main|amd64|bookworm|http://a/debian/\nDebian|main|amd64|bookworm-updates|http://a/debian/\n\
                       Debian|main|amd64|bookworm-security|http://b/\nDebian|contrib|amd64|bookworm|http://a/debian/\n\
                       Debian|main|i386|bookworm|http://a/debian/\nDebian|main|amd64|trixie|http://a/debian/\n\
                       Node Source|main|amd64|nodistro|http://c/\nDebian|main|amd64|bookworm-backports|http://a/debian/\nx\n";
        assert_eq!(
            sources(targets, "bookworm", "amd64"),
            [
                "deb http://a/debian/ bookworm main",
                "deb http://a/debian/ bookworm-updates main",
                "deb http://b/ bookworm-security main",
            ]
        );
    }

    #[test]
    fn proxies_survive_and_hooks_do_not() {
        let dump = "Acquire \"\";\nAcquire::http::Proxy \"http://p:1\";\nAcquire::IndexTargets::x \"y\";\n\
                    DPkg::Post-Invoke:: \"rm\";\nAcquire::http \"\";\n";
        assert_eq!(acquire(dump), "Acquire::http::Proxy \"http://p:1\";\n");
    }
}
