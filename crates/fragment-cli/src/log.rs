//! Warnings go to stderr, one line each.

use std::fmt::Write as _;

use anyhow::Context as _;
use fragment::launch::ErrorEvents;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, filter_fn};
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

/// Starts it.
pub(crate) fn open() -> anyhow::Result<()> {
    let events = ErrorEvents::install().context("open the memory for error events")?;
    // libcontainer warns of what it merely works around
    let ours = filter_fn(|metadata| metadata.target().starts_with("fragment"));
    tracing_subscriber::registry()
        .with(events.with_filter(LevelFilter::ERROR))
        .with(Lines.with_filter(LevelFilter::WARN).with_filter(ours))
        .init();
    Ok(())
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
        if field.name() == "message" {
            let _ = write!(self.0, "{value:?}");
        }
    }
}
