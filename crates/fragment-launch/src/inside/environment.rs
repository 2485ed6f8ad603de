//! The environment a program starts with.

use std::ffi::CString;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};

use rustix::fs::{Mode, OFlags};

/// Longest part of /etc/passwd that is searched.
const LONGEST_PASSWD: u64 = 1 << 20;

/// The variables of `process.env` in their order, with HOME added where it is missing or empty, as runc does.
///
/// `passed` are the variables of socket activation (sd_listen_fds(3)), which are the runtime's to set.
pub(crate) fn complete(env: &[String], uid: u32, passed: &[(String, String)]) -> Vec<String> {
    let name = |entry: &String| {
        entry
            .split_once('=')
            .map_or(entry.clone(), |(name, _)| name.to_owned())
    };
    let mut complete: Vec<String> = env.to_vec();
    complete.retain(|entry| !passed.iter().any(|(passed, _)| *passed == name(entry)));
    complete.extend(passed.iter().map(|(name, value)| format!("{name}={value}")));
    if value(&complete, "HOME").is_none_or(str::is_empty) {
        complete.retain(|entry| name(entry) != "HOME");
        complete.push(format!("HOME={}", home_of(uid)));
    }
    complete
}

/// The value of a variable; of two entries the later one counts, as for getenv(3) in most programs that set both.
pub(crate) fn value<'a>(env: &'a [String], name: &str) -> Option<&'a str> {
    env.iter()
        .rev()
        .find_map(|entry| entry.strip_prefix(name)?.strip_prefix('='))
}

/// As the kernel takes them; an entry with a NUL byte cannot be passed on and is left out.
pub(crate) fn c_strings(strings: &[String]) -> Vec<CString> {
    strings
        .iter()
        .filter_map(|string| CString::new(string.as_bytes()).ok())
        .collect()
}

/// The home directory of a user by the container's own /etc/passwd, `/` when it does not say.
///
/// Read as a file, never through the C library: see [`crate::specification::derived`] on NSS. The file is the container's and so hostile:
/// it may be a FIFO, endless or a device.
fn home_of(uid: u32) -> String {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let Ok(passwd) = rustix::fs::open("/etc/passwd", flags, Mode::empty()) else {
        return "/".to_owned();
    };
    let passwd = File::from(passwd);
    if !passwd.metadata().is_ok_and(|metadata| metadata.is_file()) {
        return "/".to_owned();
    }
    home_in(BufReader::new(passwd.take(LONGEST_PASSWD)), uid).unwrap_or_else(|| "/".to_owned())
}

fn home_in(passwd: impl BufRead, uid: u32) -> Option<String> {
    passwd.lines().map_while(Result::ok).find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let found = fields.get(2)?.parse::<u32>().ok()? == uid;
        let home = fields.get(5).filter(|home| !home.is_empty())?;
        found.then(|| (*home).to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_home_directory_is_the_sixth_field() {
        let passwd =
            "# comment\nroot:x:0:0:root:/root:/bin/sh\nbroken\nu:x:7:7::/home/u:/bin/sh\nn:x:8:8::";
        assert_eq!(home_in(passwd.as_bytes(), 7).as_deref(), Some("/home/u"));
        assert_eq!(home_in(passwd.as_bytes(), 0).as_deref(), Some("/root"));
        assert_eq!(home_in(passwd.as_bytes(), 8), None);
        assert_eq!(home_in(passwd.as_bytes(), 9), None);
    }

    #[test]
    fn order_is_kept_and_an_empty_home_is_filled() {
        let env = ["B=2", "A=1", "HOME=", "B=3"].map(str::to_owned);
        let complete = complete(
            &env,
            4_000_000_000,
            &[("LISTEN_FDS".to_owned(), "1".to_owned())],
        );
        assert_eq!(complete, ["B=2", "A=1", "B=3", "LISTEN_FDS=1", "HOME=/"]);
        assert_eq!(value(&complete, "B"), Some("3"));
    }
}
