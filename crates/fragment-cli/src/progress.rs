//! Progress: bars on a terminal, plain lines elsewhere.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use fragment_build::{Event, Progress};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::render::bytes;

/// What a build shows.
#[derive(Debug)]
pub(crate) enum BuildProgress {
    /// A bar for each component in work.
    Bars {
        all: MultiProgress,
        bars: Mutex<BTreeMap<String, ProgressBar>>,
    },
    /// A line for each finished component, and now and then one for additions.
    Lines(Mutex<Told>),
    /// Nothing.
    Quiet,
}

/// What was told of an addition last, and when.
#[derive(Debug, Default)]
pub(crate) struct Told {
    what: &'static str,
    when: Option<Instant>,
}

/// How long an addition is silent at most while it does one thing.
const SILENCE: Duration = Duration::from_secs(10);

const BASE: &str = "clean root";
const ADDED: &str = "packages";

impl BuildProgress {
    /// Bars if stderr is a terminal, else lines; nothing when `quiet`.
    pub(crate) fn new(quiet: bool) -> Self {
        if quiet {
            Self::Quiet
        } else if std::io::stderr().is_terminal() {
            Self::Bars {
                all: MultiProgress::new(),
                bars: Mutex::default(),
            }
        } else {
            Self::Lines(Mutex::default())
        }
    }

    /// Prints a line above the bars, or as the next one.
    pub(crate) fn say(&self, line: &str) {
        match self {
            Self::Bars { all, .. } => {
                // a terminal that has gone away is no reason to stop building
                let _ = all.println(line);
            }
            Self::Lines(_) => eprintln!("{line}"),
            Self::Quiet => {}
        }
    }

    /// Takes the bar of an addition away.
    pub(crate) fn finish(&self) {
        self.done(ADDED);
    }

    /// A line when something else is done than before, and every few seconds.
    fn tell(&self, what: &'static str, done: usize, total: usize) {
        let Self::Lines(told) = self else {
            return;
        };
        let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.what != what || told.when.is_none_or(|when| when.elapsed() >= SILENCE) {
            *told = Told {
                what,
                when: Some(Instant::now()),
            };
            eprintln!("{what}: {done} of {total}");
        }
    }

    fn with_bar(&self, name: &str, act: impl FnOnce(&ProgressBar)) {
        if let Self::Bars { all, bars } = self {
            let mut bars = bars.lock().unwrap_or_else(PoisonError::into_inner);
            let bar = bars.entry(name.to_owned()).or_insert_with(|| {
                let style = ProgressStyle::with_template(
                    "{spinner} {prefix:24} {msg:12} {bar:30} {elapsed}",
                );
                let bar = ProgressBar::new(100).with_prefix(name.to_owned());
                let bar = all
                    .add(style.map_or_else(|_| bar.clone(), |style| bar.clone().with_style(style)));
                bar.enable_steady_tick(Duration::from_millis(120));
                bar
            });
            act(bar);
        }
    }

    fn done(&self, name: &str) {
        self.with_bar(name, ProgressBar::finish_and_clear);
    }
}

impl Progress for BuildProgress {
    fn event(&self, event: &Event<'_>) {
        match event {
            Event::BaseStarted => {
                if matches!(self, Self::Lines(_)) {
                    eprintln!("making a clean root");
                }
                self.with_bar(BASE, |bar| bar.set_message("installing"));
            }
            Event::BaseFinished => self.done(BASE),
            Event::Step { what, done, total } => {
                self.tell(what, *done, *total);
                self.with_bar(ADDED, |bar| {
                    let length = u64::try_from(*total).unwrap_or(u64::MAX);
                    bar.set_length(length.max(1));
                    bar.set_position(u64::try_from(*done).unwrap_or(length));
                    bar.set_message(*what);
                });
            }
            Event::Phase { component, phase } => {
                self.with_bar(component.as_str(), |bar| {
                    bar.set_message(phase.as_str());
                    bar.set_position(0);
                });
            }
            Event::Percent { component, percent } => {
                self.with_bar(component.as_str(), |bar| {
                    bar.set_position(u64::from(*percent));
                });
            }
            Event::Finished {
                component,
                size,
                reused,
            } => {
                self.done(component.as_str());
                let how = if *reused { "unchanged" } else { "built" };
                self.say(&format!(
                    "{component:24} {how:10} {:>10} stored {:>10} unpacked",
                    bytes(size.stored),
                    bytes(size.plain)
                ));
            }
            _ => {}
        }
    }
}
