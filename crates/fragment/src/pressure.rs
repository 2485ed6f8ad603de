//! How much a machine's memory and disk are asked for: pressure stall information (Documentation/accounting/psi.rst) and the
//! memory that is available (proc_meminfo(5)).

use std::fs::OpenOptions;
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::io::Errno;
use serde::{Serialize, Serializer};

/// Most bytes that are read of a file; the kernel's have a few hundred, or two thousand.
const MAX_FILE: u64 = 64 << 10;

/// A part of time, in hundredths of a percent, as the kernel tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percent(u32);

impl Percent {
    /// A whole number of percent.
    #[must_use]
    pub fn whole(percent: u8) -> Self {
        Self(u32::from(percent) * 100)
    }

    /// What the kernel prints: at most 100, with two digits after the point. None of anything else.
    fn parse(text: &str) -> Option<Self> {
        let (whole, hundredths) = text.split_once('.')?;
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || whole.len() > 3 || hundredths.len() != 2 {
            return None;
        }
        if !digits(whole) || !digits(hundredths) {
            return None;
        }
        let all = whole.parse::<u32>().ok()? * 100 + hundredths.parse::<u32>().ok()?;
        (all <= 10_000).then_some(Self(all))
    }
}

impl std::fmt::Display for Percent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{:02}%", self.0 / 100, self.0 % 100)
    }
}

impl Serialize for Percent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(f64::from(self.0) / 100.0)
    }
}

/// The part of the last ten seconds in which some process waited for memory, and for the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Pressure {
    /// For memory.
    pub memory: Percent,
    /// For the disk.
    pub io: Percent,
}

/// A machine at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine {
    /// None where the kernel does not tell it.
    pub pressure: Option<Pressure>,
    /// Bytes of memory in all.
    pub memory: u64,
    /// Bytes of it that new use would get without others being swapped out, files in memory among them.
    pub available: u64,
}

/// A file of the kernel's that cannot be understood.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PressureError {
    /// It cannot be read.
    #[error("read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It says something else than the kernel would.
    #[error("{} does not tell {what} as the kernel does", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
    },
}

impl Machine {
    /// The machine that `proc` tells about, which is `/proc` but in tests.
    ///
    /// # Errors
    /// [`PressureError`] when a file is there and cannot be understood: nobody should guess then.
    pub fn look(proc: &Path) -> Result<Self, PressureError> {
        let part = |name: &str| {
            let path = proc.join("pressure").join(name);
            let Some(text) = read(&path)? else {
                return Ok(None);
            };
            let what = "the pressure of the last ten seconds";
            let found = some_avg10(&text).ok_or(PressureError::Malformed { path, what });
            found.map(Some)
        };
        let pressure = match (part("memory")?, part("io")?) {
            (Some(memory), Some(io)) => Some(Pressure { memory, io }),
            _ => None,
        };
        let path = proc.join("meminfo");
        let text = read(&path)?.unwrap_or_default();
        let number = |name: &str, what: &'static str| {
            let path = path.clone();
            kilobytes(&text, name).ok_or(PressureError::Malformed { path, what })
        };
        let memory = number("MemTotal", "the memory")?;
        let available = number("MemAvailable", "the memory that is available")?;
        Ok(Self {
            pressure,
            memory,
            available: available.min(memory),
        })
    }
}

/// Content of a file; None where the kernel does not have it, or has it switched off.
fn read(path: &Path) -> Result<Option<String>, PressureError> {
    let failed = |source: io::Error| PressureError::Read {
        path: path.to_owned(),
        source,
    };
    let is_off = |error: &io::Error| {
        error.kind() == io::ErrorKind::NotFound
            || error.raw_os_error() == Some(Errno::OPNOTSUPP.raw_os_error())
    };
    let read = || {
        // a fifo must not block us
        let flags = OFlags::NOFOLLOW.union(OFlags::NONBLOCK);
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(flags.bits().cast_signed())
            .open(path)?;
        let mut content = Vec::new();
        file.take(MAX_FILE).read_to_end(&mut content)?;
        Ok(content)
    };
    match read() {
        // what is not UTF-8 is not the kernel's and found by the reader of its lines
        Ok(content) => Ok(Some(String::from_utf8_lossy(&content).into_owned())),
        Err(error) if is_off(&error) => Ok(None),
        Err(error) => Err(failed(error)),
    }
}

/// The first average of the line `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`.
fn some_avg10(text: &str) -> Option<Percent> {
    let line = text.lines().find_map(|line| line.strip_prefix("some "))?;
    Percent::parse(line.strip_prefix("avg10=")?.split(' ').next()?)
}

