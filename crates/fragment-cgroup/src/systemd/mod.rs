//! The systemd driver: a transient scope a container, asked for over D-Bus.
//!
//! systemd wants a process at the moment a scope is made, so the scope is made by the container's own first process: after it
//! was cloned, before it leaves any namespace, and with the limits in the same message. No placeholder has to be kept
//! alive and killed. What undoes it, the unit's name, is in the record before.

mod annotation;
mod bus;
mod properties;
mod scope;
mod unit;
mod wire;

pub use scope::Scoped;
pub use unit::Unit;
