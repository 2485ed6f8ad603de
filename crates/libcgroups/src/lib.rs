//! What libcontainer knows of control groups: nothing but a way in.
//!
//! The workspace puts this crate in the place of youki's libcgroups (`[patch.crates-io]`). libcontainer cannot be told to
//! leave control groups alone, and what it does to them is in the way: it writes to `cgroup.procs` of every v1 hierarchy, which
//! waits for an RCU grace period; it fails where an unprivileged user cannot write on v1; it knows neither the hybrid layout
//! nor systemd on v1. Here its process calls back into ours at the one moment that counts ([`common::set_entrance`]): after it
//! was cloned, before it leaves user and cgroup namespace. Everything else answers that there is nothing to do.
//!
//! Only the items that libcontainer 0.7.0 names are here.

pub mod common;

/// Cgroup v1.
pub mod v1 {
    /// Where it is mounted.
    pub mod util {
        use std::io;
        use std::path::PathBuf;

        /// The mount points of all v1 hierarchies: what libcontainer shows in a container.
        ///
        /// # Errors
        /// When /proc cannot be read.
        pub fn list_subsystem_mount_points() -> io::Result<Vec<PathBuf>> {
            crate::common::mount_points("cgroup")
        }
    }
}

/// Cgroup v2.
pub mod v2 {
    /// Where it is mounted.
    pub mod util {
        use std::io;
        use std::path::PathBuf;

        /// The mount point of the unified hierarchy.
        ///
        /// # Errors
        /// When /proc cannot be read or there is none.
        pub fn get_unified_mount_point() -> io::Result<PathBuf> {
            let points = crate::common::mount_points("cgroup2")?;
            points
                .into_iter()
                .next()
                .ok_or_else(|| io::ErrorKind::NotFound.into())
        }
    }
}
