//! SPDX 2.3 in JSON.
//!
//! Files that the app brings are packages of purpose FILE: a file of the document would need a SHA-1.

use std::collections::BTreeMap;

use fragment_types::manifest::Package;
use fragment_types::{Digest, Manifest};
use serde_json::{Value, json};

use crate::bill::{Bill, Held, OwnFile};
use crate::licence::{Licence, licence};

const ROOT: &str = "SPDXRef-Fragment";

/// The document.
#[must_use]
pub fn document(bill: &Bill<'_>) -> Value {
    let mut packages = vec![fragment(bill)];
    packages.extend(bill.manifests.iter().map(|m| component(m)));
    packages.extend(bill.plan.generated.iter().map(|g| generated(&g.digest)));
    packages.extend(bill.packages.values().map(package));
    packages.extend(bill.files.iter().enumerate().map(|(n, f)| file(n, f)));
    let mut document = json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": bill.name(),
        "documentNamespace": format!("https://spdx.org/spdxdocs/fragment-{}", bill.uuid()),
        "creationInfo": {
            "created": bill.created,
            "creators": [format!("Tool: fragment-{}", env!("CARGO_PKG_VERSION"))],
        },
        "packages": packages,
        "relationships": relationships(bill),
    });
    let texts = other_licences(bill);
    if !texts.is_empty() {
        document["hasExtractedLicensingInfos"] = texts.into();
    }
    document
}

/// A package of which nothing is claimed but this.
fn bare(id: &str, name: &str, purpose: &str) -> Value {
    json!({
        "SPDXID": id,
        "name": name,
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": false,
        "licenseConcluded": "NOASSERTION",
        "licenseDeclared": "NOASSERTION",
        "copyrightText": "NOASSERTION",
        "primaryPackagePurpose": purpose,
    })
}

fn sha256(digest: &Digest) -> Value {
    json!([{ "algorithm": "SHA256", "checksumValue": digest.hex() }])
}

fn fragment(bill: &Bill<'_>) -> Value {
    let mut root = bare(ROOT, bill.name(), "CONTAINER");
    root["checksums"] = sha256(&bill.plan.id());
    root["comment"] = format!(
        "The checksum is the fragment id: the digest of the plan, whose entrypoint is {}.{}",
        bill.plan.entry.path,
        bill.remark
            .iter()
            .map(|r| format!(" {r}"))
            .collect::<String>()
    )
    .into();
    root
}

fn component(manifest: &Manifest) -> Value {
    let mut component = bare(
        &component_id(manifest.name.as_str()),
        manifest.name.as_str(),
        "CONTAINER",
    );
    component["versionInfo"] = manifest.version.to_string().into();
    component["summary"] = manifest.description.clone().into();
    component["checksums"] = sha256(&manifest.layer.diff_id);
    component["comment"] =
        "A component layer. The checksum is of its uncompressed tar (diff_id).".into();
    component
}

fn generated(digest: &Digest) -> Value {
    let mut layer = bare(
        "SPDXRef-Generated",
        "files generated for the composition",
        "OTHER",
    );
    layer["checksums"] = sha256(digest);
    layer["comment"] = "Made of files of the components: accounts, the loader's cache, links. The checksum is of the list of what they are made from.".into();
    layer
}

fn package(held: &Held<'_>) -> Value {
    let Held { package, purl, .. } = held;
    let mut described = bare(&package_id(package), &package.name, "LIBRARY");
    if let Some(fields) = described.as_object_mut() {
        // applications and libraries are not told apart by Debian
        fields.remove("primaryPackagePurpose");
    }
    described["versionInfo"] = package.version.clone().into();
    described["supplier"] = "Organization: Debian".into();
    described["licenseDeclared"] = declared(package).into();
    if !package.licences.is_empty() {
        described["licenseComments"] = "All licences that the package's copyright file names, each for some of its files; where it leaves a choice, all of the choice.".into();
    }
    let version = package.source_version.as_ref().unwrap_or(&package.version);
    described["sourceInfo"] = format!("source package {} {version}", package.source).into();
    described["externalRefs"] = json!([{
        "referenceCategory": "PACKAGE-MANAGER",
        "referenceType": "purl",
        "referenceLocator": purl,
    }]);
    if held.is_sliced() {
        described["comment"] = "Sliced: only some of its files are there.".into();
    }
    described
}

