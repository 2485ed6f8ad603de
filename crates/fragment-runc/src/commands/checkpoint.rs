//! `checkpoint`

use std::path::PathBuf;

use anyhow::bail;
use fragment::start::ExitCode;

use super::create::absolute;
use crate::arguments::{CheckpointArguments, CriuArguments};
use crate::runtime::{CheckpointOptions, CriuOptions, Runtime};

/// Where images are when nothing else is said, as for runc.
const IMAGES: &str = "checkpoint";

pub(crate) fn checkpoint(
    runtime: &Runtime,
    criu: Option<PathBuf>,
    arguments: CheckpointArguments,
) -> anyhow::Result<ExitCode> {
    let options = CheckpointOptions {
        criu: criu_options(criu, arguments.criu)?,
        parent: arguments.parent_path,
        leave_running: arguments.leave_running,
        skip_in_flight: arguments.tcp_skip_in_flight,
        link_remap: arguments.link_remap,
        status_fd: arguments.status_fd,
        page_server: arguments.page_server.as_deref().map(server).transpose()?,
        pre_dump: arguments.pre_dump,
    };
    runtime.checkpoint(&arguments.id.parse()?, &options)?;
    Ok(ExitCode::SUCCESS)
}

/// What checkpoint and restore tell criu alike.
pub(super) fn criu_options(
    program: Option<PathBuf>,
    arguments: CriuArguments,
) -> anyhow::Result<CriuOptions> {
    // the network's contents are never saved; there is no other namespace to empty
    if let Some(name) = arguments.empty_ns.iter().find(|name| *name != "network") {
        bail!("namespace {name:?} is not supported");
    }
    let defaults = CriuOptions::default();
    let images = arguments.image_path.unwrap_or_else(|| IMAGES.into());
    let mode = arguments
        .manage_cgroups_mode
        .filter(|mode| !mode.is_empty());
    Ok(CriuOptions {
        program: program.unwrap_or(defaults.program),
        images: absolute(Some(images.clone()))?.unwrap_or(images),
        work: absolute(arguments.work_path)?,
        tcp_established: arguments.tcp_established,
        external_unix_sockets: arguments.ext_unix_sk,
        shell_job: arguments.shell_job,
        file_locks: arguments.file_locks,
        cgroups: mode.unwrap_or(defaults.cgroups),
        auto_dedup: arguments.auto_dedup,
        lazy_pages: arguments.lazy_pages,
    })
}

fn server(text: &str) -> anyhow::Result<(String, u16)> {
    let Some((address, port)) = text
        .rsplit_once(':')
        .filter(|(address, port)| !address.is_empty() && !port.is_empty())
    else {
        bail!("Use --page-server ADDRESS:PORT to specify page server");
    };
    let Ok(port) = port.parse() else {
        bail!("Invalid port number");
    };
    // an IPv6 address stands in brackets
    let address = address.trim_start_matches('[').trim_end_matches(']');
    Ok((address.to_owned(), port))
}
