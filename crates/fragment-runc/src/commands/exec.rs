//! `exec`

use std::fs;

use anyhow::{Context as _, bail};
use fragment::start::ExitCode;

use super::create::absolute;
use crate::arguments::ExecArguments;
use crate::report::{self, ExecFailure};
use crate::runtime::{
    Capability, ContainerId, ExecOptions, Process, ProcessChanges, Runtime, SubCgroups, UserChange,
    adapt_process, read_as, respell,
};

pub(crate) fn exec(runtime: &Runtime, arguments: ExecArguments) -> anyhow::Result<ExitCode> {
    let code = execute(runtime, arguments).context(ExecFailure)?;
    Ok(report::program(code))
}

fn execute(runtime: &Runtime, arguments: ExecArguments) -> anyhow::Result<i32> {
    let id: ContainerId = arguments.id.parse()?;
    let options = ExecOptions {
        pid_file: absolute(arguments.pid_file.clone())?,
        console_socket: absolute(arguments.console_socket.clone())?,
        pidfd_socket: absolute(arguments.pidfd_socket.clone())?,
        preserve_fds: arguments.preserve_fds,
        detach: arguments.detach,
        ignore_paused: arguments.ignore_paused,
        cgroup: SubCgroups::parse(&arguments.cgroup)?,
    };
    let process = process(runtime, &id, arguments)?;
    Ok(runtime.exec(&id, process, &options)?)
}

fn process(
    runtime: &Runtime,
    id: &ContainerId,
    arguments: ExecArguments,
) -> anyhow::Result<Process> {
    if let Some(path) = &arguments.process {
        let text = fs::read(path)
            .with_context(|| format!("read process description {}", path.display()))?;
        return described(&text).with_context(|| format!("process description {}", path.display()));
    }
    if arguments.command.is_empty() {
        bail!(
            "process args cannot be empty: name a command after the container or a file with --process"
        );
    }
    let capabilities = arguments
        .cap
        .iter()
        .filter_map(|name| capability(name))
        .collect();
    let changes = ProcessChanges {
        args: arguments.command,
        terminal: arguments.tty,
        cwd: arguments.cwd,
        env: arguments.env,
        user: arguments.user.as_deref().map(user).transpose()?,
        additional_gids: arguments.additional_gids,
        capabilities,
        no_new_privileges: arguments.no_new_privs,
        apparmor_profile: arguments.apparmor,
        selinux_label: arguments.process_label,
    };
    Ok(runtime.exec_process(id, changes)?)
}

/// A process description, in every form that runc's reader allows.
fn described(text: &[u8]) -> anyhow::Result<Process> {
    let mut document: serde_json::Value = serde_json::from_slice(text)?;
    respell(&mut document);
    adapt_process(&mut document);
    Ok(read_as(document.to_string().as_bytes())?)
}

fn user(text: &str) -> anyhow::Result<UserChange> {
    let number = |text: &str| {
        text.parse::<u32>()
            .with_context(|| format!("--user: {text:?} is no number; give UID or UID:GID"))
    };
    Ok(match text.split_once(':') {
        Some((uid, gid)) => UserChange {
            uid: number(uid)?,
            gid: Some(number(gid)?),
        },
        None => UserChange {
            uid: number(text)?,
            gid: None,
        },
    })
}

/// A capability by its name; one this version does not know is warned of and left out, as in config.json.
fn capability(name: &str) -> Option<Capability> {
    let upper = name.to_ascii_uppercase();
    let full = if upper.starts_with("CAP_") {
        upper
    } else {
        format!("CAP_{upper}")
    };
    let known = serde_json::from_value(serde_json::Value::from(full)).ok();
    if known.is_none() {
        tracing::warn!("ignoring unknown capability {name:?} of --cap");
    }
    known
}
