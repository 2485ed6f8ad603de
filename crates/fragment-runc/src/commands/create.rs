//! `create`

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use fragment::start::ExitCode;

use crate::arguments::CreateArguments;
use crate::runtime::{Bundle, CreateOptions};

pub(crate) fn create(
    runtime: &fragment::Runtime,
    arguments: CreateArguments,
) -> anyhow::Result<ExitCode> {
    let failed = "fragment-runc create failed";
    let (bundle, options) = prepare(arguments).context(failed)?;
    runtime.create(&bundle, &options).context(failed)?;
    Ok(ExitCode::SUCCESS)
}

/// Reads the bundle and turns the flags of `create` and `run` into options.
pub(super) fn prepare(arguments: CreateArguments) -> anyhow::Result<(Bundle, CreateOptions)> {
    let mut options = CreateOptions::new(arguments.id.parse()?);
    let bundle = Bundle::load(&arguments.bundle)?;
    options.pid_file = absolute(arguments.pid_file)?;
    options.console_socket = absolute(arguments.console_socket)?;
    options.pidfd_socket = absolute(arguments.pidfd_socket)?;
    options.preserve_fds = arguments.preserve_fds;
    options.no_pivot = arguments.no_pivot;
    options.no_new_keyring = arguments.no_new_keyring;
    Ok((bundle, options))
}

/// A path that still means the same file in another working directory.
pub(super) fn absolute(path: Option<PathBuf>) -> anyhow::Result<Option<PathBuf>> {
    let absolute = |path: &Path| {
        std::path::absolute(path)
            .with_context(|| format!("find the absolute path of {}", path.display()))
    };
    path.as_deref().map(absolute).transpose()
}
