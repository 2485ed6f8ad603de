//! Capabilities and groups of the program.

use libcontainer::capabilities::CapabilityExt as _;
use libcontainer::oci_spec::runtime::{Capabilities, LinuxCapabilities};
use libcontainer::syscall::SyscallError;
use libcontainer::syscall::syscall::create_syscall;
use rustix::fs::{Gid, Uid};
use rustix::thread::CapabilitySet;

/// Sets all five capability sets. A set the caller leaves out is empty, as for runc; libcontainer would leave it full.
pub(crate) fn drop_capabilities(
    capabilities: Option<&LinuxCapabilities>,
) -> Result<(), SyscallError> {
    let given = |get: fn(&LinuxCapabilities) -> &Option<Capabilities>| {
        capabilities
            .and_then(|capabilities| get(capabilities).clone())
            .unwrap_or_default()
    };
    let mut all = LinuxCapabilities::default();
    all.set_bounding(Some(given(LinuxCapabilities::bounding)))
        .set_effective(Some(given(LinuxCapabilities::effective)))
        .set_permitted(Some(given(LinuxCapabilities::permitted)))
        .set_inheritable(Some(given(LinuxCapabilities::inheritable)))
        .set_ambient(Some(given(LinuxCapabilities::ambient)));
    let syscall = create_syscall();
    libcontainer::capabilities::drop_privileges(&all, syscall.as_ref())
}

/// Leaves only the program's own capabilities effective; the permitted ones stay.
pub(crate) fn narrow_effective(
    capabilities: Option<&LinuxCapabilities>,
) -> Result<(), SyscallError> {
    let fail = |errno: rustix::io::Errno| SyscallError::IO(errno.into());
    let effective = capabilities
        .and_then(|capabilities| capabilities.effective().clone())
        .unwrap_or_default();
    let wanted = effective
        .iter()
        .filter_map(|capability| 1_u64.checked_shl(u32::from(capability.to_cap().index())))
        .fold(0, |all, bit| all | bit);
    let mut sets = rustix::thread::capabilities(None).map_err(fail)?;
    sets.effective = sets.permitted & CapabilitySet::from_bits_retain(wanted);
    rustix::thread::set_capabilities(None, sets).map_err(fail)
}

/// Makes every permitted capability effective again.
pub(crate) fn widen_effective() -> Result<(), SyscallError> {
    libcontainer::capabilities::reset_effective(create_syscall().as_ref())
}

/// Without additional groups the program has none: libcontainer leaves it the caller's.
pub(crate) fn drop_groups() {
    // EPERM in a user namespace without setgroups(2): then nobody could have set any (user_namespaces(7))
    let _ = rustix::thread::set_thread_groups(&[] as &[Gid]);
}

/// Changes user and group and keeps all capabilities for what is still to be done (capabilities(7), SECBIT_KEEP_CAPS).
pub(crate) fn become_user(uid: u32, gid: u32) -> std::io::Result<()> {
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    rustix::thread::set_keep_capabilities(true)?;
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid)?;
    let mut sets = rustix::thread::capabilities(None)?;
    sets.effective = sets.permitted;
    rustix::thread::set_capabilities(None, sets)?;
    rustix::thread::set_keep_capabilities(false)?;
    Ok(())
}
