//! What a package asks systemd-tmpfiles(8) for at boot, made when the component is: no container boots.

use std::collections::BTreeMap;

use crate::recipe::FileSpec;
use crate::tree::Entry;

/// Paths below these are made; others are the package's own business.
const BELOW: [&str; 2] = ["/run/", "/var/"];

/// The entries of a tmpfiles.d(5) text. `user` and `group` give the number of a name.
pub(crate) fn entries(
    text: &str,
    user: &dyn Fn(&str) -> Option<u32>,
    group: &dyn Fn(&str) -> Option<u32>,
) -> BTreeMap<String, Entry> {
    let mut entries = BTreeMap::new();
    for line in text.lines().filter(|l| !l.trim_start().starts_with('#')) {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [kind, path, ..] = fields[..] else {
            continue;
        };
        let field = |at: usize| fields.get(at).copied().filter(|f| *f != "-");
        let path = path.replacen("/var/run/", "/run/", 1);
        let path = path.trim_end_matches('/');
        // specifiers and patterns name what only a running system knows
        if path.contains(['%', '*', '?', '[']) || !BELOW.iter().any(|b| path.starts_with(b)) {
            continue;
        }
        let argument = || {
            let rest = fields.get(6..).map(|f| f.join(" "));
            rest.filter(|a| !a.contains('%') && a != "-")
        };
        let mut spec = FileSpec {
            owner: None,
            content: None,
            link: None,
            directory: false,
            mode: None,
        };
        let mode = match kind.chars().next() {
            Some('d' | 'D' | 'v' | 'q' | 'Q') => {
                spec.directory = true;
                0o755
            }
            Some('L') => match argument() {
                Some(target) => {
                    spec.link = Some(target);
                    0o777
                }
                None => continue,
            },
            Some('f' | 'F') => {
                spec.content = Some(argument().unwrap_or_default());
                0o644
            }
            _ => continue,
        };
        let mut entry = Entry::of_spec(&spec);
        let octal = |m: &str| u32::from_str_radix(m.trim_start_matches([':', '~']), 8).ok();
        entry.mode = field(2)
            .and_then(octal)
            .filter(|_| spec.link.is_none())
            .unwrap_or(mode)
            & 0o1777;
        entry.uid = field(3).and_then(user).unwrap_or(0);
        entry.gid = field(4).and_then(group).unwrap_or(0);
        entries.insert(path.to_owned(), entry);
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::entries;
    use crate::tree::Content;

    #[test]
    fn directories_links_and_files() {
        let text = "# x\nd /run/sshd 0750 sshd - -\nD /var/run/screen 1777 root utmp 10d\nL+ /var/lib/x - - - - ../y\n\
                    d /run/user/%U 0700\nf /run/motd 0644 root root - hello there\nd /tmp/x\nr /run/gone\n";
        let user = |name: &str| (name == "sshd").then_some(105);
        let group = |name: &str| (name == "utmp").then_some(43);
        let found = entries(text, &user, &group);
        let names: Vec<&str> = found.keys().map(String::as_str).collect();
        assert_eq!(
            names,
            ["/run/motd", "/run/screen", "/run/sshd", "/var/lib/x"]
        );
        assert_eq!(
            (found["/run/sshd"].mode, found["/run/sshd"].uid),
            (0o750, 105)
        );
        assert_eq!(
            (found["/run/screen"].mode, found["/run/screen"].gid),
            (0o1777, 43)
        );
        assert!(matches!(&found["/var/lib/x"].content, Content::Symlink(t) if t == "../y"));
        assert!(found["/run/motd"].is_file());
    }
}
