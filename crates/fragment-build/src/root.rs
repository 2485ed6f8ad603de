//! Reading an installed root: an overlay's layers looked at from outside, with every symbolic link resolved inside it.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Most symbolic links followed in one look-up (path_resolution(7) says 40).
const MAX_LINKS: usize = 40;

/// The view that an overlay mount of these layers gives, without mounting it.
#[derive(Debug, Clone)]
pub(crate) struct Root {
    /// Topmost first.
    layers: Vec<PathBuf>,
}

/// What a path of the root is.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    /// The path without symbolic links in its parents.
    pub(crate) path: String,
    /// Where it lies; for directories the topmost of the layers that have it.
    pub(crate) source: PathBuf,
    /// Its metadata.
    pub(crate) metadata: Metadata,
    /// Target of a symbolic link.
    pub(crate) target: Option<String>,
    /// Directories of this path, topmost first.
    directories: Vec<PathBuf>,
}

impl Node {
    pub(crate) fn is_directory(&self) -> bool {
        self.metadata.is_dir()
    }

    pub(crate) fn is_file(&self) -> bool {
        self.metadata.is_file()
    }
}

impl Root {
    /// Looks at these layers, topmost first.
    pub(crate) fn new(layers: Vec<PathBuf>) -> Self {
        Self { layers }
    }

    /// What `path` is; links in its parents are followed, it itself is not.
    pub(crate) fn lookup(&self, path: &str) -> io::Result<Option<Node>> {
        let mut links = 0;
        let mut todo: Vec<String> = segments(path).rev().map(str::to_owned).collect();
        let mut node = self.top()?;
        let mut trail: Vec<Node> = Vec::new();
        while let Some(segment) = todo.pop() {
            if segment == ".." {
                if let Some(parent) = trail.pop() {
                    node = parent;
                }
                continue;
            }
            let Some(child) = child(&node, &segment)? else {
                return Ok(None);
            };
            match &child.target {
                Some(target) if !todo.is_empty() => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Ok(None);
                    }
                    if target.starts_with('/') {
                        node = self.top()?;
                        trail.clear();
                    }
                    todo.extend(segments(target).rev().map(str::to_owned));
                }
                _ => {
                    if !todo.is_empty() && !child.is_directory() {
                        return Ok(None);
                    }
                    trail.push(std::mem::replace(&mut node, child));
                }
            }
        }
        Ok(Some(node))
    }

    /// What `path` is after following links at its end too; nothing when a link dangles.
    pub(crate) fn follow(&self, path: &str) -> io::Result<Option<Node>> {
        let mut path = path.to_owned();
        for _ in 0..MAX_LINKS {
            let Some(node) = self.lookup(&path)? else {
                return Ok(None);
            };
            let Some(target) = &node.target else {
                return Ok(Some(node));
            };
            path = join(&node.path, target);
        }
        Ok(None)
    }

    /// The first `limit` bytes of a regular file, links followed.
    pub(crate) fn read(&self, path: &str, limit: u64) -> io::Result<Option<Vec<u8>>> {
        let Some(node) = self.follow(path)?.filter(Node::is_file) else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        File::open(&node.source)?
            .take(limit)
            .read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }

    /// The children of a directory, sorted by name.
    pub(crate) fn children(&self, directory: &Node) -> io::Result<Vec<Node>> {
        let mut names = BTreeSet::new();
        for layer in &directory.directories {
            for entry in std::fs::read_dir(layer)? {
                names.insert(entry?.file_name());
            }
        }
        let mut children = Vec::with_capacity(names.len());
        for name in names {
            children.extend(child(directory, &utf8(&name)?)?);
        }
        Ok(children)
    }

    /// Calls `visit` for everything below `/`, parents first; it answers whether to go into a directory.
    pub(crate) fn walk(&self, visit: &mut dyn FnMut(&Node) -> io::Result<bool>) -> io::Result<()> {
        let mut pending = vec![self.top()?];
        while let Some(directory) = pending.pop() {
            for node in self.children(&directory)? {
                if visit(&node)? && node.is_directory() {
                    pending.push(node);
                }
            }
        }
        Ok(())
    }

    fn top(&self) -> io::Result<Node> {
        let first = self
            .layers
            .first()
            .map_or_else(|| Path::new("/nonexistent"), PathBuf::as_path);
        Ok(Node {
            path: String::new(),
            source: first.to_owned(),
            metadata: std::fs::symlink_metadata(first)?,
            target: None,
            directories: self.layers.clone(),
        })
    }
}

