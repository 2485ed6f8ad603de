//! What an image asks for in its `/.fragment.yaml`: docker and buildah pass no annotations.
//!
//! The file is hostile input: it is looked up inside the root filesystem, read only if it is a regular file of at most
//! [`LIMIT`] bytes, and parsed within bounds.

use fragment_sys::root::{Kind, Root, RootError};
use fragment_types::{ComponentName, Lock};

use super::document::{Content, Document, DocumentError, Entry, LIMIT};
use super::{ControlError, Wishes};

/// Its path in the image.
pub const PATH: &str = "/.fragment.yaml";

const KEYS: [&str; 6] = [
    "compose",
    "components",
    "exclude",
    "require",
    "min_grade",
    "lock",
];

/// The wishes of the image in `root`; `None` when it says nothing.
///
/// # Errors
/// [`ControlError`] when the file cannot be read or followed.
pub fn wishes(root: &Root) -> Result<Option<Wishes>, ControlError> {
    match root.lookup(PATH)? {
        None => return Ok(None),
        Some(found) if found.kind != Kind::File => {
            return Err(RootError::NotRegular {
                path: PATH.to_owned(),
                kind: found.kind,
            }
            .into());
        }
        Some(_) => {}
    }
    let bytes = root.read_prefix(PATH, LIMIT + 1)?;
    Ok(Some(parse(&bytes)?))
}

/// Reads the document.
///
/// # Errors
/// [`DocumentError`] that names key, value and line.
pub fn parse(bytes: &[u8]) -> Result<Wishes, DocumentError> {
    let document = Document::parse(PATH, bytes)?;
    let (mut wishes, mut mistakes) = (Wishes::default(), Vec::new());
    for entry in &document.entries {
        if entry.key == "lock" {
            if entry.value.content != Content::Null {
                wishes.lock = Some(lock(&document, entry)?);
            }
        } else if !document.wish(&mut wishes, entry, &mut mistakes) {
            return Err(document.unknown(entry, "", &KEYS, &[]));
        }
        if !mistakes.is_empty() {
            return Err(mistakes.remove(0));
        }
    }
    Ok(wishes)
}

