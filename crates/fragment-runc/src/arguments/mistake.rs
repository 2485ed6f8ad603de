//! What is said instead of doing a command, in runc's words.

use clap::error::{ContextKind, ContextValue};

/// What is said instead of doing a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Help was asked for.
    Help(String),
    /// The version was.
    Version,
    /// A command there is not.
    NoTopic(String),
    /// The command line is wrong: what is wrong, and the help that goes with it.
    Mistake {
        /// For the log and standard error.
        message: String,
        /// For standard output; nothing where runc prints none.
        help: Option<String>,
    },
}

impl Answer {
    pub(crate) fn no_topic(name: &str) -> Self {
        Self::NoTopic(format!("No help topic for '{name}'"))
    }

    pub(crate) fn mistake(message: String, help: String) -> Self {
        Self::Mistake {
            message,
            help: Some(help),
        }
    }
}

/// A value that cannot be read; everything else is found before clap sees it.
pub(crate) fn of_clap(error: &clap::Error) -> Answer {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    let flag = text(ContextKind::InvalidArg).and_then(|flag| flag.split(' ').next());
    let message = match (std::error::Error::source(error), flag) {
        (Some(source), flag) => {
            let source = source.to_string();
            // what our own parsers say stands alone, as in runc
            let own = source.starts_with("invalid ") && !source.contains("digit");
            match (own || source.starts_with("not a valid"), flag) {
                (false, Some(flag)) => format!(
                    "invalid value {:?} for flag -{}: {source}",
                    text(ContextKind::InvalidValue).unwrap_or_default(),
                    flag.trim_start_matches('-')
                ),
                _ => source,
            }
        }
        _ => {
            let rendered = error.to_string();
            let first = rendered.lines().next().unwrap_or_default();
            first.trim_start_matches("error: ").to_owned()
        }
    };
    Answer::Mistake {
        message,
        help: None,
    }
}
