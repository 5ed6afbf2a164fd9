//! Tests of what is told about the parts of a release: the bill of materials, and the licences that travel with it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

use serde_json::Value;

/// What a command of `packaging` writes.
fn written(command: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    // A time that is given makes the file the same each time.
    let program = format!("{}/packaging/{command}", env!("CARGO_MANIFEST_DIR"));
    let ran = Command::new(program).arg(&out).env("SOURCE_DATE_EPOCH", "1764288000").output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    fs::read_to_string(out).unwrap()
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    let found = value[field].as_str().unwrap_or_default();
    assert!(!found.is_empty(), "no {field}: {value}");
    found
}

/// What CycloneDX 1.6 demands of a component, and what a reader of this one relies on.
fn assert_component(component: &Value) {
    let types = ["application", "library"];
    assert!(types.contains(&text(component, "type")), "{component}");
    for field in ["bom-ref", "name", "version", "purl"] {
        text(component, field);
    }
    let licences = component["licenses"].as_array().unwrap();
    assert!(licences.len() == 1 && !text(&licences[0], "expression").contains('/'), "no SPDX expression: {component}");
    for hash in component["hashes"].as_array().into_iter().flatten() {
        let content = text(hash, "content");
        assert!(content.len() == 64 && content.chars().all(|digit| digit.is_ascii_hexdigit()), "{component}");
        assert_eq!(hash["alg"], "SHA-256");
    }
}

/// Name and version of every crate that Cargo builds a release from, this one left out.
fn crates() -> BTreeSet<(String, String)> {
    let mut tree = Command::new(env!("CARGO"));
    tree.args(["tree", "--locked", "--features=vendored", "--edges=normal,build", "--prefix=none"]);
    let tree = tree.current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    let tree = String::from_utf8(tree.stdout).unwrap();
    let named = tree.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        Some((words.next()?.to_owned(), words.next()?.trim_start_matches('v').to_owned()))
    });
    named.filter(|(name, _)| name != "imotriz-kafka").collect()
}

#[test]
fn the_bill_of_materials_names_every_crate_and_every_c_library_with_its_licence_and_hash() {
    let bom = written("sbom");
    assert_eq!(bom, written("sbom"), "the same sources give the same file");
    let bom: Value = serde_json::from_str(&bom).unwrap();
    assert_eq!((text(&bom, "bomFormat"), text(&bom, "specVersion")), ("CycloneDX", "1.6"));
    assert!(text(&bom, "serialNumber").starts_with("urn:uuid:"));
    assert_eq!(text(&bom["metadata"], "timestamp"), "2025-11-28T00:00:00Z");
    let program = &bom["metadata"]["component"];
    assert_eq!((text(program, "name"), text(program, "version")), ("imotriz-kafka", env!("CARGO_PKG_VERSION")));

    let components = bom["components"].as_array().unwrap();
    let all = || components.iter().chain([program]);
    all().for_each(assert_component);
    let references: BTreeSet<_> = all().map(|component| text(component, "bom-ref")).collect();
    assert_eq!(references.len(), components.len() + 1, "a reference is there twice");
    for dependency in bom["dependencies"].as_array().unwrap() {
        let needs = dependency["dependsOn"].as_array().unwrap();
        let named = needs.iter().filter_map(Value::as_str).chain([text(dependency, "ref")]);
        assert!(named.clone().count() == needs.len() + 1 && named.clone().all(|name| references.contains(name)));
    }

    let found = components.iter().filter(|component| text(component, "purl").starts_with("pkg:cargo/"));
    let found: BTreeSet<_> = found
        .map(|component| {
            assert_eq!(component["hashes"].as_array().map(Vec::len), Some(1), "{component}");
            (text(component, "name").to_owned(), text(component, "version").to_owned())
        })
        .collect();
    assert_eq!(found, crates());

    let by_name: BTreeMap<_, _> = components.iter().map(|component| (text(component, "name"), component)).collect();
    for library in ["librdkafka", "openssl", "zstd", "zlib"] {
        let library = by_name[library];
        assert!(library["scope"] == "required" && library["hashes"].is_array(), "{library}");
    }
    let (_, linked) = rdkafka::util::get_rdkafka_version();
    assert_eq!(text(by_name["librdkafka"], "version"), linked);
    assert_eq!(by_name["cc"]["scope"], "excluded", "what only builds");
    assert_eq!(by_name["serde_derive"]["scope"], "excluded", "a macro is not linked");
}

#[test]
fn the_licences_of_all_that_is_linked_in_are_there_with_their_text() {
    let licences = written("licences");
    let bom: Value = serde_json::from_str(&written("sbom")).unwrap();
    let linked = bom["components"].as_array().unwrap().iter().filter(|component| component["scope"] == "required");
    let (list, texts) = licences.split_once("\n\n====").unwrap();
    let owners: Vec<_> = texts.split("====\n").flat_map(str::lines).collect();
    let mut count = 0;
    for component in linked {
        let part = format!("{} {}", text(component, "name"), text(component, "version"));
        assert!(list.contains(&format!("\n{part}: {}", text(&component["licenses"][0], "expression"))), "{part}");
        assert!(owners.iter().any(|line| line.split(", ").any(|owner| owner == part)), "{part} has no text");
        count += 1;
    }
    assert!(count > 150, "only {count} parts are linked in");
    // One sentence of each: crates, librdkafka, what is inside librdkafka, OpenSSL, zlib, the standard library.
    for sentence in [
        "Permission is hereby granted, free of charge",
        "librdkafka - Apache Kafka C driver library",
        "LZ4 Library",
        "Apache License",
        "Jean-loup Gailly",
        "Copyrights in the Rust Standard Library are retained by their contributors",
    ] {
        assert!(licences.contains(sentence), "{sentence}");
    }
}

/// Both commands describe a release in which the C libraries are linked in, whatever machine they run on.
#[test]
fn the_image_and_the_package_are_built_as_the_bill_of_materials_says() {
    for file in ["Dockerfile", "packaging/build-deb"] {
        let text = fs::read_to_string(format!("{}/{file}", env!("CARGO_MANIFEST_DIR"))).unwrap();
        assert!(text.contains("--features vendored") && text.contains("LIBZ_SYS_STATIC=1"), "{file}");
    }
}