/// A map of names to digests, or a list of `name@sha256:…`.
fn lock(document: &Document, entry: &Entry) -> Result<Lock, DocumentError> {
    let mut lock = Lock::default();
    match &entry.value.content {
        Content::Map(components) => {
            for one in components {
                let invalid = |expected: &dyn std::fmt::Display| {
                    document.invalid(one.line, "lock", &one.key, expected)
                };
                let name = ComponentName::new(one.key.as_str()).map_err(|error| invalid(&error))?;
                let digest = document.text(one)?;
                let digest = digest.parse().map_err(|error| {
                    document.invalid(one.line, &format!("lock.{}", one.key), digest, &error)
                })?;
                lock.insert(name, digest).map_err(|error| invalid(&error))?;
            }
        }
        _ => {
            for (line, item) in document.list(entry)? {
                let invalid =
                    |error: &dyn std::fmt::Display| document.invalid(line, "lock", item, error);
                let one: Lock = item.parse().map_err(|error| invalid(&error))?;
                for (name, digest) in one.iter() {
                    lock.insert(name.clone(), *digest)
                        .map_err(|error| invalid(&error))?;
                }
            }
        }
    }
    Ok(lock)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use fragment_resolve::Compose;
    use fragment_types::Digest;

    use super::*;

    fn read(text: &str) -> Result<Wishes, DocumentError> {
        parse(text.as_bytes())
    }

    #[test]
    fn every_key_is_read() {
        let digest = Digest::of(b"");
        let wishes = read(&format!(
            "# what this image wants\ncompose: off\ncomponents: [bash, 7zip]\nexclude:\n  - curl\nrequire: [tcp_listen]\nlock:\n  core: {digest}\n  \"7zip\": {digest}\n"
        ))
        .unwrap();
        assert_eq!(wishes.compose, Some(Compose::Off));
        let components: Vec<_> = wishes.components.iter().map(ToString::to_string).collect();
        assert_eq!(components, ["bash", "7zip"]);
        assert_eq!(wishes.exclude.len(), 1);
        assert_eq!(wishes.require.len(), 1);
        let lock = wishes.lock.unwrap();
        assert_eq!(lock.to_string(), format!("7zip@{digest},core@{digest}"));
        assert_eq!(read(&lock.to_yaml()).unwrap().lock, Some(lock.clone()));
        let list = format!("lock:\n- core@{digest}\n- 7zip@{digest}\n");
        assert_eq!(read(&list).unwrap().lock, Some(lock));
        assert_eq!(
            read("lock: {}\n").unwrap().lock,
            Some(Lock::default()),
            "a lock of nothing"
        );
    }

    #[test]
    fn an_empty_document_wishes_nothing() {
        for text in ["", "\n", "# nothing\n", "---\n", "compose:\n", "lock: ~\n"] {
            assert_eq!(read(text).unwrap(), Wishes::default(), "{text:?}");
        }
    }

    #[test]
    fn a_mistake_is_told_with_key_value_file_and_line() {
        let digest = Digest::of(b"");
        for (text, words) in [
            (
                "\ncompose: maybe\n",
                vec!["/.fragment.yaml:2", "compose", "`maybe`"],
            ),
            (
                "components:\n- bash\n- Curl\n",
                vec![":3", "components", "`Curl`"],
            ),
            ("exclude: bash\n", vec![":1", "exclude", "`bash`", "list"]),
            ("compose: [auto]\n", vec![":1", "compose", "text"]),
            (
                "compose: auto\ncolour: blue\n",
                vec![":2", "`colour`", "`blue`", "compose"],
            ),
            (
                "lock:\n  core: sha256:1\n",
                vec![":2", "lock.core", "`sha256:1`"],
            ),
            ("lock:\n- core\n", vec![":2", "lock", "`core`"]),
            ("lock: all\n", vec![":1", "lock", "`all`"]),
            ("compose: auto\ncompose: off\n", vec![":2", "compose"]),
            ("components: [bash\n", vec!["/.fragment.yaml:"]),
            ("- bash\n", vec!["/.fragment.yaml:1"]),
            ("bash\n", vec!["/.fragment.yaml:1"]),
            (
                "compose: auto\n---\ncompose: off\n",
                vec!["/.fragment.yaml"],
            ),
            (
                &format!("lock: [\"core@{digest}\", \"core@{digest}\"]\n"),
                vec!["lock", "twice"],
            ),
        ] {
            let message = read(text).expect_err(text).to_string();
            for word in words {
                assert!(message.contains(word), "{word:?} of {text:?}: {message}");
            }
        }
    }

    #[test]
    fn a_document_may_not_grow_or_go_deep() {
        let deep = format!("components: {}{}\n", "[".repeat(5_000), "]".repeat(5_000));
        let aliases = "a: &a [x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c]\ncomponents: [*d,*d,*d,*d,*d,*d,*d,*d]\n";
        let long = format!("components: [{}]\n", "a,".repeat(LIMIT / 2));
        for text in [deep.as_str(), aliases, &long] {
            let start = std::time::Instant::now();
            assert!(read(text).is_err());
            assert!(start.elapsed().as_secs() < 5);
        }
        assert!(parse(b"compose: \xff\n").is_err());
    }

    /// A short stand-in for the fuzz target `settings`, which needs another toolchain.
    #[test]
    fn damaged_documents_are_errors_and_never_panics() {
        let digest = Digest::of(b"");
        let whole = format!(
            "# é\ncompose: 'off'\ncomponents: [bash, \"7zip\"]\nexclude:\n  - &a curl\n  - *a\nrequire: {{}}\nlock:\n  core: {digest}\n...\n"
        );
        let pieces: [&[u8]; 14] = [
            b"\0", b"\xff", b"\n", b"\t", b": ", b"- ", b"[", b"}", b"&b ", b"*b", b"!!int ",
            b"|\n", b"---\n", b"<<: ",
        ];
        let mut seed = 1_u64;
        let mut draw = |below: usize| {
            // Knuth's MMIX
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) as usize % below
        };
        for _ in 0..20_000 {
            let mut bytes = whole.clone().into_bytes();
            for _ in 0..=draw(4) {
                let at = draw(bytes.len());
                let end = at + draw(8).min(bytes.len() - at);
                bytes.splice(at..end, pieces[draw(pieces.len())].iter().copied());
            }
            if let Ok(wishes) = parse(&bytes)
                && let Some(lock) = wishes.lock
            {
                let again = parse(lock.to_yaml().as_bytes()).unwrap();
                assert_eq!(again.lock, Some(lock));
            }
        }
    }

    #[test]
    fn only_a_regular_file_inside_the_root_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(".fragment.yaml");
        let root = Root::open(directory.path()).unwrap();
        assert_eq!(wishes(&root).unwrap(), None);
        std::fs::write(&path, "compose: off\n").unwrap();
        let off = Some(Compose::Off);
        assert_eq!(wishes(&root).unwrap().unwrap().compose, off);

        // a link stays inside, wherever it points
        std::fs::remove_file(&path).unwrap();
        symlink("../../../../etc/passwd", &path).unwrap();
        assert_eq!(wishes(&root).unwrap(), None);
        std::fs::create_dir(directory.path().join("etc")).unwrap();
        std::fs::write(directory.path().join("etc/passwd"), "compose: off\n").unwrap();
        assert_eq!(wishes(&root).unwrap().unwrap().compose, off);

        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        let message = wishes(&root).unwrap_err().to_string();
        assert!(message.contains("not a regular file"), "{message}");

        std::fs::remove_dir(&path).unwrap();
        let fifo = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, &path, fifo, 0o644.into(), 0).unwrap();
        let message = wishes(&root).unwrap_err().to_string();
        assert!(message.contains("not a regular file"), "{message}");
    }
}
