//! A tree as a layer: an ordered tar, compressed.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;

use fragment_types::Digesting;
use fragment_types::manifest::{Layer, Size};
use tar::{EntryType, Header};

use crate::error::{Error, Result};
use crate::tree::{Content, Entry, Tree};

/// How hard a layer is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effort {
    /// Budgets are measured at this level; the layer is on the disk when it is named.
    Small,
    /// For thousands of layers at a time, each of which the store copies and compares with its digest.
    Fast,
}

/// Trees larger than this, in bytes, are no component with a budget of FEATURES.md: level 19 takes ten times as long for a tenth of
/// their size (g++, 57 MB: minutes for 13.5 MB; at level 12 5 seconds for 15.2 MB).
const LARGE: u64 = 48 << 20;

impl Effort {
    /// zstd's level for a tree of `plain` bytes.
    fn level(self, plain: u64) -> i32 {
        match self {
            Self::Small if plain > LARGE => 12,
            Self::Small => 19,
            Self::Fast => 3,
        }
    }
}

/// Writes `tree` to `file` as a compressed tar; `progress` is called with the content bytes done so far.
///
/// Entries come in the order of their paths with numeric owners and `epoch` as every modification time; compression
/// runs in one thread (zstd's output differs between one thread and several): the same tree gives the same bytes.
///
/// # Errors
/// [`Error::ReadRoot`] for a source file, [`Error::Io`] for the layer.
pub(crate) fn pack(
    tree: &Tree,
    epoch: i64,
    file: &Path,
    effort: Effort,
    progress: &mut dyn FnMut(u64),
) -> Result<(Layer, Size)> {
    let io = |source| Error::Io {
        operation: "writing",
        path: file.to_owned(),
        source,
    };
    let blob = Digesting::new(BufWriter::new(File::create(file).map_err(io)?));
    let mut encoder = zstd::Encoder::new(blob, effort.level(tree.file_bytes())).map_err(io)?;
    encoder.include_checksum(true).map_err(io)?;
    let mut archive = Archive {
        out: Digesting::new(encoder),
        epoch: u64::try_from(epoch).unwrap_or(0),
        links: BTreeMap::new(),
        plain: 0,
    };
    for (path, entry) in &tree.entries {
        archive.append(path, entry)?;
        progress(archive.plain);
    }
    // POSIX.1-2017 pax(1): two zero blocks end an archive
    archive.out.write_all(&[0; 1024]).map_err(io)?;
    let plain = archive.plain;
    let (encoder, diff_id, _) = archive.out.finish();
    let (mut writer, digest, stored) = encoder.finish().map_err(io)?.finish();
    writer.flush().map_err(io)?;
    if effort == Effort::Small {
        writer.get_ref().sync_all().map_err(io)?;
    }
    let entries = tree.entries.len() as u64;
    Ok((
        Layer { digest, diff_id },
        Size {
            plain,
            stored,
            entries,
        },
    ))
}

/// A tar being written.
struct Archive<W: Write> {
    out: Digesting<W>,
    epoch: u64,
    /// Device and inode -> the name under which the file stands in the archive already.
    links: BTreeMap<(u64, u64), String>,
    plain: u64,
}

impl<W: Write> Archive<W> {
    fn append(&mut self, path: &str, entry: &Entry) -> Result<()> {
        let unreadable = |source| Error::ReadRoot {
            path: path.to_owned(),
            source,
        };
        let name = path.trim_start_matches('/');
        match &entry.content {
            Content::Directory => self
                .header(
                    &format!("{name}/"),
                    entry,
                    EntryType::Directory,
                    "",
                    0,
                    None,
                )
                .map_err(unreadable),
            Content::Symlink(target) => self
                .header(name, entry, EntryType::Symlink, target, 0, None)
                .map_err(unreadable),
            Content::File {
                source,
                size,
                inode,
                capability,
                ..
            } => {
                if let Some(first) = inode.and_then(|i| self.links.get(&i)).cloned() {
                    return self
                        .header(name, entry, EntryType::Link, &first, 0, None)
                        .map_err(unreadable);
                }
                if let Some(inode) = inode {
                    self.links.insert(*inode, name.to_owned());
                }
                let capability = capability.as_deref();
                self.header(name, entry, EntryType::Regular, "", *size, capability)
                    .map_err(unreadable)?;
                let mut content = source.open().map_err(unreadable)?.take(*size);
                let copied = io::copy(&mut content, &mut self.out).map_err(unreadable)?;
                if copied != *size {
                    return Err(unreadable(io::ErrorKind::UnexpectedEof.into()));
                }
                self.plain += size;
                self.pad(*size).map_err(unreadable)
            }
        }
    }

