//! Thin images: what the library provides leaves an image, the rest is written as an OCI image with the lock of the components
//! that it needs.
//!
//! | module | what it does |
//! |---|---|
//! | [`thin`] | the whole way, from a root filesystem or OCI layout to a proven thin image |
//! | `layout`, `layer`, `unpack` | OCI image layouts: layers applied to a directory, a layer written |
//! | `inventory`, `dpkg` | what is in a root filesystem, and which package it belongs to |
//! | `shelf`, `decision`, `evidence`, `view` | what leaves, what stays and why |
//! | `process`, `trial`, `observer` | the proof: the image's process, run whole and thin |
//!
//! An image is hostile input: nothing in it is followed out of it, and its programs run in containers only.

mod decision;
mod dpkg;
mod error;
mod evidence;
mod inventory;
mod layer;
mod layout;
mod observer;
mod process;
mod shelf;
pub mod thin;
mod trial;
mod unpack;
mod view;

pub use decision::{Keep, Why};
pub use error::ImageError;
pub use layout::LOCK;
pub use thin::{Command, Options, Report, thin};
pub use trial::{Outcome, Terms};
