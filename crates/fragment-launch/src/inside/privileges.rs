//! Capabilities and groups of the program.

use libcontainer::capabilities::CapabilityExt as _;
use libcontainer::oci_spec::runtime::{Capabilities, LinuxCapabilities};
use libcontainer::syscall::SyscallError;
use libcontainer::syscall::syscall::create_syscall;
use rustix::fs::{Gid, Uid};
use rustix::thread::{CapabilitySet, CapabilitySets};

/// Sets all five capability sets. A set the caller leaves out is empty, as for runc; libcontainer would leave it full, and sets
/// them one by one in an order in which the inheritable ones can no longer be given.
pub(crate) fn drop_capabilities(
    capabilities: Option<&LinuxCapabilities>,
) -> Result<(), SyscallError> {
    let fail = |errno: rustix::io::Errno| SyscallError::IO(errno.into());
    let given = |get: fn(&LinuxCapabilities) -> &Option<Capabilities>| {
        let names = capabilities.and_then(|capabilities| get(capabilities).as_ref());
        names.map_or(CapabilitySet::empty(), bits)
    };
    let inheritable = given(LinuxCapabilities::inheritable);
    let mut sets = rustix::thread::capabilities(None).map_err(fail)?;
    // first of all: afterwards only what the bounding set holds can be added (capset(2))
    sets.inheritable = inheritable;
    rustix::thread::set_capabilities(None, sets).map_err(fail)?;
    drop_bounding(given(LinuxCapabilities::bounding)).map_err(fail)?;
    let all = CapabilitySets {
        effective: given(LinuxCapabilities::effective),
        permitted: given(LinuxCapabilities::permitted),
        inheritable,
    };
    rustix::thread::set_capabilities(None, all).map_err(fail)?;
    raise_ambient(given(LinuxCapabilities::ambient)).map_err(fail)
}

/// The set of these capabilities.
fn bits(names: &Capabilities) -> CapabilitySet {
    let bits = names.iter().filter_map(|name| {
        let index = u32::from(name.to_cap().index());
        1_u64.checked_shl(index)
    });
    CapabilitySet::from_bits_retain(bits.fold(0, |all, bit| all | bit))
}

fn drop_bounding(kept: CapabilitySet) -> rustix::io::Result<()> {
    for index in 0..u64::BITS {
        let one = CapabilitySet::from_bits_retain(1 << index);
        match rustix::thread::capability_is_in_bounding_set(one) {
            Ok(true) if !kept.contains(one) => {
                rustix::thread::remove_capability_from_bounding_set(one)?;
            }
            // the first the kernel does not know
            Err(rustix::io::Errno::INVAL) => break,
            _ => {}
        }
    }
    Ok(())
}

/// One that is not permitted and inheritable as well cannot be had (capabilities(7)): `runc spec` asks for such, and nobody
/// fails for them.
fn raise_ambient(wanted: CapabilitySet) -> rustix::io::Result<()> {
    use rustix::io::Errno;
    match rustix::thread::clear_ambient_capability_set() {
        Err(Errno::INVAL) => return Ok(()),
        other => other?,
    }
    for one in wanted.iter() {
        match rustix::thread::configure_capability_in_ambient_set(one, true) {
            Err(Errno::PERM | Errno::INVAL) => {
                tracing::debug!("ambient capability {one:?} is not permitted and inheritable");
            }
            other => other?,
        }
    }
    Ok(())
}

/// Leaves only the program's own capabilities effective; the permitted ones stay.
pub(crate) fn narrow_effective(
    capabilities: Option<&LinuxCapabilities>,
) -> Result<(), SyscallError> {
    let fail = |errno: rustix::io::Errno| SyscallError::IO(errno.into());
    let effective = capabilities
        .and_then(|capabilities| capabilities.effective().clone())
        .unwrap_or_default();
    let mut sets = rustix::thread::capabilities(None).map_err(fail)?;
    sets.effective = sets.permitted & bits(&effective);
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