/// `target` of a link at `path`, as a path of the root.
pub(crate) fn join(path: &str, target: &str) -> String {
    if target.starts_with('/') {
        return target.to_owned();
    }
    let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
    format!("{parent}/{target}")
}

/// `path` with `.` and `..` taken away as text.
pub(crate) fn normalise(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for segment in segments(path) {
        if segment == ".." {
            kept.pop();
        } else {
            kept.push(segment);
        }
    }
    format!("/{}", kept.join("/"))
}

fn segments(path: &str) -> impl DoubleEndedIterator<Item = &str> {
    path.split('/').filter(|s| !s.is_empty() && *s != ".")
}

/// Looks a name up in the layers of a directory, as overlayfs does.
fn child(directory: &Node, name: &str) -> io::Result<Option<Node>> {
    let mut found: Option<Node> = None;
    for layer in &directory.directories {
        let source = layer.join(name);
        let metadata = match std::fs::symlink_metadata(&source) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        // overlayfs.rst, "whiteouts and opaque directories": a whiteout is a character device 0/0
        if metadata.file_type().is_char_device() && metadata.rdev() == 0 {
            break;
        }
        if let Some(node) = &mut found {
            if !metadata.is_dir() {
                break;
            }
            let opaque = is_opaque(&source);
            node.directories.push(source);
            if opaque {
                break;
            }
            continue;
        }
        let target = if metadata.is_symlink() {
            Some(utf8(std::fs::read_link(&source)?.as_os_str())?)
        } else {
            None
        };
        let is_directory = metadata.is_dir();
        let opaque = is_directory && is_opaque(&source);
        found = Some(Node {
            path: format!("{}/{name}", directory.path),
            directories: if is_directory {
                vec![source.clone()]
            } else {
                Vec::new()
            },
            source,
            metadata,
            target,
        });
        if !is_directory || opaque {
            break;
        }
    }
    Ok(found)
}

fn is_opaque(directory: &Path) -> bool {
    let mut value = [0; 1];
    matches!(
        rustix::fs::lgetxattr(directory, c"trusted.overlay.opaque", &mut value[..]),
        Ok(1)
    ) && value[0] == b'y'
}

fn utf8(name: &OsStr) -> io::Result<String> {
    std::str::from_utf8(name.as_bytes())
        .map(str::to_owned)
        .map_err(|_| {
            let shown = name.to_string_lossy().into_owned();
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("`{shown}` is not UTF-8"),
            )
        })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::{Root, normalise};

    #[test]
    fn links_stay_inside_and_upper_wins() {
        let dir = tempfile::tempdir().unwrap();
        let (upper, lower) = (dir.path().join("u"), dir.path().join("l"));
        for d in ["l/usr/bin", "l/run", "l/var", "u/usr/bin", "u/var"] {
            fs::create_dir_all(dir.path().join(d)).unwrap();
        }
        symlink("usr/bin", lower.join("bin")).unwrap();
        symlink("/run", lower.join("var/run")).unwrap();
        symlink("/../../../../etc/passwd", lower.join("usr/bin/out")).unwrap();
        symlink("loop", lower.join("loop")).unwrap();
        fs::write(lower.join("usr/bin/a"), "lower").unwrap();
        fs::write(upper.join("usr/bin/a"), "upper").unwrap();
        fs::write(lower.join("run/x"), "inside").unwrap();
        let root = Root::new(vec![upper, lower]);
        assert_eq!(root.read("/bin/a", 100).unwrap().unwrap(), b"upper");
        assert_eq!(root.lookup("/bin/a").unwrap().unwrap().path, "/usr/bin/a");
        assert_eq!(root.lookup("/var/run/x").unwrap().unwrap().path, "/run/x");
        assert!(root.read("/usr/bin/out", 100).unwrap().is_none());
        assert!(root.follow("/loop").unwrap().is_none());
        assert!(root.lookup("/usr/bin/a/b").unwrap().is_none());
        let mut seen = Vec::new();
        root.walk(&mut |n| {
            seen.push(n.path.clone());
            Ok(true)
        })
        .unwrap();
        assert!(seen.contains(&"/usr/bin/a".to_owned()) && seen.contains(&"/run/x".to_owned()));
    }

    #[test]
    fn text_normalisation() {
        assert_eq!(normalise("/usr/lib/x/../y/./z"), "/usr/lib/y/z");
        assert_eq!(normalise("/../../a"), "/a");
    }
}
