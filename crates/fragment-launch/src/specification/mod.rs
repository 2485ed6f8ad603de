//! What a bundle says, what it must not say, and the form in which libcontainer is given it.

pub mod bundle;
pub mod derived;
pub(crate) mod mounts;
pub(crate) mod names;
pub(crate) mod options;
pub mod rules;
pub(crate) mod target;
