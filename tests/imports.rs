//! The import structure of the sources, computed from their text.
//!
//! An edge goes from a file to the file that a path names: every `use` and every other path that begins with `crate`,
//! `self`, `super`, the library's name or a child module. A re-exported name leads to the file that defines it.
//! There is no edge from a module to its own descendants, which are a part of it; their paths into it are edges.
//! Unit tests are left out: they may import everything.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Folders of sources; those that do not exist are skipped.
const ROOTS: [&str; 2] = ["src", "cli/src"];
/// The library's crate name, by which the command imports it.
const LIBRARY: &str = "balustrade";

/// For each top-level folder of the library, the folders that it may import besides itself.
const FLOORS: [(&str, &[&str]); 9] = [
    ("arena", &[]),
    ("bal", &["arena"]),
    ("trie", &["arena", "bal"]),
    ("exec", &["arena", "bal"]),
    ("disk", &["arena", "bal", "trie"]),
    ("executor", &["arena", "bal", "exec", "trie"]),
    ("db", &["arena", "bal", "disk", "exec", "executor", "trie"]),
    ("formats", &["arena", "bal", "db", "disk", "exec", "executor", "trie"]),
    ("adapters", &["arena", "bal", "exec", "executor"]),
];

/// The modules of `exec`, each of which may import only those before it.
const MODULES: [&str; 8] = ["sync", "wire", "rules", "senders", "evm", "interpreter", "tx", "block"];

/// Greatest allowed number of import cycles in all sources. In `exec` only the tail-call loop may have one.
const CIRCLES_MAX: usize = 1;

/// Facades: files that declare modules and re-export names; their children import nothing from them.
const FACADES: [&str; 2] = ["src/exec/block/tasks/mod.rs", "src/trie/mod.rs"];

/// A token of Rust: a word, `::`, or one other character.
type Token = String;

/// Splits a source into tokens, without comments, literals and unit tests.
fn tokens(source: &str) -> Vec<Token> {
    let chars: Vec<char> = source.chars().collect();
    let at = |i: usize| chars.get(i).copied().unwrap_or('\0');
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut tokens = Vec::new();
    let mut i = 0;
    while i < chars.len() {
        let c = at(i);
        if c == '/' && at(i + 1) == '/' {
            while i < chars.len() && at(i) != '\n' {
                i += 1;
            }
        } else if c == '/' && at(i + 1) == '*' {
            while i < chars.len() && !(at(i) == '*' && at(i + 1) == '/') {
                i += 1;
            }
            i += 2;
        } else if c == 'r' && (at(i + 1) == '"' || at(i + 1) == '#' && (at(i + 2) == '"' || at(i + 2) == '#')) {
            let hashes = (i + 1..).take_while(|j| at(*j) == '#').count();
            i += hashes + 2;
            let ends = |i: usize| at(i) == '"' && (1..=hashes).all(|j| at(i + j) == '#');
            while i < chars.len() && !ends(i) {
                i += 1;
            }
            i += hashes + 1;
        } else if c == '"' {
            i += 1;
            while i < chars.len() && at(i) != '"' {
                i += if at(i) == '\\' { 2 } else { 1 };
            }
            i += 1;
        } else if c == '\'' {
            // A character literal, or a lifetime.
            if at(i + 1) == '\\' {
                i += 3;
                while i < chars.len() && at(i) != '\'' {
                    i += 1;
                }
                i += 1;
            } else if at(i + 2) == '\'' {
                i += 3;
            } else {
                i += 1;
            }
        } else if is_word(c) {
            let start = i;
            while is_word(at(i)) {
                i += 1;
            }
            tokens.push(chars[start..i].iter().collect());
        } else if c == ':' && at(i + 1) == ':' {
            tokens.push("::".into());
            i += 2;
        } else {
            if !c.is_whitespace() {
                tokens.push(c.into());
            }
            i += 1;
        }
    }
    without_tests(&tokens)
}

/// Removes each item behind `#[cfg(test)]`, up to its semicolon or its closing brace.
fn without_tests(tokens: &[Token]) -> Vec<Token> {
    let marker = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut kept = Vec::new();
    let mut i = 0;
    while i < tokens.len() {
        if tokens[i..].iter().take(marker.len()).map(String::as_str).eq(marker) {
            let mut depth = 0;
            i += marker.len();
            while i < tokens.len() {
                match tokens[i].as_str() {
                    "{" => depth += 1,
                    "}" => depth -= 1,
                    _ => {}
                }
                let done = depth == 0 && matches!(tokens[i].as_str(), ";" | "}");
                i += 1;
                if done {
                    break;
                }
            }
        } else {
            kept.push(tokens[i].clone());
            i += 1;
        }
    }
    kept
}

