//! Path patterns of recipes.

use std::fmt;

use fragment_types::path::merged_usr;
use serde::Deserialize;

/// A pattern over absolute paths.
///
/// `*` and `?` stay inside a path segment, `**` crosses `/`, `[a-z]` and `[!a-z]` are classes, `{a,b}` alternatives and
/// `\` takes the next character as it is. `/x/**` matches `/x` itself too, `/x/**/y` matches `/x/y` too. Patterns are kept
/// in the merged-/usr spelling, as are all paths of components.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Glob {
    text: String,
    alternatives: Vec<Alternative>,
}

/// One brace-free form of a pattern.
#[derive(Clone, PartialEq, Eq)]
struct Alternative {
    tokens: Vec<Token>,
    /// Literal characters every match begins with.
    prefix: String,
}

#[derive(Clone, PartialEq, Eq)]
enum Token {
    Literal(char),
    /// `?`
    One,
    /// `*`
    Segment,
    /// `**`
    Everything,
    /// `/**/`: a slash, or slashes with anything between.
    Directories,
    /// `/**` at the end: nothing, or a slash and anything.
    Below,
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
}

/// A text that is not a pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a path pattern: {reason}")]
pub struct InvalidGlob {
    /// The text as given.
    pub text: String,
    /// Why it is refused.
    pub reason: &'static str,
}

/// Most brace-free forms one pattern may stand for.
const MAX_ALTERNATIVES: usize = 256;

impl Glob {
    /// Reads a pattern.
    ///
    /// # Errors
    /// [`InvalidGlob`] with the reason.
    pub fn new(text: &str) -> Result<Self, InvalidGlob> {
        let invalid = |reason| InvalidGlob {
            text: text.to_owned(),
            reason,
        };
        if !text.starts_with('/') {
            return Err(invalid("it does not start with `/`"));
        }
        if text.len() > 1 && text.ends_with('/') {
            return Err(invalid(
                "it ends with `/` (leave that out, or write `/**` for everything below)",
            ));
        }
        if text.contains("//") || text.split('/').any(|s| s == "." || s == "..") {
            return Err(invalid("it holds `//`, `/./` or `/../`"));
        }
        let mut alternatives = Vec::new();
        for form in expand(text).map_err(invalid)? {
            let form = merged_usr(&form).into_owned();
            let tokens = tokens(&form).map_err(invalid)?;
            let prefix = tokens
                .iter()
                .map_while(|t| {
                    if let Token::Literal(c) = t {
                        Some(*c)
                    } else {
                        None
                    }
                })
                .collect();
            alternatives.push(Alternative { tokens, prefix });
        }
        Ok(Self {
            text: text.to_owned(),
            alternatives,
        })
    }

    /// Whether `path`, absolute and in the merged-/usr spelling, matches.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        self.alternatives
            .iter()
            .any(|a| path.starts_with(&a.prefix) && a.matches(path))
    }

    /// Whether the pattern can match something at or below the directory `path`.
    #[must_use]
    pub fn reaches(&self, path: &str) -> bool {
        self.alternatives
            .iter()
            .any(|a| a.prefix.starts_with(path) || path.starts_with(&a.prefix))
    }

    /// Whether it names one path, without any wildcard.
    #[must_use]
    pub fn is_literal(&self) -> bool {
        self.alternatives
            .iter()
            .all(|a| a.tokens.iter().all(|t| matches!(t, Token::Literal(_))))
    }

    /// The pattern as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// Whether one of `globs` matches `path`.
pub(crate) fn any(globs: &[Glob], path: &str) -> bool {
    globs.iter().any(|g| g.matches(path))
}

impl fmt::Debug for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.text)
    }
}

impl TryFrom<String> for Glob {
    type Error = InvalidGlob;

    fn try_from(text: String) -> Result<Self, InvalidGlob> {
        Self::new(&text)
    }
}

