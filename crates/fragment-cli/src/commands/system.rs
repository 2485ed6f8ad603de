//! `fragment system`: what this node has.

use std::process::ExitCode;

use fragment::{Manager, Settings};

use crate::render;

/// Arguments of `fragment system`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Prints it.
pub(crate) fn run(settings: &Settings, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let info = Manager::open(settings.clone())?.system_info()?;
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&info)?);
        return Ok(ExitCode::SUCCESS);
    }
    println!("version     {}", info.version);
    println!("library     {}", info.store.display());
    println!(
        "components  {}: {} unpacked, {} in use by {} leases",
        info.components, info.loaded, info.in_use, info.leases
    );
    println!("layers      {}", render::bytes(info.stored));
    println!("unpacked    {}", render::bytes(info.unpacked));
    println!("in memory   {}", render::bytes(info.in_memory));
    Ok(ExitCode::SUCCESS)
}