/// A path in a file, and the name under which the file re-exports it, if it does.
#[derive(Debug, PartialEq)]
struct Named {
    path: Vec<String>,
    exported_as: Option<String>,
}

/// All paths of a file.
fn named(tokens: &[Token]) -> Vec<Named> {
    let is_word = |token: &Token| token.chars().all(|c| c.is_alphanumeric() || c == '_');
    let before = |i: usize, n: usize| i.checked_sub(n).map_or("", |j| tokens[j].as_str());
    let mut found = Vec::new();
    let mut i = 0;
    while i < tokens.len() {
        // Not the captured lifetimes of `impl Trait + use<'a>`.
        if tokens[i] == "use" && tokens.get(i + 1).is_some_and(|next| next != "<") {
            let exported = matches!(before(i, 1), "pub" | ")");
            i = use_tree(tokens, i + 1, &[], exported, &mut found);
        } else if is_word(&tokens[i]) && tokens.get(i + 1).is_some_and(|t| t == "::") && before(i, 1) != "::" {
            // Not the scope of a visibility.
            let is_scope = before(i, 1) == "in" && before(i, 3) == "pub";
            let mut path = vec![tokens[i].clone()];
            i += 1;
            while i + 1 < tokens.len() && tokens[i] == "::" && is_word(&tokens[i + 1]) {
                path.push(tokens[i + 1].clone());
                i += 2;
            }
            if !is_scope {
                found.push(Named { path, exported_as: None });
            }
        } else {
            i += 1;
        }
    }
    found
}

/// Reads one tree of a `use` from token `i` on; returns the index after it.
fn use_tree(tokens: &[Token], mut i: usize, prefix: &[String], exported: bool, found: &mut Vec<Named>) -> usize {
    let mut path = prefix.to_vec();
    while i < tokens.len() {
        match tokens[i].as_str() {
            "{" => {
                i += 1;
                while tokens.get(i).is_some_and(|token| token != "}") {
                    i = use_tree(tokens, i, &path, exported, found);
                    i += usize::from(tokens.get(i).is_some_and(|token| token == ","));
                }
                return i + 1;
            }
            "}" | "," | ";" => break,
            "as" => {
                let exported_as = exported.then(|| tokens[i + 1].clone());
                found.push(Named { path, exported_as });
                return i + 2;
            }
            "::" => i += 1,
            // `use a::{self}` names the module `a`.
            "self" if !path.is_empty() => i += 1,
            word => {
                path.push(word.into());
                i += 1;
            }
        }
    }
    let exported_as = path.last().filter(|_| exported).cloned();
    found.push(Named { path, exported_as });
    i
}

/// A module: its crate's root folder, and its path below.
type Module = (usize, Vec<String>);

struct Sources {
    /// Modules, each with its file and the paths in it.
    files: BTreeMap<Module, (String, Vec<Named>)>,
}

impl Sources {
    fn read(package: &Path) -> Self {
        let mut files = BTreeMap::new();
        for (root, folder) in ROOTS.iter().enumerate() {
            let mut folders = vec![package.join(folder)];
            while let Some(current) = folders.pop() {
                for entry in current.read_dir().into_iter().flatten().flatten() {
                    let path = entry.path();
                    if path.is_dir() {
                        if path.file_name().is_some_and(|name| name != "tests") {
                            folders.push(path);
                        }
                    } else if let Some(module) = module_of(&path, &package.join(folder)) {
                        let text = std::fs::read_to_string(&path).expect("text");
                        let name = path.strip_prefix(package).expect("below").to_string_lossy().replace('\\', "/");
                        files.insert((root, module), (name, named(&tokens(&text))));
                    }
                }
            }
        }
        Self { files }
    }

    /// The module that defines the item of `path`, as written in `from`; `None` for other crates and local names.
    fn target(&self, from: &Module, path: &[String], fuel: usize) -> Option<Module> {
        let (mut root, mut module) = from.clone();
        let mut rest = path;
        match path.first()?.as_str() {
            "crate" => {
                module.clear();
                rest = &rest[1..];
            }
            "self" => rest = &rest[1..],
            "super" => {
                while rest.first().is_some_and(|segment| segment == "super") {
                    module.pop()?;
                    rest = &rest[1..];
                }
            }
            LIBRARY => {
                (root, module) = (0, Vec::new());
                rest = &rest[1..];
            }
            first => {
                let child = [&module[..], &[first.to_string()]].concat();
                if !self.files.contains_key(&(root, child)) {
                    return None;
                }
            }
        }
        while let Some(next) = rest.first() {
            let child = [&module[..], core::slice::from_ref(next)].concat();
            if !self.files.contains_key(&(root, child.clone())) {
                break;
            }
            module = child;
            rest = &rest[1..];
        }
        let here = (root, module);
        let (_, names) = self.files.get(&here)?;
        let exported = rest.first().and_then(|name| names.iter().find(|n| n.exported_as.as_ref() == Some(name)));
        match exported {
            Some(exported) if fuel > 0 => {
                let further = [&exported.path[..], &rest[1..]].concat();
                self.target(&here, &further, fuel - 1).or(Some(here))
            }
            _ => Some(here),
        }
    }

