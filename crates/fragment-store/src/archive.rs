//! A tar reader that trusts nothing: ustar, GNU long names and the pax records that only name things.
//!
//! Components hold files, directories and links. Layers of images (OCI image-spec, `layer.md`) also hold whiteouts, devices,
//! fifos, absolute names and extended attributes: those are read for [`Archive::of_image`] alone.
//!
//! Formats: POSIX.1-2017 `pax`, "ustar Interchange Format" and "pax Extended Header"; GNU tar manual, "Basic Tar Format".
//! Anything that two readers could understand differently is an error: sizes given twice, sparse files, global headers,
//! content on links, data after the end.

use std::io::{self, BufRead, Read};

use tar::{EntryType, Header};

use crate::entry::{Entry, Kind, MAX_PATH, Refusal, image_path, normal_path, text};
use crate::layer::LayerError;

const BLOCK: usize = 512;
/// Most bytes of one pax header: a long name and a long target, and some times.
const MAX_PAX: u64 = 16 * 1024;
/// The same in images, whose attributes hold access control lists and signatures (xattr(7): 64 KiB each).
const MAX_IMAGE_PAX: u64 = 256 * 1024;
/// Most zero bytes after the end mark: writers pad to a record, by default 20 blocks.
const MAX_PADDING: u64 = 1 << 20;
/// Pax records that describe what we do not keep.
const IGNORED_PAX: [&str; 5] = ["atime", "ctime", "uname", "gname", "comment"];

/// What an archive may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dialect {
    /// A component's layer.
    Component,
    /// A layer of any image.
    Image,
}

/// Reads the entries of an archive one after the other.
#[derive(Debug)]
pub struct Archive<R> {
    dialect: Dialect,
    source: R,
    /// Content bytes of the current entry that were not read yet.
    left: u64,
    /// Padding after them.
    padding: u64,
    /// Headers read so far, for messages.
    headers: u64,
}

/// What extension headers say of the entry that follows them.
#[derive(Default)]
struct Extension {
    path: Option<Vec<u8>>,
    target: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u64>,
    gid: Option<u64>,
    mtime: Option<i64>,
    xattrs: Vec<(String, Vec<u8>)>,
}

impl<R: Read> Archive<R> {
    /// An archive of a component.
    pub(crate) fn new(source: R) -> Self {
        Self::with(source, Dialect::Component)
    }

    /// An uncompressed layer of any image.
    pub fn of_image(source: R) -> Self {
        Self::with(source, Dialect::Image)
    }

    fn with(source: R, dialect: Dialect) -> Self {
        Self {
            dialect,
            source,
            left: 0,
            padding: 0,
            headers: 0,
        }
    }