/// The bytes of a line `MemAvailable:   1234 kB`.
fn kilobytes(text: &str, name: &str) -> Option<u64> {
    let line = |line: &'_ str| Some(line.strip_prefix(name)?.strip_prefix(':')?.to_owned());
    let line = text.lines().find_map(line)?;
    let number = line.trim().strip_suffix("kB")?.trim_end();
    number.parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMORY: &str =
        "MemTotal:       8000 kB\nMemFree:         100 kB\nMemAvailable:   4000 kB\n";
    const QUIET: &str = "some avg10=0.00 avg60=0.12 avg300=0.70 total=292489246\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=51813641\n";

    fn made(files: &[(&str, &[u8])]) -> tempfile::TempDir {
        let proc = tempfile::tempdir().unwrap();
        std::fs::create_dir(proc.path().join("pressure")).unwrap();
        for (name, content) in files {
            std::fs::write(proc.path().join(name), content).unwrap();
        }
        proc
    }

    fn of_memory(content: &[u8]) -> Result<Machine, PressureError> {
        let proc = made(&[
            ("pressure/memory", content),
            ("pressure/io", QUIET.as_bytes()),
            ("meminfo", MEMORY.as_bytes()),
        ]);
        Machine::look(proc.path())
    }

    #[test]
    fn the_pressure_of_the_last_ten_seconds_is_read() {
        for (line, hundredths) in [
            ("some avg10=0.00 avg60=9.00 avg300=9.00 total=1", 0),
            ("some avg10=12.34 avg60=0.00", 1234),
            ("some avg10=100.00", 10_000),
            ("full avg10=50.00 total=1\nsome avg10=0.05 total=1", 5),
        ] {
            let machine = of_memory(line.as_bytes()).unwrap();
            let pressure = machine.pressure.unwrap();
            assert_eq!(pressure.memory, Percent(hundredths), "{line}");
            assert_eq!(pressure.io, Percent(0));
            assert_eq!(
                (machine.memory, machine.available),
                (8000 << 10, 4000 << 10)
            );
        }
        assert_eq!(Percent(1205).to_string(), "12.05%");
    }

    #[test]
    fn what_the_kernel_would_not_say_is_an_error() {
        let long = "some avg60=0.00 ".repeat(100_000);
        for content in [
            "",
            "some",
            "some ",
            "some avg10=",
            "some avg10=0",
            "some avg10=.00",
            "some avg10=0.0",
            "some avg10=0.000",
            "some avg10=-1.00",
            "some avg10=+1.00",
            "some avg10=100.01",
            "some avg10=1000.00",
            "some avg10=99999999999999999999.00",
            "some avg10=nan",
            "some avg10=inf",
            "some avg10=1e1.00",
            "some avg10=١.00",
            "some avg60=0.00 avg10=0.00",
            "full avg10=0.00 avg60=0.00",
            "Some avg10=0.00",
            long.as_str(),
        ] {
            let error = of_memory(content.as_bytes()).unwrap_err();
            let start = &content[..content.len().min(40)];
            assert!(
                matches!(&error, PressureError::Malformed { path, .. } if path.ends_with("pressure/memory")),
                "{start}: {error}"
            );
        }
        assert!(of_memory(b"\xff\xfe\0").is_err());
    }

    #[test]
    fn a_file_without_an_end_is_not_read_to_it() {
        let proc = made(&[("meminfo", MEMORY.as_bytes())]);
        let pressure = proc.path().join("pressure/memory");
        // a link is not followed, and a fifo that nobody writes to is not waited for
        std::os::unix::fs::symlink("/dev/zero", &pressure).unwrap();
        assert!(matches!(
            Machine::look(proc.path()),
            Err(PressureError::Read { .. })
        ));
        std::fs::remove_file(&pressure).unwrap();
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mkfifoat(rustix::fs::CWD, &pressure, mode).unwrap();
        assert!(Machine::look(proc.path()).is_err());
        std::fs::remove_file(&pressure).unwrap();
        std::fs::create_dir(&pressure).unwrap();
        assert!(matches!(
            Machine::look(proc.path()),
            Err(PressureError::Read { .. })
        ));
        // the beginning of a long one is enough
        let content = format!("{QUIET}{}", "x".repeat(1 << 20));
        assert!(of_memory(content.as_bytes()).is_ok());
    }

    #[test]
    fn a_kernel_without_pressure_is_told_from_one_that_cannot_be_understood() {
        let memory: (&str, &[u8]) = ("meminfo", MEMORY.as_bytes());
        let machine = Machine::look(made(&[memory]).path()).unwrap();
        assert_eq!((machine.pressure, machine.available), (None, 4000 << 10));
        let half = made(&[memory, ("pressure/io", QUIET.as_bytes())]);
        assert_eq!(Machine::look(half.path()).unwrap().pressure, None);
        for meminfo in [
            "",
            "MemTotal: 8000 kB\n",
            "MemTotal: 8000 kB\nMemAvailable: lots kB\n",
            "MemTotal: 8000 kB\nMemAvailable: 18446744073709551615 kB\n",
            "MemTotal: 8000 kB\nMemAvailable: 4000\n",
        ] {
            let error = Machine::look(made(&[("meminfo", meminfo.as_bytes())]).path());
            assert!(
                matches!(error, Err(PressureError::Malformed { .. })),
                "{meminfo}"
            );
        }
        let more = "MemTotal: 8000 kB\nMemAvailable: 9000 kB\n";
        let machine = Machine::look(made(&[("meminfo", more.as_bytes())]).path()).unwrap();
        assert_eq!(machine.available, machine.memory);
    }

    #[test]
    fn this_machine_can_be_looked_at() {
        let machine = Machine::look(Path::new("/proc")).unwrap();
        assert!(machine.available > 0 && machine.available <= machine.memory);
    }
}
