//! The vocabulary of fragment-runc: pure data, no I/O.
//!
//! | module | what it holds |
//! |---|---|
//! | [`digest`] | content digests (`sha256:…`) |
//! | [`name`] | component and capability names |
//! | [`manifest`] | what a component is, provides and requires |
//! | [`catalogue`] | the read-only view of a library that resolution searches |
//! | [`requirement`] | what an entrypoint needs, and the evidence for it |
//! | [`grade`] | how much a piece of evidence says |
//! | [`symbol`] | symbols of shared objects that tell what a program does |
//! | [`lock`] | the components of a composition, each by its digest |
//! | [`path`] | the merged-/usr spelling of paths |
//! | [`plan`] | the whole decision for one container, as one canonical document |
//! | [`canonical`] | canonical JSON, the form that is digested |

pub mod canonical;
pub mod catalogue;
pub mod digest;
pub mod grade;
pub mod lock;
pub mod manifest;
pub mod name;
pub mod path;
pub mod plan;
pub mod requirement;
pub mod symbol;

pub use catalogue::{Catalogue, CatalogueError, ComponentIndex, ComponentSummary};
pub use digest::{Digest, Digesting};
pub use grade::Grade;
pub use lock::{InvalidLock, Lock};
pub use manifest::Manifest;
pub use name::{Capability, ComponentName};
pub use plan::Plan;
pub use requirement::{Evidence, EvidenceKind, Need, Requirement, Strength};