impl Alternative {
    /// Follows all states at once: time is the product of both lengths, whatever the pattern.
    fn matches(&self, path: &str) -> bool {
        let tokens = &self.tokens;
        let mut states = vec![false; tokens.len() + 1];
        states[0] = true;
        skip_empty(tokens, &mut states);
        // inside `/**/` and `/**` a state can be "within": it has consumed the first slash
        let mut within = vec![false; tokens.len()];
        for c in path.chars() {
            let mut next = vec![false; tokens.len() + 1];
            let mut next_within = vec![false; tokens.len()];
            for (i, token) in tokens.iter().enumerate() {
                let on = states[i];
                match token {
                    Token::Literal(l) => next[i + 1] |= on && c == *l,
                    Token::One => next[i + 1] |= on && c != '/',
                    Token::Segment => next[i] |= on && c != '/',
                    Token::Everything => next[i] |= on,
                    Token::Class { negated, ranges } => {
                        let member = ranges.iter().any(|(a, b)| (*a..=*b).contains(&c));
                        next[i + 1] |= on && c != '/' && member != *negated;
                    }
                    Token::Directories => {
                        let slash = c == '/' && (on || within[i]);
                        next[i + 1] |= slash;
                        next_within[i] |= slash || within[i];
                    }
                    Token::Below => {
                        let inside = within[i] || (on && c == '/');
                        next_within[i] |= inside;
                        next[i + 1] |= inside;
                    }
                }
            }
            skip_empty(tokens, &mut next);
            states = next;
            within = next_within;
        }
        states[tokens.len()]
    }
}

/// Tokens that match the empty string let the next state in.
fn skip_empty(tokens: &[Token], states: &mut [bool]) {
    for (i, token) in tokens.iter().enumerate() {
        if matches!(token, Token::Segment | Token::Everything | Token::Below) && states[i] {
            states[i + 1] = true;
        }
    }
}

/// The forms that `{a,b}` stands for; braces do not nest.
fn expand(text: &str) -> Result<Vec<String>, &'static str> {
    let mut forms = vec![String::new()];
    let mut rest = text;
    while let Some(at) = rest.find(['{', '\\', '}']) {
        let (before, tail) = rest.split_at(at);
        forms.iter_mut().for_each(|f| f.push_str(before));
        if let Some(tail) = tail.strip_prefix('\\') {
            let c = tail.chars().next().ok_or("it ends with `\\`")?;
            forms.iter_mut().for_each(|f| f.extend(['\\', c]));
            rest = &tail[c.len_utf8()..];
        } else if let Some(tail) = tail.strip_prefix('{') {
            let end = tail.find('}').ok_or("a `{` is not closed")?;
            let (inner, after) = (&tail[..end], &tail[end + 1..]);
            if inner.contains(['{', '\\']) {
                return Err("braces hold plain alternatives only");
            }
            forms = forms
                .iter()
                .flat_map(|f| inner.split(',').map(move |choice| format!("{f}{choice}")))
                .collect();
            if forms.len() > MAX_ALTERNATIVES {
                return Err("its braces stand for more than 256 patterns");
            }
            rest = after;
        } else {
            return Err("a `}` was never opened");
        }
    }
    forms.iter_mut().for_each(|f| f.push_str(rest));
    Ok(forms)
}

fn tokens(text: &str) -> Result<Vec<Token>, &'static str> {
    let chars: Vec<char> = text.chars().collect();
    let at = |i: usize| chars.get(i).copied();
    let mut tokens = Vec::new();
    let mut i = 0;
    while let Some(c) = at(i) {
        let (token, width) = match c {
            '/' if at(i + 1) == Some('*') && at(i + 2) == Some('*') => match at(i + 3) {
                Some('/') => (Token::Directories, 4),
                None => (Token::Below, 3),
                Some(_) => (Token::Literal('/'), 1),
            },
            '*' if at(i + 1) == Some('*') => (Token::Everything, 2),
            '*' => (Token::Segment, 1),
            '?' => (Token::One, 1),
            '\\' => (Token::Literal(at(i + 1).ok_or("it ends with `\\`")?), 2),
            '[' => class(&chars[i + 1..])?,
            c => (Token::Literal(c), 1),
        };
        tokens.push(token);
        i += width;
    }
    Ok(tokens)
}

