//! An engine's overlay is taken away and one with more layers is mounted in its place; and the way back.
//!
//! At no time do two overlays use one upper directory: the kernel calls that undefined. The engine's own unmount, by path,
//! removes ours when the container's life is over.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::composition::make_directory;
use crate::engine::{self, marks::Marks};
use crate::error::ComposeError;
use crate::kernel::KernelVersion;
use crate::mounting::{self, OverlayMount};
use crate::residue::Residue;

/// Mounts the engine's layers with `added` ones at the bottom, in the place of the engine's overlay. Where somebody has a file
/// of that open it stays, below ours, which then needs a work directory of its own: `work`.
///
/// # Errors
/// When it cannot be done; the engine's overlay is mounted then, or the error says that it is not.
pub(crate) fn exchange(
    theirs: &OverlayMount,
    added: &[PathBuf],
    work: Option<&Path>,
    kernel: KernelVersion,
    links: &Path,
) -> Result<(), ComposeError> {
    let ours = with_layers(theirs, added);
    // what the kernel takes is found out while the engine's is still there
    let new = ours.ready(kernel, &links.join("new"))?;
    let old = theirs.ready(kernel, &links.join("old"))?;
    match mounting::unmount(&theirs.point) {
        Err(ComposeError::Unmount { source, .. }) if source.kind() == ErrorKind::ResourceBusy => {
            drop(new);
            // ours lies above it meanwhile
            return flat(theirs, added, work)?
                .ready(kernel, &links.join("above"))?
                .mount();
        }
        other => other?,
    }
    let mounted = settle(theirs)
        .and_then(|()| clear_marks(theirs, added))
        .and_then(|()| new.mount());
    match mounted {
        Ok(()) => Ok(()),
        Err(error) => match settle(theirs).and_then(|()| old.mount()) {
            Ok(()) => Err(error),
            Err(second) => Err(ComposeError::NotPutBack {
                point: theirs.point.clone(),
                first: error.to_string(),
                source: Box::new(second),
            }),
        },
    }
}

/// The engine's layers with `added` ones at the bottom and a work directory of its own: for a mount beside the engine's.
pub(crate) fn flat(
    theirs: &OverlayMount,
    added: &[PathBuf],
    work: Option<&Path>,
) -> Result<OverlayMount, ComposeError> {
    let mut ours = with_layers(theirs, added);
    if let Some(work) = work {
        make_directory(work)?;
        ours.work = Some(work.to_path_buf());
    }
    Ok(ours)
}

/// Makes good what a composition has done to an engine's mounts, for a container that has not come to be.
///
/// # Errors
/// When the engine's overlay cannot be mounted.
pub fn give_back(residue: &Residue) -> Result<(), ComposeError> {
    if let Some(point) = &residue.hosted
        && engine::source_at(point)?.as_deref() == Some(mounting::HOSTED)
    {
        mounting::detach(point)?;
    }
    let (Some(theirs), Some(scratch)) = (&residue.replaced, &residue.scratch) else {
        return Ok(());
    };
    put_back(theirs, KernelVersion::running(), &scratch.join("l"))
}

/// Makes good what cannot be left to the engine, for a container whose life is over: an overlay of ours that lies above the
/// engine's, and what the engine's has in mind of directories that ours has changed.
///
/// # Errors
/// When ours is still in use.
pub fn uncover(residue: &Residue) -> Result<(), ComposeError> {
    if let Some(theirs) = &residue.replaced
        && engine::mounts_at(&theirs.point)? > 1
        && engine::replaced(&theirs.point)?.is_some()
    {
        mounting::unmount(&theirs.point)?;
        // what it does not know of is only seen later
        let _ = mounting::refresh(&theirs.point);
    }
    if let Some(point) = &residue.refreshed {
        let _ = mounting::refresh(point);
    }
    Ok(())
}

/// Puts the engine's overlay back where ours is, or where nothing is. Anything else there is somebody else's.
///
/// # Errors
/// When ours is in use or the engine's cannot be mounted.
fn put_back(
    theirs: &OverlayMount,
    kernel: KernelVersion,
    links: &Path,
) -> Result<(), ComposeError> {
    if !theirs.point.is_dir() || !theirs.lowers.iter().all(|layer| layer.is_dir()) {
        // the engine has removed the container meanwhile
        return Ok(());
    }
    let old = theirs.ready(kernel, links)?;
    if engine::replaced(&theirs.point)?.is_some() {
        mounting::unmount(&theirs.point)?;
    }
    if engine::mounts_at(&theirs.point)? > 0 {
        return Ok(());
    }
    settle(theirs)?;
    old.mount()
}

/// Puts the engine's overlay back if the mount at `rootfs` is one of ours that nobody put back.
///
/// `links` is a directory of this call alone, which is removed.
///
/// # Errors
/// When ours is in use or the engine's cannot be mounted.
pub fn reclaim(rootfs: &Path, kernel: KernelVersion, links: &Path) -> Result<bool, ComposeError> {
    let Some(theirs) = engine::replaced(rootfs)? else {
        return Ok(false);
    };
    let done = put_back(&theirs, kernel, links);
    // of names that are too long for a mount option; mostly there are none
    let _ = std::fs::remove_dir_all(links);
    done.map(|()| true)
}

/// The engine's overlay with `added` layers at the bottom.
fn with_layers(theirs: &OverlayMount, added: &[PathBuf]) -> OverlayMount {
    let mut ours = theirs.clone();
    ours.source = engine::source_of_ours(theirs.lowers.len());
    ours.lowers.extend(added.iter().cloned());
    ours
}

/// Whether an overlay does not write through to its upper directory.
fn is_volatile(mount: &OverlayMount) -> bool {
    let mut options = mount.options.iter();
    options.any(|option| option == "volatile" || option == "fsync=volatile")
}

/// A volatile overlay leaves a directory behind that keeps the next from using what a crash may have spoilt
/// (overlayfs.rst, "Volatile mount"). Between the unmount a moment ago and now there was none.
fn settle(theirs: &OverlayMount) -> Result<(), ComposeError> {
    let Some(work) = theirs.work.as_deref().filter(|_| is_volatile(theirs)) else {
        return Ok(());
    };
    let marker = work.join("work/incompat/volatile");
    match std::fs::remove_dir_all(&marker) {
        Err(source) if source.kind() != ErrorKind::NotFound => Err(ComposeError::Remove {
            path: marker,
            source,
        }),
        _ => Ok(()),
    }
}

fn clear_marks(theirs: &OverlayMount, added: &[PathBuf]) -> Result<(), ComposeError> {
    // with `userxattr` metacopy and redirect_dir are never on, and the container may write the attributes itself
    let user = theirs.options.iter().any(|option| option == "userxattr");
    let Some(upper) = theirs.upper.as_ref().filter(|_| !user) else {
        return Ok(());
    };
    let marks = Marks {
        upper,
        lowers: &theirs.lowers,
        added,
    };
    marks.clear().map_err(|source| ComposeError::Look {
        operation: "read the marks of overlayfs in",
        path: upper.clone(),
        source,
    })
}
