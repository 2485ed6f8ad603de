//! Makefiles: the recipes of the rules that lead to a goal, with their variables put in (GNU make's manual). Conditions are not
//! evaluated, both sides count; of functions only those that pass words on.

use std::collections::{BTreeMap, BTreeSet};

use super::asked::{Asked, add, maker_of};

/// Most rules and variables that are kept of one text, and lines of one recipe.
const MAX_RULES: usize = 512;
/// Most words in the heads of rules.
const MAX_WORDS: usize = 2048;
/// Most targets that are followed.
const MAX_TARGETS: usize = 512;
/// Deepest nest of variables.
const MAX_DEPTH: usize = 8;
/// Most bytes that variables and patterns come to in one text, and what one costs besides.
const MAX_EXPANDED: usize = 256 << 10;
const COST: usize = 16;
/// Most bytes of recipes.
const MAX_TEXT: usize = 64 << 10;
/// Variables that make sets itself (the manual's 10.3).
const DEFAULTS: &[(&str, &str)] = &[
    ("AR", "ar"),
    ("AS", "as"),
    ("CC", "cc"),
    ("CPP", "cc -E"),
    ("CXX", "g++"),
    ("FC", "f77"),
    ("LD", "ld"),
    ("LEX", "lex"),
    ("MAKE", "make"),
    ("RM", "rm -f"),
    ("YACC", "yacc"),
];

#[derive(Debug, Default)]
struct Rule {
    targets: Vec<String>,
    prerequisites: Vec<String>,
    recipe: Vec<String>,
}

impl Rule {
    fn is_pattern(&self) -> bool {
        self.targets.iter().any(|target| target.contains('%'))
    }
}

/// Variables that are known without the text.
#[derive(Clone, Copy)]
pub(super) struct Given<'g> {
    /// By the command line, which goes before the text.
    pub(super) before: &'g dyn Fn(&str) -> Option<String>,
    /// By the environment, which goes behind it.
    pub(super) behind: &'g dyn Fn(&str) -> Option<String>,
}

/// A makefile.
struct Makefile<'m> {
    variables: BTreeMap<String, String>,
    given: Given<'m>,
    rules: Vec<Rule>,
    /// Words in their heads.
    words: usize,
    /// Bytes that may still come of variables and patterns.
    left: usize,
    asked: Asked,
}

/// What making `goals` asks for, or the first target where there are none.
pub(super) fn read(text: &str, goals: &[&str], given: Given<'_>) -> Asked {
    let mut makefile = Makefile::new(given);
    makefile.lines(text);
    makefile.follow(goals);
    makefile.asked
}

/// Names of further makefiles that a text includes.
pub(super) fn included(text: &str) -> Vec<&str> {
    let lines = text.lines().filter_map(|line| {
        ["include ", "-include ", "sinclude "]
            .iter()
            .find_map(|word| line.strip_prefix(word))
    });
    lines.flat_map(str::split_whitespace).take(8).collect()
}

/// What a `build.ninja` asks for: the commands of its rules, variables at the left margin put in (ninja-build.org/manual.html).
pub(super) fn ninja(text: &str) -> Asked {
    let joined = text.replace("$\n", " ");
    let mut makefile = Makefile::new(Given {
        before: &|_| None,
        behind: &|_| None,
    });
    for line in joined.lines() {
        let Some((name, value)) = line.split_once('=') else {
            continue;
        };
        let value = braced(value.trim());
        match name.trim() {
            "command" if line.starts_with(' ') => makefile.recipe(&[value], "", &[]),
            name if !line.starts_with(' ') => makefile.assign(name, false, &value),
            _ => {}
        }
    }
    makefile.asked
}

/// `$name` as make spells it, `${name}`.
fn braced(text: &str) -> String {
    let is_name = |c: char| c == '_' || c == '-' || c.is_ascii_alphanumeric();
    let (mut out, mut rest) = (String::new(), text);
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..=at]);
        rest = &rest[at + 1..];
        let len = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
        if len > 0 {
            out.extend(["{", &rest[..len], "}"]);
        } else if let Some(c) = rest.chars().next() {
            out.push(c);
            rest = &rest[c.len_utf8()..];
            continue;
        }
        rest = &rest[len..];
    }
    out.push_str(rest);
    out
}

