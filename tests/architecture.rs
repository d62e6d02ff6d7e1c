//! The structure of the code: which part uses which, as the map in `lib.rs` says, and that no files use each other
//! in a circle.

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

/// A source file without comments and the tests at its end.
fn without_tests(source: &str) -> String {
    let code = source
        .split("#[cfg(test)]\nmod ")
        .next()
        .unwrap_or_default();
    let code: Vec<&str> = code
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect();
    code.join("\n")
}

/// The `part` of each `crate::part` in a source file, without comments and the tests at its end.
fn used_parts(source: &str) -> BTreeSet<String> {
    let code = without_tests(source);
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

/// A module: the names on the way from the crate to it.
type Module = Vec<String>;

/// The modules that have a file, each with the absolute paths of its `use` lines.
type Modules = BTreeMap<Module, Vec<Module>>;

/// How many times something may be passed on by `pub use` before this test gives up.
const MAX_STEPS: usize = 8;

/// No two files use each other in a circle, directly or through other files.
///
/// A file uses another one if a `use` line of it names something there. What a module passes on from one of its files
/// (`pub use`) belongs to that file. What a file takes from a module that it is itself a part of does not count: a
/// module's own file and the files below it are one subject. Tests do not count.
#[test]
fn no_files_use_each_other_in_a_circle() {
    let sources = files(root()).into_iter().filter_map(|file| {
        let module = module_of(file.strip_prefix(root()).unwrap())?;
        Some((module, fs::read_to_string(&file).unwrap()))
    });
    let sources: Vec<_> = sources.collect();
    assert!(sources.len() > 100, "{} files", sources.len());
    if let Some(circle) = circle_in(&sources) {
        let files: Vec<_> = circle.iter().map(|module| module.join("/")).collect();
        panic!(
            "files of src use each other in a circle: {}",
            files.join(" -> ")
        );
    }
}

#[test]
fn circles_are_found() {
    let check = |files: &[(&str, &str)], expected: Option<&str>| {
        let sources = files.iter().map(|(file, source)| {
            let module = module_of(Path::new(file)).unwrap();
            (module, (*source).to_owned())
        });
        let circle = circle_in(&sources.collect::<Vec<_>>());
        let circle = circle.map(|modules| {
            let files: Vec<_> = modules.iter().map(|module| module.join("/")).collect();
            files.join(" ")
        });
        assert_eq!(circle.as_deref(), expected, "{files:?}");
    };
    let to = |name: &str| format!("use crate::x::{name}::Item;\n");
    check(&[("x/a.rs", &to("b")), ("x/b.rs", "")], None);
    check(
        &[("x/a.rs", &to("b")), ("x/b.rs", &to("a"))],
        Some("x/a x/b x/a"),
    );
    // In three steps, by `super`, by a group over several lines, and not by comments and tests.
    let group = "use super::{\n    d::{One, Two},\n    c,\n};\n";
    let tests = "// use super::b::Item;\n#[cfg(test)]\nmod tests {\n    use super::b::Item;\n}\n";
    let three = [
        ("x/b.rs", group),
        ("x/c.rs", "use super::a;"),
        ("x/d.rs", tests),
    ];
    check(&[&three[..], &[("x/a.rs", "")]].concat(), None);
    let closed = [&three[..], &[("x/a.rs", "use super::b::Item;")]].concat();
    check(&closed, Some("x/a x/b x/c x/a"));
    // What a module passes on is of the file that it comes from; what is its own does not count.
    let module = ("x/mod.rs", "pub use self::a::Item;\nuse self::b::Own;\n");
    let b = ("x/b.rs", "use super::{Item, Other};\n");
    check(&[module, ("x/a.rs", "use super::Other;"), b], None);
    check(
        &[module, ("x/a.rs", "use super::b::One;"), b],
        Some("x/a x/b x/a"),
    );
}

/// Modules that use each other in a circle, the first one again at the end.
fn circle_in(sources: &[(Module, String)]) -> Option<Vec<Module>> {
    let names: BTreeSet<_> = sources.iter().map(|(module, _)| module.clone()).collect();
    let modules: Modules = sources
        .iter()
        .map(|(module, source)| {
            let paths = use_paths(&without_tests(source));
            let paths = paths
                .iter()
                .filter_map(|path| absolute(module, path, &names));
            (module.clone(), paths.collect())
        })
        .collect();
    let edges: BTreeMap<&Module, BTreeSet<&Module>> = modules
        .iter()
        .map(|(module, paths)| {
            let used = paths
                .iter()
                .filter_map(|path| origin(path, &modules, MAX_STEPS));
            let used = used.filter(|used| !module.starts_with(used));
            (module, used.collect())
        })
        .collect();
    let mut done = BTreeSet::new();
    edges
        .keys()
        .find_map(|start| circle_from(start, &edges, &mut Vec::new(), &mut done))
}

/// Follows the edges from a module, on the way that led to it.
fn circle_from<'m>(
    module: &'m Module,
    edges: &BTreeMap<&'m Module, BTreeSet<&'m Module>>,
    way: &mut Vec<&'m Module>,
    done: &mut BTreeSet<&'m Module>,
) -> Option<Vec<Module>> {
    if let Some(begin) = way.iter().position(|one| *one == module) {
        let circle = way[begin..].iter().chain([&module]);
        return Some(circle.map(|one| (*one).clone()).collect());
    }
    if !done.insert(module) {
        return None;
    }
    way.push(module);
    let found = edges[module]
        .iter()
        .find_map(|used| circle_from(used, edges, way, done));
    way.pop();
    found
}

