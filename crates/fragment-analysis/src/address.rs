//! Words that are network addresses.

use std::net::IpAddr;

/// A network address in a word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// `scheme://host…`.
    Url {
        /// What may be shown of it: no user, password, path or query.
        shown: String,
        /// Whether the host is a name that has to be looked up.
        named: bool,
        /// Whether the scheme says TLS.
        tls: bool,
    },
    /// `host:port`.
    Endpoint {
        /// Whether the host is a name that has to be looked up.
        named: bool,
    },
    /// `:port`, `*:port`, `0.0.0.0:port`, `[::]:port`: an address to listen on.
    Any,
}

/// Schemes whose address is no host.
const LOCAL_SCHEMES: &[&str] = &["data", "fd", "file", "npipe", "unix", "vsock"];
/// Schemes that mean TLS without ending in `s` after another scheme.
const TLS_SCHEMES: &[&str] = &[
    "amqps", "ftps", "https", "imaps", "ldaps", "mqtts", "pop3s", "rediss", "smtps", "tls", "wss",
];

/// The network address that `word` is, if it is one.
#[must_use]
pub fn parse(word: &str) -> Option<Address> {
    match word.split_once("://") {
        Some((scheme, rest)) => url(scheme, rest),
        None => endpoint(word),
    }
}

fn url(scheme: &str, rest: &str) -> Option<Address> {
    let scheme = scheme.to_ascii_lowercase();
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
    if !scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        || !scheme.chars().all(plain)
        || LOCAL_SCHEMES.contains(&scheme.as_str())
    {
        return None;
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    // The last `@` ends the user part: a password may hold one that nobody escaped.
    let place = authority
        .rsplit_once('@')
        .map_or(authority, |(_, place)| place);
    let (host, port) = host_and_port(place);
    if !is_host(host) {
        return None;
    }
    let port = port
        .filter(|port| is_port(port))
        .map(|port| format!(":{port}"))
        .unwrap_or_default();
    Some(Address::Url {
        shown: format!("{scheme}://{host}{port}"),
        named: !is_ip(host),
        tls: TLS_SCHEMES.contains(&scheme.as_str()),
    })
}

fn endpoint(word: &str) -> Option<Address> {
    let (host, port) = host_and_port(word);
    if !port.is_some_and(is_port) {
        return None;
    }
    if matches!(host, "" | "*" | "0.0.0.0" | "[::]") {
        return Some(Address::Any);
    }
    // `12:30` is a time and `10:20` a range; a host has a letter or is an address.
    if is_ip(host) || is_host(host) && host.contains(|c: char| c.is_ascii_alphabetic()) {
        return Some(Address::Endpoint {
            named: !is_ip(host),
        });
    }
    None
}

/// Splits at the last colon that is not inside brackets.
fn host_and_port(place: &str) -> (&str, Option<&str>) {
    if let Some(end) = place.find(']') {
        return (&place[..=end], place[end + 1..].strip_prefix(':'));
    }
    match place.rsplit_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (place, None),
    }
}

fn is_ip(host: &str) -> bool {
    let host = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    host.parse::<IpAddr>().is_ok()
}

fn is_host(host: &str) -> bool {
    is_ip(host)
        || !host.is_empty()
            && host.len() <= 253
            && !host.starts_with(['-', '.'])
            && host
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_'))
}

/// Whether a text is a TCP port.
#[must_use]
pub fn is_port(text: &str) -> bool {
    text.len() <= 5
        && text.bytes().all(|byte| byte.is_ascii_digit())
        && text.parse::<u16>().is_ok_and(|port| port > 0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn addresses_are_told_from_other_words() {
        let url = |shown: &str, named, tls| {
            Some(Address::Url {
                shown: shown.into(),
                named,
                tls,
            })
        };
        for (word, expected) in [
            (
                "https://example.org/x?y=secret",
                url("https://example.org", true, true),
            ),
            (
                "http://user:p@ss@h:8080/",
                url("http://h:8080", true, false),
            ),
            ("HTTPS://[::1]:8443", url("https://[::1]:8443", false, true)),
            (
                "postgres://u:s3cret@10.0.0.1/db",
                url("postgres://10.0.0.1", false, false),
            ),
            ("http://h:s3cret@/", None),
            ("http://h:s3cret", url("http://h", true, false)),
            ("unix:///run/x.sock", None),
            ("file:///etc/passwd", None),
            ("://x", None),
            ("http://", None),
            ("example.org:443", Some(Address::Endpoint { named: true })),
            ("localhost:80", Some(Address::Endpoint { named: true })),
            ("127.0.0.1:80", Some(Address::Endpoint { named: false })),
            (":8080", Some(Address::Any)),
            ("0.0.0.0:80", Some(Address::Any)),
            ("[::]:80", Some(Address::Any)),
            ("12:30", None),
            ("a:b", None),
            ("x:0", None),
            ("x:65536", None),
            ("s/a/b:1", None),
            ("hello", None),
            ("", None),
            (":", None),
        ] {
            assert_eq!(parse(word), expected, "{word}");
        }
    }

    proptest! {
        #[test]
        fn secrets_are_never_shown(user in "[a-z:@]{1,9}", secret in "S[A-Z@:]{6,9}", host in "[a-z]{1,9}") {
            let word = format!("https://{user}:{secret}@{host}/{secret}?k={secret}");
            if let Some(Address::Url { shown, .. }) = parse(&word) {
                prop_assert_eq!(shown, format!("https://{host}"));
            }
        }

        #[test]
        fn random_text_never_panics(word in any::<String>()) {
            let _ = parse(&word);
        }
    }
}
