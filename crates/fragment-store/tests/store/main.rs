//! The store through its public interface, with components made on the spot.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "clippy.toml allows both in tests; helpers of an integration test do not count as such"
)]

mod sample;

mod crash;
mod damage;
mod exact;
mod generated;
mod history;
mod hostile;
mod ingest;
mod leases;
mod life;
mod load;
mod transfer;
mod unprivileged;
