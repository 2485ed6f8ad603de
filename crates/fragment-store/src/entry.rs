//! Names and kinds of tar entries, and the rules that hostile ones break.

use fragment_types::Digest;

/// Longest path accepted, in bytes: Linux' PATH_MAX with its NUL (path_resolution(7)), less the leading `/`.
pub(crate) const MAX_PATH: usize = 4094;
/// Longest name accepted (NAME_MAX).
const MAX_NAME: usize = 255;
/// Deepest path accepted. Real packages stay below 25; the bound keeps recursion and open directories small.
const MAX_DEPTH: usize = 128;
/// Prefix of whiteouts and opaque marks (OCI image-spec, `layer.md`), which have no meaning in a component.
const WHITEOUT: &str = ".wh.";

/// The rule that an entry of a layer breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Name starts with `/`.
    #[error("its name is absolute")]
    Absolute,
    /// A component of the name is `..`, `.` or empty.
    #[error("its name holds `..`, `.` or an empty part")]
    Dots,
    /// Name or link target too long or too deep.
    #[error("its name is too long or too deep")]
    TooLong,
    /// Name or link target not UTF-8, or with a NUL.
    #[error("its name or target is not plain UTF-8 text")]
    Text,
    /// Whiteout of the OCI layer format.
    #[error("it is a whiteout")]
    Whiteout,
    /// Device node, fifo, socket, sparse file or something unheard of.
    #[error("entries of type {0:?} are not allowed")]
    Kind(char),
    /// Extended attribute, file capabilities among them.
    #[error("extended attribute `{0}` is not allowed")]
    Xattr(String),
    /// A pax record we do not understand, so we cannot know what it changes.
    #[error("pax record `{0}` is not understood")]
    Pax(String),
    /// Content where none belongs.
    #[error("only regular files have content")]
    Content,
    /// Owner that is not a Linux user or group id.
    #[error("its owner is not a user or group id")]
    Owner,
    /// Set-user-id or set-group-id bit that the manifest does not have.
    #[error("it has a set-id bit that the manifest does not list")]
    SetId,
    /// Second entry of the same name.
    #[error("it occurs twice")]
    Duplicate,
    /// Its directory is not in the layer, or not before it, or is no directory.
    #[error("its parent is not a directory that the layer made before it")]
    Parent,
    /// Hard link to something that is not a file of the tree.
    #[error("it is a hard link to something that is not a file the layer made before it")]
    LinkTarget,
    /// Not in the manifest.
    #[error("the manifest does not list it")]
    Unlisted,
    /// Kind differs from the manifest.
    #[error("it is of another kind than the manifest says")]
    KindDiffers,
    /// Mode differs from the manifest.
    #[error("it has mode {found:o}, the manifest says {expected:o}")]
    ModeDiffers {
        /// Mode of the manifest.
        expected: u32,
        /// Mode of the entry.
        found: u32,
    },
    /// Size differs from the manifest.
    #[error("it has {found} bytes, the manifest says {expected}")]
    SizeDiffers {
        /// Size of the manifest.
        expected: u64,
        /// Size of the entry.
        found: u64,
    },
    /// Content differs from the manifest.
    #[error("its content has digest {found}, not the manifest's")]
    DigestDiffers {
        /// Digest of the content.
        found: Digest,
    },
    /// Link target differs from the manifest.
    #[error("it points elsewhere than the manifest says")]
    TargetDiffers,
}

/// One entry of an archive, its name checked and normalised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Path relative to the root of the tree, without leading or trailing `/`; empty for the root itself.
    pub path: String,
    /// What it is.
    pub kind: Kind,
    /// Permission bits (12 bits).
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Modification time in seconds since the epoch.
    pub mtime: i64,
    /// Extended attributes, in images only.
    pub xattrs: Vec<(String, Vec<u8>)>,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Directory.
    Directory,
    /// Regular file.
    File {
        /// Bytes of content.
        size: u64,
    },
    /// Symbolic link.
    Symlink {
        /// Target as written.
        target: String,
    },
    /// Another name of a file.
    HardLink {
        /// Normalised like a path.
        target: String,
    },
    /// A device or fifo, in images only.
    Special {
        /// Type flag of the header: 3 a character device, 4 a block device, 6 a fifo.
        kind: char,
        /// Major and minor number.
        device: (u32, u32),
    },
}

/// The normal form of a name in an archive.
pub(crate) fn normal_path(name: &[u8]) -> Result<String, Refusal> {
    let name = text(name)?;
    if name.starts_with('/') {
        return Err(Refusal::Absolute);
    }
    let name = name.strip_prefix("./").unwrap_or(name);
    let name = name.strip_suffix('/').unwrap_or(name);
    if name.is_empty() || name == "." {
        return Ok(String::new());
    }
    for (depth, part) in name.split('/').enumerate() {
        match part {
            _ if depth == MAX_DEPTH => return Err(Refusal::TooLong),
            "" | "." | ".." => return Err(Refusal::Dots),
            _ if part.len() > MAX_NAME => return Err(Refusal::TooLong),
            _ if part.starts_with(WHITEOUT) => return Err(Refusal::Whiteout),
            _ => {}
        }
    }
    Ok(name.to_owned())
}

