//! Why a rootfs cannot be composed.

use std::io;
use std::path::PathBuf;

use fragment_types::ComponentName;

use crate::filesystem::Filesystem;
use crate::kernel::KernelVersion;

/// Why a rootfs cannot be composed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ComposeError {
    /// A system call on the rootfs or the bundle.
    #[error("{operation} `{}`", path.display())]
    Look {
        /// What was tried: `open the rootfs`.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it did not work.
        source: io::Error,
    },
    /// The rootfs is a symbolic link. Where it leads may change under the container: runc refuses it too.
    #[error(
        "the rootfs `{}` is a symbolic link to `{}`: name the directory itself in root.path",
        path.display(),
        target.display()
    )]
    RootfsIsLink {
        /// The rootfs.
        path: PathBuf,
        /// Where it leads.
        target: PathBuf,
    },
    /// The rootfs is no directory.
    #[error("the rootfs `{}` is not a directory", path.display())]
    RootfsIsNoDirectory {
        /// The rootfs.
        path: PathBuf,
    },
    /// `/dev`, `/proc`, `/sys` or `/usr` is something else than a directory: what is mounted or lies there would end up elsewhere.
    #[error("/{name} of the rootfs `{}` is {found}: it has to be a directory (or absent)", rootfs.display())]
    MustBeDirectory {
        /// The rootfs.
        rootfs: PathBuf,
        /// Which one, without the slash.
        name: &'static str,
        /// What it is instead.
        found: String,
    },
    /// A layer of the composition holds `/dev`, `/proc` or `/sys` as something else than a directory.
    #[error("component `{component}` holds /{name} as something else than a directory: rebuild it")]
    LayerMustHoldDirectory {
        /// The component.
        component: ComponentName,
        /// Which one, without the slash.
        name: &'static str,
    },
    /// A directory of the rootfs hides the link through which a component's file is found.
    #[error(
        "/{directory} of the rootfs is {found} and hides {path}, which the components supply as /usr{path}: move its \
         content to usr/{directory} and make it a link (ln -s usr/{directory} {directory})"
    )]
    Hidden {
        /// The directory, without the slash.
        directory: &'static str,
        /// What it is.
        found: String,
        /// What it hides.
        path: String,
    },
    /// The store lies inside the rootfs or the other way round.
    #[error("the rootfs `{}` and the component tree `{}` lie in one another", rootfs.display(), tree.display())]
    Overlap {
        /// The rootfs.
        rootfs: PathBuf,
        /// The tree.
        tree: PathBuf,
    },
    /// More layers than overlayfs takes (OVL_MAX_STACK).
    #[error("{count} layers are more than the {limit} that overlayfs takes")]
    TooManyLayers {
        /// How many.
        count: usize,
        /// The limit.
        limit: usize,
    },
    /// A tree that is not in the store, or not whole.
    #[error("the tree of component `{component}` cannot be used: run `fragment library verify`")]
    Tree {
        /// The component.
        component: ComponentName,
        /// Why.
        source: io::Error,
    },
    /// A directory or link of the composition cannot be made.
    #[error("make `{}` for the composition", path.display())]
    Make {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The kernel does not mount an overlay.
    #[error("mount the overlay at `{}`{}", point.display(), told.as_ref().map(|told| format!(" ({told})")).unwrap_or_default())]
    Mount {
        /// Where it should lie.
        point: PathBuf,
        /// What the kernel said.
        told: Option<String>,
        /// Why.
        source: io::Error,
    },
    /// An engine's overlay was taken away, and can be put back no more.
    #[error(
        "the overlay at `{}` was to be mounted with more layers, which did not work ({first}), and now the engine's own is          gone too: stop and start the container anew",
        point.display()
    )]
    NotPutBack {
        /// Where it was.
        point: PathBuf,
        /// What went wrong first.
        first: String,
        /// Why it is not there again.
        source: Box<ComposeError>,
    },
    /// An overlay cannot be unmounted.
    #[error("unmount the overlay at `{}`", point.display())]
    Unmount {
        /// Where it lies.
        point: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The state directory cannot hold an upper directory.
    #[error(
        "the state directory `{}` lies on {filesystem}, which cannot hold the upper directory of an overlay: choose one \
         (--root) on tmpfs, ext4, XFS or Btrfs",
        path.display()
    )]
    Scratch {
        /// The directory.
        path: PathBuf,
        /// Its filesystem.
        filesystem: Filesystem,
    },
    /// What a composition left cannot be removed.
    #[error("remove `{}`, left by a composition", path.display())]
    Remove {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The directory for short links has a name that cannot be written in a mount option.
    #[error(
        "the state directory `{}` cannot be named in a mount option: choose one (--root) with a short path of letters, \
         digits, `.`, `-`, `_` and `/`",
        path.display()
    )]
    Unspeakable {
        /// The directory.
        path: PathBuf,
    },
    /// A kernel without `lowerdir+` takes one short list of layers.
    #[error(
        "{layers} layers do not fit into the one mount option of {limit} bytes that Linux {kernel} takes: use Linux 6.8 or \
         later, or a composition of fewer components"
    )]
    OptionTooLong {
        /// How many layers.
        layers: usize,
        /// Bytes an option takes.
        limit: usize,
        /// The kernel.
        kernel: KernelVersion,
    },
}
