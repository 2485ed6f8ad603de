//! `restore`

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;

use super::checkpoint::{IMAGES, check_namespaces, mode};
use super::create::absolute;
use crate::arguments::RestoreArguments;
use crate::report;
use crate::runtime::{Bundle, CreateOptions, CriuOptions, RestoreOptions, Runtime};

pub(crate) fn restore(
    runtime: &Runtime,
    criu: Option<PathBuf>,
    arguments: RestoreArguments,
) -> anyhow::Result<ExitCode> {
    check_namespaces(&arguments.empty_ns)?;
    let defaults = CriuOptions::default();
    let images = arguments.image_path.unwrap_or_else(|| IMAGES.into());
    let options = RestoreOptions {
        criu: CriuOptions {
            program: criu.unwrap_or(defaults.program),
            images: absolute(Some(images.clone()))?.unwrap_or(images),
            work: absolute(arguments.work_path)?,
            tcp_established: arguments.tcp_established,
            external_unix_sockets: arguments.ext_unix_sk,
            shell_job: arguments.shell_job,
            file_locks: arguments.file_locks,
            cgroups: mode(arguments.manage_cgroups_mode, defaults.cgroups),
            auto_dedup: arguments.auto_dedup,
            lazy_pages: arguments.lazy_pages,
        },
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