/// The same in a layer of an image: absolute names are taken as relative to the root, and whiteouts are names like others.
pub(crate) fn image_path(name: &[u8]) -> Result<String, Refusal> {
    let name = text(name)?.trim_start_matches('/');
    match normal_path(if name.is_empty() {
        b"./"
    } else {
        name.as_bytes()
    }) {
        Err(Refusal::Whiteout) => {}
        other => return other,
    }
    let plain = name.strip_prefix("./").unwrap_or(name);
    let (parent, whiteout) = plain.rsplit_once('/').unwrap_or(("", plain));
    let hidden = whiteout.strip_prefix(WHITEOUT).unwrap_or_default();
    // a name of its own below a clean parent; `.wh..wh..opq` marks the parent
    if hidden.is_empty() || matches!(hidden, "." | "..") || whiteout.len() > MAX_NAME {
        return Err(Refusal::Dots);
    }
    let parent = if parent.is_empty() {
        String::new()
    } else {
        normal_path(parent.as_bytes())?
    };
    Ok(if parent.is_empty() {
        whiteout.to_owned()
    } else {
        format!("{parent}/{whiteout}")
    })
}

/// Text of an archive that is no longer than a path.
pub(crate) fn text(bytes: &[u8]) -> Result<&str, Refusal> {
    if bytes.len() > MAX_PATH {
        return Err(Refusal::TooLong);
    }
    if bytes.is_empty() || bytes.contains(&0) {
        return Err(Refusal::Text);
    }
    std::str::from_utf8(bytes).map_err(|_| Refusal::Text)
}

/// The directory that holds `path`; the root's is `None`.
pub(crate) fn parent(path: &str) -> Option<&str> {
    if path.is_empty() {
        return None;
    }
    Some(path.rsplit_once('/').map_or("", |(parent, _)| parent))
}

/// The last part of `path`.
pub(crate) fn file_name(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::{Refusal, image_path, normal_path, parent};

    #[test]
    fn names_are_normalised_or_refused() {
        for (name, normal) in [
            ("usr/bin/x", "usr/bin/x"),
            ("./usr/bin/", "usr/bin"),
            ("./", ""),
            (".", ""),
            ("...", "..."),
            ("a b\n", "a b\n"),
        ] {
            assert_eq!(
                normal_path(name.as_bytes()).as_deref(),
                Ok(normal),
                "{name}"
            );
        }
        let long = "x".repeat(256);
        let deep = "d/".repeat(200);
        let endless = "y/y".repeat(2000);
        for (name, refusal) in [
            ("/etc/passwd", Refusal::Absolute),
            ("../x", Refusal::Dots),
            ("a/../../x", Refusal::Dots),
            ("a/..", Refusal::Dots),
            ("a//b", Refusal::Dots),
            (".//etc", Refusal::Dots),
            ("./../x", Refusal::Dots),
            ("a/./b", Refusal::Dots),
            ("", Refusal::Text),
            ("a\0b", Refusal::Text),
            ("etc/.wh.passwd", Refusal::Whiteout),
            ("etc/.wh..wh..opq", Refusal::Whiteout),
            (&long, Refusal::TooLong),
            (&deep, Refusal::TooLong),
            (&endless, Refusal::TooLong),
        ] {
            assert_eq!(normal_path(name.as_bytes()), Err(refusal), "{name}");
        }
        assert_eq!(normal_path(b"\xff"), Err(Refusal::Text));
    }

    #[test]
    fn names_of_images_may_be_absolute_and_whiteouts() {
        for (name, normal) in [
            ("/", ""),
            ("/usr/bin/", "usr/bin"),
            ("./etc/.wh.passwd", "etc/.wh.passwd"),
            (".wh.x", ".wh.x"),
            ("/etc/.wh..wh..opq", "etc/.wh..wh..opq"),
        ] {
            assert_eq!(image_path(name.as_bytes()).as_deref(), Ok(normal), "{name}");
        }
        for name in [
            "../x",
            "/../x",
            "a/../b",
            ".wh.",
            ".wh..",
            ".wh...",
            "../.wh.x",
            "a/.wh.b/c",
            "a//.wh.x",
        ] {
            assert!(image_path(name.as_bytes()).is_err(), "{name}");
        }
    }

    #[test]
    fn parents() {
        for (path, expected) in [
            ("", None),
            ("usr", Some("")),
            ("usr/bin", Some("usr")),
            ("a/b/c", Some("a/b")),
        ] {
            assert_eq!(parent(path), expected);
        }
    }
}
