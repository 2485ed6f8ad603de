//! The overlay as mount options.
//!
//! fsconfig(2) takes string values of at most 255 bytes (`strndup_user(…, 256)` in fs/fsopen.c) and overlayfs gives `:`,
//! `,` and `\` a meaning that differs between options and kernels. So a path that is too long or holds such a byte is
//! named by a short symbolic link in a directory of ours, which overlayfs follows when it mounts; nothing is ever escaped.
//! Kernels that take all layers in one value only are given names relative to that directory: some eighty fit.

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use crate::error::ComposeError;
use crate::kernel::KernelVersion;
use crate::mounting::{self, OverlayMount};

/// Longest value of a mount option for fsconfig(2), in bytes.
const MAX_VALUE: usize = 255;
/// Longest list of layers for mount(2), whose options are one page that is cut without a word: half of it, the rest is for
/// the other options.
const MAX_LIST: usize = 2048;
/// Most lower layers (OVL_MAX_STACK in fs/overlayfs/params.h).
const MAX_LOWERS: usize = 500;
/// First kernel known to take layers one by one (`lowerdir+`).
pub(crate) const LOWERDIR_PLUS: KernelVersion = KernelVersion::new(6, 8);
/// First kernel that takes `volatile`.
const VOLATILE: KernelVersion = KernelVersion::new(5, 10);

/// What is not left to the defaults of a kernel, which distributions change.
///
/// - `index=off`: with it the upper directory would be tied to one set of lower layers and refuse the next (ESTALE), and
///   two containers of one bundle would refuse each other (EBUSY).
/// - `metacopy=off`, `redirect_dir=nofollow`: the rootfs is not trusted, and with them its extended attributes would name
///   files of other layers (overlayfs.rst: "do not use metacopy=on with untrusted upper/lower directories"). Without
///   redirects a renamed directory of a component is EXDEV, as rename(2) permits and mv(1) expects; with them the rootfs
///   would make no sense outside the overlay. (A mount inside a user namespace, with `userxattr`, has to leave
///   `redirect_dir` out: there only `off` is taken.)
/// - `xino=off`: inode numbers keep to the 32 bits that old programs read.
const FIXED: [&str; 4] = [
    "index=off",
    "metacopy=off",
    "redirect_dir=nofollow",
    "xino=off",
];

/// What the kernel takes in a user namespace: there `redirect_dir` can only be off, which is not the same as `nofollow` to it.
const FIXED_NESTED: [&str; 4] = ["userxattr", "index=off", "metacopy=off", "xino=off"];

/// Options beside the layers for an overlay of ours, mounted by a process that is `nested` in a user namespace or not.
pub(crate) fn fixed(nested: bool) -> Vec<String> {
    let options = if nested { FIXED_NESTED } else { FIXED };
    options.map(str::to_owned).into()
}

/// An overlay that is to be mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overlay {
    /// Lower layers, topmost first.
    pub lowers: Vec<PathBuf>,
    /// The upper directory; none: the overlay is read-only.
    pub upper: Option<PathBuf>,
    /// The work directory, on the same mount as the upper directory; present exactly when that is.
    pub work: Option<PathBuf>,
    /// Whether the upper directory is dropped with the container, so that nothing of it need reach the disk.
    pub throw_away: bool,
}

/// How an overlay is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MountOptions {
    /// One `key=value` or flag each, as fsconfig(2) takes them.
    pub list: Vec<String>,
    /// The working directory of the process that mounts, where the list names layers relative to it: overlayfs looks them up
    /// from there (`ovl_mount_dir` in fs/overlayfs/super.c before Linux 6.5).
    pub directory: Option<PathBuf>,
}

/// How much a mount option may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Room {
    /// What fsconfig(2) takes.
    Value,
    /// What mount(2) takes.
    Page,
}

impl Room {
    fn bytes(self) -> usize {
        match self {
            Self::Value => MAX_VALUE,
            Self::Page => MAX_LIST,
        }
    }
}

impl Overlay {
    /// The same as a mount at `point`, with `options` beside the layers.
    pub(crate) fn mounted_at(
        self,
        point: &Path,
        mut options: Vec<String>,
        kernel: KernelVersion,
    ) -> OverlayMount {
        if self.throw_away && self.upper.is_some() && kernel >= VOLATILE {
            options.push("volatile".to_owned());
        }
        OverlayMount {
            point: point.to_path_buf(),
            source: mounting::HOSTED.to_owned(),
            lowers: self.lowers,
            upper: self.upper,
            work: self.work,
            options,
            attributes: Vec::new(),
        }
    }

    /// The options for mounting it.
    ///
    /// Short links are made in `links` where a path needs one; they have to stay until the overlay is mounted.
    ///
    /// # Errors
    /// When there are too many layers, when the layers do not fit what `kernel` takes, or a link cannot be made.
    pub fn mount_options(
        &self,
        kernel: KernelVersion,
        links: &Path,
    ) -> Result<MountOptions, ComposeError> {
        self.options_with(&FIXED.map(str::to_owned), kernel, links, Room::Value)
    }

