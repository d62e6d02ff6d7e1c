//! The map in `lib.rs` against the code: which part uses which.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Which parts each part uses.
type Edges = BTreeMap<String, BTreeSet<String>>;

/// What every part may use; it uses no part itself.
const GROUND: &str = "base";

#[test]
fn parts_use_each_other_as_the_map_says() {
    let map = map();
    let found = found();
    for (part, used) in &found {
        let allowed = map.get(part).unwrap_or_else(|| {
            panic!("the map in src/lib.rs has no line for src/{part}; add \"{part} -> …\"")
        });
        let more: Vec<_> = used.difference(allowed).collect();
        assert!(
            more.is_empty(),
            "src/{part} uses {more:?}, which the map in src/lib.rs does not allow"
        );
        let fewer: Vec<_> = allowed.difference(used).collect();
        assert!(
            fewer.is_empty(),
            "src/{part} no longer uses {fewer:?}; take them out of the map in src/lib.rs"
        );
    }
    let parts: Vec<_> = found.keys().collect();
    assert_eq!(map.keys().collect::<Vec<_>>(), parts, "lines of the map");
    assert!(found.len() > 8, "the parts are folders of src: {parts:?}");
}

/// In the map each part stands above those that it uses, so no two of them can use each other.
#[test]
fn arrows_of_the_map_point_down() {
    let lines = map_lines();
    let order: Vec<&str> = lines.iter().map(|(part, _)| part.as_str()).collect();
    for (at, (part, used)) in lines.iter().enumerate() {
        for one in used {
            let below = order.iter().position(|other| other == one);
            assert!(below > Some(at), "{part} -> {one} points up");
        }
    }
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))
}

fn map() -> Edges {
    map_lines().into_iter().collect()
}

/// The lines of the map: `//!   part -> used, used`.
fn map_lines() -> Vec<(String, BTreeSet<String>)> {
    let text = fs::read_to_string(root().join("lib.rs")).unwrap();
    let lines = text.lines().filter_map(|line| {
        let (part, used) = line.strip_prefix("//! ")?.split_once("->")?;
        let used = used.split_whitespace().filter(|word| *word != "-");
        Some((part.trim().to_owned(), used.map(String::from).collect()))
    });
    lines.collect()
}

/// What the files of each part use, tests aside.
fn found() -> Edges {
    let mut edges = Edges::new();
    for file in files(root()) {
        let path = file.strip_prefix(root()).unwrap();
        let Some(part) = path.parent().and_then(|folder| folder.iter().next()) else {
            continue; // lib.rs and main.rs
        };
        let part = part.to_str().unwrap();
        let used = edges.entry(part.to_owned()).or_default();
        for name in used_parts(&fs::read_to_string(&file).unwrap()) {
            if name != part && name != GROUND {
                used.insert(name);
            } else if part == GROUND && name != GROUND {
                panic!(
                    "{} uses crate::{name}: base may use no part",
                    path.display()
                );
            }
        }
    }
    edges.remove(GROUND);
    edges
}

/// The files below a folder that are no tests.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap();
        if matches!(stem, "tests" | "testing") {
            continue;
        }
        if path.is_dir() {
            files.extend(self::files(&path));
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            files.push(path);
        }
    }
    files
}

/// The `part` of each `crate::part` in a source file, without comments and the tests at its end.
fn used_parts(source: &str) -> BTreeSet<String> {
    let code = source
        .split("#[cfg(test)]\nmod ")
        .next()
        .unwrap_or_default();
    let code: Vec<&str> = code
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect();
    let code = code.join("\n");
    let mut parts = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        let is_whole = !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let rest = &code[at + "crate::".len()..];
        assert!(
            !is_whole || !rest.starts_with('{'),
            "write one `use crate::part` for each part, so that this test can read them"
        );
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
        if is_whole && let Some(end) = end {
            parts.insert(rest[..end].to_owned());
        }
    }
    parts
}

#[test]
fn parts_are_read_from_code_alone() {
    let source = "//! [`crate::a`]\nuse crate::b::{C, D};\nlet x = crate::c::f();\n    // crate::d\n\
                  #[cfg(test)]\nmod tests { use crate::e::F; }\n";
    let found: Vec<_> = used_parts(source).into_iter().collect();
    assert_eq!(found, ["b", "c"]);
}
