//! Flags of the commands that only tell something.

use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct ListArguments {
    /// select one of: table or json
    #[arg(long, short, default_value = "table", value_parser = Format::parse)]
    pub(crate) format: Format,
    /// display only container IDs
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Table,
    Json,
}

impl Format {
    fn parse(text: &str) -> Result<Self, &'static str> {
        match text {
            "table" => Ok(Self::Table),
            "json" => Ok(Self::Json),
            _ => Err("invalid format option; select one of: table or json"),
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct PsArguments {
    /// name of the container
    #[arg(value_name = "container-id")]
    pub(crate) id: String,
    /// options for ps, -ef by default
    #[arg(value_name = "ps options")]
    pub(crate) options: Vec<String>,
    /// select one of: table or json
    #[arg(long, short, default_value = "table", value_parser = Format::parse)]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct SpecArguments {
    /// path to the root of the bundle directory, the current directory by default
    #[arg(long, short, default_value = ".", hide_default_value = true)]
    pub(crate) bundle: PathBuf,
    /// generate a configuration for a rootless container
    #[arg(long)]
    pub(crate) rootless: bool,
}
