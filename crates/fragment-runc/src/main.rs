//! `fragment-runc`: the OCI runtime command line. One file a command, in [`commands`].

#![cfg_attr(not(test), no_main)]

mod arguments;
mod commands;
mod log;
mod report;
mod runtime;

use fragment::start::ExitCode;
use fragment::trace::Moment;

#[cfg(not(test))]
fragment::main!(program);

#[cfg(test)]
fn main() {
    program();
}

fn program() -> ExitCode {
    let began = Moment::now();
    if let Err(error) = runtime::begin(std::env::args_os()) {
        return report::early(&error);
    }
    let arguments = arguments::parse(std::env::args_os());
    let done = log::open(&arguments.global, began).and_then(|()| match arguments.request {
        Ok(command) => commands::run(&arguments.global, command),
        Err(answer) => report::answer(answer),
    });
    match done {
        Ok(code) => code,
        Err(error) => report::failure(&error),
    }
}
