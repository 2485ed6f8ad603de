//! The log: lines appended to a file in the form engines read.
//!
//! Engines take a failed runtime's reason from the last object of the JSON log; it has exactly the keys level, msg and time,
//! and levels as logrus writes them.

use std::fs::{File, OpenOptions};
use std::io::{IsTerminal as _, Write as _};
use std::sync::OnceLock;

use anyhow::Context as _;
use fragment::trace::{self, Moment};
use serde_json::json;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, filter_fn};
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::arguments::{Global, LogFormat};
use crate::runtime::{self, ErrorEvents, LogLevel};

static LOG: OnceLock<Log> = OnceLock::new();

/// Where lines go.
#[derive(Debug, Default)]
pub(crate) struct Log {
    file: Option<File>,
    format: LogFormat,
}

/// Opens the log the flags ask for.
pub(crate) fn open(global: &Global, began: Moment) -> anyhow::Result<()> {
    let file = match &global.log {
        Some(path) => {
            let opened = OpenOptions::new().create(true).append(true).open(path);
            Some(opened.with_context(|| format!("open log file {}", path.display()))?)
        }
        None => None,
    };
    let _ = LOG.set(Log {
        file,
        format: global.log_format,
    });
    let level = match (global.debug, global.log_level) {
        (true, _) => LogLevel::Debug,
        (false, Some(level)) => level,
        (false, None) => runtime::logged(),
    };
    let level = level_filter(level);
    let line = (level >= LevelFilter::DEBUG).then_some(phase as fn(&str));
    let phases = trace::layer(runtime::trace(), line, began)?;
    let errors = ErrorEvents::install().context("open the memory for error events")?;
    let events = Events { errors, level };
    let Some(phases) = phases else {
        return tracing::subscriber::set_global_default(events).context("begin to take events");
    };
    let taken = filter_fn(move |metadata| is_taken(metadata, level));
    let taken = taken.with_max_level_hint(level.max(LevelFilter::ERROR));
    tracing_subscriber::registry()
        .with(events.with_filter(taken))
        .with(phases)
        .init();
    Ok(())
}

/// Whether an event becomes a line.
fn is_logged(metadata: &Metadata<'_>, level: LevelFilter) -> bool {
    let everything = level >= LevelFilter::DEBUG;
    // libcontainer reports what it merely works around as warnings; they would bury the one line that counts
    *metadata.level() <= level && (everything || metadata.target().starts_with("fragment"))
}

/// Whether an event becomes a line or is kept for an error's message.
fn is_taken(metadata: &Metadata<'_>, level: LevelFilter) -> bool {
    *metadata.level() == Level::ERROR || is_logged(metadata, level)
}

/// Takes events: beside phases as a layer, else alone. tracing-subscriber's registry, which layers need, has 40 kB of memory for spans, which
/// each command would fill.
struct Events {
    errors: ErrorEvents,
    level: LevelFilter,
}

impl Events {
    fn take(&self, event: &Event<'_>) {
        self.errors.keep(event);
        if is_logged(event.metadata(), self.level) {
            line(event);
        }
    }
}

impl<S: Subscriber> Layer<S> for Events {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        self.take(event);
    }
}

impl Subscriber for Events {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && is_taken(metadata, self.level)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.level.max(LevelFilter::ERROR))
    }

    fn event(&self, event: &Event<'_>) {
        self.take(event);
    }

    // no span is enabled

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

fn phase(line: &str) {
    if let Some(log) = LOG.get() {
        log.line("debug", line);
    }
}

fn level_filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::OFF,
        LogLevel::Warning => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}

/// Writes the error that ends this run to the log, and where that is a file to standard error too.
pub(crate) fn error(message: &str) {
    let stderr = |line: &str| {
        // nobody to tell when even that is closed
        let _ = writeln!(std::io::stderr(), "{line}");
    };
    match LOG.get() {
        Some(log) if log.file.is_some() => {
            log.line("error", message);
            stderr(message);
        }
        // for people; engines give us no terminal
        _ if std::io::stderr().is_terminal() => stderr(&format!("fragment-runc: {message}")),
        Some(log) => log.line("error", message),
        None => Log::default().line("error", message),
    }
}

impl Log {
    fn line(&self, level: &str, message: &str) {
        let time = chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
        let line = match self.format {
            LogFormat::Json => format!(
                "{}\n",
                json!({ "level": level, "msg": message, "time": time })
            ),
            LogFormat::Text => format!("time=\"{time}\" level={level} msg={}\n", quoted(message)),
        };
        // one write a line: the processes libcontainer makes append to the same file
        let written = match &self.file {
            Some(file) => {
                let mut file: &File = file;
                file.write_all(line.as_bytes())
            }
            None => std::io::stderr().write_all(line.as_bytes()),
        };
        // a full disk must not end a container
        let _ = written;
    }
}

/// A value of logrus' text format: in quotes where it is more than a word.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._/@^+".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("{text:?}")
    }
}

fn line(event: &Event<'_>) {
    // errors of ours are written once, at the end, with their whole chain
    let own = event.metadata().target().starts_with("fragment");
    if own && *event.metadata().level() == Level::ERROR {
        return;
    }
    let mut message = Message(String::new());
    event.record(&mut message);
    if let Some(log) = LOG.get() {
        log.line(level_name(*event.metadata().level()), &message.0);
    }
}

fn level_name(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warning",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if !self.0.is_empty() {
            self.0.push(' ');
        }
        if field.name() == "message" {
            self.0.push_str(&format!("{value:?}"));
        } else {
            self.0.push_str(&format!("{}={value:?}", field.name()));
        }
    }
}
