//! One file a command.

pub(crate) mod added;
pub(crate) mod batch;
pub(crate) mod config;
pub(crate) mod doctor;
pub(crate) mod explain;
pub(crate) mod image;
pub(crate) mod inspect;
pub(crate) mod library;
pub(crate) mod life;
pub(crate) mod metrics;
pub(crate) mod plan;
pub(crate) mod run;
pub(crate) mod sbom;
pub(crate) mod strategy;
pub(crate) mod system;

use std::process::ExitCode;

use fragment::runner::RunError;
use fragment::{ManagerError, PlanError, PlanErrorKind, RuntimeError};

/// What kind of error a plan ended with, if it was one.
pub(crate) fn kind(error: &anyhow::Error) -> Option<PlanErrorKind> {
    error.chain().find_map(|cause| {
        let runtime = cause.downcast_ref::<RuntimeError>().map(RuntimeError::kind);
        let run = || cause.downcast_ref::<RunError>().map(RunError::kind);
        let manager = || cause.downcast_ref::<ManagerError>().map(ManagerError::kind);
        runtime
            .or_else(run)
            .or_else(manager)
            .or_else(|| cause.downcast_ref::<PlanError>().map(PlanError::kind))
    })
}

/// What a shell would exit with: 127 for a command that does not exist, 126 for one that cannot be executed, else 1.
pub(crate) fn exit_code(error: &anyhow::Error) -> ExitCode {
    match kind(error) {
        Some(PlanErrorKind::NotFound) => ExitCode::from(127),
        Some(PlanErrorKind::NotExecutable) => ExitCode::from(126),
        Some(PlanErrorKind::Other) | None => ExitCode::FAILURE,
    }
}
