//! What the kernel offers, in safe types. The only crate of the workspace that may contain `unsafe`.

pub mod bpf;
pub mod counters;
pub mod entry;
pub mod file;
pub mod fork;
pub mod lock;
pub mod map;
pub mod memory;
pub mod merge;
pub mod mount;
pub mod network;
pub mod notify;
pub mod pool;
pub mod process;
pub mod program;
mod raw;
pub mod residency;
pub mod root;
pub mod scheduling;
pub mod seccomp;
pub mod signal;
pub mod start;
pub mod user_namespace;