    /// The same with other options than those of ours beside the layers.
    pub(crate) fn options_with(
        &self,
        others: &[String],
        kernel: KernelVersion,
        links: &Path,
        room: Room,
    ) -> Result<MountOptions, ComposeError> {
        if self.lowers.len() > MAX_LOWERS {
            let (count, limit) = (self.lowers.len(), MAX_LOWERS);
            return Err(ComposeError::TooManyLayers { count, limit });
        }
        let mut names = Links {
            directory: links,
            made: 0,
        };
        let mut options = Vec::with_capacity(self.lowers.len() + 7);
        let mut directory = None;
        if kernel >= LOWERDIR_PLUS {
            for lower in &self.lowers {
                options.push(format!("lowerdir+={}", names.name(lower)?));
            }
        } else if let Some(list) = self.whole_list(room) {
            options.push(format!("lowerdir={list}"));
        } else {
            options.push(format!(
                "lowerdir={}",
                self.linked_list(kernel, &mut names, room)?
            ));
            directory = Some(links.to_path_buf());
        }
        if let (Some(upper), Some(work)) = (&self.upper, &self.work) {
            options.push(format!("upperdir={}", names.name(upper)?));
            options.push(format!("workdir={}", names.name(work)?));
            if self.throw_away && kernel >= VOLATILE {
                // the upper directory does not outlive the container: no need to sync it at unmount
                options.push("volatile".to_owned());
            }
        }
        options.extend(others.iter().cloned());
        Ok(MountOptions {
            list: options,
            directory,
        })
    }

    /// The layers' own paths as one `a:b:c`, where that fits.
    fn whole_list(&self, room: Room) -> Option<String> {
        let plain = self.lowers.iter().all(|path| is_plain(path));
        let paths = self.lowers.iter().map(|path| path.to_string_lossy());
        let list = paths.collect::<Vec<_>>().join(":");
        (plain && list.len() <= room.bytes()).then_some(list)
    }

    /// The layers as one `a:b:c` of links, named relative to their directory.
    fn linked_list(
        &self,
        kernel: KernelVersion,
        names: &mut Links<'_>,
        room: Room,
    ) -> Result<String, ComposeError> {
        // known before any link is made: they are numbers
        let list = (0..self.lowers.len()).map(|number| number.to_string());
        let list = list.collect::<Vec<_>>().join(":");
        if list.len() > room.bytes() {
            return Err(ComposeError::OptionTooLong {
                layers: self.lowers.len(),
                limit: room.bytes(),
                kernel,
            });
        }
        for lower in &self.lowers {
            names.link(lower)?;
        }
        Ok(list)
    }
}

/// Whether a path can stand in any option of any kernel as it is.
fn is_plain(path: &Path) -> bool {
    let bytes = path.as_os_str().as_bytes();
    path.is_absolute()
        && bytes.len() <= MAX_VALUE
        && path.to_str().is_some()
        && !bytes
            .iter()
            .any(|byte| matches!(byte, b':' | b',' | b'\\' | b'"' | b'\n'))
}

/// Short names for paths.
struct Links<'a> {
    directory: &'a Path,
    made: usize,
}

