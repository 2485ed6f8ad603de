//! The end of a container.

use std::time::{Duration, Instant};

use fragment_sys::lock::FileLock;

use crate::creation::hook;
use crate::error::LaunchError;
use crate::lifecycle::signal::SignalNumber;
use crate::records::id::ContainerId;
use crate::records::record::{Place, Record, Stage};
use crate::records::state::{Status, settled_status};
use crate::runtime::Runtime;

/// How long a killed process may take to end.
pub(crate) const DEATH: Duration = Duration::from_secs(10);

impl Runtime {
    /// Removes a container and everything it has on the host; gives back what its creator left with it.
    ///
    /// With `force` a running container is killed first, one whose creation was cut short is cleaned up, and an unknown name
    /// is no error: engines call it to make sure.
    ///
    /// # Errors
    /// Without `force` when the container runs or does not exist; when its processes do not end.
    pub fn delete(&self, id: &ContainerId, force: bool) -> Result<Vec<u8>, LaunchError> {
        let _span = tracing::debug_span!("delete").entered();
        let place = self.place(id);
        if !place.exists() {
            place.sweep();
            return if force {
                Ok(Vec::new())
            } else {
                Err(LaunchError::Missing { id: id.to_string() })
            };
        }
        let _lock = match lock(&place, force) {
            Err(LaunchError::Missing { .. }) if force => {
                // left by libcontainer alone, or just deleted by somebody else
                place.remove()?;
                return Ok(Vec::new());
            }
            other => other?,
        };
        let record = match place.load() {
            Err(LaunchError::Record { .. }) if force => None,
            // deleted by somebody else while we waited for the lock
            Err(LaunchError::Missing { .. }) if force => None,
            other => other?,
        };
        let Some(record) = record else {
            place.remove()?;
            return Ok(Vec::new());
        };
        match settled_status(&record) {
            status @ (Status::Running | Status::Paused) if !force => {
                return Err(LaunchError::Status {
                    operation: "delete",
                    id: record.id,
                    status,
                });
            }
            _ => {}
        }
        kill_init(&record)?;
        // an exec that is under way needs no lock: its process is put into this cgroup or ends (see crate::joining::admission)
        remove_cgroup(&record)?;
        hook::run_poststop(&record);
        if record.stage == Stage::Creating {
            // an engine that is told of no container expects its root as it left it
            fragment_compose::give_back(&record.residue)?;
        }
        fragment_compose::uncover(&record.residue)?;
        fragment_compose::cleanup(&record.residue)?;
        let extra = place.load_extra(&record)?;
        place.remove()?;
        Ok(extra)
    }
}

/// The container's lock. A create that was killed may have left a process behind that holds it: with force that process is
/// killed, by its cgroup, which it is in before it does anything that lasts, or, without a cgroup, by its own word.
fn lock(place: &Place, force: bool) -> Result<FileLock, LaunchError> {
    if !force {
        return place.lock_life();
    }
    let started = Instant::now();
    loop {
        if let Some(lock) = place.try_lock_life(Duration::from_millis(20))? {
            return Ok(lock);
        }
        if let Ok(Some(record)) = place.load() {
            record.cgroup.kill();
        }
        kill_introduced(place);
        if started.elapsed() > DEATH {
            return Err(LaunchError::Busy {
                id: place.id().to_owned(),
            });
        }
    }
}

/// Kills the processes of a create that has no cgroup. Whether they have ended the lock tells, which they hold.
pub(crate) fn kill_introduced(place: &Place) {
    for process in place.introduced() {
        if let Ok(Some(process)) = process.open() {
            let _ = process.signal(SignalNumber::KILL.raw());
        }
    }
}

/// Kills what still runs and removes the cgroup.
pub(crate) fn end_processes(record: &Record) -> Result<(), LaunchError> {
    kill_init(record)?;
    remove_cgroup(record)
}

/// Kills the container's first process, with all others in the cgroup, and waits for its end.
fn kill_init(record: &Record) -> Result<(), LaunchError> {
    let fail = || LaunchError::system("end the container's process");
    if let Some(init) = record.init
        && let Some(handle) = init.open().map_err(fail())?
    {
        handle.signal(SignalNumber::KILL.raw()).map_err(fail())?;
        record.cgroup.kill();
        if !handle.wait(DEATH).map_err(fail())? {
            return Err(unkillable(record));
        }
    }
    Ok(())
}

/// Removes the cgroup, killing what is still in it.
fn remove_cgroup(record: &Record) -> Result<(), LaunchError> {
    if record.cgroup.remove() {
        Ok(())
    } else {
        Err(unkillable(record))
    }
}

fn unkillable(record: &Record) -> LaunchError {
    LaunchError::Unkillable {
        id: record.id.clone(),
    }
}
