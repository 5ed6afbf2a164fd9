//! Tests that the documents and the sample settings describe the program: commands parse, settings load, tables match
//! the code, links lead somewhere. `UPDATE_DOCS=1 cargo test --test documents` rewrites the generated parts.
#![allow(clippy::unwrap_used, reason = "all of this is a test, and a panic is how a test reports")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::ops::Range;
use std::path::Path;

use clap::{CommandFactory as _, Parser as _};
use imotriz_kafka::cli::{Cli, exit};
use imotriz_kafka::config::{self, Config};
use imotriz_kafka::operate::admin::metrics::METRICS;
use imotriz_kafka::order::mapping::Mapping;
use serde_json::Value;

/// Where the translations are.
const SPANISH: &str = "docs/es";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// All documents, translations included: their paths and texts.
fn documents() -> Vec<(String, String)> {
    let paths = [pages("docs"), pages(SPANISH), ["README.md", "SECURITY.md"].map(str::to_owned).to_vec()].concat();
    paths.into_iter().map(|path| (path.clone(), read(&path))).collect()
}

/// The paths of a folder's documents.
fn pages(folder: &str) -> Vec<String> {
    let names =
        fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.ends_with(".md")).map(|name| format!("{folder}/{name}")).collect()
}

/// The documents' fenced blocks in a language.
fn blocks(language: &str) -> Vec<String> {
    let documents = documents();
    let parts = documents.iter().flat_map(|(_, text)| text.split("\n```").skip(1).step_by(2));
    let found: Vec<_> =
        parts.filter_map(|part| part.strip_prefix(language)?.strip_prefix('\n')).map(str::to_owned).collect();
    assert!(!found.is_empty(), "no document has a block in `{language}`");
    found
}

/// The words of a line without quotes, as a shell would hand them over. Fails for a line with more of a shell's syntax.
fn words(line: &str) -> Vec<&str> {
    assert!(!line.contains(['"', '\'', '$', '|', '>', '\\']), "this test does not read shell syntax: {line}");
    line.split_whitespace().collect()
}

#[test]
fn every_command_of_the_documents_parses() {
    let mut parsed = 0;
    for line in blocks("sh").iter().flat_map(|block| block.lines()) {
        let arguments = match words(line).as_slice() {
            ["imotriz-kafka", arguments @ ..] | ["cargo", "run", "--", arguments @ ..] => arguments.to_vec(),
            ["cargo", "test"] | ["docker", "compose", ..] | ["export", _] | [] => continue,
            _ => panic!("neither a command of the program nor a setting: {line}"),
        };
        if let Err(error) = Cli::try_parse_from(["imotriz-kafka"].iter().chain(&arguments)) {
            panic!("{line}\n{error}");
        }
        parsed += 1;
    }
    assert!(parsed >= 8, "only {parsed} commands found");
}

#[test]
fn every_environment_of_the_documents_loads_and_has_a_store() {
    let mut loaded = 0;
    for block in blocks("sh") {
        let variables: Vec<_> =
            block.lines().filter_map(|line| line.strip_prefix("export ")?.split_once('=')).collect();
        if variables.is_empty() {
            continue;
        }
        let owned = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let config = Config::from_environment(owned).unwrap_or_else(|error| panic!("{error}\n{block}"));
        config.stores_or_error().unwrap_or_else(|error| panic!("{error}\n{block}"));
        loaded += 1;
    }
    assert!(loaded >= 3, "only {loaded} environments found");
}

#[test]
fn every_settings_file_of_the_documents_loads() {
    for block in blocks("toml") {
        Config::from_toml(&block).unwrap_or_else(|error| panic!("{error}\n{block}"));
    }
}

#[test]
fn the_sample_settings_load_and_the_parts_in_comments_too() {
    let sample = read("examples/imotriz-kafka.toml");
    let config = Config::from_toml(&sample).unwrap();
    assert_eq!(config.stores_or_error().unwrap().len(), 2);

    // A line that is a setting but for the `# ` before it; the explanations are sentences.
    let is_setting = |line: &str| line.starts_with('[') || line.starts_with('"') || line.contains(" = ");
    let uncommented = sample.lines().map(|line| match line.strip_prefix("# ") {
        Some(setting) if is_setting(setting) => setting,
        _ => line,
    });
    let config = Config::from_toml(&uncommented.collect::<Vec<_>>().join("\n")).unwrap();
    assert!(
        config.schema_registry.is_some()
            && config.kafka.properties.inline().chain(config.kafka.properties.files()).count() == 4
    );
}

