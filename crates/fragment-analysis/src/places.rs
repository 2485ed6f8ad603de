//! Where script languages look for modules on a Debian system (docs/analysis.md).

use std::rc::Rc;

use crate::analyser::Analyser;
use crate::words::interpreter::Language;

/// Most entries of a directory that are compared with a pattern.
const MAX_ENTRIES: usize = 4096;
/// Most directories of one language.
const MAX_PLACES: usize = 64;
/// Multiarch directories.
pub(crate) const TRIPLETS: [&str; 2] = ["x86_64-linux-gnu", "aarch64-linux-gnu"];

/// Directories, with `*` for a name (a version, a gem) and `MULTIARCH` for the triplet.
fn patterns(language: Language) -> &'static [&'static str] {
    match language {
        Language::Python => &[
            "/usr/lib/python3*",
            "/usr/lib/python3*/lib-dynload",
            "/usr/lib/python3*/dist-packages",
            "/usr/lib/python3*/site-packages",
            "/usr/local/lib/python3*",
            "/usr/local/lib/python3*/lib-dynload",
            "/usr/local/lib/python3*/dist-packages",
            "/usr/local/lib/python3*/site-packages",
        ],
        Language::Perl => &[
            "/etc/perl",
            "/usr/local/lib/MULTIARCH/perl/*",
            "/usr/local/share/perl/*",
            "/usr/lib/MULTIARCH/perl5/*",
            "/usr/share/perl5",
            "/usr/lib/MULTIARCH/perl-base",
            "/usr/lib/MULTIARCH/perl/*",
            "/usr/share/perl/*",
            "/usr/local/lib/site_perl",
        ],
        Language::Ruby => &[
            "/usr/local/lib/site_ruby/*",
            "/usr/local/lib/site_ruby",
            "/usr/lib/ruby/vendor_ruby/*",
            "/usr/lib/MULTIARCH/ruby/vendor_ruby/*",
            "/usr/lib/ruby/vendor_ruby",
            "/usr/lib/ruby/*",
            "/usr/lib/MULTIARCH/ruby/*",
            "/usr/share/rubygems-integration/*/gems/*/lib",
            "/usr/lib/ruby/gems/*/gems/*/lib",
            "/var/lib/gems/*/gems/*/lib",
        ],
        Language::Node => &[
            "/usr/local/lib/node_modules",
            "/usr/share/nodejs",
            "/usr/lib/nodejs",
            "/usr/lib/MULTIARCH/nodejs",
        ],
        Language::Php => &["/usr/share/php", "/usr/share/pear"],
        Language::Lua => &[
            "/usr/local/share/lua/*",
            "/usr/local/lib/lua/*",
            "/usr/share/lua/*",
            "/usr/lib/MULTIARCH/lua/*",
        ],
        Language::R => &[
            "/usr/local/lib/R/site-library",
            "/usr/lib/R/site-library",
            "/usr/lib/R/library",
        ],
        Language::C | Language::Qml | Language::Tcl | Language::Shell => &[],
    }
}

/// The variable that adds directories.
fn variable(language: Language) -> Option<&'static str> {
    Some(match language {
        Language::Python => "PYTHONPATH",
        Language::Perl => "PERL5LIB",
        Language::Ruby => "RUBYLIB",
        Language::Node => "NODE_PATH",
        Language::R => "R_LIBS",
        _ => return None,
    })
}

impl Analyser<'_> {
    /// Directories of the bundle in which the interpreters of a language look by themselves.
    pub(crate) fn places(&mut self, language: Language) -> Rc<Vec<String>> {
        if let Some(known) = self.places.get(&language) {
            return Rc::clone(known);
        }
        let listed = variable(language)
            .and_then(|name| self.task.variable(name))
            .unwrap_or_default();
        let listed = listed.split(':').filter(|directory| !directory.is_empty());
        let mut out: Vec<String> = listed
            .map(|directory| self.task.absolute(directory))
            .collect();
        for pattern in patterns(language) {
            match pattern.contains("MULTIARCH") {
                true => {
                    for triplet in TRIPLETS {
                        self.expand(&pattern.replace("MULTIARCH", triplet), &mut out);
                    }
                }
                false => self.expand(pattern, &mut out),
            }
        }
        out.truncate(MAX_PLACES);
        let out = Rc::new(out);
        self.places.insert(language, Rc::clone(&out));
        out
    }

    /// Directories that match a pattern with `*` in place of, or at the end of, names.
    fn expand(&self, pattern: &str, out: &mut Vec<String>) {
        let Some((before, after)) = pattern.split_once('*') else {
            if self.probe(pattern).is_some() {
                out.push(pattern.to_owned());
            }
            return;
        };
        let Some((directory, prefix)) = before.rsplit_once('/') else {
            return;
        };
        let entries = self.root.read_dir(directory, MAX_ENTRIES).ok().flatten();
        let mut names: Vec<String> = entries
            .unwrap_or_default()
            .into_iter()
            .map(|entry| entry.name)
            .collect();
        names.retain(|name| name.starts_with(prefix));
        names.sort();
        for name in names {
            if out.len() < MAX_PLACES {
                self.expand(&format!("{directory}/{name}{after}"), out);
            }
        }
    }
}
