//! `update`

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use anyhow::{Context as _, bail};
use fragment::start::ExitCode;
use serde_json::Value;

use crate::arguments::UpdateArguments;
use crate::runtime::{LinuxResources, Resources, Runtime, read_as, respell};

pub(crate) fn update(runtime: &Runtime, arguments: &UpdateArguments) -> anyhow::Result<ExitCode> {
    check_rdt(arguments)?;
    let change = match &arguments.resources {
        Some(path) => from_json(&read(path)?)?,
        None => from_flags(arguments)?,
    };
    runtime.update(&arguments.id.parse()?, &change)?;
    Ok(ExitCode::SUCCESS)
}

fn check_rdt(arguments: &UpdateArguments) -> anyhow::Result<()> {
    if arguments
        .l3_cache_schema
        .as_deref()
        .is_some_and(|it| !it.is_empty())
    {
        bail!("Intel RDT/CAT: l3 cache schema is not enabled");
    }
    if arguments
        .mem_bw_schema
        .as_deref()
        .is_some_and(|it| !it.is_empty())
    {
        bail!("Intel RDT/MBA: memory bandwidth schema is not enabled");
    }
    Ok(())
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let mut text = Vec::new();
    if path == Path::new("-") {
        io::stdin().read_to_end(&mut text)?;
    } else {
        let mut file = File::open(path).with_context(|| format!("open {}", path.display()))?;
        file.read_to_end(&mut text)?;
    }
    Ok(text)
}

fn from_json(text: &[u8]) -> anyhow::Result<Resources> {
    // what follows the first value is not read, as by Go's decoder
    let mut values = serde_json::Deserializer::from_slice(text).into_iter::<Value>();
    let mut value = values.next().context("EOF")??;
    respell(&mut value);
    let resources: LinuxResources = read_as(value.to_string().as_bytes())?;
    Ok(Resources::limits(&resources)?)
}

fn from_flags(arguments: &UpdateArguments) -> anyhow::Result<Resources> {
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let mut change = Resources {
        cpus: given(&arguments.cpuset_cpus),
        mems: given(&arguments.cpuset_mems),
        cpu_period: number("cpu-period", given(&arguments.cpu_period))?.filter(|it| *it != 0),
        cpu_quota: number("cpu-quota", given(&arguments.cpu_quota))?.filter(|it| *it != 0),
        cpu_burst: number("cpu-burst", given(&arguments.cpu_burst))?,
        cpu_shares: number("cpu-share", given(&arguments.cpu_share))?.filter(|it| *it != 0),
        cpu_rt_period: number("cpu-rt-period", given(&arguments.cpu_rt_period))?
            .filter(|it| *it != 0),
        cpu_rt_runtime: number("cpu-rt-runtime", given(&arguments.cpu_rt_runtime))?
            .filter(|it| *it != 0),
        cpu_idle: number("cpu-idle", given(&arguments.cpu_idle))?,
        memory: bytes("memory", given(&arguments.memory))?,
        memory_swap: bytes("memory-swap", given(&arguments.memory_swap))?,
        memory_reservation: bytes("memory-reservation", given(&arguments.memory_reservation))?,
        pids: arguments.pids_limit.filter(|it| *it != 0),
        ..Resources::default()
    };
    change.block.weight = arguments.blkio_weight.filter(|it| *it != 0);
    let kernel = [
        bytes("kernel-memory", given(&arguments.kernel_memory))?,
        bytes("kernel-memory-tcp", given(&arguments.kernel_memory_tcp))?,
    ];
    if kernel.iter().any(Option::is_some) {
        tracing::warn!("Kernel memory settings are ignored and will be removed");
    }
    Ok(change)
}

fn number<T: std::str::FromStr>(flag: &str, text: Option<String>) -> anyhow::Result<Option<T>> {
    let Some(text) = text else { return Ok(None) };
    match text.parse() {
        Ok(number) => Ok(Some(number)),
        Err(_) => bail!("invalid value for {flag}: parsing {text:?}: invalid syntax"),
    }
}

/// A size with an optional unit, in powers of 1024, or -1; 0 is not set.
fn bytes(flag: &str, text: Option<String>) -> anyhow::Result<Option<i64>> {
    let Some(text) = text else { return Ok(None) };
    match size(&text) {
        Some(size) => Ok(Some(size).filter(|it| *it != 0)),
        None => bail!("invalid value for {flag}: invalid size: '{text}'"),
    }
}

fn size(text: &str) -> Option<i64> {
    if text == "-1" {
        return Some(-1);
    }
    let end = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.');
    let (number, unit) = text.split_at(end.unwrap_or(text.len()));
    let unit = unit.trim_start().to_ascii_lowercase();
    let unit = unit
        .strip_suffix("ib")
        .or(unit.strip_suffix('b'))
        .unwrap_or(&unit);
    let shift = match unit {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        "p" => 50,
        _ => return None,
    };
    if let Ok(whole) = number.parse::<i64>() {
        return whole.checked_mul(1 << shift);
    }
    let scaled = number.parse::<f64>().ok()? * f64::from(1_u32 << 10).powi(shift / 10);
    // beyond 2^53 fractions mean nothing
    (scaled < 9e15).then_some(scaled as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_take_units() {
        let cases = [
            ("67108864", 67_108_864),
            ("50M", 52_428_800),
            ("50mb", 52_428_800),
            ("1.5GiB", 1_610_612_736),
            ("-1", -1),
            ("0", 0),
        ];
        for (text, expected) in cases {
            assert_eq!(size(text), Some(expected), "{text}");
        }
        for text in ["", "M", "5X", "-2", "9999999999G"] {
            assert_eq!(size(text), None, "{text}");
        }
    }

    #[test]
    fn keys_are_read_in_any_case() {
        let change = from_json(
            br#"{"CPU":{"Cpus":"1"},"Memory":{"Limit":5},"unified":{"memory.High":"7"}}"#,
        );
        let change = change.unwrap();
        assert_eq!(change.cpus.as_deref(), Some("1"));
        assert_eq!(change.memory, Some(5));
        assert_eq!(change.unified["memory.High"], "7");
    }

    #[test]
    fn wrong_numbers_name_their_flag() {
        let error = number::<u64>("cpu-share", Some("x".to_owned())).unwrap_err();
        assert!(
            error.to_string().starts_with("invalid value for cpu-share"),
            "{error}"
        );
    }
}