#[test]
fn the_exit_codes_of_the_documents_are_those_of_the_help_and_of_the_code() {
    let operations = read("docs/operations.md");
    let (_, table) = operations.split_once("| exit code | meaning |\n|---|---|\n").expect("the table of exit codes");
    let rows =
        table.lines().take_while(|line| line.starts_with('|')).map(|row| row.split('|').nth(1).unwrap_or_default());
    let in_documents: BTreeSet<u8> = rows.flat_map(codes).collect();

    let help = Cli::command().render_long_help().to_string();
    let (_, listed) = help.split_once("Exit codes:\n").expect("the help lists the exit codes");
    let in_help: BTreeSet<u8> =
        listed.lines().flat_map(|line| codes(line.trim().split("  ").next().unwrap_or_default())).collect();
    assert_eq!(in_documents, in_help);

    let in_code = [
        exit::UNEXPECTED,
        exit::USAGE,
        exit::MARKETPLACE,
        exit::KAFKA,
        exit::REGISTRY,
        exit::SPOOL,
        exit::FINDING,
        exit::REPAIRED,
        exit::NOT_REPAIRED,
        exit::MISSING,
        exit::STOPPED,
    ];
    assert!(in_code.iter().all(|code| in_documents.contains(code)));
}

fn codes(text: &str) -> impl Iterator<Item = u8> {
    text.split([',', ' ']).filter_map(|word| word.parse().ok())
}

#[test]
fn every_test_that_the_guarantees_name_exists() {
    let document = read("docs/guarantees.md");
    let (guarantees, _) = document.split_once("\n## Not promised").expect("what is not promised comes last");
    let mut file: Option<(&str, String)> = None;
    let mut named = 0;
    for word in guarantees.split('`').skip(1).step_by(2) {
        if word.ends_with(".rs") {
            file = Some((word, read(word)));
        } else if word.matches('_').count() > 2 {
            let (path, text) = file.as_ref().expect("a test's name comes after its file's");
            assert!(text.contains(&format!("fn {word}(")), "{path} has no test `{word}`");
            named += 1;
        }
    }
    assert!(named >= 20, "only {named} tests are named");
}

#[test]
fn every_link_of_the_documents_leads_somewhere() {
    for (path, text) in documents() {
        let folder = Path::new(&path).parent().unwrap();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if target.starts_with("http") {
                continue;
            }
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            let file = if file.is_empty() { path.clone() } else { folder.join(file).display().to_string() };
            assert!(root().join(&file).exists(), "{path}: {target} does not exist");
            let is_there = heading.is_empty() || anchors(&read(&file)).iter().any(|anchor| anchor == heading);
            assert!(is_there, "{path}: {target}: no such heading");
        }
    }
}

/// The addresses of a page's headings in their order, as GitHub and GitLab make them. No two may be the same.
fn anchors(text: &str) -> Vec<String> {
    let mut addresses = Vec::new();
    for prose in text.split("\n```").step_by(2) {
        for heading in prose.lines().filter(|line| line.starts_with('#')) {
            let title = heading.trim_start_matches('#').trim().to_lowercase();
            let kept = title.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
            let address: String = kept.map(|c| if c == ' ' { '-' } else { c }).collect();
            assert!(!addresses.contains(&address), "there are two headings `{heading}`");
            addresses.push(address);
        }
    }
    addresses
}

#[test]
fn every_page_in_spanish_says_what_the_english_one_says() {
    let translations = pages(SPANISH);
    assert!(["README", "runbook"].iter().all(|page| translations.contains(&format!("{SPANISH}/{page}.md"))));
    for spanish in translations {
        let english = original(&spanish);
        let link = Path::new(&spanish).strip_prefix(Path::new(&english).parent().unwrap()).unwrap();
        assert!(
            read(&english).contains(&format!("[Español]({})", link.display())),
            "{english} has no link to {spanish}"
        );
        let (sections, translated) = (sections(&english), sections(&spanish));
        for ((title, section), (translated_title, translated)) in sections.iter().zip(&translated) {
            assert_eq!(section, translated, "`{title}` of {english}, and `{translated_title}` of {spanish}");
        }
        assert_eq!(sections.len(), translated.len(), "the headings of {english}, and those of {spanish}");
    }
}

/// The English page of a translation; of any other page itself.
fn original(path: &str) -> String {
    match path.strip_prefix(SPANISH) {
        Some("/README.md") => "README.md".to_owned(),
        Some(page) => format!("docs{page}"),
        None => path.to_owned(),
    }
}

/// What a section says in every language.
#[derive(Debug, Default, PartialEq, Eq)]
struct Section {
    level: usize,
    /// Names of settings, commands, metrics and alerts.
    code: BTreeSet<String>,
    /// Exit codes, limits, figures: without commas.
    numbers: Vec<String>,
    /// English pages, and which of their headings.
    links: BTreeSet<(String, Option<usize>)>,
    /// What is typed or copied. Of a drawing only that it is there.
    blocks: Vec<String>,
}

