//! `fragment-runc`: the OCI runtime command line. One file a command, in [`commands`].

mod arguments;
mod commands;
mod log;
mod report;
mod runtime;

use std::process::ExitCode;

fn main() -> ExitCode {
    if let Err(error) = runtime::begin(std::env::args_os()) {
        return report::early(&error);
    }
    let arguments = match arguments::parse(std::env::args_os()) {
        Ok(arguments) => arguments,
        Err(answer) => return report::answer(&answer),
    };
    match log::open(&arguments.global).and_then(|()| commands::run(arguments)) {
        Ok(code) => code,
        Err(error) => report::failure(&error),
    }
}
