//! What a build tells while it runs.

use fragment_types::ComponentName;
use fragment_types::manifest::Size;

/// Takes a build's events; several threads may call it at a time.
pub trait Progress: Sync {
    /// Something happened.
    fn event(&self, event: &Event<'_>);
}

/// Something that happened.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Event<'a> {
    /// The clean root is being made: once for a working directory, some 15 seconds.
    BaseStarted,
    /// The clean root is ready.
    BaseFinished,
    /// An installation into a world goes on.
    Step {
        /// What is done.
        what: &'static str,
        /// Steps done.
        done: usize,
        /// Steps in all.
        total: usize,
    },
    /// Work on a component begins.
    Started {
        /// The component.
        component: &'a ComponentName,
    },
    /// A component enters a phase.
    Phase {
        /// The component.
        component: &'a ComponentName,
        /// The phase.
        phase: Phase,
    },
    /// How much of the phase is done.
    Percent {
        /// The component.
        component: &'a ComponentName,
        /// 0 to 100, each value told at most once in a phase.
        percent: u8,
    },
    /// A component is there.
    Finished {
        /// The component.
        component: &'a ComponentName,
        /// Its sizes.
        size: Size,
        /// Whether an earlier build had made it and nothing has changed since.
        reused: bool,
    },
}

/// Phases of a component.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// apt installs its packages.
    Install,
    /// Its files are selected and indexed.
    Cut,
    /// Its files are compressed.
    Pack,
}

impl Phase {
    /// The phase as a word for people.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Install => "installing",
            Self::Cut => "cutting",
            Self::Pack => "packing",
        }
    }
}

/// Tells nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn event(&self, _: &Event<'_>) {}
}