    /// The next entry; `None` after the end mark, when everything has been read.
    ///
    /// # Errors
    /// [`LayerError`] for what cannot be read or is refused.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, LayerError> {
        let mut extension = Extension::default();
        loop {
            self.skip_rest()?;
            let Some(header) = self.header()? else {
                return self.finish().map(|()| None);
            };
            match header.entry_type() {
                EntryType::GNULongName => {
                    extension.path = Some(self.long_text(&header)?);
                }
                EntryType::GNULongLink => {
                    extension.target = Some(self.long_text(&header)?);
                }
                EntryType::XHeader => self.pax(&header, &mut extension)?,
                // git and others write a comment there; it says nothing of a file
                EntryType::XGlobalHeader if self.dialect == Dialect::Image => {}
                _ => return self.entry(&header, extension).map(Some),
            }
        }
    }

    /// Reads content of the current entry; 0 at its end.
    ///
    /// # Errors
    /// When the archive cannot be read or ends before the content does.
    pub fn read_content(&mut self, buffer: &mut [u8]) -> Result<usize, LayerError> {
        let limit = usize::try_from(self.left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        if limit == 0 {
            return Ok(0);
        }
        let read = read_some(&mut self.source, &mut buffer[..limit])?;
        if read == 0 {
            return Err(LayerError::Truncated);
        }
        self.left -= read as u64;
        Ok(read)
    }

    fn skip_rest(&mut self) -> Result<(), LayerError> {
        let rest = self.left + self.padding;
        (self.left, self.padding) = (0, 0);
        let skipped = io::copy(&mut self.source.by_ref().take(rest), &mut io::sink())
            .map_err(LayerError::Read)?;
        if skipped == rest {
            Ok(())
        } else {
            Err(LayerError::Truncated)
        }
    }

    fn malformed(&self, detail: &'static str) -> LayerError {
        LayerError::Header {
            number: self.headers,
            detail,
        }
    }

    /// The next header block, or `None` at the end mark.
    fn header(&mut self) -> Result<Option<Header>, LayerError> {
        let mut header = Header::new_old();
        let block = header.as_mut_bytes();
        fill(&mut self.source, block)?;
        if block.iter().all(|&byte| byte == 0) {
            return Ok(None);
        }
        // the check sum field itself counts as spaces
        let sum: u32 = block
            .iter()
            .enumerate()
            .map(|(at, &byte)| u32::from(if (148..156).contains(&at) { b' ' } else { byte }))
            .sum();
        self.headers += 1;
        if header.cksum().ok() != Some(sum) {
            return Err(self.malformed("wrong check sum"));
        }
        let size = header
            .entry_size()
            .map_err(|_| self.malformed("size is not a number"))?;
        // far beyond any file, far below overflow
        if size > 1 << 50 {
            return Err(self.malformed("size is absurd"));
        }
        self.left = size;
        self.padding = size.next_multiple_of(BLOCK as u64) - size;
        Ok(Some(header))
    }

    /// After the first zero block: nothing but a bounded number of zeros.
    fn finish(&mut self) -> Result<(), LayerError> {
        let mut block = [0; BLOCK];
        let mut padding = 0;
        loop {
            let read = read_some(&mut self.source, &mut block)?;
            padding += read as u64;
            if block[..read].iter().any(|&byte| byte != 0) || padding > MAX_PADDING {
                return Err(LayerError::Trailing);
            }
            if read == 0 {
                // the end mark is two blocks
                return if padding >= BLOCK as u64 {
                    Ok(())
                } else {
                    Err(LayerError::Truncated)
                };
            }
        }
    }

    /// Content of the current extension header.
    fn extension(&mut self, limit: u64) -> Result<Vec<u8>, LayerError> {
        if self.left > limit {
            return Err(self.malformed("extension header is too long"));
        }
        let mut content = vec![0; usize::try_from(self.left).unwrap_or_default()];
        fill(&mut self.source, &mut content)?;
        self.left = 0;
        Ok(content)
    }

    fn long_text(&mut self, header: &Header) -> Result<Vec<u8>, LayerError> {
        if header.as_gnu().is_none() {
            return Err(self.malformed("GNU extension in an archive of another format"));
        }
        let mut content = self.extension(MAX_PATH as u64 + 1)?;
        // GNU tar counts the terminating NUL
        if content.last() == Some(&0) {
            content.pop();
        }
        Ok(content)
    }

    fn pax(&mut self, header: &Header, extension: &mut Extension) -> Result<(), LayerError> {
        if header.as_ustar().is_none() {
            return Err(self.malformed("pax extension in an archive of another format"));
        }
        let content = self.extension(match self.dialect {
            Dialect::Component => MAX_PAX,
            Dialect::Image => MAX_IMAGE_PAX,
        })?;
        let mut rest = content.as_slice();
        while !rest.is_empty() {
            let (record, after) =
                pax_record(rest).ok_or_else(|| self.malformed("pax record is malformed"))?;
            rest = after;
            extension.apply(record, self.dialect).map_err(|refusal| {
                let name = header.path_bytes();
                LayerError::entry(extension.path.as_deref().unwrap_or(&name), refusal)
            })?;
        }
        Ok(())
    }

    fn entry(&self, header: &Header, extension: Extension) -> Result<Entry, LayerError> {
        let name = extension
            .path
            .clone()
            .unwrap_or_else(|| header.path_bytes().into_owned());
        typed(header, &name, extension, self.left, self.dialect)
            .map_err(|refusal| LayerError::entry(&name, refusal))
    }
}

