//! Reading files of a cgroup that hold numbers.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use fragment_sys::file;

use crate::error::CgroupError;

/// A directory to read from; a file that is not there has nothing to say.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Gauge<'a>(pub(crate) &'a Path);

impl Gauge<'_> {
    pub(crate) fn text(&self, file: &str) -> Result<Option<String>, CgroupError> {
        let path = self.0.join(file);
        match file::read_text(&path) {
            Ok(text) => Ok(Some(text)),
            // ENODEV: the cgroup has just gone; EOPNOTSUPP: a controller that is compiled in and turned off
            Err(error)
                if error.kind() == io::ErrorKind::NotFound
                    || matches!(error.raw_os_error(), Some(ENODEV | EOPNOTSUPP)) =>
            {
                Ok(None)
            }
            Err(error) => Err(CgroupError::read(&path, error)),
        }
    }

    /// A number; `max` is the largest there is.
    pub(crate) fn number(&self, file: &str) -> Result<Option<u64>, CgroupError> {
        let text = self.text(file)?;
        text.map(|text| self.parse(file, text.trim())).transpose()
    }

    /// The same, zero when there is no such file.
    pub(crate) fn number_or_zero(&self, file: &str) -> Result<u64, CgroupError> {
        Ok(self.number(file)?.unwrap_or(0))
    }

    /// Lines of a word and a number.
    pub(crate) fn table(&self, file: &str) -> Result<BTreeMap<String, u64>, CgroupError> {
        let text = self.text(file)?.unwrap_or_default();
        let lines = text.lines().map(|line| {
            let (key, value) = line
                .split_once(' ')
                .ok_or_else(|| self.malformed(file, line))?;
            Ok((key.to_owned(), self.parse(file, value)?))
        });
        lines.collect()
    }

    pub(crate) fn parse(&self, file: &str, text: &str) -> Result<u64, CgroupError> {
        if text == "max" {
            return Ok(u64::MAX);
        }
        match text.parse() {
            Ok(number) => Ok(number),
            // counters that have gone below zero by a race of the kernel's
            Err(_) if text.parse::<i64>().is_ok() => Ok(0),
            Err(_) => Err(self.malformed(file, text)),
        }
    }

    pub(crate) fn malformed(&self, file: &str, line: &str) -> CgroupError {
        CgroupError::Parse {
            path: self.0.join(file),
            line: line.to_owned(),
        }
    }
}

const ENODEV: i32 = rustix::io::Errno::NODEV.raw_os_error();
const EOPNOTSUPP: i32 = rustix::io::Errno::OPNOTSUPP.raw_os_error();

/// The sizes of huge pages, as the files of the hugetlb controller name them.
pub(crate) fn huge_page_sizes() -> Vec<String> {
    let names = fs::read_dir("/sys/kernel/mm/hugepages")
        .into_iter()
        .flatten();
    let names = names
        .filter_map(Result::ok)
        .map(|entry| PathBuf::from(entry.file_name()));
    let mut sizes: Vec<String> = names.filter_map(|name| size_name(name.to_str()?)).collect();
    sizes.sort();
    sizes
}

/// hugepages-2048kB is 2MB.
fn size_name(directory: &str) -> Option<String> {
    let kilobytes = directory.strip_prefix("hugepages-")?.strip_suffix("kB")?;
    let kilobytes: u64 = kilobytes.parse().ok()?;
    Some(match kilobytes {
        size if size >= 1 << 20 => format!("{}GB", size >> 20),
        size if size >= 1 << 10 => format!("{}MB", size >> 10),
        size => format!("{size}KB"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn huge_pages_are_named_as_the_kernel_names_them() {
        assert_eq!(size_name("hugepages-2048kB").as_deref(), Some("2MB"));
        assert_eq!(size_name("hugepages-1048576kB").as_deref(), Some("1GB"));
        assert_eq!(size_name("hugepages-64kB").as_deref(), Some("64KB"));
        assert_eq!(size_name("other"), None);
    }

    #[test]
    fn numbers_are_read_and_nonsense_is_named() {
        let dir = tempfile::tempdir().unwrap();
        for (file, text) in [("a", "12\n"), ("b", "max\n"), ("c", "-3\n"), ("d", "x\n")] {
            fs::write(dir.path().join(file), text).unwrap();
        }
        let gauge = Gauge(dir.path());
        assert_eq!(gauge.number("a").unwrap(), Some(12));
        assert_eq!(gauge.number("b").unwrap(), Some(u64::MAX));
        assert_eq!(gauge.number("c").unwrap(), Some(0));
        assert_eq!(gauge.number("missing").unwrap(), None);
        assert!(
            gauge
                .number("d")
                .unwrap_err()
                .to_string()
                .contains("unable to parse")
        );
    }
}
