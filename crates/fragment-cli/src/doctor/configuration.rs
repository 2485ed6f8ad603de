//! What fragment.yaml and the variables say.

use fragment::Settings;
use fragment::control::configuration;

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
    match settings {
        Ok(settings) => {
            let text = format!("followed; the library is {}", settings.store.display());
            (settings, vec![Finding::ok(SUBJECT, text)])
        }
        Err(error) => {
            let mut text = error.to_string();
            if let Some(source) = std::error::Error::source(&error) {
                text = format!("{text}: {source}");
            }
            let remedy =
                "correct it: nothing is created until then (docs/control.md lists keys and values)";
            (
                super::fallback(),
                vec![Finding::problem(SUBJECT, text, remedy)],
            )
        }
    }
}