impl<'m> Makefile<'m> {
    fn new(given: Given<'m>) -> Self {
        Self {
            variables: BTreeMap::new(),
            given,
            rules: Vec::new(),
            words: 0,
            left: MAX_EXPANDED,
            asked: Asked::default(),
        }
    }

    fn lines(&mut self, text: &str) {
        let joined = text.replace("\\\n", " ");
        let mut defines = false;
        for line in joined.lines() {
            if let Some(recipe) = line.strip_prefix('\t')
                && let Some(rule) = self.rules.last_mut()
            {
                if rule.recipe.len() < MAX_RULES {
                    rule.recipe.push(recipe.to_owned());
                }
                continue;
            }
            let line = line.split('#').next().unwrap_or_default().trim();
            match line.split_whitespace().next() {
                Some("define") => defines = true,
                Some("endef") => defines = false,
                None | Some("else" | "endif" | "ifdef" | "ifeq" | "ifndef" | "ifneq") => {}
                Some("include" | "-include" | "sinclude" | "vpath") => {}
                Some(_) if !defines => self.line(line),
                Some(_) => {}
            }
        }
    }

    /// An assignment or the head of a rule.
    fn line(&mut self, line: &str) {
        let line = ["export ", "override ", "private "]
            .iter()
            .fold(line, |line, word| line.strip_prefix(word).unwrap_or(line));
        if let Some((name, shell, value)) = assignment(line) {
            self.assign(name, shell, value);
            return;
        }
        let Some((targets, rest)) = split_outside(line, ':') else {
            return;
        };
        let rest = rest.trim_start_matches(':');
        if let Some((name, shell, value)) = assignment(rest.trim()) {
            // a value for this target alone
            self.assign(name, shell, value);
            return;
        }
        let (rest, recipe) = split_outside(rest, ';').map_or((rest, None), |(a, b)| (a, Some(b)));
        let prerequisites = split_outside(rest, ':').map_or(rest, |(_, rest)| rest);
        if self.rules.len() >= MAX_RULES {
            return;
        }
        let rule = Rule {
            targets: self.head(targets),
            prerequisites: self.head(prerequisites),
            recipe: recipe.map(str::to_owned).into_iter().collect(),
        };
        self.rules.push(rule);
    }

    /// Words in the head of a rule.
    fn head(&mut self, text: &str) -> Vec<String> {
        let text = self.expand(text, None, MAX_DEPTH);
        let words = text.split_whitespace().filter(|word| *word != "|");
        let out: Vec<String> = words
            .take(MAX_WORDS - self.words)
            .map(str::to_owned)
            .collect();
        self.words += out.len();
        out
    }

    fn assign(&mut self, name: &str, shell: bool, value: &str) {
        if self.variables.len() >= MAX_RULES {
            return;
        }
        let value = match shell {
            true => format!("$(shell {value})"),
            false => value.to_owned(),
        };
        // of several values each may be the one
        let entry = self.variables.entry(name.to_owned()).or_default();
        if !entry.split_whitespace().eq(value.split_whitespace()) && entry.len() < MAX_TEXT {
            if !entry.is_empty() {
                entry.push(' ');
            }
            entry.push_str(&value);
        }
    }

