//! Why a plan is as it is, and what a composed root will hold.
//!
//! | module | the question |
//! |---|---|
//! | [`mod@chain`] | why is this component there? The shortest chain of evidence from the entrypoint to it |
//! | [`capability`] | which capabilities are needed, how sure is that, who grants them? |
//! | [`why_not`] | why is that component *not* there? |
//! | [`path`] | which layer does a path come from, what does it hide, who else has it? |
//! | [`diff`] | what is different between two plans? |
//! | [`graph`] | the same as nodes and edges, for [`dot`] (graphviz) and [`svg`] |
//! | [`document`] | all of it as JSON |
//!
//! None of it needs root or changes anything.

pub mod capability;
pub mod chain;
pub mod diff;
pub mod document;
pub mod dot;
pub mod graph;
pub mod path;
#[cfg(test)]
mod sample;
pub mod svg;
pub mod why_not;

pub use chain::{Explanation, explain, explain_in};
pub use document::Document;