    /// For every file, the files that it imports.
    fn arrows(&self) -> BTreeMap<&str, BTreeSet<&str>> {
        let file = |module: &Module| self.files[module].0.as_str();
        let targets = |(module, (name, named)): (&Module, &'_ (String, Vec<Named>))| {
            let targets = named.iter().filter_map(|named| self.target(module, &named.path, 8));
            let targets = targets.filter(|target| !is_below(target, module));
            let targets: BTreeSet<&str> = targets.map(|target| file(&target)).filter(|file| file != name).collect();
            (file(module), targets)
        };
        self.files.iter().map(targets).collect()
    }
}

/// Whether `module` is a descendant of `other`.
fn is_below(module: &Module, other: &Module) -> bool {
    module.0 == other.0 && module.1.len() > other.1.len() && module.1.starts_with(&other.1)
}

/// The path of the module in this file; `None` for files that are no module or contain only tests.
fn module_of(path: &Path, root: &Path) -> Option<Vec<String>> {
    let relative: PathBuf = path.strip_prefix(root).ok()?.with_extension("");
    if path.extension()? != "rs" {
        return None;
    }
    let mut module: Vec<String> = relative.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    match module.last()?.as_str() {
        "tests" => return None,
        "mod" | "lib" => {
            module.pop();
        }
        _ => {}
    }
    Some(module)
}

/// Import cycles, as strongly connected components: maximal sets of files that all reach one another.
fn circles<'a>(arrows: &BTreeMap<&'a str, BTreeSet<&'a str>>) -> Vec<BTreeSet<&'a str>> {
    let reached: BTreeMap<&str, BTreeSet<&str>> = arrows.keys().map(|file| (*file, reached(arrows, file))).collect();
    let mut circles = BTreeSet::new();
    for (file, reached_from_it) in &reached {
        let circle: BTreeSet<&str> =
            reached_from_it.iter().copied().filter(|other| reached[other].contains(file)).collect();
        if !circle.is_empty() {
            circles.insert(circle);
        }
    }
    circles.into_iter().collect()
}

/// All files that are reachable from a file; itself only if it is part of a cycle.
fn reached<'a>(arrows: &BTreeMap<&'a str, BTreeSet<&'a str>>, from: &str) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut next: Vec<&str> = arrows[from].iter().copied().collect();
    while let Some(file) = next.pop() {
        if reached.insert(file) {
            next.extend(&arrows[file]);
        }
    }
    reached
}

/// The cycles with their edges, as text.
fn drawn(circles: &[BTreeSet<&str>], arrows: &BTreeMap<&str, BTreeSet<&str>>) -> String {
    let mut text = String::new();
    for circle in circles {
        text += &format!("circle of {} files\n", circle.len());
        for file in circle {
            let inside: Vec<&str> = arrows[file].intersection(circle).copied().collect();
            text += &format!("  {file} -> {}\n", inside.join(", "));
        }
    }
    text
}

fn sources() -> Sources {
    Sources::read(Path::new(env!("CARGO_MANIFEST_DIR")))
}

/// The top-level folder or file of the library that a file belongs to.
fn floor(file: &str) -> Option<&str> {
    Some(file.strip_prefix("src/")?.split('/').next()?.trim_end_matches(".rs"))
}

#[test]
fn folders_import_only_the_layers_below_them() {
    let sources = sources();
    let arrows = sources.arrows();
    let mut wrong = Vec::new();
    for (file, targets) in &arrows {
        let Some((name, allowed)) = FLOORS.iter().find(|(name, _)| floor(file) == Some(name)) else { continue };
        for target in targets {
            let to = floor(target).unwrap_or("another package");
            if to != *name && !allowed.contains(&to) {
                wrong.push(format!("{file} -> {target}"));
            }
        }
    }
    assert!(wrong.is_empty(), "imports against the order of the layers:\n{}", wrong.join("\n"));
}

#[test]
fn modules_of_execution_import_only_those_below_them() {
    let sources = sources();
    let arrows = sources.arrows();
    let module =
        |file: &str| Some(file.strip_prefix("src/exec/")?.split('/').next()?.trim_end_matches(".rs").to_owned());
    let rank = |name: &str| MODULES.iter().position(|module| *module == name);
    let mut wrong = Vec::new();
    for (file, targets) in &arrows {
        let Some(from) = module(file).filter(|name| name != "mod") else { continue };
        let from = rank(&from).unwrap_or_else(|| panic!("{from} is not in MODULES"));
        for target in targets {
            let Some(to) = module(target).as_deref().and_then(rank) else { continue };
            if to > from {
                wrong.push(format!("{file} -> {target}"));
            }
        }
    }
    assert!(wrong.is_empty(), "imports against the order of the modules:\n{}", wrong.join("\n"));
}