impl<R: BufRead> Archive<R> {
    /// Gives `each` the content of the current entry, in pieces as they lie in the source's buffer.
    pub(crate) fn each_piece(
        &mut self,
        mut each: impl FnMut(&[u8]) -> Result<(), LayerError>,
    ) -> Result<(), LayerError> {
        while self.left > 0 {
            let piece = match self.source.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                piece => piece.map_err(LayerError::Read)?,
            };
            if piece.is_empty() {
                return Err(LayerError::Truncated);
            }
            let length = usize::try_from(self.left)
                .unwrap_or(usize::MAX)
                .min(piece.len());
            each(&piece[..length])?;
            self.source.consume(length);
            self.left -= length as u64;
        }
        Ok(())
    }
}

/// The typed entry of a header, its extensions and the size of its content.
fn typed(
    header: &Header,
    name: &[u8],
    extension: Extension,
    left: u64,
    dialect: Dialect,
) -> Result<Entry, Refusal> {
    if extension.size.is_some_and(|size| size != left) {
        return Err(Refusal::Content);
    }
    let is_image = dialect == Dialect::Image;
    let normal = |name: &[u8]| {
        if is_image {
            image_path(name)
        } else {
            normal_path(name)
        }
    };
    let path = normal(name)?;
    let target = || {
        extension
            .target
            .clone()
            .or_else(|| header.link_name_bytes().map(std::borrow::Cow::into_owned))
            .unwrap_or_default()
    };
    let kind = match header.entry_type() {
        EntryType::Directory => Kind::Directory,
        // a trailing slash makes a directory of it in pre-POSIX archives
        EntryType::Regular if !name.ends_with(b"/") => Kind::File { size: left },
        EntryType::Symlink => Kind::Symlink {
            target: text(&target())?.to_owned(),
        },
        EntryType::Link => Kind::HardLink {
            target: normal(&target()).map_err(|_| Refusal::LinkTarget)?,
        },
        kind @ (EntryType::Char | EntryType::Block | EntryType::Fifo) if is_image => {
            Kind::Special {
                kind: char::from(kind.as_byte()),
                device: device(header),
            }
        }
        other => return Err(Refusal::Kind(char::from(other.as_byte()))),
    };
    if left > 0 && !matches!(kind, Kind::File { .. }) {
        return Err(Refusal::Content);
    }
    Ok(Entry {
        path,
        kind,
        mode: header.mode().map_err(|_| Refusal::Text)? & 0o7777,
        uid: owner(extension.uid, header.uid())?,
        gid: owner(extension.gid, header.gid())?,
        mtime: match extension.mtime {
            Some(mtime) => mtime,
            None => header
                .mtime()
                .ok()
                .and_then(|mtime| i64::try_from(mtime).ok())
                .ok_or(Refusal::Text)?,
        },
        xattrs: extension.xattrs,
    })
}

/// Major and minor number; nothing where the header has none.
fn device(header: &Header) -> (u32, u32) {
    let number = |number: io::Result<Option<u32>>| number.ok().flatten().unwrap_or(0);
    (number(header.device_major()), number(header.device_minor()))
}

fn owner(extended: Option<u64>, header: io::Result<u64>) -> Result<u32, Refusal> {
    let id = extended.or_else(|| header.ok()).ok_or(Refusal::Owner)?;
    // chown(2) takes all ones for "leave as it is"
    u32::try_from(id)
        .ok()
        .filter(|&id| id != u32::MAX)
        .ok_or(Refusal::Owner)
}

