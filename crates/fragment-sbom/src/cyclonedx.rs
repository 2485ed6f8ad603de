//! CycloneDX 1.5 in JSON.

use fragment_types::{Digest, Manifest};
use serde_json::{Value, json};

use crate::bill::{Bill, Held, OwnFile};
use crate::licence::{Licence, licence};

const ROOT: &str = "fragment";

/// The document.
#[must_use]
pub fn document(bill: &Bill<'_>) -> Value {
    let mut components: Vec<Value> = bill.manifests.iter().map(|m| component(m)).collect();
    components.extend(bill.plan.generated.iter().map(|g| generated(&g.digest)));
    if let (Some(release), false) = (&bill.release, bill.packages.is_empty()) {
        components.push(json!({
            "type": "operating-system", "bom-ref": "operating-system", "name": "debian", "version": release,
        }));
    }
    components.extend(bill.packages.values().map(package));
    components.extend(bill.files.iter().map(file));
    json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.5.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": format!("urn:uuid:{}", bill.uuid()),
        "version": 1,
        "metadata": {
            "timestamp": bill.created,
            "tools": { "components": [{
                "type": "application", "name": "fragment", "version": env!("CARGO_PKG_VERSION"),
            }] },
            "component": fragment(bill),
        },
        "components": components,
        "dependencies": dependencies(bill),
    })
}

fn sha256(digest: &Digest) -> Value {
    json!([{ "alg": "SHA-256", "content": digest.hex() }])
}

fn property(name: &str, value: &str) -> Value {
    json!({ "name": format!("dev.fragment:{name}"), "value": value })
}

fn fragment(bill: &Bill<'_>) -> Value {
    let mut properties = vec![
        property("fragment", &bill.plan.id().to_string()),
        property("entry", &bill.plan.entry.path),
    ];
    properties.extend(bill.remark.iter().map(|r| property("remark", r)));
    json!({
        "type": "container",
        "bom-ref": ROOT,
        "name": bill.name(),
        "hashes": sha256(&bill.plan.id()),
        "properties": properties,
    })
}

fn component(manifest: &Manifest) -> Value {
    let mut described = json!({
        "type": "container",
        "bom-ref": component_ref(manifest.name.as_str()),
        "name": manifest.name,
        "version": manifest.version,
        "description": manifest.description,
        "hashes": sha256(&manifest.layer.diff_id),
    });
    if let Some(eol) = &manifest.eol {
        described["properties"] = json!([property("eol", eol)]);
    }
    described
}

fn generated(digest: &Digest) -> Value {
    json!({
        "type": "data",
        "bom-ref": "generated",
        "name": "files generated for the composition",
        "hashes": sha256(digest),
    })
}

fn package(held: &Held<'_>) -> Value {
    let Held { package, purl, .. } = held;
    let version = package.source_version.as_ref().unwrap_or(&package.version);
    let mut properties = vec![
        property("source", &package.source),
        property("sourceVersion", version),
    ];
    for (component, sliced) in &held.by {
        let name = if *sliced { "sliceIn" } else { "in" };
        properties.push(property(name, component.as_str()));
    }
    if held.is_sliced() {
        properties.push(property("sliced", "true"));
    }
    let mut described = json!({
        "type": "library",
        "bom-ref": purl,
        "supplier": { "name": "Debian" },
        "name": package.name,
        "version": package.version,
        "purl": purl,
        "properties": properties,
    });
    if let Some(maintainer) = &package.maintainer {
        described["publisher"] = maintainer.clone().into();
    }
    let mut licences: Vec<Licence> = package.licences.iter().map(|n| licence(n)).collect();
    licences.sort();
    licences.dedup();
    if !licences.is_empty() {
        let one = |licence: &Licence| match licence {
            Licence::Listed(id) => json!({ "license": { "id": id } }),
            Licence::Other(name) => json!({ "license": { "name": name } }),
        };
        described["licenses"] = licences.iter().map(one).collect();
    }
    described
}

fn file(file: &OwnFile) -> Value {
    json!({
        "type": "file",
        "bom-ref": file_ref(file),
        "name": file.path,
        "hashes": sha256(&file.digest),
    })
}

/// The fragment depends on its components and files, a component on those it requires and on its packages.
fn dependencies(bill: &Bill<'_>) -> Vec<Value> {
    let dependency = |of: &str, mut on: Vec<String>| {
        on.sort();
        on.dedup();
        json!({ "ref": of, "dependsOn": on })
    };
    let mut of_root: Vec<String> = bill
        .manifests
        .iter()
        .map(|m| component_ref(m.name.as_str()))
        .chain(bill.files.iter().map(file_ref))
        .collect();
    of_root.extend(bill.plan.generated.iter().map(|_| "generated".to_owned()));
    let mut all = vec![dependency(ROOT, of_root)];
    for manifest in &bill.manifests {
        let required = bill.required(manifest);
        let packages = bill.packages.values();
        let on = required
            .iter()
            .map(|name| component_ref(name.as_str()))
            .chain(
                packages
                    .filter(|held| held.by.contains_key(&manifest.name))
                    .map(|held| held.purl.clone()),
            );
        all.push(dependency(
            &component_ref(manifest.name.as_str()),
            on.collect(),
        ));
    }
    for held in bill.packages.values() {
        let on = bill.depends(held.package);
        all.push(dependency(&held.purl, on.map(|h| h.purl.clone()).collect()));
    }
    all
}

fn component_ref(name: &str) -> String {
    format!("component:{name}")
}

fn file_ref(file: &OwnFile) -> String {
    format!("file:{}", file.path)
}