impl Links<'_> {
    /// `path` itself where it can be written, else a link to it.
    fn name(&mut self, path: &Path) -> Result<String, ComposeError> {
        match path.to_str() {
            Some(text) if is_plain(path) => Ok(text.to_owned()),
            _ => self.link(path),
        }
    }

    fn link(&mut self, path: &Path) -> Result<String, ComposeError> {
        let unspeakable = || ComposeError::Unspeakable {
            path: self.directory.to_path_buf(),
        };
        let link = self.directory.join(self.made.to_string());
        let name = link
            .to_str()
            .filter(|_| is_plain(&link))
            .ok_or_else(unspeakable)?
            .to_owned();
        let make = |path: &Path, source| ComposeError::Make {
            path: path.to_path_buf(),
            source,
        };
        if self.made == 0 {
            std::fs::create_dir_all(self.directory).map_err(|e| make(self.directory, e))?;
        }
        match std::os::unix::fs::symlink(path, &link) {
            // of an earlier call for the same overlay
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                std::fs::remove_file(&link)
                    .and_then(|()| std::os::unix::fs::symlink(path, &link))
                    .map_err(|source| make(&link, source))?;
            }
            other => other.map_err(|source| make(&link, source))?,
        }
        self.made += 1;
        Ok(name)
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::Overlay;
    use crate::error::ComposeError;
    use crate::kernel::KernelVersion;

    const NEW: KernelVersion = KernelVersion::new(6, 8);
    const OLD: KernelVersion = KernelVersion::new(6, 1);

    fn lowers(paths: &[&str]) -> Overlay {
        Overlay {
            lowers: paths.iter().map(PathBuf::from).collect(),
            upper: None,
            work: None,
            throw_away: false,
        }
    }

    #[test]
    fn layers_are_given_one_by_one_and_what_kernels_may_default_is_said() {
        let overlay = Overlay {
            upper: Some("/bundle/rootfs".into()),
            work: Some("/bundle/work".into()),
            ..lowers(&["/a", "/b"])
        };
        let options = overlay
            .mount_options(NEW, Path::new("/nonesuch"))
            .unwrap()
            .list;
        assert_eq!(
            options,
            [
                "lowerdir+=/a",
                "lowerdir+=/b",
                "upperdir=/bundle/rootfs",
                "workdir=/bundle/work",
                "index=off",
                "metacopy=off",
                "redirect_dir=nofollow",
                "xino=off"
            ]
        );
        let options = overlay
            .mount_options(OLD, Path::new("/nonesuch"))
            .unwrap()
            .list;
        assert_eq!(options[0], "lowerdir=/a:/b");
    }

    #[test]
    fn volatile_is_for_uppers_that_are_dropped() {
        let kept = Overlay {
            upper: Some("/u".into()),
            work: Some("/w".into()),
            ..lowers(&["/a"])
        };
        let dropped = Overlay {
            throw_away: true,
            ..kept.clone()
        };
        let has = |overlay: &Overlay, kernel| {
            let options = overlay
                .mount_options(kernel, Path::new("/nonesuch"))
                .unwrap()
                .list;
            options.contains(&"volatile".to_owned())
        };
        assert!(has(&dropped, NEW) && !has(&kept, NEW));
        assert!(!has(&dropped, KernelVersion::new(5, 9)));
    }

    #[test]
    fn what_cannot_be_written_is_named_by_a_link() {
        let links = tempfile::tempdir().unwrap();
        let long = format!("/{}", "x".repeat(300));
        for path in [long.as_str(), "/a:b", "/a,b", "/a\\b", "/a\nb"] {
            for kernel in [NEW, OLD] {
                let options = lowers(&[path]).mount_options(kernel, links.path()).unwrap();
                let (_, value) = options.list[0].split_once('=').unwrap();
                assert_eq!(options.directory.is_some(), kernel == OLD);
                let link = options.directory.unwrap_or_default().join(value);
                assert_eq!(std::fs::read_link(link).unwrap(), Path::new(path));
                assert!(
                    value.len() <= 255 && !value.contains([':', ',', '\\']),
                    "{value}"
                );
            }
        }
    }

    #[test]
    fn a_name_that_is_not_unicode_is_named_by_a_link() {
        use std::os::unix::ffi::OsStrExt as _;
        let links = tempfile::tempdir().unwrap();
        let path = PathBuf::from(std::ffi::OsStr::from_bytes(b"/a\xff"));
        let overlay = Overlay {
            lowers: vec![path.clone()],
            ..lowers(&[])
        };
        let options = overlay.mount_options(NEW, links.path()).unwrap().list;
        let (_, value) = options[0].split_once('=').unwrap();
        assert_eq!(std::fs::read_link(value).unwrap(), path);
    }

    #[test]
    fn an_old_kernel_takes_as_many_layers_as_fit_and_refuses_the_rest() {
        let links = tempfile::tempdir().unwrap();
        let paths: Vec<_> = (0..9)
            .map(|n| format!("/store/trees/{n}{}", "0".repeat(63)))
            .collect();
        let paths: Vec<_> = paths.iter().map(String::as_str).collect();
        let options = lowers(&paths).mount_options(OLD, links.path()).unwrap();
        assert_eq!(options.list[0], "lowerdir=0:1:2:3:4:5:6:7:8");
        assert_eq!(options.directory.as_deref(), Some(links.path()));

        let many: Vec<_> = (0..100)
            .map(|n| format!("/{n}/{}", "0".repeat(64)))
            .collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        let error = lowers(&many).mount_options(OLD, links.path()).unwrap_err();
        assert!(
            matches!(error, ComposeError::OptionTooLong { layers: 100, .. }),
            "{error}"
        );
        assert!(lowers(&many).mount_options(NEW, links.path()).is_ok());
    }

    #[test]
    fn limits_are_refused_by_name() {
        let many = vec!["/x"; 501];
        let error = lowers(&many)
            .mount_options(NEW, Path::new("/l"))
            .unwrap_err();
        assert!(matches!(
            error,
            ComposeError::TooManyLayers {
                count: 501,
                limit: 500
            }
        ));
        let error = lowers(&["/a:b"])
            .mount_options(NEW, Path::new("/l:l"))
            .unwrap_err();
        assert!(matches!(error, ComposeError::Unspeakable { .. }), "{error}");
    }
}
