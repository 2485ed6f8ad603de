//! Writes a layer: entries in the order of their paths, whole seconds, no names of users, so that the same tree gives the same
//! bytes.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use flate2::{Compression, GzBuilder};
use fragment_types::Digesting;
use rustix::fs::FileType;
use tar::{EntryType, Header};

use crate::error::ImageError;
use crate::inventory::{Inventory, Node, NodeKind};
use crate::layout::Blob;

/// A file that no inventory holds, such as the lock.
#[derive(Debug)]
pub(crate) struct Extra<'e> {
    /// Name below the root.
    pub(crate) name: &'e str,
    pub(crate) content: &'e str,
}

/// Writes those paths of `inventory` of which `stays` says so into the file `path`, compressed with gzip.
pub(crate) fn write(
    inventory: &Inventory,
    stays: impl Fn(&str) -> bool,
    extra: Option<&Extra<'_>>,
    path: PathBuf,
) -> Result<Blob, ImageError> {
    let file = File::create(&path).map_err(ImageError::io("create", &path))?;
    let failed = || ImageError::io("write", &path);
    // engines of 2020 read no zstd layers; gzip is read by all
    let gzip = GzBuilder::new()
        .mtime(0)
        .write(Digesting::new(BufWriter::new(file)), Compression::new(6));
    let mut archive = tar::Builder::new(Digesting::new(gzip));
    append_all(&mut archive, inventory, stays, extra)?;
    let (gzip, diff_id, _) = archive.into_inner().map_err(failed())?.finish();
    let (mut file, digest, size) = gzip.finish().map_err(failed())?.finish();
    file.flush().map_err(failed())?;
    Ok(Blob {
        path,
        digest,
        diff_id,
        size,
    })
}

/// The same without compression, for a copy that is read back at once.
pub(crate) fn write_plain(
    inventory: &Inventory,
    stays: impl Fn(&str) -> bool,
    path: &Path,
) -> Result<(), ImageError> {
    let file = File::create(path).map_err(ImageError::io("create", path))?;
    let mut archive = tar::Builder::new(BufWriter::new(file));
    append_all(&mut archive, inventory, stays, None)?;
    archive
        .into_inner()
        .and_then(|mut file| file.flush())
        .map_err(ImageError::io("write", path))
}

fn append_all<W: Write>(
    archive: &mut tar::Builder<W>,
    inventory: &Inventory,
    stays: impl Fn(&str) -> bool,
    extra: Option<&Extra<'_>>,
) -> Result<(), ImageError> {
    let mut names = HashMap::new();
    let mut extra = extra;
    for (path, node) in inventory.nodes.iter().filter(|(path, _)| stays(path)) {
        let name = path.trim_start_matches('/');
        if let Some(file) = extra.take_if(|file| file.name < name) {
            append_extra(archive, file)?;
        }
        append(archive, inventory, path, node, &mut names)
            .map_err(ImageError::io("write the layer entry", path))?;
    }
    extra.map_or(Ok(()), |file| append_extra(archive, file))
}

fn append_extra<W: Write>(
    archive: &mut tar::Builder<W>,
    file: &Extra<'_>,
) -> Result<(), ImageError> {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Regular);
    header.set_mode(0o644);
    // a field that is left empty is no number for strict readers, ours among them
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(file.content.len() as u64);
    archive
        .append_data(&mut header, file.name, file.content.as_bytes())
        .map_err(ImageError::io("write the layer entry", file.name))
}

