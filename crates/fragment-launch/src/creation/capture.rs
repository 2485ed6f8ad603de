//! What libcontainer's processes report while they set a container up.
//!
//! Errors come up from the container's side as one line without path or errno; the library's log events carry more. The
//! processes that write them are clones of this one, so a file in memory opened before they are made is shared by all and
//! outlives them.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::sync::OnceLock;

use rustix::fs::{MemfdFlags, OFlags};
use serde::{Deserialize, Serialize};
use tracing::field::{Field, Visit};
use tracing::{Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

/// The target of our executor's events.
pub(crate) const EXECUTOR: &str = "fragment_launch::executor";
/// More than a screenful of errors helps nobody.
const MOST_BYTES: u64 = 64 << 10;

static EVENTS: OnceLock<File> = OnceLock::new();

/// A `tracing` layer that keeps error events of this process and of the clones libcontainer makes of it.
///
/// A program that creates containers installs one; without it errors are as short as libcontainer sends them.
#[derive(Debug)]
pub struct ErrorEvents(());

/// One event.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Event {
    target: String,
    pub(crate) message: String,
}

impl Event {
    pub(crate) fn is_ours(&self) -> bool {
        self.target == EXECUTOR
    }
}

impl ErrorEvents {
    /// Opens the shared file. One a process.
    ///
    /// # Errors
    /// As memfd_create(2).
    pub fn install() -> io::Result<Self> {
        let file: OwnedFd = rustix::fs::memfd_create("fragment-events", MemfdFlags::CLOEXEC)?;
        // appended, so that processes writing at once do not overwrite each other
        rustix::fs::fcntl_setfl(&file, OFlags::APPEND)?;
        let _ = EVENTS.set(File::from(file));
        Ok(Self(()))
    }
}

impl ErrorEvents {
    /// Keeps an event, if it is of an error.
    pub fn keep(&self, event: &tracing::Event<'_>) {
        if *event.metadata().level() != Level::ERROR {
            return;
        }
        let mut words = Words::default();
        event.record(&mut words);
        let event = Event {
            target: event.metadata().target().to_owned(),
            message: words.joined(),
        };
        if let (Some(mut file), Ok(mut line)) = (EVENTS.get(), serde_json::to_vec(&event)) {
            line.push(b'\n');
            // an event that cannot be kept only makes an error message shorter
            let _ = file.write_all(&line);
        }
    }
}

impl<S: Subscriber> Layer<S> for ErrorEvents {
    fn on_event(&self, event: &tracing::Event<'_>, _context: Context<'_, S>) {
        self.keep(event);
    }
}

#[derive(Default)]
struct Words {
    message: String,
    fields: Vec<String>,
}

impl Words {
    fn joined(mut self) -> String {
        if !self.fields.is_empty() {
            if !self.message.is_empty() {
                self.message.push(' ');
            }
            self.message
                .push_str(&format!("({})", self.fields.join(", ")));
        }
        self.message
    }
}

impl Visit for Words {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        } else {
            self.fields.push(format!("{}: {value:?}", field.name()));
        }
    }
}

/// Where the events of an operation begin.
pub(crate) struct Mark(u64);

/// The place after everything reported so far.
pub(crate) fn mark() -> Mark {
    Mark(
        EVENTS
            .get()
            .and_then(|file| file.metadata().ok())
            .map_or(0, |metadata| metadata.len()),
    )
}

/// What has been reported since, oldest (and so deepest) first.
pub(crate) fn since(mark: &Mark) -> Vec<Event> {
    let Some(file) = EVENTS.get() else {
        return Vec::new();
    };
    let end = file.metadata().map_or(0, |metadata| metadata.len());
    let length = end.saturating_sub(mark.0).min(MOST_BYTES);
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
    if file.read_exact_at(&mut bytes, mark.0).is_err() {
        return Vec::new();
    }
    bytes
        .split(|byte| *byte == b'\n')
        .filter_map(|line| serde_json::from_slice(line).ok())
        .collect()
}