    /// Collects the recipes of all rules that lead to a goal.
    fn follow(&mut self, goals: &[&str]) {
        let first = self.rules.iter().find_map(|rule| {
            let target = rule.targets.first()?;
            (!target.starts_with('.') && !rule.is_pattern()).then(|| target.clone())
        });
        let mut queue: Vec<String> = match goals {
            [] => first.into_iter().collect(),
            goals => goals.iter().map(|goal| (*goal).to_owned()).collect(),
        };
        let mut rules = std::mem::take(&mut self.rules);
        let mut seen: BTreeSet<String> = queue.iter().cloned().collect();
        while let Some(target) = queue.pop() {
            let (mut has_recipe, mut wanted) = (false, Vec::new());
            let exact = rules.iter().any(|rule| rule.targets.contains(&target));
            for rule in &mut rules {
                let stems = rule.targets.iter().map(|pattern| stem(pattern, &target));
                let Some(stem) = stems.flatten().next() else {
                    continue;
                };
                // a pattern for everything is no rule for what has one
                if exact && rule.is_pattern() && rule.targets.iter().any(|one| one == "%") {
                    continue;
                }
                let mut names = Vec::new();
                for name in &rule.prerequisites {
                    let name = name.replacen('%', stem, 1);
                    if !self.charge(name.len()) {
                        return;
                    }
                    names.push(name);
                }
                has_recipe |= !rule.recipe.is_empty();
                self.recipe(&std::mem::take(&mut rule.recipe), &target, &names);
                wanted.extend(names);
            }
            if !has_recipe {
                self.implicit(&target, &wanted);
            }
            for name in wanted {
                self.asked.source(&name);
                if seen.len() < MAX_TARGETS && seen.insert(name.clone()) {
                    queue.push(name);
                }
            }
        }
    }

    /// What make does about a target without a recipe: it has rules of its own for objects and programs (the manual's 10.2).
    fn implicit(&mut self, target: &str, prerequisites: &[String]) {
        let stem = target.strip_suffix(".o").unwrap_or(target);
        add(&mut self.asked.stems, stem);
        let is_object = |name: &&String| name.ends_with(".o");
        let makers = prerequisites.iter().filter_map(|name| maker_of(name));
        let linked = prerequisites.iter().find(is_object).map(|_| "cc");
        for command in makers.chain(linked) {
            self.asked
                .command(command, &format!("{target}: built-in rule"));
        }
    }

    fn recipe(&mut self, lines: &[String], target: &str, prerequisites: &[String]) {
        for line in lines {
            let command = line.trim_start_matches(|c: char| c.is_whitespace() || "@-+".contains(c));
            let text = self.expand(command, Some((target, prerequisites)), MAX_DEPTH);
            for word in text.split_whitespace() {
                self.asked.source(word);
            }
            if self.asked.text.len() + text.len() < MAX_TEXT {
                self.asked.text.push_str(&text);
                self.asked.text.push('\n');
            }
        }
    }

    /// A text with its variables put in.
    fn expand(&mut self, text: &str, automatic: Option<(&str, &[String])>, depth: usize) -> String {
        let (mut out, mut rest) = (String::new(), text);
        while let Some(at) = rest.find('$') {
            out.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            let Some(c) = rest.chars().next() else { break };
            let value = match c {
                '(' | '{' => {
                    let end = closing(rest);
                    let inner = &rest[1..end];
                    rest = rest.get(end + 1..).unwrap_or_default();
                    match depth {
                        0 => String::new(),
                        _ => self.reference(inner, automatic, depth - 1),
                    }
                }
                '$' => {
                    rest = &rest[1..];
                    "$".to_owned()
                }
                c => {
                    rest = &rest[c.len_utf8()..];
                    match automatic {
                        Some((target, _)) if c == '@' => target.to_owned(),
                        Some((_, names)) if c == '<' => names.first().cloned().unwrap_or_default(),
                        Some((_, names)) if "^+?".contains(c) => names.join(" "),
                        _ => String::new(),
                    }
                }
            };
            if !self.charge(value.len()) {
                return out;
            }
            out.push_str(&value);
        }
        out.push_str(rest);
        out
    }

    /// Takes bytes off the account; whether there were as many.
    fn charge(&mut self, len: usize) -> bool {
        let left = self.left.checked_sub(len + COST);
        self.left = left.unwrap_or_default();
        left.is_some()
    }

    /// What stands between the brackets of `$(…)`: a variable, one with other ends of words, or a function.
    fn reference(
        &mut self,
        inner: &str,
        automatic: Option<(&str, &[String])>,
        depth: usize,
    ) -> String {
        if let Some((function, arguments)) = inner.split_once([' ', '\t']) {
            return self.function(function, arguments, automatic, depth);
        }
        let name = self.expand(inner, automatic, depth);
        if let Some((name, (from, to))) = name
            .split_once(':')
            .and_then(|(name, ends)| Some((name, ends.split_once('=')?)))
        {
            let value = self.value(name, automatic, depth);
            return other_ends(&value, from, to);
        }
        self.value(&name, automatic, depth)
    }

