//! Help in the layout of runc's, which test suites and engines look at.

use std::fmt::Write as _;

use clap::{Arg, Command};

const EXPLANATION: &str = "\
fragment-runc runs applications packaged according to the Open Container Initiative (OCI) format. A bundle is a directory
that includes a specification file named \"config.json\" and a root filesystem; what the root filesystem lacks of an operating
system is composed below it from shared components. To start a new instance of a container:

    # fragment-runc run [ -b bundle ] <container-id>";

/// Help about all commands.
pub(crate) fn of_all(tree: &Command) -> String {
    let name = tree.get_name();
    let mut text = format!("NAME:\n   {name} - {}\n\n{EXPLANATION}\n\n", about(tree));
    text.push_str(&format!(
        "USAGE:\n   {name} [global options] command [command options] [arguments...]\n\n"
    ));
    text.push_str("COMMANDS:\n");
    let commands: Vec<(String, String)> = tree
        .get_subcommands()
        .map(|command| (command.get_name().to_owned(), about(command)))
        .chain([(
            "help, h".to_owned(),
            "show a list of commands or help for one command".to_owned(),
        )])
        .collect();
    text.push_str(&columns(&commands));
    text.push_str("\nGLOBAL OPTIONS:\n");
    text.push_str(&columns(&options(tree)));
    text
}

/// Help about one command.
pub(crate) fn of(command: &Command) -> String {
    let name = command.get_name();
    let words: String = command
        .get_positionals()
        .map(|word| {
            let shown = word.get_value_names().and_then(<[_]>::first);
            let shown = shown.map_or(word.get_id().as_str(), |shown| shown.as_str());
            if word.is_required_set() {
                format!(" <{shown}>")
            } else {
                format!(" [{shown}]")
            }
        })
        .collect();
    let mut text = format!("NAME:\n   fragment-runc {name} - {}\n\n", about(command));
    // writing to a String cannot fail
    let _ = write!(
        text,
        "USAGE:\n   fragment-runc {name} [command options]{}\n\nOPTIONS:\n{}",
        words.to_lowercase(),
        columns(&options(command))
    );
    text
}

fn about(command: &Command) -> String {
    command
        .get_about()
        .map(ToString::to_string)
        .unwrap_or_default()
}

fn options(command: &Command) -> Vec<(String, String)> {
    let flags = command
        .get_arguments()
        .filter(|arg| !arg.is_positional() && !arg.is_hide_set());
    let mut rows: Vec<(String, String)> = flags.map(option).collect();
    rows.push(("--help, -h".to_owned(), "show help".to_owned()));
    rows
}

fn option(flag: &Arg) -> (String, String) {
    let takes_value = flag.get_action().takes_values()
        && flag
            .get_num_args()
            .is_none_or(|range| range.min_values() > 0);
    let value = if takes_value { " value" } else { "" };
    let mut name = format!("--{}{value}", flag.get_long().unwrap_or_default());
    if let Some(short) = flag.get_short() {
        let _ = write!(name, ", -{short}{value}");
    }
    let mut text = flag.get_help().map(ToString::to_string).unwrap_or_default();
    let defaults = flag.get_default_values();
    if takes_value && !flag.is_hide_default_value_set() && !defaults.is_empty() {
        let _ = write!(text, " (default: {:?})", defaults[0].to_string_lossy());
    }
    (name, text)
}

fn columns(rows: &[(String, String)]) -> String {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    rows.iter()
        .map(|(name, text)| format!("   {name:width$}  {text}\n"))
        .collect()
}
