//! Budgets: what a command may cost, in figures that are the same on a busy machine and on an idle one.
//!
//! Each figure is compared with a table in `tests/budgets`. A command that costs more fails its test, which prints what it costs now;
//! one that costs less passes and asks for the table to be written anew, by `hack/budgets`, which sets `UPDATE_BUDGETS`.
//!
//! | figure | how it is found |
//! |---|---|
//! | system calls | strace(1), by kinds of calls; `hack/system-calls` tells them one by one |
//! | allocations | breakpoints where Rust's code allocates, in the command and in each process that it makes |
//! | instructions | single steps of the processor, of the same processes |
//! | binary size | stat(2) |
//!
//! Budgets are those of the binaries that `hack/build` makes: others skip with a reason. How a container is described in
//! these tests ([`scenario`]) depends on the machine as little as can be.

#![allow(clippy::print_stdout, reason = "tests tell why they skip")]

mod allocations;
mod binary;
mod calls;
mod habits;
mod instructions;
mod scenario;
mod size;
mod stepping;
mod strace;
mod system_calls;
mod table;
