//! Kernel versions, for what a kernel does not tell in any other way.

use std::fmt;

/// `major.minor` of a kernel release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct KernelVersion {
    /// The first number.
    pub major: u32,
    /// The second number.
    pub minor: u32,
}

impl KernelVersion {
    /// A version.
    #[must_use]
    pub const fn new(major: u32, minor: u32) -> Self {
        Self { major, minor }
    }

    /// The running kernel (uname(2)); 0.0 if its release is not of the form `major.minor…`, which makes callers choose
    /// what works everywhere.
    #[must_use]
    pub fn running() -> Self {
        let uname = rustix::system::uname();
        uname
            .release()
            .to_str()
            .ok()
            .and_then(Self::parse)
            .unwrap_or(Self::new(0, 0))
    }

    /// Reads a release text such as `6.1.0-18-amd64`.
    #[must_use]
    pub fn parse(release: &str) -> Option<Self> {
        let mut numbers = release.split(|c: char| !c.is_ascii_digit());
        let major = numbers.next()?.parse().ok()?;
        let minor = numbers.next()?.parse().ok()?;
        Some(Self { major, minor })
    }
}

impl fmt::Display for KernelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

#[cfg(test)]
mod tests {
    use super::KernelVersion;

    #[test]
    fn releases_are_read_as_distributions_write_them() {
        for (release, expected) in [
            ("6.1.0-18-amd64", Some(KernelVersion::new(6, 1))),
            ("5.15", Some(KernelVersion::new(5, 15))),
            ("6.18.44-fc-v445", Some(KernelVersion::new(6, 18))),
            ("6.10-rc1", Some(KernelVersion::new(6, 10))),
            ("6", None),
            ("", None),
            ("linux-6.1", None),
            ("99999999999.1", None),
        ] {
            assert_eq!(KernelVersion::parse(release), expected, "{release}");
        }
        assert!(KernelVersion::new(6, 10) > KernelVersion::new(6, 8));
        assert!(KernelVersion::running() > KernelVersion::new(4, 0));
    }
}
