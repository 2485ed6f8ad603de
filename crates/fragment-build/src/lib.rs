//! Recipes and Debian packages to components.
//!
//! ```text
//! library/*.yaml -> Library -> Builder: base root -> install -> cut -> resolve -> pack -> NAME.json + NAME.tar.zst
//! ```
//!
//! | module | what it does |
//! |---|---|
//! | `recipe`, `glob`, `library` | recipes, checked one by one and as a whole |
//! | `machine`, `workspace`, `isolation` | the machine's apt, the clean base root, installations in private namespaces |
//! | `root`, `dpkg` | reads an installed root and its package database, confined to it |
//! | `cut`, `tree`, `module_paths`, `provenance`, `copyright` | which of its files belong to a component, from which packages |
//! | `elf`, `index`, `resolve` | what those provide and need, and who provides that |
//! | `version`, `pack`, `manifest`, `record` | the component as files, the same for the same input |
//! | `world` | roots that grow: any package of the archive installed, and what its scripts made put down to it |
//! | `added` | components of such packages, without recipes |
//! | `directory` | components of a directory of files |
//! | `builder`, `gather`, `part`, `pool`, `progress` | the whole, in dependency order |
//!
//! Only packages of the distribution's own archive are installed, as root, in a root of their own: their maintainer
//! scripts are trusted as those of any package on the machine are.

mod added;
mod builder;
mod copyright;
mod cut;
mod directory;
mod dpkg;
mod elf;
mod error;
mod gather;
mod glob;
mod index;
mod isolation;
mod library;
mod machine;
mod manifest;
mod module_paths;
mod pack;
mod part;
mod progress;
mod provenance;
mod recipe;
mod record;
mod resolve;
mod root;
mod status;
mod tree;
mod users;
mod version;
mod workspace;
mod world;

pub use added::{
    AddOptions, Adder, Plan, Provider, ReadManifest, Report, Shelf, TakeIn, providers_of,
};
pub use builder::{Builder, Built, HandOver, Options};
pub use directory::{DirectoryComponent, Packed};
pub use error::{Error, Result};
pub use glob::{Glob, InvalidGlob};
pub use index::Runner;
pub use library::Library;
pub use progress::{Event, Phase, Progress, Silent};
pub use recipe::{Check, Defaults, FileSpec, Mode, Recipe, Slices, User};
