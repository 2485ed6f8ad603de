//! The checks of a component: its own commands, run in a container of core, it and what it requires.

use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail, ensure};
use fragment::control::environment::{CONFIG, WISHES};
use fragment::{ComponentName, Settings};
use fragment_build::Check;

/// Longest a check may take.
const LIMIT: &str = "120s";

/// Runs every check of `component`; an error tells which failed and what it printed.
pub(crate) fn run(
    settings: &Settings,
    component: &ComponentName,
    checks: &[Check],
) -> anyhow::Result<()> {
    for check in checks {
        one(settings, component, check)
            .with_context(|| format!("component `{component}`: check `{}`", check.run.join(" ")))?;
    }
    Ok(())
}

fn one(settings: &Settings, component: &ComponentName, check: &Check) -> anyhow::Result<()> {
    // a process of its own: what the command prints has to be caught, and the runtime hands its own descriptors on
    let mut command = Command::new("/proc/self/exe");
    command.arg("--store").arg(&settings.store).args([
        "run",
        "--timeout",
        LIMIT,
        "--component",
        component.as_str(),
    ]);
    for (name, value) in &check.env {
        command.arg("--env").arg(format!("{name}={value}"));
    }
    command.arg("--").args(&check.run);
    // a component is checked for what it is, not for what this node or user wants of compositions
    for (variable, _) in WISHES {
        command.env_remove(variable);
    }
    command.env(CONFIG, "/dev/null");
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().context("start the check")?;
    if let Some(mut stdin) = child.stdin.take() {
        // a command that does not read its input closes the pipe: what it prints decides
        let _ = stdin.write_all(check.stdin.as_deref().unwrap_or_default().as_bytes());
    }
    let output = child.wait_with_output().context("wait for the check")?;
    let (stdout, stderr) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    let Some(code) = output.status.code() else {
        bail!("ended by a signal: {}", output.status);
    };
    ensure!(
        code == check.exit,
        "exit code {code} instead of {}\nstdout: {stdout}\nstderr: {stderr}",
        check.exit
    );
    expect("stdout", check.stdout.as_deref(), &stdout)?;
    expect("stderr", check.stderr.as_deref(), &stderr)
}

fn expect(stream: &str, pattern: Option<&str>, text: &str) -> anyhow::Result<()> {
    let Some(pattern) = pattern else {
        return Ok(());
    };
    let regex = regex::RegexBuilder::new(pattern)
        .multi_line(true)
        .build()
        .context("the check's pattern")?;
    ensure!(
        regex.is_match(text),
        "{stream} does not match `{pattern}`:\n{text}"
    );
    Ok(())
}
