//! The programs and root file systems that composition is tested with.

mod debian;
mod languages;