#[test]
fn every_folder_of_the_library_has_an_import_rule() {
    let sources = sources();
    let floors: BTreeSet<&str> = sources.files.values().filter_map(|(file, _)| floor(file)).collect();
    let known: BTreeSet<&str> = FLOORS.iter().map(|(name, _)| *name).chain(["lib", "main", "cli"]).collect();
    let unknown: Vec<&&str> = floors.difference(&known).collect();
    assert!(unknown.is_empty(), "folders without a rule in FLOORS: {unknown:?}");
}

#[test]
fn nothing_but_the_command_imports_the_command() {
    let sources = sources();
    let arrows = sources.arrows();
    let is_command = |file: &str| file.starts_with("src/cli/") || file == "src/main.rs" || file.starts_with("cli/src/");
    for (file, targets) in arrows.iter().filter(|(file, _)| !is_command(file)) {
        assert!(!targets.iter().any(|target| is_command(target)), "{file} imports the command");
    }
}

/// The examples for hosts compile without the feature `internals`.
#[test]
fn examples_for_hosts_use_the_public_interface_only() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    for name in ["adopter", "async_host", "embed", "host_pool", "own_store", "small_chain/mod", "stateless"] {
        let source = std::fs::read_to_string(examples.join(format!("{name}.rs"))).expect("an example");
        for item in named(&without_tests(&tokens(&source))) {
            let [library, module, ..] = &item.path[..] else { continue };
            let is_internal = FLOORS.iter().any(|(floor, _)| floor == module && *floor != "formats");
            assert!(library != LIBRARY || !is_internal, "{name} uses {}", item.path.join("::"));
        }
    }
}

#[test]
fn execution_has_no_import_cycle_outside_the_tail_loop() {
    let sources = sources();
    let arrows = sources.arrows();
    let all = circles(&arrows);
    let is_outside = |circle: &&BTreeSet<&str>| {
        let tail = "src/exec/interpreter/tail/";
        circle.iter().any(|file| file.starts_with("src/exec/") && !file.starts_with(tail))
    };
    let outside: Vec<_> = all.iter().filter(is_outside).cloned().collect();
    assert!(outside.is_empty(), "{}", drawn(&outside, &arrows));
}

#[test]
fn facades_define_nothing_that_their_modules_import() {
    let sources = sources();
    let arrows = sources.arrows();
    for facade in FACADES {
        let folder = facade.trim_end_matches("mod.rs");
        let up: Vec<&&str> = arrows
            .iter()
            .filter(|(file, to)| file.starts_with(folder) && to.contains(facade))
            .map(|(file, _)| file)
            .collect();
        assert!(up.is_empty(), "{up:?} import from the facade {facade}");
    }
}

#[test]
fn the_sources_have_few_import_cycles() {
    let sources = sources();
    let arrows = sources.arrows();
    let all = circles(&arrows);
    assert!(all.len() <= CIRCLES_MAX, "{} cycles, {CIRCLES_MAX} allowed\n{}", all.len(), drawn(&all, &arrows));
}

#[test]
fn paths_are_found_in_every_form() {
    let source = r##"
        use crate::a::{self, b::C, d as e};
        pub use f::G;
        pub(super) use super::super::h;
        // use crate::comment::X;
        const TEXT: &str = "use crate::text::X;";
        const RAW: &str = r#"use crate::raw::"X";"#;
        fn k<'a>(c: char) -> bool { c == '"' || crate::i::j(c) }
        pub(in crate::scope) fn l() {}
        #[cfg(test)]
        mod tests { use crate::tested::X; }
    "##;
    let found = named(&tokens(source));
    let paths: Vec<(String, Option<&str>)> =
        found.iter().map(|named| (named.path.join("::"), named.exported_as.as_deref())).collect();
    let expected = [
        ("crate::a", None),
        ("crate::a::b::C", None),
        ("crate::a::d", None),
        ("f::G", Some("G")),
        ("super::super::h", Some("h")),
        ("crate::i::j", None),
    ];
    assert_eq!(paths, expected.map(|(path, name)| (path.to_string(), name)));
}

#[test]
fn import_cycles_are_found() {
    let arrows = BTreeMap::from([
        ("a", BTreeSet::from(["b"])),
        ("b", BTreeSet::from(["c"])),
        ("c", BTreeSet::from(["b", "d"])),
        ("d", BTreeSet::new()),
    ]);
    assert_eq!(circles(&arrows), [BTreeSet::from(["b", "c"])]);
}