impl Extension {
    fn apply(&mut self, (key, value): PaxRecord<'_>, dialect: Dialect) -> Result<(), Refusal> {
        let unclear = || Refusal::Pax(key.to_owned());
        let text = || std::str::from_utf8(value).map_err(|_| unclear());
        let number = || text()?.parse().map_err(|_| unclear());
        match key {
            "path" => self.path = Some(value.to_owned()),
            "linkpath" => self.target = Some(value.to_owned()),
            "size" => self.size = Some(number()?),
            "uid" => self.uid = Some(number()?),
            "gid" => self.gid = Some(number()?),
            "mtime" => {
                // fractions are cut: components carry whole seconds
                let whole = text()?.split_once('.').map_or(text()?, |(whole, _)| whole);
                self.mtime = Some(whole.parse().map_err(|_| unclear())?);
            }
            _ if IGNORED_PAX.contains(&key) => {}
            _ => {
                let xattr = ["SCHILY.xattr.", "LIBARCHIVE.xattr."]
                    .iter()
                    .find_map(|prefix| key.strip_prefix(prefix));
                match xattr {
                    Some(name) if dialect == Dialect::Image => {
                        self.xattrs.push((name.to_owned(), value.to_owned()));
                    }
                    Some(name) => return Err(Refusal::Xattr(name.to_owned())),
                    None => return Err(unclear()),
                }
            }
        }
        Ok(())
    }
}

/// Key and value.
type PaxRecord<'b> = (&'b str, &'b [u8]);

/// Splits one `LENGTH KEY=VALUE\n` off.
fn pax_record(bytes: &[u8]) -> Option<(PaxRecord<'_>, &[u8])> {
    let space = bytes.iter().take(8).position(|&byte| byte == b' ')?;
    let length: usize = std::str::from_utf8(&bytes[..space]).ok()?.parse().ok()?;
    let (record, rest) = bytes.split_at_checked(length)?;
    let record = record.get(space + 1..)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|&byte| byte == b'=')?;
    let key = std::str::from_utf8(&record[..equals]).ok()?;
    Some(((key, &record[equals + 1..]), rest))
}

fn read_some(source: &mut impl Read, buffer: &mut [u8]) -> Result<usize, LayerError> {
    loop {
        match source.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other.map_err(LayerError::Read),
        }
    }
}

