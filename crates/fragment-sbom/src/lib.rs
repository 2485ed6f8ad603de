//! What a fragment is made of, as documents that licence and vulnerability tools read.
//!
//! | module | what it does |
//! |---|---|
//! | [`bill`] | plan and manifests -> components, packages, files and how they hang together |
//! | [`licence`] | Debian's licence names -> SPDX |
//! | [`purl`] | package URLs |
//! | [`spdx`] | SPDX 2.3 JSON |
//! | [`cyclonedx`] | CycloneDX 1.5 JSON |
//!
//! Pure: the same plan, manifests, files and time give the same bytes.

pub mod bill;
pub mod cyclonedx;
pub mod licence;
pub mod purl;
pub mod spdx;

pub use bill::{Bill, OwnFile};