    fn header(
        &mut self,
        name: &str,
        entry: &Entry,
        kind: EntryType,
        link: &str,
        size: u64,
        capability: Option<&[u8]>,
    ) -> io::Result<()> {
        let mut header = Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(entry.mode);
        header.set_uid(u64::from(entry.uid));
        header.set_gid(u64::from(entry.gid));
        header.set_mtime(self.epoch);
        header.set_size(size);
        let mut records = Vec::new();
        // what does not fit ustar's fields goes into a pax extended header
        if !fits(&mut header, name, |h, t| h.set_path(t)) {
            records.extend(record("path", name.as_bytes()));
        }
        if !link.is_empty() && !fits(&mut header, link, |h, t| h.set_link_name_literal(t)) {
            records.extend(record("linkpath", link.as_bytes()));
        }
        if size >= 1 << 33 {
            records.extend(record("size", size.to_string().as_bytes()));
        }
        if let Some(capability) = capability {
            records.extend(record("SCHILY.xattr.security.capability", capability));
        }
        if !records.is_empty() {
            let mut extended = Header::new_ustar();
            extended.set_entry_type(EntryType::XHeader);
            extended.set_path("pax")?;
            extended.set_mode(0o644);
            extended.set_uid(0);
            extended.set_gid(0);
            extended.set_mtime(self.epoch);
            extended.set_size(records.len() as u64);
            extended.set_cksum();
            self.out.write_all(extended.as_bytes())?;
            self.out.write_all(&records)?;
            self.pad(records.len() as u64)?;
        }
        header.set_cksum();
        self.out.write_all(header.as_bytes())
    }

    fn pad(&mut self, size: u64) -> io::Result<()> {
        let over = usize::try_from(size % 512).unwrap_or(0);
        if over == 0 {
            Ok(())
        } else {
            self.out.write_all(&[0; 512][over..])
        }
    }
}

/// Sets a name field where it fits as it is: ASCII and short enough. Otherwise a place-holder stands there.
fn fits(
    header: &mut Header,
    text: &str,
    set: impl Fn(&mut Header, &str) -> io::Result<()>,
) -> bool {
    if text.is_ascii() && text.len() <= 100 && set(header, text).is_ok() {
        return true;
    }
    // the extended header wins; readers that know none are not ours
    let _ = set(header, "pax");
    false
}