/// The module of a file below `src`; none for the two at its top.
fn module_of(file: &Path) -> Option<Module> {
    let file = file.with_extension("");
    let mut module: Module = file
        .iter()
        .map(|name| name.to_str().unwrap().to_owned())
        .collect();
    module.pop_if(|name| *name == "mod");
    (module.len() > 1 || !matches!(module[0].as_str(), "lib" | "main")).then_some(module)
}

/// The absolute path of a `use` line in a module; none for other crates.
fn absolute(module: &[String], path: &[String], modules: &BTreeSet<Module>) -> Option<Module> {
    match path.first()?.as_str() {
        "crate" => Some(path[1..].to_vec()),
        "self" => Some([module, &path[1..]].concat()),
        "super" => {
            let up = path.iter().take_while(|name| *name == "super").count();
            Some([&module[..module.len().checked_sub(up)?], &path[up..]].concat())
        }
        child => {
            let child = [module, &[child.to_owned()]].concat();
            modules.contains(&child).then(|| [module, path].concat())
        }
    }
}

/// The module in whose file the thing with this path is.
fn origin<'m>(path: &[String], modules: &'m Modules, steps: usize) -> Option<&'m Module> {
    let depth = (1..=path.len())
        .rev()
        .find(|len| modules.contains_key(&path[..*len]))?;
    let (module, uses) = modules.get_key_value(&path[..depth])?;
    let passed_on = path.get(depth).and_then(|item| {
        let line = uses.iter().find(|line| line.last() == Some(item))?;
        (steps > 0 && line != path).then(|| origin(line, modules, steps - 1))?
    });
    passed_on.or(Some(module))
}

/// The paths of all `use` lines, in their order.
fn use_paths(code: &str) -> Vec<Module> {
    let mut paths = Vec::new();
    let statements = code.split(';').filter_map(|statement| {
        let line = statement.rsplit_once("use ")?;
        let before = line.0.rsplit('\n').next().unwrap_or_default().trim();
        (before.is_empty() || before.starts_with("pub")).then_some(line.1)
    });
    for statement in statements {
        expand("", statement, &mut paths);
    }
    paths
}

/// The paths of a tree such as `a::{b, c::{d, e}}`.
fn expand(before: &str, tree: &str, paths: &mut Vec<Module>) {
    let tree = tree.trim();
    let Some((head, group)) = tree.split_once('{') else {
        let path = format!("{before}{tree}");
        let path = path.split(" as ").next().unwrap_or_default();
        let names = path.split("::").map(|name| name.trim().to_owned());
        paths.push(names.filter(|name| !name.is_empty()).collect());
        return;
    };
    let head = format!("{before}{}", head.trim());
    let group = group.rsplit_once('}').map_or(group, |(group, _)| group);
    let (mut depth, mut begin) = (0, 0);
    for (at, c) in group.char_indices().chain([(group.len(), ',')]) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                if !group[begin..at].trim().is_empty() {
                    expand(&head, &group[begin..at], paths);
                }
                begin = (at + 1).min(group.len());
            }
            _ => {}
        }
    }
}