fn fill(source: &mut impl Read, buffer: &mut [u8]) -> Result<(), LayerError> {
    source
        .read_exact(buffer)
        .map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => LayerError::Truncated,
            _ => LayerError::Read(error),
        })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tar::{EntryType, Header};

    use super::{Archive, pax_record};
    use crate::entry::{Entry, Kind, Refusal};
    use crate::layer::LayerError;

    /// One header block (and content) with the fields that a test cares about.
    fn raw(kind: EntryType, name: &[u8], content: &[u8]) -> Vec<u8> {
        let mut header = if kind == EntryType::XHeader || kind == EntryType::XGlobalHeader {
            Header::new_ustar()
        } else {
            Header::new_gnu()
        };
        header.as_old_mut().name[..name.len()].copy_from_slice(name);
        header.set_entry_type(kind);
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1);
        header.set_cksum();
        let mut bytes = header.as_bytes().to_vec();
        bytes.extend(content);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
        bytes
    }

    fn pax(records: &[(&str, &str)]) -> Vec<u8> {
        let mut content = Vec::new();
        for (key, value) in records {
            let body = key.len() + value.len() + 3;
            let mut length = body + 1;
            while length.to_string().len() + body > length {
                length += 1;
            }
            content.extend(format!("{length} {key}={value}\n").into_bytes());
        }
        raw(EntryType::XHeader, b"PaxHeaders/x", &content)
    }

    fn read(parts: &[Vec<u8>]) -> Result<Vec<Entry>, LayerError> {
        let mut bytes = parts.concat();
        bytes.extend([0; 1024]);
        read_bytes(&bytes)
    }

    fn read_bytes(bytes: &[u8]) -> Result<Vec<Entry>, LayerError> {
        let mut archive = Archive::new(bytes);
        let mut entries = Vec::new();
        while let Some(entry) = archive.next_entry()? {
            entries.push(entry);
        }
        Ok(entries)
    }

    fn refusal(parts: &[Vec<u8>]) -> Refusal {
        match read(parts) {
            Err(LayerError::Entry { refusal, .. }) => refusal,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn long_names_of_both_dialects_are_read() {
        let long = format!("usr/{}/file", "n".repeat(200));
        let gnu = [
            raw(
                EntryType::GNULongName,
                b"././@LongLink",
                format!("{long}\0").as_bytes(),
            ),
            raw(EntryType::Regular, b"usr/cut", b"12345"),
        ];
        let posix = [
            pax(&[("path", &long), ("mtime", "7.5"), ("uname", "root")]),
            raw(EntryType::Regular, b"usr/cut", b"12345"),
        ];
        for (parts, mtime) in [(gnu, 1), (posix, 7)] {
            let entries = read(&parts).unwrap();
            assert_eq!(entries.len(), 1);
            assert_eq!(entries[0].path, long);
            assert_eq!(entries[0].kind, Kind::File { size: 5 });
            assert_eq!(entries[0].mtime, mtime);
        }
    }

    #[test]
    fn extensions_are_for_one_entry_only() {
        let entries = read(&[
            pax(&[("path", "first")]),
            raw(EntryType::Regular, b"x", b""),
            raw(EntryType::Regular, b"second", b""),
        ])
        .unwrap();
        assert_eq!(
            entries.iter().map(|e| e.path.as_str()).collect::<Vec<_>>(),
            ["first", "second"]
        );
    }

    #[test]
    fn hostile_entries_are_refused() {
        let file = || raw(EntryType::Regular, b"x", b"");
        for (what, parts, expected) in [
            (
                "parent",
                vec![raw(EntryType::Regular, b"../x", b"")],
                Refusal::Dots,
            ),
            (
                "absolute",
                vec![raw(EntryType::Regular, b"/x", b"")],
                Refusal::Absolute,
            ),
            (
                "absolute by pax",
                vec![pax(&[("path", "/x")]), file()],
                Refusal::Absolute,
            ),
            (
                "character device",
                vec![raw(EntryType::Char, b"x", b"")],
                Refusal::Kind('3'),
            ),
            (
                "block device",
                vec![raw(EntryType::Block, b"x", b"")],
                Refusal::Kind('4'),
            ),
            (
                "fifo",
                vec![raw(EntryType::Fifo, b"x", b"")],
                Refusal::Kind('6'),
            ),
            (
                "contiguous",
                vec![raw(EntryType::Continuous, b"x", b"")],
                Refusal::Kind('7'),
            ),
            (
                "sparse",
                vec![raw(EntryType::GNUSparse, b"x", b"")],
                Refusal::Kind('S'),
            ),
            (
                "global header",
                vec![raw(EntryType::XGlobalHeader, b"x", b"")],
                Refusal::Kind('g'),
            ),
            (
                "v7 directory",
                vec![raw(EntryType::Regular, b"x/", b"")],
                Refusal::Kind('0'),
            ),
            (
                "content on a link",
                vec![
                    pax(&[("linkpath", "z")]),
                    raw(EntryType::Symlink, b"x", b"y"),
                ],
                Refusal::Content,
            ),
            (
                "two sizes",
                vec![pax(&[("size", "9")]), file()],
                Refusal::Content,
            ),
            (
                "file capability",
                vec![
                    pax(&[("SCHILY.xattr.security.capability", "\u{1}")]),
                    file(),
                ],
                Refusal::Xattr("security.capability".to_owned()),
            ),
            (
                "overlay attribute",
                vec![
                    pax(&[("LIBARCHIVE.xattr.trusted.overlay.opaque", "y")]),
                    file(),
                ],
                Refusal::Xattr("trusted.overlay.opaque".to_owned()),
            ),
            (
                "pax sparse",
                vec![pax(&[("GNU.sparse.major", "1")]), file()],
                Refusal::Pax("GNU.sparse.major".to_owned()),
            ),
            (
                "owner",
                vec![pax(&[("uid", "4294967295")]), file()],
                Refusal::Owner,
            ),
            (
                "whiteout",
                vec![raw(EntryType::Regular, b".wh.x", b"")],
                Refusal::Whiteout,
            ),
            (
                "hard link out",
                vec![
                    pax(&[("linkpath", "../../etc/shadow")]),
                    raw(EntryType::Link, b"x", b""),
                ],
                Refusal::LinkTarget,
            ),
            (
                "hard link to an absolute path",
                vec![
                    pax(&[("linkpath", "/etc/shadow")]),
                    raw(EntryType::Link, b"x", b""),
                ],
                Refusal::LinkTarget,
            ),
        ] {
            assert_eq!(refusal(&parts), expected, "{what}");
        }
    }

    #[test]
    fn what_images_hold_is_read_for_images_only() {
        let parts = [
            raw(EntryType::XGlobalHeader, b"x", b"18 comment=abcdef\n"),
            pax(&[("SCHILY.xattr.security.capability", "\u{1}\0")]),
            raw(EntryType::Regular, b"/usr/bin/ping", b""),
            raw(EntryType::Char, b"dev/null", b""),
            raw(EntryType::Regular, b"etc/.wh.motd", b""),
        ];
        assert!(read(&parts).is_err());
        let bytes = [parts.concat(), vec![0; 1024]].concat();
        let mut archive = Archive::of_image(bytes.as_slice());
        let mut entries = Vec::new();
        while let Some(entry) = archive.next_entry().unwrap() {
            entries.push(entry);
        }
        let paths: Vec<&str> = entries.iter().map(|entry| entry.path.as_str()).collect();
        assert_eq!(paths, ["usr/bin/ping", "dev/null", "etc/.wh.motd"]);
        let capability = ("security.capability".to_owned(), vec![1, 0]);
        assert_eq!(entries[0].xattrs, [capability]);
        assert!(matches!(entries[1].kind, Kind::Special { kind: '3', .. }));
    }

    #[test]
    fn malformed_archives_are_refused() {
        let file = raw(EntryType::Regular, b"x", b"content");
        let mut wrong_sum = file.clone();
        wrong_sum[0] = b'y';
        assert!(matches!(
            read(&[wrong_sum]),
            Err(LayerError::Header { number: 1, .. })
        ));
        assert!(matches!(read_bytes(&file), Err(LayerError::Truncated)));
        assert!(matches!(
            read_bytes(&file[..600]),
            Err(LayerError::Truncated)
        ));
        assert!(matches!(
            read_bytes(&[file.clone(), vec![0; 512]].concat()),
            Err(LayerError::Truncated)
        ));
        assert!(matches!(
            read_bytes(&[file.clone(), vec![0; 1024], file.clone()].concat()),
            Err(LayerError::Trailing)
        ));
        assert!(matches!(
            read_bytes(&[file.clone(), vec![0; 3 << 20]].concat()),
            Err(LayerError::Trailing)
        ));
        // a size header far beyond the archive
        let mut huge = Header::new_gnu();
        huge.set_path("x").unwrap();
        huge.set_size(1 << 60);
        huge.set_cksum();
        assert!(matches!(
            read(&[huge.as_bytes().to_vec()]),
            Err(LayerError::Header { .. })
        ));
        // a long name that would fill the memory
        let mut long = Header::new_gnu();
        long.set_entry_type(EntryType::GNULongName);
        long.set_size(1 << 40);
        long.set_cksum();
        assert!(matches!(
            read(&[long.as_bytes().to_vec()]),
            Err(LayerError::Header { .. })
        ));
    }

    #[test]
    fn pax_records_are_split_by_length() {
        assert_eq!(
            pax_record(b"13 path=a\nb=\nrest"),
            Some((("path", b"a\nb=".as_slice()), b"rest".as_slice()))
        );
        for bad in [
            "",
            "x",
            "5",
            "0 a=b\n",
            "9 path=ab",
            "99 path=a\n",
            "7 abcd\n",
            "18446744073709551616 a=b\n",
        ] {
            assert_eq!(pax_record(bad.as_bytes()), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..4096)) {
            let _ = read_bytes(&bytes);
        }

        #[test]
        fn damaged_archives_never_panic(at in 0usize..2048, byte: u8, fix_sum: bool) {
            let mut bytes = [
                pax(&[("path", "usr/share/doc")]),
                raw(EntryType::Regular, b"x", b"content"),
                vec![0; 1024],
            ]
            .concat();
            bytes[at] = byte;
            if fix_sum {
                for start in [0, 1024] {
                    let mut header = Header::new_old();
                    header.as_mut_bytes().copy_from_slice(&bytes[start..start + 512]);
                    header.set_cksum();
                    bytes[start..start + 512].copy_from_slice(header.as_bytes());
                }
            }
            let _ = read_bytes(&bytes);
        }
    }
}