/// Reads a class after its `[`; the width returned counts that too.
fn class(chars: &[char]) -> Result<(Token, usize), &'static str> {
    let negated = matches!(chars.first(), Some('!' | '^'));
    let start = usize::from(negated);
    // as in fnmatch(3), a `]` right after the opening is a member
    let length = chars
        .iter()
        .skip(start + 1)
        .position(|c| *c == ']')
        .map(|p| p + 1)
        .ok_or("a `[` is not closed")?;
    let members = &chars[start..start + length];
    let mut ranges = Vec::new();
    let mut i = 0;
    while i < members.len() {
        if i + 2 < members.len() && members[i + 1] == '-' {
            ranges.push((members[i], members[i + 2]));
            i += 3;
        } else {
            ranges.push((members[i], members[i]));
            i += 1;
        }
    }
    Ok((Token::Class { negated, ranges }, start + length + 2))
}

#[cfg(test)]
mod tests {
    use super::Glob;

    #[test]
    fn matches_as_documented() {
        for (glob, path, expected) in [
            ("/usr/sbin/ip", "/usr/sbin/ip", true),
            ("/usr/sbin/ip", "/usr/sbin/ipx", false),
            ("/usr/lib/*.so", "/usr/lib/a.so", true),
            ("/usr/lib/*.so", "/usr/lib/a/b.so", false),
            ("/usr/lib/**.so", "/usr/lib/a/b.so", true),
            ("/usr/share/doc/**", "/usr/share/doc", true),
            ("/usr/share/doc/**", "/usr/share/doc/x/y", true),
            ("/usr/share/doc/**", "/usr/share/docs", false),
            ("/usr/**/x", "/usr/x", true),
            ("/usr/**/x", "/usr/a/b/x", true),
            ("/usr/**/x", "/usr/ax", false),
            (
                "/**/__pycache__/**",
                "/usr/lib/python3/__pycache__/a.pyc",
                true,
            ),
            ("/**/__pycache__/**", "/usr/lib/python3/__pycache__", true),
            ("/etc/rc[0-6S].d/**", "/etc/rc3.d/K01x", true),
            ("/etc/rc[!0-6S].d/**", "/etc/rc3.d/K01x", false),
            ("/bin/{sh,bash}", "/usr/bin/bash", true),
            ("/lib/x/**", "/usr/lib/x/y", true),
            ("/bin/\\[", "/usr/bin/[", true),
            ("/usr/bin/?", "/usr/bin/[", true),
            ("/a*b*c", "/aXbYbZc", true),
            ("/a*b*c", "/aXbYbZ", false),
            ("/dev/**", "/device", false),
        ] {
            assert_eq!(
                Glob::new(glob).unwrap().matches(path),
                expected,
                "{glob} {path}"
            );
        }
    }

    #[test]
    fn refuses_what_cannot_be_meant() {
        for bad in [
            "", "usr/bin", "/usr/", "/a/../b", "/a//b", "/a[b", "/a{b", "/a}b", "/a\\",
        ] {
            assert!(Glob::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_hostile_pattern_costs_no_more_than_the_product_of_lengths() {
        let glob = Glob::new(&format!("/{}b", "*a**".repeat(40))).unwrap();
        assert!(!glob.matches(&format!("/{}", "a".repeat(2000))));
    }

    #[test]
    fn walks_can_be_pruned_by_prefix() {
        let glob = Glob::new("/etc/ssl/certs/**").unwrap();
        for (path, expected) in [("/etc", true), ("/etc/ssl/certs/a", true), ("/usr", false)] {
            assert_eq!(glob.reaches(path), expected, "{path}");
        }
    }
}