/// The sections of a page, with their headings.
fn sections(path: &str) -> Vec<(String, Section)> {
    let mut sections = Vec::new();
    for (index, part) in read(path).split("\n```").enumerate() {
        let lines = if index % 2 == 0 { part } else { "" };
        for line in lines.lines() {
            if line.starts_with('#') {
                let level = line.chars().take_while(|c| *c == '#').count();
                sections.push((line.to_owned(), Section { level, ..Section::default() }));
            }
            sections.last_mut().expect("a heading comes first").1.add(path, line);
        }
        if index % 2 == 1 {
            let block = if part.starts_with('\n') { "" } else { part };
            sections.last_mut().expect("a heading comes first").1.blocks.push(block.to_owned());
        }
    }
    sections.iter_mut().for_each(|(_, section)| section.numbers.sort_unstable());
    sections
}

impl Section {
    fn add(&mut self, path: &str, line: &str) {
        let (prose, code): (Vec<_>, Vec<_>) = line.split('`').enumerate().partition(|(index, _)| index % 2 == 0);
        self.code.extend(code.into_iter().map(|(_, span)| span.to_owned()));
        let prose: String = prose.into_iter().map(|(_, text)| text).collect();
        let mut parts = prose.split("](");
        let mut words = parts.next().unwrap_or_default().to_owned();
        for (target, rest) in parts.map(|part| part.split_once(')').expect("the end of a link")) {
            self.links.insert(place(path, target));
            words.push_str(rest);
        }
        let numbers = words.split(|c: char| !c.is_ascii_digit() && !".,".contains(c));
        let numbers = numbers.map(|word| word.trim_matches(['.', ',']).replace(',', ""));
        self.numbers.extend(numbers.filter(|number| !number.is_empty()));
    }
}

/// Where a link of a page leads, whatever the language.
fn place(path: &str, target: &str) -> (String, Option<usize>) {
    if target.starts_with("http") {
        return (target.to_owned(), None);
    }
    let (file, heading) = target.split_once('#').unwrap_or((target, ""));
    let file = match file {
        "" => path.to_owned(),
        _ => {
            let full = root().join(path).with_file_name(file).canonicalize().unwrap();
            full.strip_prefix(root().canonicalize().unwrap()).unwrap().display().to_string()
        }
    };
    let heading = (!heading.is_empty()).then(|| anchors(&read(&file)).iter().position(|anchor| anchor == heading));
    (original(&file), heading.flatten())
}

#[test]
fn the_first_page_is_for_somebody_who_has_five_minutes() {
    let lines = read("README.md").lines().count();
    assert!(lines <= 250, "README.md has {lines} lines: what is for few belongs into docs/");
}

#[test]
fn every_figure_of_the_first_page_is_one_of_the_page_on_performance() {
    let (readme, performance) = (read("README.md"), read("docs/performance.md"));
    let (_, section) = readme.split_once("\n## How fast\n").expect("the section on speed");
    let (section, _) = section.split_once("\n## ").unwrap();
    let words = |text: &str| -> BTreeSet<String> {
        let words = text.split(|c: char| !c.is_alphanumeric() && !".,".contains(c));
        words.map(|word| word.trim_matches(['.', ',']).to_owned()).collect()
    };
    let measured = words(&performance);
    let figures: Vec<_> =
        words(section).into_iter().filter(|word| word.starts_with(|c: char| c.is_ascii_digit())).collect();
    assert!(figures.len() >= 8, "only {figures:?} found");
    for figure in figures {
        assert!(measured.contains(&figure), "docs/performance.md does not say {figure}");
    }
}

#[test]
fn every_file_and_type_that_the_architecture_names_exists() {
    let mut sources = String::new();
    let mut folders = vec![root().join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                sources.push_str(&fs::read_to_string(path).unwrap());
            }
        }
    }
    let exists = |path: &str| root().join(path).exists();
    let is_defined = |name: &str| {
        ["struct", "enum", "trait", "type"].iter().any(|kind| {
            let definition = format!("{kind} {name}");
            sources.split(&definition).skip(1).any(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
        })
    };
    let mut looked_at = 0;
    for name in read("docs/architecture.md").split('`').skip(1).step_by(2) {
        if name.starts_with(|c: char| c.is_ascii_uppercase()) && !name.contains('=') {
            let (owner, variant) = name.split_once("::").unwrap_or((name, ""));
            assert!(is_defined(owner), "there is no type {owner}");
            assert!(sources.contains(&format!("    {variant}(")) || variant.is_empty(), "there is no {name}");
        } else if name.contains(['/', '.']) {
            let places = [name.to_owned(), format!("src/{name}"), format!("src/{name}.rs")];
            assert!(places.iter().any(|place| exists(place)), "there is no {name}");
        } else {
            continue;
        }
        looked_at += 1;
    }
    assert!(looked_at >= 30, "only {looked_at} names found");
}