/// `LENGTH KEY=VALUE\n`, the length counting itself (pax(1), "pax Extended Header").
fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + rest.to_string().len();
    if length.to_string().len() != rest.to_string().len() {
        length = rest + length.to_string().len();
    }
    let mut record = format!("{length} {key}=").into_bytes();
    record.extend(value);
    record.push(b'\n');
    record
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use fragment_types::Digest;

    use super::{Effort, pack, record};
    use crate::recipe::{FileSpec, Mode};
    use crate::tree::{Content, Entry, Source, Tree};

    fn spec(content: Option<&str>, link: Option<&str>, mode: Option<u32>) -> Entry {
        Entry::of_spec(&FileSpec {
            owner: None,
            content: content.map(str::to_owned),
            link: link.map(str::to_owned),
            directory: content.is_none() && link.is_none(),
            mode: mode.map(Mode),
        })
    }

    fn tree() -> Tree {
        let mut tree = Tree::default();
        let long = format!("/usr/share/{}", "n".repeat(180));
        for (path, entry) in [
            ("/usr", spec(None, None, None)),
            ("/usr/share", spec(None, None, None)),
            ("/tmp", spec(None, None, Some(0o1777))),
            ("/usr/ő", spec(Some("utf-8 name"), None, None)),
            ("/usr/link", spec(None, Some(&"t/".repeat(90)), None)),
            (long.as_str(), spec(Some("long name"), None, Some(0o755))),
        ] {
            tree.entries.insert(path.to_owned(), entry);
        }
        tree
    }

    #[test]
    fn the_same_tree_gives_the_same_bytes_and_reads_back() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        let (layer, size) = pack(&tree(), 1000, &a, Effort::Small, &mut |_| {}).unwrap();
        let (again, _) = pack(&tree(), 1000, &b, Effort::Small, &mut |_| {}).unwrap();
        assert_eq!(layer, again);
        let blob = std::fs::read(&a).unwrap();
        assert_eq!(
            (layer.digest, size.stored),
            (Digest::of(&blob), blob.len() as u64)
        );
        let plain = zstd::decode_all(blob.as_slice()).unwrap();
        assert_eq!(layer.diff_id, Digest::of(&plain));
        let mut archive = tar::Archive::new(plain.as_slice());
        let mut seen = Vec::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            assert_eq!(entry.header().mtime().unwrap(), 1000);
            assert_eq!(entry.header().uid().unwrap(), 0);
            seen.push((
                String::from_utf8(entry.path_bytes().into_owned()).unwrap(),
                text,
            ));
        }
        let names: Vec<&str> = seen.iter().map(|(n, _)| n.as_str()).collect();
        let long = format!("usr/share/{}", "n".repeat(180));
        assert_eq!(
            names,
            ["tmp/", "usr/", "usr/link", "usr/share/", &long, "usr/ő"]
        );
        assert_eq!(seen[4].1, "long name");
    }

    #[test]
    fn hard_links_count_once() {
        let dir = tempfile::tempdir().unwrap();
        let disk = dir.path().join("content");
        std::fs::write(&disk, "12345").unwrap();
        let mut tree = Tree::default();
        for name in ["/x", "/y"] {
            let content = Content::File {
                source: Source::Disk(disk.clone()),
                size: 5,
                digest: None,
                inode: Some((1, 2)),
                capability: None,
            };
            tree.entries.insert(
                name.to_owned(),
                Entry {
                    mode: 0o644,
                    uid: 0,
                    gid: 0,
                    content,
                },
            );
        }
        let (_, size) = pack(&tree, 0, &dir.path().join("l"), Effort::Small, &mut |_| {}).unwrap();
        assert_eq!((size.plain, size.entries), (5, 2));
    }

    #[test]
    fn file_capabilities_are_pax_records() {
        let dir = tempfile::tempdir().unwrap();
        let capability = Some(vec![1, 0, 0, 2, 0, 0x20, 0xff]);
        let source = Source::Bytes(b"x".to_vec());
        let content = Content::File {
            source,
            size: 1,
            digest: None,
            inode: None,
            capability: capability.clone(),
        };
        let mut tree = Tree::default();
        let entry = Entry {
            mode: 0o4755,
            uid: 0,
            gid: 5,
            content,
        };
        tree.entries.insert("/ping".to_owned(), entry);
        let file = dir.path().join("l");
        pack(&tree, 0, &file, Effort::Small, &mut |_| {}).unwrap();
        let plain = zstd::decode_all(std::fs::read(&file).unwrap().as_slice()).unwrap();
        let mut archive = tar::Archive::new(plain.as_slice());
        let mut entry = archive.entries().unwrap().next().unwrap().unwrap();
        assert_eq!(
            (
                entry.header().mode().unwrap(),
                entry.header().gid().unwrap()
            ),
            (0o4755, 5)
        );
        let extensions: Vec<_> = entry
            .pax_extensions()
            .unwrap()
            .unwrap()
            .map(Result::unwrap)
            .collect();
        assert_eq!(extensions.len(), 1);
        assert_eq!(extensions[0].key(), Ok("SCHILY.xattr.security.capability"));
        assert_eq!(Some(extensions[0].value_bytes().to_vec()), capability);
    }

    #[test]
    fn record_lengths_count_themselves() {
        for length in 0..300 {
            let record = record("path", &vec![b'x'; length]);
            let text = String::from_utf8(record.clone()).unwrap();
            assert_eq!(
                text.split(' ').next().unwrap().parse::<usize>().unwrap(),
                record.len()
            );
        }
    }
}
