//! Where a value was said.

use std::fmt;
use std::path::PathBuf;

use serde::{Serialize, Serializer};

/// Where a value was said, weakest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Origin {
    /// Nowhere.
    #[default]
    Default,
    /// In a configuration file.
    File {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
    },
    /// In a variable of this process.
    Variable(String),
    /// On the command line.
    Option(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Variable(name) => write!(f, "variable {name}"),
            Self::Option(name) => write!(f, "option {name}"),
        }
    }
}

/// As `{"place": "file", "file": PATH, "line": LINE}`, `{"place": "variable", "name": NAME}`, `{"place": "option", "name": NAME}`
/// or `{"place": "default"}`.
impl Serialize for Origin {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(rename_all = "lowercase", tag = "place")]
        enum Form<'o> {
            Default,
            File { file: String, line: u64 },
            Variable { name: &'o str },
            Option { name: &'o str },
        }
        let form = match self {
            Self::Default => Form::Default,
            Self::File { path, line } => Form::File {
                file: path.display().to_string(),
                line: *line,
            },
            Self::Variable(name) => Form::Variable { name },
            Self::Option(name) => Form::Option { name },
        };
        form.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_told_to_people_and_to_programs() {
        let file = Origin::File {
            path: "/f.yaml".into(),
            line: 3,
        };
        let variable = Origin::Variable("V".to_owned());
        for (origin, text, json) in [
            (Origin::Default, "default", r#"{"place":"default"}"#),
            (
                file,
                "/f.yaml:3",
                r#"{"place":"file","file":"/f.yaml","line":3}"#,
            ),
            (variable, "variable V", r#"{"place":"variable","name":"V"}"#),
        ] {
            assert_eq!(origin.to_string(), text);
            assert_eq!(serde_json::to_string(&origin).unwrap(), json);
        }
    }
}
