"""Checks documents and package databases with other people's readers; what is wrong is printed, and the exit code 1.

validate.py spdx FILE        SPDX 2.3, against the published JSON schema and by the SPDX project's own library
validate.py cyclonedx FILE   CycloneDX 1.5, against the published JSON schema (strict: no unknown field)
validate.py status DIR       /var/lib/dpkg/status.d of a root: prints NAME VERSION ARCHITECTURE of every package
"""
import json
import pathlib
import sys


def purls(urls):
    from packageurl import PackageURL

    for url in urls:
        parsed = PackageURL.from_string(url)
        if parsed.to_string() != url:
            yield f"purl {url} is not canonical: {parsed.to_string()}"
        if (parsed.type, parsed.namespace) != ("deb", "debian"):
            yield f"purl {url} is not of Debian"


def spdx(file):
    import importlib.resources

    import jsonschema
    from spdx_tools.spdx.parser.parse_anything import parse_file
    from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

    # http://spdx.org/rdf/terms/2.3, which no package of the SPDX project has
    schema = json.loads((importlib.resources.files("lib4sbom") / "schemas/spdx/2.3-schema.json").read_text())
    assert schema["$id"] == "http://spdx.org/rdf/terms/2.3", schema["$id"]
    for error in jsonschema.Draft7Validator(schema).iter_errors(json.loads(pathlib.Path(file).read_text())):
        yield f"{error.json_path}: {error.message}"
    document = parse_file(file)
    for message in validate_full_spdx_document(document, "SPDX-2.3"):
        yield f"{message.validation_message} ({message.context.spdx_id})"
    references = [r for package in document.packages for r in package.external_references]
    yield from purls(r.locator for r in references)


def cyclonedx(file):
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    text = pathlib.Path(file).read_text()
    error = JsonStrictValidator(SchemaVersion.V1_5).validate_str(text)
    if error is not None:
        yield str(error)
    document = json.loads(text)
    yield from purls(c["purl"] for c in document["components"] if "purl" in c)
    known = {c["bom-ref"] for c in document["components"]} | {document["metadata"]["component"]["bom-ref"]}
    for dependency in document["dependencies"]:
        for ref in [dependency["ref"], *dependency["dependsOn"]]:
            if ref not in known:
                yield f"dependency on {ref}, which is not there"


def status(directory):
    from debian.deb822 import Packages

    for file in sorted(pathlib.Path(directory).iterdir()):
        if file.suffix == ".md5sums":
            for line in file.read_text().splitlines():
                digest, path = line.split("  ", 1)
                if len(digest) != 32 or path.startswith("/"):
                    yield f"{file}: {line}"
            continue
        with file.open() as lines:
            paragraphs = list(Packages.iter_paragraphs(lines, use_apt_pkg=False))
        if len(paragraphs) != 1 or paragraphs[0]["Package"] != file.name:
            yield f"{file}: not one paragraph of that package"
        else:
            package = paragraphs[0]
            package.relations  # parsed as dependencies
            print(package["Package"], package["Version"], package["Architecture"])


problems = list(globals()[sys.argv[1]](sys.argv[2]))
print("\n".join(problems), file=sys.stderr)
sys.exit(1 if problems else 0)
