//! Signals for a container.

use fragment_cgroup::Cgroup;

use crate::error::LaunchError;
use crate::lifecycle::signal::SignalNumber;
use crate::records::id::ContainerId;
use crate::records::process::Identity;
use crate::records::record::{Record, Stage};
use crate::records::state::Status;
use crate::runtime::Runtime;

impl Runtime {
    /// Sends a signal to the container's first process, or with `all` to every process in its cgroup.
    ///
    /// `all` is fine on a stopped container: engines send it to make sure.
    ///
    /// # Errors
    /// When there is no such container, or it is stopped and `all` is not set.
    pub fn kill(
        &self,
        id: &ContainerId,
        signal: SignalNumber,
        all: bool,
    ) -> Result<(), LaunchError> {
        let place = self.place(id);
        let record = place.load_complete()?;
        if all {
            return kill_all(&record.cgroup, signal);
        }
        let delivered = match (record.stage, record.init) {
            (Stage::Creating, _) | (_, None) => {
                let status = crate::records::state::status_of(&place, &record)?;
                return Err(self.cannot_kill(&record, status));
            }
            (_, Some(init)) => send(init, signal)?,
        };
        if !delivered {
            return Err(LaunchError::NotRunning { id: record.id });
        }
        if signal == SignalNumber::KILL {
            // on cgroup v1 a frozen process does not notice
            record.cgroup.thaw_quietly();
        }
        Ok(())
    }

    fn cannot_kill(&self, record: &Record, status: Status) -> LaunchError {
        match status {
            Status::Stopped => LaunchError::NotRunning {
                id: record.id.clone(),
            },
            status => LaunchError::Status {
                operation: "kill",
                id: record.id.clone(),
                status,
            },
        }
    }
}

fn kill_all(cgroup: &Cgroup, signal: SignalNumber) -> Result<(), LaunchError> {
    for pid in cgroup.processes() {
        // one that has ended since it was listed is what is wanted
        if let Ok(process) = Identity::of(pid) {
            send(process, signal)?;
        }
    }
    if signal == SignalNumber::KILL {
        cgroup.thaw_quietly();
    }
    Ok(())
}

/// Sends a signal; `false` when the process has ended.
fn send(process: Identity, signal: SignalNumber) -> Result<bool, LaunchError> {
    let fail = || LaunchError::system("signal the container's process");
    match process.open().map_err(fail())? {
        Some(handle) => handle.signal(signal.raw()).map_err(fail()),
        None => Ok(false),
    }
}
