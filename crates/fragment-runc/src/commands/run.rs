//! `run`

use anyhow::Context as _;
use fragment::start::ExitCode;

use super::create;
use crate::arguments::RunArguments;
use crate::report;

pub(crate) fn run(
    runtime: &fragment::Runtime,
    arguments: RunArguments,
) -> anyhow::Result<ExitCode> {
    let failed = "fragment-runc run failed";
    let (bundle, mut options) = create::prepare(arguments.create).context(failed)?;
    options.detach = arguments.detach;
    options.keep = arguments.keep;
    options.no_subreaper = arguments.no_subreaper;
    let code = runtime.run(&bundle, &options).context(failed)?;
    Ok(report::program(code))
}
