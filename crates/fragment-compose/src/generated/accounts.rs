//! Lists of users and groups: passwd(5), group(5), shadow(5), gshadow(5). Lines of fields between colons, the first a name.
//!
//! What is read is data of components or of a rootfs: any bytes will do, and what is no entry is left out.

use std::collections::BTreeMap;

/// Most that is read of one list, in bytes.
pub const MAX_LIST: usize = 1 << 20;
/// Field of group(5) and gshadow(5) that holds the members.
const MEMBERS: usize = 3;

/// What a list is of: groups have members, which are united.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum List {
    /// passwd(5), shadow(5).
    Users,
    /// group(5), gshadow(5).
    Groups,
}

/// The union of `lists`, lowest layer first. Entries keep the order in which they first come; where a name comes again the
/// upper layer's entry takes its place, as files do, and a group has the members of all.
#[must_use]
pub fn union(list: List, lists: &[impl AsRef<[u8]>]) -> Vec<u8> {
    let mut order: Vec<&[u8]> = Vec::new();
    let mut entries: BTreeMap<&[u8], Entry<'_>> = BTreeMap::new();
    for (name, line) in lists.iter().flat_map(|text| lines(text.as_ref())) {
        let entry = entries.entry(name).or_insert_with(|| {
            order.push(name);
            Entry::default()
        });
        entry.line = line;
        if list == List::Groups {
            entry.join(line);
        }
    }
    let mut text = Vec::new();
    for name in order {
        if let Some(entry) = entries.get(name) {
            entry.write(&mut text);
            text.push(b'\n');
        }
    }
    text
}

/// Names and user ids of a passwd(5); of a name that comes twice the first, as look-ups find it.
#[must_use]
pub fn numbers(text: &[u8]) -> BTreeMap<&[u8], u32> {
    let mut numbers = BTreeMap::new();
    for (name, line) in lines(text) {
        let number = line.split(|b| *b == b':').nth(2);
        let number = number.and_then(|field| std::str::from_utf8(field).ok()?.parse().ok());
        if let Some(number) = number {
            numbers.entry(name).or_insert(number);
        }
    }
    numbers
}

#[derive(Default)]
struct Entry<'t> {
    line: &'t [u8],
    /// Of all layers, in the order in which they come; empty for users.
    members: Vec<&'t [u8]>,
}

impl<'t> Entry<'t> {
    fn join(&mut self, line: &'t [u8]) {
        let members = line.split(|b| *b == b':').nth(MEMBERS).unwrap_or_default();
        for member in members
            .split(|b| *b == b',')
            .filter(|name| !name.is_empty())
        {
            if !self.members.contains(&member) {
                self.members.push(member);
            }
        }
    }

    fn write(&self, text: &mut Vec<u8>) {
        if self.members.is_empty() {
            text.extend_from_slice(self.line);
            return;
        }
        for (number, field) in self.line.split(|b| *b == b':').enumerate() {
            if number > 0 {
                text.push(b':');
            }
            if number == MEMBERS {
                text.extend_from_slice(&self.members.join(&b','));
            } else {
                text.extend_from_slice(field);
            }
        }
    }
}

/// Entries with their names. Comments, blank lines and lines without a colon are none (getpwent(3) skips them too).
fn lines(text: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    text.split(|b| *b == b'\n').filter_map(|line| {
        let name = &line[..line.iter().position(|b| *b == b':')?];
        let is_entry = !name.is_empty() && name[0] != b'#' && !line.contains(&0);
        is_entry.then_some((name, line))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{List, lines, numbers, union};

    fn united(list: List, lists: &[&str]) -> String {
        String::from_utf8(union(list, lists)).unwrap()
    }

    #[test]
    fn users_of_all_layers_and_the_upper_one_s_entry() {
        let core = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/usr/sbin/nologin\n";
        let redis = "redis:x:100:101::/var/lib/redis:/usr/sbin/nologin\n";
        let bash = "root:x:0:0:root:/root:/bin/bash";
        assert_eq!(
            united(List::Users, &[core, redis, bash]),
            "root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534::/:/usr/sbin/nologin\n\
             redis:x:100:101::/var/lib/redis:/usr/sbin/nologin\n"
        );
    }

    #[test]
    fn groups_have_the_members_of_all_layers() {
        assert_eq!(
            united(
                List::Groups,
                &[
                    "adm:x:4:\nwww:x:33:a,b\n",
                    "adm:x:4:log\nwww:x:33:b,c\nx:x:101:\n"
                ]
            ),
            "adm:x:4:log\nwww:x:33:a,b,c\nx:x:101:\n"
        );
        // gshadow(5)
        assert_eq!(
            united(List::Groups, &["www:!:adm:a", "www:*::b"]),
            "www:*::a,b\n"
        );
    }

    proptest! {
        #[test]
        fn a_union_holds_every_name_once_and_is_its_own_union(
            lists in prop::collection::vec("([a-c#]{0,2}:[a-c,:]{0,6}\n?){0,6}", 0..4),
        ) {
            for list in [List::Users, List::Groups] {
                let once = union(list, &lists);
                prop_assert_eq!(&union(list, &[&once]), &once);
                let mut names: Vec<&[u8]> = lines(&once).map(|(name, _)| name).collect();
                let count = names.len();
                names.sort_unstable();
                names.dedup();
                prop_assert_eq!(names.len(), count);
                for (name, _) in lists.iter().flat_map(|text| lines(text.as_bytes())) {
                    prop_assert!(names.contains(&name));
                }
            }
        }
    }

    #[test]
    fn what_is_no_entry_is_left_out() {
        assert_eq!(
            united(
                List::Users,
                &["\n# a:b\n:x:0:0\nword\nn\0ul:x:1\nok:x:1:1:::\n\n"]
            ),
            "ok:x:1:1:::\n"
        );
        assert_eq!(united(List::Groups, &["short:x\nshort:x"]), "short:x\n");
        assert_eq!(united(List::Users, &["", ""]), "");
    }

    #[test]
    fn numbers_are_those_that_look_ups_find() {
        let numbers = numbers(b"a:x:1:1:::\na:x:2:2:::\nb:x:-1:0:::\nc:x\nd:x:5000000000:0\n");
        assert_eq!(numbers.into_iter().collect::<Vec<_>>(), [(&b"a"[..], 1)]);
    }
}
