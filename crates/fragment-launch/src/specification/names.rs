//! Names in JSON documents of the specification, in any case: Go's reader takes them so, and with it runc.

use serde_json::{Map, Value};

/// Every name that oci-spec reads in config.json and in the documents of exec and update, sorted.
const NAMES: [&str; 155] = [
    "access",
    "action",
    "additionalGids",
    "allow",
    "ambient",
    "annotations",
    "apparmorProfile",
    "architectures",
    "args",
    "blockIO",
    "bounding",
    "burst",
    "capabilities",
    "cgroupsPath",
    "checkBeforeUpdate",
    "class",
    "classID",
    "closID",
    "commandLine",
    "consoleSize",
    "containerID",
    "cpu",
    "cpus",
    "createContainer",
    "createRuntime",
    "cwd",
    "deadline",
    "defaultAction",
    "defaultErrnoRet",
    "destination",
    "devices",
    "disableOOMKiller",
    "domain",
    "domainname",
    "effective",
    "enableCmt",
    "enableMbm",
    "enableMonitoring",
    "env",
    "errnoRet",
    "execCPUAffinity",
    "fileMode",
    "final",
    "flags",
    "gid",
    "gidMappings",
    "hard",
    "hcaHandles",
    "hcaObjects",
    "height",
    "hooks",
    "hostID",
    "hostname",
    "hugepageLimits",
    "idle",
    "index",
    "inheritable",
    "initial",
    "intelRdt",
    "ioPriority",
    "kernel",
    "kernelTCP",
    "l3CacheSchema",
    "leafWeight",
    "limit",
    "linux",
    "listenerMetadata",
    "listenerPath",
    "major",
    "maskedPaths",
    "memBwSchema",
    "memory",
    "memoryPolicy",
    "mems",
    "minor",
    "mode",
    "mountLabel",
    "mounts",
    "name",
    "names",
    "namespaces",
    "nanosecs",
    "netDevices",
    "network",
    "nice",
    "noNewPrivileges",
    "nodes",
    "ociVersion",
    "oomScoreAdj",
    "op",
    "options",
    "pageSize",
    "path",
    "period",
    "permitted",
    "personality",
    "pids",
    "policy",
    "poststart",
    "poststop",
    "prestart",
    "priorities",
    "priority",
    "process",
    "quota",
    "rate",
    "rdma",
    "readonly",
    "readonlyPaths",
    "realtimePeriod",
    "realtimeRuntime",
    "reservation",
    "resources",
    "rlimits",
    "root",
    "rootfsPropagation",
    "runtime",
    "scheduler",
    "schemata",
    "seccomp",
    "secs",
    "selinuxLabel",
    "shares",
    "size",
    "soft",
    "solaris",
    "source",
    "startContainer",
    "swap",
    "swappiness",
    "syscalls",
    "sysctl",
    "terminal",
    "throttleReadBpsDevice",
    "throttleReadIOPSDevice",
    "throttleWriteBpsDevice",
    "throttleWriteIOPSDevice",
    "timeOffsets",
    "timeout",
    "type",
    "uid",
    "uidMappings",
    "umask",
    "unified",
    "useHierarchy",
    "user",
    "username",
    "value",
    "valueTwo",
    "vm",
    "weight",
    "weightDevice",
    "width",
    "windows",
    "zos",
];

/// What is below these has names of the caller's: annotations, sysctls, files of cgroups, devices.
const FREE: [&str; 5] = ["annotations", "netDevices", "rdma", "sysctl", "unified"];

/// Whether a JSON text holds a name that is one of the specification's in another case; a quick look at every start, which may
/// be wrong about names of the caller's.
pub(crate) fn is_respelled(text: &[u8]) -> bool {
    let mut rest = text;
    while let Some(start) = rest.iter().position(|byte| *byte == b'"') {
        let string = &rest[start + 1..];
        let Some(length) = end_of_string(string) else {
            return false;
        };
        rest = &string[length + 1..];
        if is_value_next(rest) && is_in_another_case(&string[..length]) {
            return true;
        }
    }
    false
}

