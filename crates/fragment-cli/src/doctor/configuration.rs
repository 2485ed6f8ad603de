//! What fragment.yaml and the variables say.

use fragment::Settings;
use fragment::control::{configuration, environment};

use super::Finding;
use super::machine::Machine;

const SUBJECT: &str = "configuration";

/// The settings and what is to be said about them.
pub(super) fn examine(machine: &Machine) -> (Settings, Vec<Finding>) {
    let settings = if machine.is_this() {
        Settings::load()
    } else {
        // another machine's variables are not known
        let place = machine.place(configuration::NODE);
        Settings::from_file(&place)
    };
    let unknown = if machine.is_this() {
        unknown(std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()))
    } else {
        None
    };
    let (settings, finding) = match settings {
        Ok(settings) => {
            let text = format!("followed; the library is {}", settings.store.display());
            (settings, Finding::ok(SUBJECT, text))
        }
        Err(error) => {
            let mut text = error.to_string();
            if let Some(source) = std::error::Error::source(&error) {
                text = format!("{text}: {source}");
            }
            let remedy = "correct it: nothing is created until then (`fragment config check` tells every mistake, docs/configuration.md lists keys and values)";
            (super::fallback(), Finding::problem(SUBJECT, text, remedy))
        }
    };
    (settings, std::iter::once(finding).chain(unknown).collect())
}

/// Variables that look like ours and are not: nobody else tells of a slip in a name.
fn unknown(names: impl Iterator<Item = String>) -> Option<Finding> {
    let strange = environment::strange(names);
    let names: Vec<&str> = strange.iter().map(|(name, _)| name.as_str()).collect();
    (!names.is_empty()).then(|| {
        Finding::warning(
            SUBJECT,
            format!("nobody reads {}", names.join(", ")),
            "unset it, or give it the name it should have (docs/configuration.md lists them)",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::unknown;

    #[test]
    fn a_slip_in_a_variable_s_name_is_told() {
        let names = |names: &[&str]| {
            let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
            unknown(names.into_iter())
        };
        assert_eq!(names(&["PATH", "FRAGMENT_STORE", "FRAGMENT_LOCK"]), None);
        let found = names(&["FRAGMENT_EXCLUDES", "FRAGMENT_COMPONENT"]).unwrap();
        assert_eq!(
            found.finding,
            "nobody reads FRAGMENT_COMPONENT, FRAGMENT_EXCLUDES"
        );
    }
}