fn append<W: Write>(
    archive: &mut tar::Builder<W>,
    inventory: &Inventory,
    path: &str,
    node: &Node,
    names: &mut HashMap<(u64, u64), String>,
) -> io::Result<()> {
    let name = match path.trim_start_matches('/') {
        "" => "./",
        name => name,
    };
    let mut header = Header::new_gnu();
    header.set_mode(node.mode);
    header.set_uid(node.uid.into());
    header.set_gid(node.gid.into());
    header.set_mtime(u64::try_from(node.mtime).unwrap_or(0));
    header.set_size(0);
    if !node.xattrs.is_empty() {
        let records: Vec<(String, &[u8])> = node
            .xattrs
            .iter()
            .map(|(name, value)| (format!("SCHILY.xattr.{name}"), value.as_slice()))
            .collect();
        let records = records.iter().map(|(name, value)| (name.as_str(), *value));
        archive.append_pax_extensions(records)?;
    }
    match &node.kind {
        NodeKind::Directory => {
            header.set_entry_type(EntryType::Directory);
            archive.append_data(
                &mut header,
                format!("{}/", name.trim_end_matches('/')),
                io::empty(),
            )
        }
        NodeKind::Symlink { target } => {
            header.set_entry_type(EntryType::Symlink);
            archive.append_link(&mut header, name, target)
        }
        NodeKind::File { size } => {
            let first = node.shared.and_then(|shared| names.get(&shared));
            if let Some(first) = first {
                header.set_entry_type(EntryType::Link);
                return archive.append_link(&mut header, name, first);
            }
            names.extend(node.shared.map(|shared| (shared, name.to_owned())));
            header.set_entry_type(EntryType::Regular);
            header.set_size(*size);
            let file = inventory.open(path).map_err(io::Error::other)?;
            // a file that grows or shrinks now would damage the archive
            let mut content = Exactly { file, left: *size };
            archive.append_data(&mut header, name, &mut content)
        }
        NodeKind::Special { file_type, device } => {
            header.set_entry_type(match file_type {
                FileType::Fifo => EntryType::Fifo,
                FileType::BlockDevice => EntryType::Block,
                _ => EntryType::Char,
            });
            header.set_device_major(rustix::fs::major(*device))?;
            header.set_device_minor(rustix::fs::minor(*device))?;
            archive.append_data(&mut header, name, io::empty())
        }
    }
}

/// Reads as many bytes as the header says, or fails.
struct Exactly {
    file: File,
    left: u64,
}

impl io::Read for Exactly {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let read = self.file.read(&mut buffer[..most])?;
        if read == 0 && most > 0 {
            return Err(io::Error::other("the file has become shorter"));
        }
        self.left -= read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

    use fragment_types::Digest;

    use super::*;
    use crate::unpack::Tree;

    /// A tree with what layers carry: long names, modes, attributes, links of both kinds.
    fn sample(root: &Path) {
        let long = "n".repeat(120);
        fs::create_dir_all(root.join(&long)).unwrap();
        fs::write(root.join(&long).join(&long), "content").unwrap();
        fs::write(root.join("tool"), "#!/bin/sh\n").unwrap();
        fs::set_permissions(root.join("tool"), fs::Permissions::from_mode(0o4755)).unwrap();
        fs::hard_link(root.join("tool"), root.join("tool-2")).unwrap();
        symlink(format!("/{long}/{long}"), root.join("link")).unwrap();
    }

    #[test]
    fn a_tree_survives_and_gives_the_same_bytes() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        for name in ["from", "to"] {
            fs::create_dir(at(name)).unwrap();
        }
        sample(&at("from"));
        // tmpfs of old kernels has no user attributes
        let name = "user.test";
        let flags = rustix::fs::XattrFlags::empty();
        let has_xattrs = rustix::fs::setxattr(at("from/tool"), name, b"v\0", flags).is_ok();
        let inventory = Inventory::read(&at("from")).unwrap();
        let extra = Extra {
            name: ".control",
            content: "lock: {}\n",
        };
        let blob = write(&inventory, |_| true, Some(&extra), at("layer")).unwrap();
        let bytes = fs::read(&blob.path).unwrap();
        assert_eq!(Digest::of(&bytes), blob.digest);
        assert_eq!(bytes.len() as u64, blob.size);
        let again = write(&inventory, |_| true, Some(&extra), at("again")).unwrap();
        assert_eq!(again.digest, blob.digest);

        let mut tree = Tree::new(&at("to")).unwrap();
        let plain = flate2::read::GzDecoder::new(bytes.as_slice());
        tree.apply(plain).unwrap();
        tree.finish().unwrap();
        let copy = Inventory::read(&at("to")).unwrap();
        let mut names: Vec<&String> = copy.nodes.keys().collect();
        names.retain(|name| *name != "/.control");
        assert_eq!(names, inventory.nodes.keys().collect::<Vec<_>>());
        for (path, node) in &inventory.nodes {
            let found = &copy.nodes[path];
            assert_eq!(
                (
                    &found.kind,
                    found.mode,
                    found.uid,
                    found.mtime,
                    &found.xattrs
                ),
                (&node.kind, node.mode, node.uid, node.mtime, &node.xattrs),
                "{path}"
            );
        }
        assert_eq!(copy.nodes["/tool"].xattrs.len(), usize::from(has_xattrs));
        let inode = |name: &str| fs::metadata(at(name)).unwrap().ino();
        assert_eq!(inode("to/tool"), inode("to/tool-2"));
        assert_eq!(fs::read(at("to/.control")).unwrap(), b"lock: {}\n");
    }
}
