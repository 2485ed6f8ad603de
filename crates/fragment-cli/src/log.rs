//! Warnings, and what else is asked for, go to stderr, one line each.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context as _;
use fragment::launch::ErrorEvents;
use fragment::settings::LogLevel;
use fragment::trace::{self, Moment};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, filter_fn};
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

/// Starts it, with events of `level` and what is more severe.
pub(crate) fn open(level: LogLevel, trace: Option<&Path>, began: Moment) -> anyhow::Result<()> {
    let events = ErrorEvents::install().context("open the memory for error events")?;
    let everything = level >= LogLevel::Debug;
    // libcontainer warns of what it merely works around
    let level = filter(level);
    let ours = filter_fn(move |metadata| {
        *metadata.level() <= level && (everything || metadata.target().starts_with("fragment"))
    });
    let line = everything.then_some(phase as fn(&str));
    let phases = trace::layer(trace, line, began)?;
    tracing_subscriber::registry()
        .with(events.with_filter(LevelFilter::ERROR))
        .with(phases)
        .with(Lines.with_filter(ours.with_max_level_hint(level)))
        .init();
    Ok(())
}

fn phase(line: &str) {
    eprintln!("fragment: debug: {line}");
}

fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warning => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}

struct Lines;

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut message = Message(String::new());
        event.record(&mut message);
        eprintln!(
            "fragment: {}: {}",
            event.metadata().level().as_str().to_lowercase(),
            message.0
        );
    }
}

struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if !self.0.is_empty() {
            self.0.push(' ');
        }
        let _ = match field.name() {
            "message" => write!(self.0, "{value:?}"),
            name => write!(self.0, "{name}={value:?}"),
        };
    }
}