#[test]
fn what_is_generated_in_the_documents_is_up_to_date() {
    for (path, name, content) in [
        ("docs/settings.md", "settings", config::reference()),
        ("docs/mapping.md", "mapping", mapping_reference()),
        ("docs/event-contract.md", "fields", fields()),
        ("docs/operations.md", "metrics", metrics()),
    ] {
        let old = read(path);
        let mut new = old.clone();
        new.replace_range(between_marks(&old, path, name), &format!("\n{}", content.trim_end()));
        if std::env::var_os("UPDATE_DOCS").is_some() {
            fs::write(root().join(path), new).unwrap();
        } else {
            assert!(
                old == new,
                "{path} is out of date: write it anew with `UPDATE_DOCS=1 cargo test --test documents`"
            );
        }
    }
}

fn between_marks(text: &str, path: &str, name: &str) -> Range<usize> {
    let begin = format!("<!-- {name}: begin, written by tests/documents.rs -->\n");
    let start = text.find(&begin).unwrap_or_else(|| panic!("{path} has no `{begin}`")) + begin.len() - 1;
    let length = text[start..].find(&format!("\n<!-- {name}: end -->")).expect("what begins has an end");
    start..start + length
}

/// The metrics as the program exports them.
fn metrics() -> String {
    let mut table = "| metric | kind | labels | meaning |\n|---|---|---|---|\n".to_owned();
    for metric in METRICS {
        let labels = metric.labels.join(", ");
        writeln!(table, "| `{}` | {} | {labels} | {} |", metric.name, metric.kind(), metric.help).unwrap();
    }
    table
}

/// The default places as they would stand in a settings file.
fn mapping_reference() -> String {
    let Value::Object(sections) = serde_json::to_value(Mapping::default()).unwrap() else { panic!("a struct") };
    let mut text = "```toml\n".to_owned();
    for (section, fields) in sections {
        writeln!(text, "[mapping.{section}]").unwrap();
        for (field, pointers) in fields.as_object().unwrap() {
            writeln!(text, "{}", broken(&format!("{field} = "), &strings(pointers))).unwrap();
        }
        text.push('\n');
    }
    Config::from_toml(text.trim_start_matches("```toml")).expect("the defaults can be loaded");
    format!("{}\n```\n", text.trim_end())
}

fn strings(pointers: &Value) -> Vec<String> {
    match pointers {
        Value::Array(list) => list.iter().map(Value::to_string).collect(),
        one => vec![one.to_string()],
    }
}

/// A list in lines of bearable width.
fn broken(start: &str, items: &[String]) -> String {
    let mut text = format!("{start}[");
    let mut width = text.len();
    for (index, item) in items.iter().enumerate() {
        let item = if index + 1 < items.len() { format!("{item},") } else { item.clone() };
        if index > 0 && width + item.len() > 110 {
            text.push_str("\n    ");
            width = 4;
        } else if index > 0 {
            text.push(' ');
            width += 1;
        }
        width += item.len();
        text.push_str(&item);
    }
    text.push(']');
    text
}

/// The fields of an event from its schema.
fn fields() -> String {
    let schema: Value = serde_json::from_str(&read("schemas/order_event.avsc")).unwrap();
    let mut table = "| field | type | personal | meaning |\n|---|---|---|---|\n".to_owned();
    add_fields(&mut table, "", &schema);
    table
}

fn add_fields(table: &mut String, prefix: &str, record: &Value) {
    for field in record["fields"].as_array().unwrap() {
        let name = format!("{prefix}{}", field["name"].as_str().unwrap());
        let personal = if field["pii"] == true { "yes" } else { "" };
        let meaning = field["doc"].as_str().unwrap().split_inclusive(". ").next().unwrap();
        let kind = &field["type"];
        let (shown, nested) = match kind["type"].as_str() {
            Some("record") => ("record".to_owned(), Some((format!("{name}."), kind))),
            Some("array") => ("list of records".to_owned(), Some((format!("{name}[]."), &kind["items"]))),
            _ => (type_name(kind), None),
        };
        let meaning = if name == "reason" { "Why there is an event, see below." } else { meaning.trim_end() };
        writeln!(table, "| `{name}` | {shown} | {personal} | {meaning} |").unwrap();
        if let Some((prefix, record)) = nested {
            add_fields(table, &prefix, record);
        }
    }
}

fn type_name(kind: &Value) -> String {
    match kind {
        Value::Array(branches) => {
            assert_eq!(branches[0], "null");
            format!("{} or null", type_name(&branches[1]))
        }
        Value::String(name) => name.clone(),
        kind => match kind["logicalType"].as_str() {
            Some("decimal") => format!("decimal({}, {})", kind["precision"], kind["scale"]),
            Some(logical) => logical.to_owned(),
            None => kind["type"].as_str().unwrap().to_owned(),
        },
    }
}
