//! Components of packages that no recipe names: one a package, as a world has it installed.

mod adder;
mod conflict;
mod group;
mod ledger;
mod linkage;
mod make;
mod piece;
mod search;
mod tmpfiles;
mod view;

pub use adder::{AddOptions, Adder, Plan, ReadManifest, Report, Shelf, TakeIn};
pub use search::{Provider, providers_of};
