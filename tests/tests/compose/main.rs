//! Bundles that hold only their program: what is missing comes from the component library.
//!
//! They need a library: `hack/library` builds one into `target/library`; `FRAGMENT_STORE` names another.

mod add;
mod base;
mod cache;
mod configuration;
mod control;
mod engine_overlay;
mod explain;
mod image;
mod inspect;
mod java;
mod languages;
mod life;
mod manager;
mod many;
mod media;
mod observe;
mod plans;
mod programs;
mod refusals;
mod run;
mod sbom;
mod services;
mod trace;
mod transfer;
