//! Paths as components spell them.

use std::borrow::Cow;

/// Directories that merged-/usr systems keep as links into `/usr` (systemd's file-hierarchy(7)).
const MERGED: [&str; 4] = ["/bin", "/sbin", "/lib", "/lib64"];

/// The merged-/usr spelling of an absolute path: `/bin/sh` becomes `/usr/bin/sh`.
///
/// Components hold no path below `/bin`, `/sbin`, `/lib` or `/lib64`; core holds those four as links.
#[must_use]
pub fn merged_usr(path: &str) -> Cow<'_, str> {
    for link in MERGED {
        if let Some(rest) = path.strip_prefix(link)
            && rest.starts_with('/')
        {
            return Cow::Owned(format!("/usr{link}{rest}"));
        }
    }
    Cow::Borrowed(path)
}

#[cfg(test)]
mod tests {
    use super::merged_usr;

    #[test]
    fn only_what_lies_below_the_links_moves() {
        for (from, to) in [
            ("/bin/sh", "/usr/bin/sh"),
            (
                "/lib64/ld-linux-x86-64.so.2",
                "/usr/lib64/ld-linux-x86-64.so.2",
            ),
            ("/lib/x", "/usr/lib/x"),
            ("/bin", "/bin"),
            ("/libexec/x", "/libexec/x"),
            ("/usr/bin/sh", "/usr/bin/sh"),
        ] {
            assert_eq!(merged_usr(from), to);
        }
    }
}
