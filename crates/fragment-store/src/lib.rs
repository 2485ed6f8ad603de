//! Components on disk: ingest, verify, catalogue, leases.
//!
//! A store is an OCI image layout with unpacked layers, a catalogue and leases beside it (see the table in `layout.rs`).
//! `index.json` is the truth; everything else is content-addressed, or made from it. Every change is a rename, so readers
//! need no lock and a killed writer leaves the library as it was or as it was to be.

mod ahead;
mod archive;
mod catalogue;
mod collect;
mod entry;
mod error;
mod expected;
mod generated;
mod history;
mod ingest;
mod layer;
mod layout;
mod lease;
mod life;
mod load;
mod oci;
mod store;
mod times;
mod transfer;
mod tree;
mod unpack;
mod verify;
mod writer;

pub use archive::Archive;
pub use catalogue::{MappedCatalogue, Unresolved, UnresolvedNeed};
pub use collect::Removed;
pub use entry::{Entry, Kind, Refusal};
pub use error::StoreError;
pub use history::{HALF_LIFE, LoadTimes, ONE_USE};
pub use ingest::Artifact;
pub use layer::{Compression, Hashing, LayerError};
pub use lease::{Holder, HolderProcess, Lease, LeasedComponent};
pub use life::{Limits, MemoryLimits, Tidied, Usage};
pub use load::{LayoutSource, Load, LoadOptions, Source};
pub use store::Store;
pub use verify::{ComponentReport, Finding, Progress, VerifyReport};
