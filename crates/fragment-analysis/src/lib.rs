//! stub

pub mod elf;
pub mod env_command;
pub mod python;
pub mod shebang;
pub mod words;
