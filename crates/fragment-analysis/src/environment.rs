//! What the environment says. Values never go into evidence: they hold passwords.

use std::collections::BTreeMap;

use fragment_types::{ComponentIndex, EvidenceKind, Need};

use crate::address::{self, Address};
use crate::analyser::{Analyser, Context};
use crate::error::AnalysisError;
use crate::rules;

/// Most variables that are looked at.
const MAX_VARIABLES: usize = 4096;
/// Where the C library looks for locales.
const LOCALES: &str = "/usr/lib/locale";

impl Analyser<'_> {
    /// Reads the environment of the entrypoint.
    pub(crate) fn environment(&mut self, context: &Context) -> Result<(), AnalysisError> {
        let context = context.soft();
        let task = self.task;
        // Of several entries of one name the last counts, and an empty value is none.
        let pairs = task.env.iter().take(MAX_VARIABLES);
        let last: BTreeMap<&str, &str> = pairs
            .clone()
            .filter_map(|entry| entry.split_once('='))
            .collect();
        for entry in pairs {
            let Some((name, value)) = entry.split_once('=') else {
                continue;
            };
            if value.is_empty() || last.get(name) != Some(&value) {
                continue;
            }
            self.variable_implies(name, &context);
            let step = |detail: &str| {
                context.with(EvidenceKind::Environment, &format!("env {name}"), detail)
            };
            if rules::PROXY_VARIABLES.contains(&name.to_ascii_lowercase().as_str()) {
                let step = step("names a proxy");
                self.need_capabilities(rules::CONNECT, &step);
                self.need_capabilities(rules::RESOLVE, &step);
            } else if rules::LOCALE_VARIABLES.contains(&name) {
                self.locale(value, &step("names a locale"))?;
            } else if name == "TZ" {
                self.time_zone(value, &step("names a time zone"))?;
            } else if rules::TRUST_VARIABLES.contains(&name) {
                let step = step("names trust anchors");
                for path in value.split(':').filter(|path| path.starts_with('/')) {
                    self.need_path(path, &step);
                }
            } else if is_address_variable(name)
                && let Some(Address::Url { named, tls, .. }) = address::parse(value)
            {
                self.url(named, tls, &step("holds a URL"));
            } else if value.starts_with('/') && self.may_probe() && self.is_particular(value)? {
                self.need_path(value, &step("names a file"));
            }
        }
        Ok(())
    }

    /// The data of a locale (setlocale(3)): a directory of its own, or the archive of them all.
    fn locale(&mut self, value: &str, context: &Context) -> Result<(), AnalysisError> {
        let Some(name) = locale_directory(value) else {
            return Ok(());
        };
        if name == "C.utf8" {
            self.built_locale = Some(context.clone());
            return Ok(());
        }
        let own = format!("{LOCALES}/{name}");
        let archive = format!("{LOCALES}/locale-archive");
        let has = |path: &str| matches!(self.root.lookup(path), Ok(Some(_)));
        let own_is_missing = !has(&own) && self.in_library(&own)?.is_none();
        if own_is_missing && (has(&archive) || self.in_library(&archive)?.is_some()) {
            self.need_path(&archive, context);
        } else {
            self.need_path(&own, context);
        }
        Ok(())
    }

    /// The data of `C.UTF-8`, which the environment of nearly every container names and few programs ask for: one of the bundle
    /// that sets its locale, or a command of a component other than core's.
    pub(crate) fn built_locale(&mut self) -> Result<(), AnalysisError> {
        let Some(context) = self.built_locale.take() else {
            return Ok(());
        };
        let path = format!("{LOCALES}/C.utf8/LC_CTYPE");
        if self.in_library(&path)?.is_none() {
            return Ok(());
        }
        let mut asked = self.sets_locale;
        let wanted = self.ledger.requirements().iter();
        let commands: Vec<Need> = wanted
            .filter(|one| one.is_missing())
            .map(|one| one.need.clone())
            .collect();
        for need in commands {
            if asked {
                break;
            }
            asked = match &need {
                Need::Command { name } => {
                    let providers = self.library.providing_command(name)?;
                    self.is_beyond_core(providers.iter().map(|one| one.component))?
                }
                Need::Component { name } => {
                    let named = self.library.named(name.as_str())?;
                    self.is_beyond_core(named.into_iter())?
                }
                Need::Path { path } => match self.in_library(path)? {
                    Some(path)
                        if path.starts_with("/usr/bin/") || path.starts_with("/usr/sbin/") =>
                    {
                        let providers = self.library.providing_path(&path)?;
                        self.is_beyond_core(providers.iter().map(|one| one.component))?
                    }
                    _ => false,
                },
                _ => false,
            };
        }
        if asked {
            self.need_path(&path, &context);
        }
        Ok(())
    }

    /// Whether components have it and core is none of them.
    fn is_beyond_core(
        &self,
        mut components: impl Iterator<Item = ComponentIndex>,
    ) -> Result<bool, AnalysisError> {
        let mut any = false;
        let core = components.try_fold(false, |core, one| {
            any = true;
            Ok::<_, AnalysisError>(core || self.is_core(one)?)
        })?;
        Ok(any && !core)
    }

    /// The file of a time zone (tzset(3)). A value that is a rule (`CET-1CEST`) needs none unless there is a file of that
    /// name.
    fn time_zone(&mut self, value: &str, context: &Context) -> Result<(), AnalysisError> {
        let value = value.strip_prefix(':').unwrap_or(value);
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '-' | '+');
        if value.is_empty() || !value.chars().all(plain) {
            return Ok(());
        }
        if value.starts_with('/') {
            self.need_path(value, context);
            return Ok(());
        }
        let path = format!("{}/{value}", rules::ZONEINFO);
        let is_rule = !value.contains('/');
        if is_rule && matches!(value, "UTC" | "UTC0" | "GMT" | "GMT0") {
            return Ok(());
        }
        let there = matches!(self.root.lookup(&path), Ok(Some(_)));
        if !is_rule || there || self.in_library(&path)?.is_some() {
            self.need_path(&path, context);
        }
        Ok(())
    }
}

