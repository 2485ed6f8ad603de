//! `events`

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use fragment::start::ExitCode;
use serde_json::json;

use crate::arguments::EventsArguments;
use crate::report;
use crate::runtime::{ContainerId, Notice, Runtime, Status};

pub(crate) fn events(runtime: &Runtime, arguments: &EventsArguments) -> anyhow::Result<ExitCode> {
    let id: ContainerId = arguments.id.parse()?;
    let interval = duration(&arguments.interval)
        .with_context(|| format!("invalid value {:?} for flag -interval", arguments.interval))?;
    if interval.is_zero() {
        bail!("duration interval must be greater than 0");
    }
    if runtime.state(&id)?.status == Status::Stopped {
        bail!("container with id {id} is not running");
    }
    if arguments.stats {
        print_stats(runtime, &id)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut watch = runtime.watch(&id)?;
    let mut next = Instant::now() + interval;
    loop {
        match watch.wait(next.saturating_duration_since(Instant::now()))? {
            Notice::OutOfMemory => print(&json!({ "type": "oom", "id": id.as_str() }))?,
            Notice::Gone => return Ok(ExitCode::SUCCESS),
            Notice::Nothing => {}
        }
        if Instant::now() >= next {
            next += interval;
            match print_stats(runtime, &id) {
                // deleted between the notice and the look
                Err(_) if !runtime.exists(&id) => return Ok(ExitCode::SUCCESS),
                other => other?,
            }
        }
    }
}

fn print_stats(runtime: &Runtime, id: &ContainerId) -> anyhow::Result<()> {
    let stats = runtime.stats(id)?;
    // in this order: test suites match the beginning of the line
    let data = serde_json::to_string(&stats)?;
    let name = serde_json::to_string(id.as_str())?;
    report::print(&format!(
        "{{\"type\":\"stats\",\"id\":{name},\"data\":{data}}}\n"
    ))
}

fn print(event: &serde_json::Value) -> anyhow::Result<()> {
    let id = &event["id"];
    let kind = &event["type"];
    report::print(&format!("{{\"type\":{kind},\"id\":{id}}}\n"))
}

/// A duration as Go writes it: `1m30s`, `100ms`.
fn duration(text: &str) -> Option<Duration> {
    const UNITS: [(&str, f64); 7] = [
        ("ns", 1e-9),
        ("us", 1e-6),
        ("µs", 1e-6),
        ("ms", 1e-3),
        ("s", 1.0),
        ("m", 60.0),
        ("h", 3600.0),
    ];
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut seconds = 0.0;
    let mut rest = text;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
        let (number, after) = rest.split_at(digits);
        let unit = after
            .find(|letter: char| letter.is_ascii_digit())
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(unit);
        let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit)?;
        seconds += number.parse::<f64>().ok()? * factor;
        rest = after;
    }
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_gos() {
        for (text, expected) in [
            ("5s", 5000),
            ("100ms", 100),
            ("1m30s", 90_000),
            ("1.5s", 1500),
        ] {
            assert_eq!(
                duration(text),
                Some(Duration::from_millis(expected)),
                "{text}"
            );
        }
        for text in ["", "5", "s", "5x", "-1s"] {
            assert_eq!(duration(text), None, "{text}");
        }
        assert_eq!(duration("0"), Some(Duration::ZERO));
    }
}
