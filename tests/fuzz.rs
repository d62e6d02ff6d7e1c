//! The fuzz targets without a fuzzer: all their seeds, and for a short time random changes of them. `cargo fuzz` and
//! .ci/fuzz see which code an input reaches, so they find more. This finds broken properties within `cargo test`.

#[path = "../fuzz/src/lib.rs"]
mod targets;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Instant;

use self::targets::{Check, TARGETS};

/// For how long for each target, in seconds, and from where on; `FUZZ_SECONDS` and `FUZZ_SEED` choose
/// others.
const SECONDS: u64 = 2;
const SEED: u64 = 1;
/// The longest input that is made, in bytes.
const MAX_LEN: usize = 4_096;

/// Numbers that look like chance (Marsaglia's xorshift), the same for the same seed.
struct Random(u64);

impl Random {
    /// Below `n`.
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 20) as usize % n
    }
}

/// The files of a directory beside the targets, in the order of their names.
fn files(directory: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz")
        .join(directory);
    let entries = fs::read_dir(&directory).unwrap_or_else(|e| panic!("{directory:?}: {e}"));
    let mut files: Vec<_> = entries
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect();
    files.sort();
    files
}

/// The words of a dictionary, in libFuzzer's form: `name="word"`, with `\xAB`, `\\` and `\"`.
fn words(target: &str) -> Vec<Vec<u8>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("fuzz/dict/{target}.dict"));
    let text = fs::read_to_string(path).unwrap();
    let lines = text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty());
    lines
        .map(|line| word(line).unwrap_or_else(|| panic!("{line}")))
        .collect()
}

fn word(line: &str) -> Option<Vec<u8>> {
    let (_, quoted) = line.split_once('"')?;
    let mut rest = quoted.strip_suffix('"')?;
    let mut word = Vec::new();
    while let Some(first) = rest.chars().next() {
        let (byte, len) = match first {
            '\\' if rest[1..].starts_with('x') => {
                (u8::from_str_radix(rest.get(2..4)?, 16).ok()?, 4)
            }
            '\\' => (*rest.as_bytes().get(1)?, 2),
            _ => (u8::try_from(first).ok()?, 1),
        };
        word.push(byte);
        rest = &rest[len..];
    }
    Some(word)
}

/// One of the seeds, with a few changes.
fn changed(random: &mut Random, seeds: &[(PathBuf, Vec<u8>)], words: &[Vec<u8>]) -> Vec<u8> {
    let mut input = seeds[random.below(seeds.len())].1.clone();
    for _ in 0..=random.below(6) {
        let at = random.below(input.len() + 1);
        let end = at + random.below(input.len() - at + 1).min(16);
        match random.below(7) {
            0 if at < input.len() => input[at] ^= 1 << random.below(8),
            1 if at < input.len() => input[at] = random.below(256) as u8,
            2 => drop(input.drain(at..end)),
            3 => drop(input.splice(at..at, input[at..end].to_vec())),
            4 => drop(input.splice(at..at, words[random.below(words.len())].iter().copied())),
            5 => {
                let other = &seeds[random.below(seeds.len())].1;
                let from = random.below(other.len() + 1);
                input.truncate(at);
                input.extend(&other[from..]);
            }
            _ => input.insert(at, random.below(256) as u8),
        }
    }
    input.truncate(MAX_LEN);
    input
}

/// Runs a check, and says which input it was where it does not hold.
fn run(target: &str, check: Check, name: &str, input: &[u8]) {
    let outcome = catch_unwind(AssertUnwindSafe(|| check(input)));
    if let Err(panic) = outcome {
        let kept = std::env::temp_dir().join(format!("tinyns-fuzz-{target}"));
        fs::write(&kept, input).unwrap();
        eprintln!("{target}, {name}: the input is in {}", kept.display());
        std::panic::resume_unwind(panic);
    }
}

fn fuzz(target: &str) {
    let number = |variable, default| {
        let text = std::env::var(variable);
        text.map_or(default, |text| text.parse().unwrap())
    };
    let (seconds, seed): (u64, u64) = (number("FUZZ_SECONDS", SECONDS), number("FUZZ_SEED", SEED));
    let check = TARGETS.iter().find(|(name, _)| *name == target).unwrap().1;
    let (seeds, words) = (files(&format!("seeds/{target}")), words(target));
    run(target, check, "nothing", b"");
    for (path, input) in &seeds {
        run(target, check, &path.to_string_lossy(), input);
    }
    let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let (began, mut inputs) = (Instant::now(), 0_u64);
    while inputs < 100 || began.elapsed().as_secs() < seconds {
        let input = changed(&mut random, &seeds, &words);
        run(
            target,
            check,
            &format!("seed {seed}, input {inputs}"),
            &input,
        );
        inputs += 1;
    }
    println!("{target}: {} seeds, {inputs} inputs by chance", seeds.len());
}

#[test]
fn admin_json() {
    fuzz("admin_json");
}

#[test]
fn config() {
    fuzz("config");
}

#[test]
fn packet() {
    fuzz("packet");
}

#[test]
fn url() {
    fuzz("url");
}

#[test]
fn zone_text() {
    fuzz("zone_text");
}

#[test]
fn all_targets_have_a_test_and_a_dictionary() {
    let tested = ["admin_json", "config", "packet", "url", "zone_text"];
    assert_eq!(TARGETS.map(|(name, _)| name), tested);
    let dictionaries = files("dict");
    let named = dictionaries
        .iter()
        .map(|(path, _)| path.file_stem().unwrap());
    assert_eq!(named.collect::<Vec<_>>(), tested);
}