/// Variables whose value is an address by convention; others often hold links for people.
fn is_address_variable(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    ["URL", "URI", "ENDPOINT", "DSN"].iter().any(|end| {
        name.strip_suffix(end)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('_'))
    })
}

/// The directory below `/usr/lib/locale` of a locale, as localedef(1) names it: `de_DE.UTF-8` is `de_DE.utf8`. `None` for
/// locales that are built into the C library and for values that are no locale.
fn locale_directory(value: &str) -> Option<String> {
    let (name, codeset) = match value.split_once('.') {
        Some((name, codeset)) => (name, Some(codeset)),
        None => (value, None),
    };
    let plain = |text: &str| {
        !text.is_empty()
            && text
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '@' | '-'))
    };
    if !plain(name) {
        return None;
    }
    let Some(codeset) = codeset else {
        return (!matches!(name, "C" | "POSIX")).then(|| name.to_owned());
    };
    let (codeset, modifier) = match codeset.split_once('@') {
        Some((codeset, modifier)) => (codeset, format!("@{modifier}")),
        None => (codeset, String::new()),
    };
    if !plain(codeset) {
        return None;
    }
    // localedef keeps letters and digits of the codeset, in lower case.
    let codeset: String = codeset
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|c| c.to_ascii_lowercase())
        .collect();
    Some(format!("{name}.{codeset}{modifier}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locales_have_directories() {
        for (value, expected) in [
            ("C", None),
            ("POSIX", None),
            ("C.UTF-8", Some("C.utf8")),
            ("C.utf8", Some("C.utf8")),
            ("de_DE.UTF-8", Some("de_DE.utf8")),
            ("de_DE.ISO-8859-15@euro", Some("de_DE.iso885915@euro")),
            ("en_US", Some("en_US")),
            ("../x", None),
            ("a.b/c", None),
            ("", None),
        ] {
            assert_eq!(locale_directory(value).as_deref(), expected, "{value}");
        }
    }

    #[test]
    fn address_variables_are_known_by_their_name() {
        for (name, expected) in [
            ("DATABASE_URL", true),
            ("url", true),
            ("API_ENDPOINT", true),
            ("HOMEPAGE", false),
            ("CURL", false),
            ("HOST", false),
        ] {
            assert_eq!(is_address_variable(name), expected, "{name}");
        }
    }
}