/// Whether the string that was just read is a name.
pub(crate) fn is_value_next(rest: &[u8]) -> bool {
    let next = rest.iter().find(|byte| !byte.is_ascii_whitespace());
    next == Some(&b':')
}

/// Where a JSON string ends whose first quote has been read.
pub(crate) fn end_of_string(text: &[u8]) -> Option<usize> {
    let mut position = 0;
    loop {
        match text.get(position)? {
            b'"' => return Some(position),
            b'\\' => position += 2,
            _ => position += 1,
        }
    }
}

fn is_in_another_case(name: &[u8]) -> bool {
    let exact = NAMES.binary_search_by(|known| known.as_bytes().cmp(name));
    exact.is_err() && known(name).is_some()
}

fn known(name: &[u8]) -> Option<&'static str> {
    let mut names = NAMES.into_iter();
    names.find(|known| known.as_bytes().eq_ignore_ascii_case(name))
}

/// Spells the names of a document as the specification does, and leaves out what is null, which Go reads as nothing. What is
/// there in both spellings becomes one, as with Go's reader; of two values that of the other spelling is taken, which somebody
/// added to what there was (Go: the later one).
pub fn respell(value: &mut Value) {
    match value {
        Value::Array(list) => list.iter_mut().for_each(respell),
        Value::Object(map) => {
            let entries = std::mem::take(map).into_iter();
            let (respelled, exact): (Vec<_>, Vec<_>) = entries
                .filter(|(_, inner)| !inner.is_null())
                .partition(|(key, _)| is_in_another_case(key.as_bytes()));
            for (key, mut inner) in exact.into_iter().chain(respelled) {
                let name = known(key.as_bytes()).map_or(key, str::to_owned);
                if FREE.contains(&name.as_str()) {
                    respell_below(&mut inner);
                } else {
                    respell(&mut inner);
                }
                merge(map.entry(name).or_insert(Value::Null), inner);
            }
        }
        _ => {}
    }
}

fn merge(old: &mut Value, new: Value) {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            for (key, inner) in new {
                merge(old.entry(key).or_insert(Value::Null), inner);
            }
        }
        (old, new) => *old = new,
    }
}

/// The same where the first level has names of the caller's.
fn respell_below(value: &mut Value) {
    let entries = value.as_object_mut().into_iter().flat_map(Map::values_mut);
    entries.for_each(respell);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_names_are_sorted_and_differ_by_more_than_case() {
        assert!(NAMES.is_sorted());
        for name in NAMES {
            assert_eq!(known(name.as_bytes()), Some(name));
        }
    }

    #[test]
    fn another_case_is_seen_in_names_alone() {
        assert!(is_respelled(br#"{"linux" : {"CPU" : {}}}"#));
        assert!(is_respelled(br#"{"cgroupspath":"x"}"#));
        for same in [
            r#"{"process":{"args":["CPU","Root"]}}"#,
            r#"{"annotations":{"a\"CPU":"Root"}}"#,
            r#"{"Unknown":1,"#,
            r#"{"CPU"#,
        ] {
            assert!(!is_respelled(same.as_bytes()), "{same}");
        }
    }

    #[test]
    fn names_of_the_callers_stay() {
        let mut document = json!({
            "Linux": { "Resources": { "CPU": { "Cpus": "0" }, "Unified": { "CPU": "1" },
                                      "RDMA": { "Limit": { "HCAHandles": 3 } } }, "seccomp": null },
            "Annotations": { "Root": "x" }
        });
        respell(&mut document);
        let expected = json!({
            "linux": { "resources": { "cpu": { "cpus": "0" }, "unified": { "CPU": "1" },
                                      "rdma": { "Limit": { "hcaHandles": 3 } } } },
            "annotations": { "Root": "x" }
        });
        assert_eq!(document, expected);
    }

    #[test]
    fn both_spellings_are_one() {
        let mut document = json!({
            "cpu": { "shares": 100, "quota": 5 }, "CPU": { "Cpus": "0", "Shares": 7 }
        });
        respell(&mut document);
        let cpu = json!({ "shares": 7, "quota": 5, "cpus": "0" });
        assert_eq!(document, json!({ "cpu": cpu }));
    }
}
