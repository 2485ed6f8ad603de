//! The start signal.

use std::time::{Duration, Instant};

use libcontainer::notify_socket::{NOTIFY_FILE, NotifySocket};

use crate::creation::hook;
use crate::error::LaunchError;
use crate::lifecycle::delete::DEATH;
use crate::lifecycle::signal::SignalNumber;
use crate::records::id::ContainerId;
use crate::records::process::Identity;
use crate::records::record::{Place, Record, Stage};
use crate::records::state::{Status, settled_status};
use crate::runtime::Runtime;

/// How long the start waits for the program to be there. Hooks inside the container can take longer, and need not be waited for.
const BECOMING: Duration = Duration::from_millis(100);
/// How long between two looks.
const GLANCE: Duration = Duration::from_micros(100);

impl Runtime {
    /// Starts the program of a created container.
    ///
    /// # Errors
    /// When the container is not in the state "created"; when a poststart hook fails, after which the container is stopped.
    pub fn start(&self, id: &ContainerId) -> Result<(), LaunchError> {
        let place = self.place(id);
        let record = {
            let _lock = place.lock_life()?;
            let mut record = place.load_complete()?;
            let status = settled_status(&record);
            if status != Status::Created {
                return Err(LaunchError::Status {
                    operation: "start",
                    id: record.id,
                    status,
                });
            }
            let before = record.init.and_then(|init| init.program().ok());
            notify(&place, &record)?;
            record.stage = Stage::Started;
            place.save(&record)?;
            if let (Some(init), Some(before)) = (record.init, before) {
                wait_for_program(init, before);
            }
            record
        };
        // without the lock: a hook may ask for the container's state, or stop it
        hook::run_poststart(&record).inspect_err(|_| {
            // config.md: a failed poststart hook stops the container
            if let Err(error) = stop(&record) {
                tracing::warn!("stop container {id}: {error}");
            }
        })
    }
}

/// Until the first process has become the program. A signal that is sent before is lost on it: the first process of a PID
/// namespace gets none that it has no handler for (pid_namespaces(7)), and engines send one as soon as start has returned.
fn wait_for_program(init: Identity, before: (u64, u64)) {
    let deadline = Instant::now() + BECOMING;
    while init.program().is_ok_and(|program| program == before) && Instant::now() < deadline {
        std::thread::sleep(GLANCE);
    }
}

/// Kills the first process and waits for its end.
fn stop(record: &Record) -> std::io::Result<()> {
    if let Some(init) = record.init
        && let Some(handle) = init.open()?
    {
        handle.signal(SignalNumber::KILL.raw())?;
        handle.wait(DEATH)?;
    }
    Ok(())
}

fn notify(place: &Place, record: &Record) -> Result<(), LaunchError> {
    let socket = place.libcontainer().join(NOTIFY_FILE);
    NotifySocket::new(&socket)
        .notify_container_start()
        .map_err(|error| {
            // the process has ended between the look at it and now
            tracing::debug!("start: {error}");
            LaunchError::Status {
                operation: "start",
                id: record.id.clone(),
                status: Status::Stopped,
            }
        })
}
