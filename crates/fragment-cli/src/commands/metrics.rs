//! `fragment metrics`: what all processes of this node have done since the machine started.

use std::process::ExitCode;

use fragment::{Manager, Settings};

/// Arguments of `fragment metrics`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Print JSON
    #[arg(long, conflicts_with = "prometheus")]
    json: bool,
    /// Print Prometheus' text format, with what the node has now
    #[arg(long)]
    prometheus: bool,
}

/// Prints it.
pub(crate) fn run(settings: &Settings, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let manager = Manager::open(settings.clone())?;
    let counted = manager.node_metrics();
    if arguments.json {
        let all = serde_json::json!({"counted": counted, "node": manager.system_info()?});
        println!("{}", serde_json::to_string_pretty(&all)?);
    } else if arguments.prometheus {
        print!("{}", counted.prometheus());
        let info = manager.system_info()?;
        for (name, help, values) in [
            (
                "components",
                "Components",
                vec![
                    ("state=\"library\"", info.components as u64),
                    ("state=\"loaded\"", info.loaded as u64),
                    ("state=\"used\"", info.in_use as u64),
                ],
            ),
            (
                "bytes",
                "Bytes of components",
                vec![
                    ("tier=\"layers\"", info.stored),
                    ("tier=\"unpacked\"", info.unpacked),
                    ("tier=\"memory\"", info.in_memory),
                ],
            ),
        ] {
            println!("# HELP fragment_{name} {help}.\n# TYPE fragment_{name} gauge");
            for (label, value) in values {
                println!("fragment_{name}{{{label}}} {value}");
            }
        }
        println!(
            "# HELP fragment_leases Leases.\n# TYPE fragment_leases gauge\nfragment_leases {}",
            info.leases
        );
    } else {
        for one in &counted.counters {
            println!("{:32} {:>12}  {}", one.name, one.value, one.help);
        }
        for one in &counted.histograms {
            let mean = one.mean().map_or_else(String::new, |mean| {
                format!("{:.2} ms", mean.as_secs_f64() * 1e3)
            });
            println!(
                "{:32} {mean:>12}  {}, mean of {}",
                one.name,
                one.help,
                one.count()
            );
        }
    }
    Ok(ExitCode::SUCCESS)
}
