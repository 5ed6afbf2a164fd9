//! Tests the structure of the sources: each room imports only the rooms before it, and no modules import each other in
//! a circle. A module is its file and its folder: siblings must not need each other, at any level.
//!
//! The test reads `src/` as text. A file imports another if a path in it (in a `use` or inline, outside of tests) leads
//! there. A name that a module re-exports from a child leads to that child.
#![allow(clippy::unwrap_used, reason = "all of this is a test, and a panic is how a test reports")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// The rooms, each of which may import those before it and no other.
const ROOMS: [&str; 13] = [
    "platform",
    "order",
    "marketplace",
    "config",
    "avro",
    "kafka",
    "spool",
    "pipeline",
    "app",
    "sandbox",
    "demo",
    "operate",
    "cli",
];

/// A module's path below the crate, `[]` for the root.
type Module = Vec<String>;

struct Sources {
    /// Text without comments, strings and test modules, by module.
    text: BTreeMap<Module, String>,
    /// What a module re-exports or imports, by the name under which it has it.
    names: BTreeMap<Module, BTreeMap<String, Module>>,
}

impl Sources {
    fn read() -> Self {
        let mut text = BTreeMap::new();
        read_folder(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &Module::new(), &mut text);
        let names = text.iter().map(|(module, text)| (module.clone(), imported_names(module, text))).collect();
        Self { text, names }
    }

    /// The module that defines what `path` names, following re-exports.
    fn resolve(&self, path: &[String]) -> Option<Module> {
        let mut path = path.to_vec();
        // As deep as a chain of re-exports may be.
        for _ in 0..8 {
            let file = (0..=path.len()).rev().map(|end| &path[..end]).find(|head| self.text.contains_key(*head))?;
            let (file, rest) = (file.to_vec(), path[file.len()..].to_vec());
            let Some(target) = rest.first().and_then(|name| self.names.get(&file)?.get(name)) else {
                return Some(file);
            };
            path = [target.as_slice(), &rest[1..]].concat();
        }
        None
    }

    /// The modules that each module imports, itself left out.
    fn imports(&self) -> BTreeMap<Module, BTreeSet<Module>> {
        let of = |(module, text): (&Module, &String)| {
            let paths = paths_in(module, text).into_iter().filter_map(|(path, _)| self.resolve(&path));
            (module.clone(), paths.filter(|target| target != module && !target.is_empty()).collect())
        };
        self.text.iter().filter(|(module, _)| !module.is_empty()).map(of).collect()
    }
}

fn read_folder(folder: &Path, module: &[String], all: &mut BTreeMap<Module, String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let inner = if name == "lib" { Module::new() } else { [module, std::slice::from_ref(&name)].concat() };
        if name == "tests" || name == "main" {
            continue;
        }
        if path.is_dir() {
            read_folder(&path, &inner, all);
        } else {
            all.insert(inner, code_of(&fs::read_to_string(&path).unwrap()));
        }
    }
}

/// The text without comments, string literals, and the test module at its end.
fn code_of(text: &str) -> String {
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let lines = code.lines().map(|line| match line.find("//") {
        Some(start) if line[..start].matches('"').count() % 2 == 0 => &line[..start],
        _ => line,
    });
    let mut code = String::new();
    for line in lines {
        let outside = line.split('"').enumerate().filter(|(index, _)| index % 2 == 0).map(|(_, piece)| piece);
        code.extend(outside);
        code.push('\n');
    }
    code
}

/// All paths in `text` that begin at the crate, at a parent, or at a child module, made absolute; with the name under
/// which a `use` makes each known.
fn paths_in(module: &[String], text: &str) -> Vec<(Module, Option<String>)> {
    let children = children_of(text);
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c.is_alphabetic() || c == '_') {
        let word_end =
            rest[start..].find(|c: char| !(c.is_alphanumeric() || c == '_')).map_or(rest.len(), |end| start + end);
        let (word, before) = (&rest[start..word_end], rest[..start].chars().next_back());
        let is_use = text[..text.len() - rest.len() + start].trim_end().ends_with("use");
        let is_head = !matches!(before, Some(':' | '.' | '\''))
            && (matches!(word, "crate" | "super" | "self") || children.contains(word))
            && rest[word_end..].starts_with("::");
        rest = if is_head {
            let (tree, after) = tree_at(&rest[start..]);
            for (path, name) in leaves(&tree) {
                let absolute = absolute(module, &path);
                found.push((absolute, name.filter(|_| is_use)));
            }
            after
        } else {
            &rest[word_end..]
        };
    }
    found
}

/// The path or `use` tree at the beginning of `text`, and what follows it.
fn tree_at(text: &str) -> (String, &str) {
    let mut depth = 0_usize;
    let mut end = text.len();
    for (index, c) in text.char_indices() {
        match c {
            '{' if depth > 0 || text[..index].ends_with("::") => depth += 1,
            '}' if depth > 0 => depth -= 1,
            c if depth > 0 || c.is_alphanumeric() || c == '_' || c == ':' => {}
            _ => {
                end = index;
                break;
            }
        }
        if depth == 0 && c == '}' {
            end = index + 1;
            break;
        }
    }
    (text[..end].to_owned(), &text[end..])
}