    fn value(&mut self, name: &str, automatic: Option<(&str, &[String])>, depth: usize) -> String {
        let default = || {
            let found = DEFAULTS.iter().find(|(own, _)| *own == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let own = || self.variables.get(name).cloned();
        let value = (self.given.before)(name).or_else(own);
        let value = value.or_else(|| (self.given.behind)(name)).or_else(default);
        let value = value.unwrap_or_default();
        match self.charge(value.len()) {
            true => self.expand(&value, automatic, depth),
            false => String::new(),
        }
    }

    fn function(
        &mut self,
        name: &str,
        arguments: &str,
        automatic: Option<(&str, &[String])>,
        depth: usize,
    ) -> String {
        let parts: Vec<&str> = arguments.split(',').collect();
        let text = |makefile: &mut Self, at: usize| {
            let part = parts.get(at).copied().unwrap_or_default();
            makefile.expand(part, automatic, depth)
        };
        match name {
            // a substitution of the shell's, which reads the recipe
            "shell" => format!("$({})", self.expand(arguments, automatic, depth)),
            "wildcard" => {
                self.asked.patterns = true;
                String::new()
            }
            "patsubst" => {
                let (from, to, words) = (text(self, 0), text(self, 1), text(self, 2));
                other_ends(&words, &from, &to)
            }
            "strip" | "sort" | "abspath" | "realpath" | "notdir" | "info" => text(self, 0),
            "addprefix" | "addsuffix" | "filter" | "filter-out" => text(self, 1),
            "subst" => text(self, 2),
            "if" | "or" | "and" => {
                let all: Vec<String> = (0..parts.len()).map(|at| text(self, at)).collect();
                all.join(" ")
            }
            _ => String::new(),
        }
    }
}

/// Name and value of `NAME = VALUE`, `NAME := VALUE`, …, and whether the value is that of a command (`!=`).
fn assignment(line: &str) -> Option<(&str, bool, &str)> {
    let at = line.find('=')?;
    let (name, value) = (&line[..at], line[at + 1..].trim());
    let shell = name.ends_with('!');
    let name = name.trim_end_matches([':', '?', '+', '!']).trim();
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    (!name.is_empty() && name.chars().all(plain)).then_some((name, shell, value))
}

/// The two sides of the first such sign outside of `$(…)`.
fn split_outside(text: &str, sign: char) -> Option<(&str, &str)> {
    let mut depth = 0_usize;
    for (at, c) in text.char_indices() {
        match c {
            '(' | '{' => depth += 1,
            ')' | '}' => depth = depth.saturating_sub(1),
            c if c == sign && depth == 0 => return Some((&text[..at], &text[at + c.len_utf8()..])),
            _ => {}
        }
    }
    None
}

/// Where the bracket at the start is closed.
fn closing(text: &str) -> usize {
    let mut depth = 0_usize;
    for (at, c) in text.char_indices() {
        match c {
            '(' | '{' => depth += 1,
            ')' | '}' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return at;
                }
            }
            _ => {}
        }
    }
    text.len()
}

/// What `%` in a target stands for; empty where there is none.
fn stem<'t>(pattern: &str, target: &'t str) -> Option<&'t str> {
    match pattern.split_once('%') {
        Some((before, after)) => target.strip_prefix(before)?.strip_suffix(after),
        None if pattern == target => Some(""),
        // an old suffix rule: `.c.o:`
        None => {
            let suffix = pattern.strip_prefix('.')?.rsplit_once('.')?.1;
            let stem = target.strip_suffix(suffix)?.strip_suffix('.')?;
            (!stem.is_empty()).then_some(stem)
        }
    }
}

