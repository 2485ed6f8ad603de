//! Regular expressions without Unicode tables, automata and literal searchers.
//!
//! The workspace puts this crate in the place of `regex` (`[patch.crates-io]`). oci-spec and libcontainer check one short text
//! of a specification each with it (`execCPUAffinity`, a resctrl schema), a recipe the output of one command: none is worth the half
//! megabyte that the whole engine adds to the runtime. This is the same project's small engine, with the same syntax but for
//! Unicode classes, and linear in time as well.

pub use regex_lite::*;