/// The paths of a `use` tree, each with the name that it is known by.
fn leaves(tree: &str) -> Vec<(Module, Option<String>)> {
    let Some((head, inner)) = tree.split_once('{') else {
        let (path, alias) = tree.split_once(" as ").map_or((tree, None), |(path, alias)| (path, Some(alias.trim())));
        let mut path: Module =
            path.split("::").map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect();
        if path.len() > 1 && path.last().is_some_and(|last| last == "self") {
            path.pop();
        }
        let name = alias.map(str::to_owned).or_else(|| path.last().cloned());
        return vec![(path, name)];
    };
    let inner = inner.rsplit_once('}').map_or(inner, |(inner, _)| inner);
    let (mut pieces, mut depth, mut start) = (Vec::new(), 0, 0);
    for (index, c) in inner.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                pieces.push(&inner[start..index]);
                start = index + 1;
            }
            _ => {}
        }
    }
    pieces.push(&inner[start..]);
    let pieces = pieces.into_iter().map(str::trim).filter(|piece| !piece.is_empty());
    pieces.flat_map(|piece| leaves(&format!("{head}{piece}"))).collect()
}

fn absolute(module: &[String], path: &[String]) -> Module {
    let mut base = module.to_vec();
    let mut rest = path;
    match rest.first().map(String::as_str) {
        Some("crate") => {
            base.clear();
            rest = &rest[1..];
        }
        Some("self") => rest = &rest[1..],
        _ => {
            while rest.first().is_some_and(|part| part == "super") {
                base.pop();
                rest = &rest[1..];
            }
        }
    }
    [base, rest.to_vec()].concat()
}

fn children_of(text: &str) -> BTreeSet<&str> {
    let declared = text.lines().filter_map(|line| line.trim().strip_suffix(';')?.rsplit_once("mod "));
    declared.filter(|(before, _)| before.is_empty() || before.starts_with("pub")).map(|(_, name)| name).collect()
}

fn imported_names(module: &[String], text: &str) -> BTreeMap<String, Module> {
    paths_in(module, text).into_iter().filter_map(|(path, name)| Some((name?, path))).collect()
}

/// For each module, which of its children import which of their siblings: a child stands for all that is below it.
fn siblings(imports: &BTreeMap<Module, BTreeSet<Module>>) -> BTreeMap<Module, BTreeMap<String, BTreeSet<String>>> {
    let mut levels = BTreeMap::<Module, BTreeMap<String, BTreeSet<String>>>::new();
    for (from, to) in imports.iter().flat_map(|(from, targets)| targets.iter().map(move |to| (from, to))) {
        let shared = from.iter().zip(to).take_while(|(one, other)| one == other).count();
        // Neither is the parent of the other: those two are one module in two files.
        if let (Some(one), Some(other)) = (from.get(shared), to.get(shared)) {
            levels.entry(from[..shared].to_vec()).or_default().entry(one.clone()).or_default().insert(other.clone());
        }
    }
    levels
}

/// All that can be reached from `start`.
fn reached<'a>(imports: &'a BTreeMap<String, BTreeSet<String>>, start: &str) -> BTreeSet<&'a str> {
    let (mut seen, mut next) = (BTreeSet::new(), vec![start]);
    while let Some(module) = next.pop() {
        let targets = imports.get(module).into_iter().flatten();
        next.extend(targets.map(String::as_str).filter(|target| seen.insert(*target)).collect::<Vec<_>>());
    }
    seen
}

#[test]
fn no_module_imports_itself_by_way_of_its_siblings() {
    for (folder, imports) in siblings(&Sources::read().imports()) {
        let circle: Vec<_> =
            imports.keys().filter(|module| reached(&imports, module).contains(module.as_str())).collect();
        assert!(circle.is_empty(), "in {}: a circle through {circle:?} of {imports:#?}", folder.join("::"));
    }
}

#[test]
fn a_room_imports_only_those_before_it() {
    let rank = |module: &Module| ROOMS.iter().position(|room| *room == module[0]);
    for (module, targets) in Sources::read().imports() {
        let own = rank(&module).unwrap_or_else(|| panic!("src/{} is not in the list of rooms", module[0]));
        for target in targets {
            assert!(rank(&target) <= Some(own), "{} imports {}", module.join("::"), target.join("::"));
        }
    }
}

#[test]
fn imports_are_found_however_they_are_written() {
    let text = "mod child;\nuse crate::a::{self, b::C, d as e};\npub use child::Name;\nfn f() { super::sibling::g(); x.child::<T>() }";
    let module = ["room".to_owned(), "file".to_owned()];
    let found: BTreeSet<String> = paths_in(&module, text).into_iter().map(|(path, _)| path.join("::")).collect();
    let expected = ["a", "a::b::C", "a::d", "room::file::child::Name", "room::sibling::g"];
    assert_eq!(found, expected.map(str::to_owned).into());
    let names: Vec<String> = imported_names(&module, text).into_keys().collect();
    assert_eq!(names, ["C", "Name", "a", "e"]);
}