fn file(number: usize, file: &OwnFile) -> Value {
    let mut described = bare(&format!("SPDXRef-File-{number}"), &file.path, "FILE");
    described["packageFileName"] = file.path.clone().into();
    described["checksums"] = sha256(&file.digest);
    described["comment"] = "A file of the app itself.".into();
    described
}

fn declared(package: &Package) -> String {
    let mut all: Vec<String> = package
        .licences
        .iter()
        .map(|name| licence(name).identifier())
        .collect();
    all.sort();
    all.dedup();
    if all.is_empty() {
        return "NOASSERTION".to_owned();
    }
    all.join(" AND ")
}

fn other_licences(bill: &Bill<'_>) -> Vec<Value> {
    let mut named: BTreeMap<String, (&str, Vec<&str>)> = BTreeMap::new();
    for held in bill.packages.values() {
        for name in &held.package.licences {
            let found = licence(name);
            if matches!(found, Licence::Other(_)) {
                let entry = named.entry(found.identifier());
                let (_, packages) = entry.or_insert_with(|| (name, Vec::new()));
                packages.push(&held.package.name);
            }
        }
    }
    named
        .into_iter()
        .map(|(id, (name, packages))| {
            json!({
                "licenseId": id,
                "name": name,
                "extractedText": "NOASSERTION",
                "comment": format!("Called so by the Debian copyright file of {}, which has the text.", packages.join(", ")),
            })
        })
        .collect()
}

fn relationships(bill: &Bill<'_>) -> Vec<Value> {
    let relation = |from: &str, kind: &str, to: &str| json!({ "spdxElementId": from, "relationshipType": kind, "relatedSpdxElement": to });
    let mut all = vec![relation("SPDXRef-DOCUMENT", "DESCRIBES", ROOT)];
    for manifest in &bill.manifests {
        let id = component_id(manifest.name.as_str());
        all.push(relation(ROOT, "CONTAINS", &id));
        for required in bill.required(manifest) {
            all.push(relation(
                &id,
                "DEPENDS_ON",
                &component_id(required.as_str()),
            ));
        }
    }
    if bill.plan.generated.is_some() {
        all.push(relation(ROOT, "CONTAINS", "SPDXRef-Generated"));
    }
    for held in bill.packages.values() {
        let id = package_id(held.package);
        for (component, sliced) in &held.by {
            let mut contains = relation(&component_id(component.as_str()), "CONTAINS", &id);
            if *sliced {
                contains["comment"] = "Sliced: only some of its files.".into();
            }
            all.push(contains);
        }
        for needed in bill.depends(held.package) {
            all.push(relation(&id, "DEPENDS_ON", &package_id(needed.package)));
        }
    }
    for number in 0..bill.files.len() {
        let id = format!("SPDXRef-File-{number}");
        all.push(relation(ROOT, "CONTAINS", &id));
    }
    all
}

fn component_id(name: &str) -> String {
    format!("SPDXRef-Component-{}", idstring(name))
}

fn package_id(package: &Package) -> String {
    format!(
        "SPDXRef-Package-{}-{}",
        idstring(&package.name),
        idstring(&package.version)
    )
}

/// Letters, digits, `.` and `-` are allowed (SPDX 2.3, clause 7.2); others are written as their number.
fn idstring(text: &str) -> String {
    let mut id = String::new();
    for character in text.chars() {
        if character.is_ascii_alphanumeric() || matches!(character, '.' | '-') {
            id.push(character);
        } else {
            id.push_str(&format!(".u{:x}.", u32::from(character)));
        }
    }
    id
}
