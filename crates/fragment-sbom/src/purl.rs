//! Package URLs (purl-spec, type `deb`).

use std::fmt::Write as _;

/// The URL of a Debian package; `release` is the distribution's, such as `12`.
#[must_use]
pub fn debian(name: &str, version: &str, architecture: &str, release: Option<&str>) -> String {
    let mut url = format!(
        "pkg:deb/debian/{}@{}?arch={}",
        encoded(&name.to_ascii_lowercase()),
        encoded(version),
        encoded(architecture)
    );
    if let Some(release) = release {
        let _ = write!(url, "&distro=debian-{}", encoded(release));
    }
    url
}

/// Percent-encoded but for unreserved characters and the colon, which the specification leaves as it is.
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::debian;

    #[test]
    fn urls_are_canonical() {
        for (name, version, expected) in [
            (
                "libstdc++6",
                "12.2.0-14+deb12u1",
                "libstdc%2B%2B6@12.2.0-14%2Bdeb12u1",
            ),
            ("gzip", "1.12-1", "gzip@1.12-1"),
            ("perl", "1:5.36~rc1 a/b", "perl@1:5.36~rc1%20a%2Fb"),
        ] {
            assert_eq!(
                debian(name, version, "amd64", Some("12")),
                format!("pkg:deb/debian/{expected}?arch=amd64&distro=debian-12")
            );
        }
        assert_eq!(debian("a", "1", "all", None), "pkg:deb/debian/a@1?arch=all");
    }
}
