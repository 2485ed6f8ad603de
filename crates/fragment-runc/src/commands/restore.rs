//! `restore`

use std::path::PathBuf;

use anyhow::Context as _;
use fragment::start::ExitCode;

use super::checkpoint::criu_options;
use super::create::absolute;
use crate::arguments::RestoreArguments;
use crate::report;
use crate::runtime::{Bundle, CreateOptions, RestoreOptions, Runtime};

pub(crate) fn restore(
    runtime: &Runtime,
    criu: Option<PathBuf>,
    arguments: RestoreArguments,
) -> anyhow::Result<ExitCode> {
    let options = RestoreOptions {
        criu: criu_options(criu, arguments.criu)?,
        lsm_profile: arguments.lsm_profile,
        lsm_mount_context: arguments.lsm_mount_context,
    };
    let failed = "restore failed";
    let bundle = Bundle::load(&arguments.bundle).context(failed)?;
    let mut create = CreateOptions::new(arguments.id.parse()?);
    create.pid_file = absolute(arguments.pid_file)?;
    create.console_socket = absolute(arguments.console_socket)?;
    create.detach = arguments.detach;
    create.no_subreaper = arguments.no_subreaper;
    create.no_pivot = arguments.no_pivot;
    let code = runtime
        .restore(&bundle, &create, &options)
        .context(failed)?;
    Ok(report::program(code))
}
