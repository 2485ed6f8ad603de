//! Saving containers to images and making containers of them (criu(8)).

pub(crate) mod criu;
pub(crate) mod mount_points;
pub(crate) mod protocol;
pub(crate) mod restore;
pub(crate) mod save;