/// Words with another end: `%.c` and `%.o`, or `.c` and `.o`.
fn other_ends(words: &str, from: &str, to: &str) -> String {
    let (before, end) = from.split_once('%').unwrap_or(("", from));
    let (put, other) = to.split_once('%').unwrap_or(("", to));
    let mut out = String::new();
    for word in words.split_whitespace() {
        let stem = word.strip_prefix(before);
        let space = if out.is_empty() { "" } else { " " };
        out.push_str(space);
        match stem.and_then(|rest| rest.strip_suffix(end)) {
            Some(stem) => out.extend([put, stem, other]),
            None => out.push_str(word),
        }
        if out.len() > MAX_TEXT {
            break;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Given<'_> = Given {
        before: &|_| None,
        behind: &|_| None,
    };

    fn recipes(text: &str, goals: &[&str]) -> String {
        read(text, goals, NONE).text
    }

    #[test]
    fn recipes_of_the_goals_are_read() {
        let text = "CFLAGS ?= -O2 $(shell pkg-config --cflags zlib) # why\nSRCS := a.c b.c\nOBJS = $(SRCS:.c=.o)\n\
            ifeq ($(X),1)\nLIBS += -lm\nendif\n.PHONY: all\nall: prog ; @echo $$HOME\nprog: $(OBJS)\n\t$(CC) -o $@ $^ ${LIBS}\n\
            %.o: %.c h.h\n\t$(CC) $(CFLAGS) -c $<\ndoc: doc.tex\n\t-pdflatex \\\n\tdoc.tex\n";
        assert_eq!(
            recipes(text, &[]),
            "echo $HOME\ncc -o prog a.o b.o -lm\ncc -O2 $(pkg-config --cflags zlib) -c b.c\n"
        );
        assert_eq!(recipes(text, &["doc"]), "pdflatex  \tdoc.tex\n");
        let asked = read(text, &[], NONE);
        assert_eq!(Vec::from_iter(&asked.sources), ["a.c", "b.c", "h.h"]);
        let given = |name: &str| (name == "CC").then(|| "clang".to_owned());
        for given in [
            Given {
                before: &given,
                ..NONE
            },
            Given {
                behind: &given,
                ..NONE
            },
        ] {
            let text = read(text, &["prog"], given).text;
            assert!(text.starts_with("clang -o prog"), "{text}");
        }
    }

    #[test]
    fn rules_of_make_itself() {
        let asked = read("h: h.o i.o\ni.o: i.cc\n", &[], NONE);
        let commands: Vec<&str> = asked.commands.keys().map(String::as_str).collect();
        assert_eq!(commands, ["cc", "g++"]);
        assert_eq!(Vec::from_iter(&asked.stems), ["h", "i", "i.cc"]);
        assert_eq!(Vec::from_iter(&read("", &["x"], NONE).stems), ["x"]);
        let text = ".c.o:\n\t$(CC) -c $<\nall: x.o\n";
        assert_eq!(recipes(text, &["all"]), "cc -c \n");
    }

    #[test]
    fn functions_pass_words_on() {
        let text = "S = $(sort $(wildcard *.c) a.c)\nO = $(patsubst %.c,o/%.o,$(S))\nV != git describe\nall: $(O)\n\techo $(V) $(if $(X),$(Y),z) $(call f,x)\no/%.o: %.c\n\tgcc -c $<\n";
        let asked = read(text, &[], NONE);
        assert_eq!(asked.text, "echo $(git describe)   z \ngcc -c a.c\n");
        assert!(asked.patterns);
    }

    #[test]
    fn commands_of_ninja() {
        let text = "cc = gcc-12\nrule c\n  command = $cc -c $$x $in $\n    -o ${out}\n  description = CC\nbuild x.o: c x.c\n";
        assert_eq!(ninja(text).text, "gcc-12 -c $x       -o \n");
    }

    #[test]
    fn what_refers_to_itself_or_multiplies_ends() {
        let mut text = "X = $(X)$(X)\nall: $(X)\n\techo $(X)\n".to_owned();
        for n in 0..64 {
            text.push_str(&format!("V{} = $(V{n}) $(V{n}) $(V{n})\n", n + 1));
        }
        text.push_str("V0 = xxxxxxxxxxxxxxxxxxxx\nb: $(V64)\n\techo $(V64)\n");
        for goal in ["all", "b"] {
            assert!(read(&text, &[goal], NONE).text.len() <= MAX_TEXT);
        }
        for text in [
            "$(",
            "a: $(b",
            "a:;$(",
            "=",
            "\t",
            "é: $é\n\t$é",
            "a: a\n\techo",
        ] {
            let _ = read(text, &[], NONE);
        }
    }
}
