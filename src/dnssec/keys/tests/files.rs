//! Private keys and lists on disk: reading, refusing, and interrupted commands.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use super::*;
use crate::dnssec::keys::directory::{LockedDirectory, read_list, strangers};
use crate::dnssec::keys::list::LIST_FILE;
use crate::dnssec::keys::{KeyRing, KeysError};

/// A directory of keys.
struct Keys {
    dir: TempDir,
    config: DnssecConfig,
}

impl Keys {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = config(&dir.path().join("keys"));
        Self { dir, config }
    }

    /// As `tinyns keys generate` does it.
    fn generate(&self, algorithm: Algorithm, role: Role, now: u64) -> (PathBuf, u16) {
        let directory = LockedDirectory::open(&self.config.keys, true).unwrap();
        let mut list = self.list().unwrap_or_else(|_| new_list(&self.config));
        let (file, key) = directory.make_key(&list, algorithm, role).unwrap();
        list.add(&key, &self.config, at(now)).unwrap();
        directory.write_list(&list).unwrap();
        (file, key.tag())
    }

    fn list(&self) -> Result<KeyList, KeysError> {
        read_list(&self.config, &origin(), at(0))
    }

    fn load(&self) -> Result<KeyRing, KeysError> {
        KeyRing::load(&self.config, &origin(), at(0))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.config.keys.join(name)
    }

    /// The message for a directory that is refused.
    fn refused(&self) -> String {
        let message = self.load().unwrap_err().to_string();
        message.replace(&self.dir.path().display().to_string(), "DIR")
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn openssl(args: &[&str]) -> Vec<u8> {
    let output = Command::new("openssl").args(args).output().unwrap();
    assert!(output.status.success(), "{args:?}: {output:?}");
    output.stdout
}

const ALGORITHMS: [Algorithm; 2] = [Algorithm::EcdsaP256Sha256, Algorithm::Ed25519];

#[test]
fn written_keys_are_private_and_can_be_read() {
    for algorithm in ALGORITHMS {
        let keys = Keys::new();
        let (file, tag) = keys.generate(algorithm, Role::Csk, 1_000);
        let name = format!("Ks.example.com.+{:03}+{tag:05}.pem", algorithm.number());
        assert_eq!(file, keys.path(&name));
        assert_eq!(mode(&file), 0o600);
        assert_eq!(mode(&keys.config.keys), 0o700);
        assert_eq!(mode(&keys.path(LIST_FILE)), 0o644);
        let now = keys.load().unwrap().at(at(1_000));
        assert_eq!(now.key_signers[0].tag(), tag);
        // Nothing else is left.
        assert_eq!(fs::read_dir(&keys.config.keys).unwrap().count(), 2);
        let text = fs::read_to_string(keys.path(LIST_FILE)).unwrap();
        assert!(text.starts_with("# The keys of a signed zone"), "{text}");
        assert_eq!(text, keys.list().unwrap().to_toml());
    }
}

/// The public half as OpenSSL sees it, in the form of a DNSKEY.
fn public_by_openssl(file: &Path, len: usize) -> Vec<u8> {
    let file = file.display().to_string();
    let der = openssl(&["pkey", "-in", &file, "-pubout", "-outform", "DER"]);
    der[der.len() - len..].to_vec()
}

#[test]
fn openssl_reads_written_keys() {
    for (algorithm, len) in ALGORITHMS.into_iter().zip([64, 32]) {
        let keys = Keys::new();
        let (file, _) = keys.generate(algorithm, Role::Csk, 1_000);
        let dnskey = keys.load().unwrap().at(at(1_000)).dnskeys.swap_remove(0);
        assert_eq!(public_by_openssl(&file, len), dnskey[4..]);
    }
}

#[test]
fn keys_of_openssl_are_read() {
    let ec = ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"];
    let ed = ["-algorithm", "ED25519"];
    for (algorithm, args) in ALGORITHMS.into_iter().zip([&ec[..], &ed[..]]) {
        let dir = tempfile::tempdir().unwrap();
        let made = dir.path().join("key.pem");
        let out = ["-out", made.to_str().unwrap()];
        openssl(&[&["genpkey"], args, &out[..]].concat());
        // The error for a wrong tag names the right one.
        let read = |tag| pem::read(&made, algorithm, Role::Zsk, tag);
        let complaint = read(0).or_else(|_| read(1)).unwrap_err().to_string();
        let tag = complaint
            .split(' ')
            .find_map(|word| word.parse().ok())
            .unwrap();
        let key = read(tag).unwrap();
        let len = if algorithm == Algorithm::Ed25519 {
            32
        } else {
            64
        };
        assert_eq!(public_by_openssl(&made, len), key.dnskey()[4..]);
        assert!(key.sign(b"text").is_ok());
    }
}

#[test]
fn files_without_a_private_key_are_refused() {
    let keys = Keys::new();
    let (file, tag) = keys.generate(Algorithm::EcdsaP256Sha256, Role::Csk, 1_000);
    let name = format!("DIR/keys/Ks.example.com.+013+{tag:05}.pem");
    let good = fs::read_to_string(&file).unwrap();
    let path = file.to_str().unwrap();
    let sec1 = openssl(&["ec", "-in", path]);
    let encrypted = openssl(&["pkcs8", "-topk8", "-in", path, "-passout", "pass:x"]);
    let public = openssl(&["pkey", "-in", path, "-pubout"]);
    let other = openssl(&["genpkey", "-algorithm", "ED25519"]);
    let p384 = [
        "genpkey",
        "-algorithm",
        "EC",
        "-pkeyopt",
        "ec_paramgen_curve:P-384",
    ];
    let no_key = "the file has no unencrypted private key in PKCS#8 (BEGIN PRIVATE KEY)";
    let other_kind = "not a private key of ECDSAP256SHA256 in PKCS#8";
    for (text, problem) in [
        (Vec::new(), no_key),
        (b"# nothing".to_vec(), no_key),
        (sec1, no_key),
        (encrypted, no_key),
        (public, no_key),
        (other, other_kind),
        (openssl(&p384), other_kind),
        (good.replace("-----END", "-----ENT").into(), "not PEM"),
        (good.replace("MIG", "!IG").into(), "not PEM"),
        (good.repeat(40).into(), "larger than 8192 bytes"),
    ] {
        fs::write(&file, &text).unwrap();
        let text = String::from_utf8_lossy(&text);
        assert_eq!(keys.refused(), format!("{name}: {problem}"), "{text}");
    }

    let (text, _) = pem::generate(Algorithm::EcdsaP256Sha256, Role::Csk).unwrap();
    fs::write(&file, text).unwrap();
    let message = keys.refused();
    assert!(
        message.starts_with(&format!("{name}: the tag of this key is ")),
        "{message}"
    );
    assert!(
        message.ends_with(&format!(" as csk, but keys.toml has {tag}")),
        "{message}"
    );

    fs::remove_file(&file).unwrap();
    assert_eq!(
        keys.refused(),
        format!(
            "{name}: cannot read this private key, which keys.toml lists: No such file or directory (os error 2)"
        )
    );
    fs::create_dir(&file).unwrap();
    let message = keys.refused();
    assert!(message.contains("this is not a regular file"), "{message}");
    fs::remove_dir(&file).unwrap();
    fs::write(&file, good).unwrap();
    // A file that other users can read causes a warning, not an error.
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    keys.load().unwrap();
}

/// Replaces a line of the list of a zone with an active key, and checks the error.
fn check_list(line: &str, instead: &str, expected: &str) {
    let keys = Keys::new();
    keys.generate(Algorithm::Ed25519, Role::Csk, 1_000);
    keys.generate(Algorithm::Ed25519, Role::Zsk, 1_000);
    let text = fs::read_to_string(keys.path(LIST_FILE)).unwrap();
    let place = text
        .lines()
        .position(|other| other.starts_with(line))
        .unwrap();
    let mut lines: Vec<&str> = text.lines().collect();
    lines[place] = instead;
    fs::write(keys.path(LIST_FILE), lines.join("\n")).unwrap();
    assert_eq!(
        keys.refused(),
        format!("DIR/keys/keys.toml:{expected}"),
        "{instead}"
    );
}

#[test]
fn lists_are_read_strictly() {
    check_list(
        "origin",
        "origin = \"other.example\"",
        "4: origin: these are the keys of other.example, but the \
         zone is s.example.com",
    );
    check_list("origin", "", "1: missing field `origin`");
    check_list(
        "max_ttl",
        "max_ttl = -1",
        "6: max_ttl: -1 is not within 0 to 4294967295",
    );
    check_list(
        "max_ttl",
        "max_ttl = 5\nsetled = 5",
        "7: setled: unknown key; did you mean \"settled\"? Known here: origin, dnskey_ttl, max_ttl, settled, \
         unsigning, key",
    );
    check_list(
        "tag",
        "tag = 65536",
        "9: tag: 65536 is not within 0 to 65535",
    );
    check_list(
        "algorithm",
        "algorithm = \"rsasha256\"",
        "10: algorithm: unknown value \"rsasha256\", expected \"ecdsap256sha256\" or \"ed25519\"",
    );
    check_list(
        "role",
        "role = \"sep\"",
        "11: role: unknown value \"sep\", expected \"csk\", \"ksk\" or \"zsk\"",
    );
    check_list(
        "ready",
        "redy = 2026-01-01T00:00:00Z",
        "14: key.redy: unknown key; did you mean \"ready\"? Known here: tag, algorithm, role, created, publish, \
         ready, active, retired, removed, cds, cds_removed, ds_seen, ds_ttl, ds_gone",
    );
    check_list(
        "ready",
        "ready = 2026-01-01",
        "14: ready: 2026-01-01 is not a time such as 2030-01-31T12:00:00Z",
    );
    check_list(
        "ready",
        "ready = 1970-01-01T00:16:39Z",
        "8: ready: earlier than publish",
    );
    check_list(
        "active",
        "",
        "1: no key signs the DNSKEY records; `tinyns keys generate --role ksk` makes one",
    );
    for (instead, expected) in [
        (
            "retired = 1970-01-01T00:20:00Z",
            "retired: needs \"active\", which is missing",
        ),
        (
            "removed = 1970-01-01T00:20:00Z",
            "removed: needs \"cds_removed\", which is missing",
        ),
        (
            "cds_removed = 1970-01-01T00:20:00Z",
            "cds_removed: earlier than cds",
        ),
        (
            "ds_seen = 1970-01-01T00:20:00Z",
            "ds_seen: needs \"ds_ttl\", which is missing",
        ),
        ("ds_ttl = 5", "ds_ttl: needs \"ds_seen\", which is missing"),
    ] {
        check_list("active", instead, &format!("8: {expected}"));
    }
    check_list(
        "active",
        "active = 1970-01-01T00:17:00Z\nretired = 1970-01-01T00:18:00Z",
        "8: retired: needs \"removed\", which is missing",
    );
}

#[test]
fn keys_that_do_not_go_together_are_refused() {
    let keys = Keys::new();
    let (_, tag) = keys.generate(Algorithm::Ed25519, Role::Csk, 1_000);
    let text = fs::read_to_string(keys.path(LIST_FILE)).unwrap();
    let (head, key) = text.split_once("[[key]]").unwrap();
    let write =
        |more: &str| fs::write(keys.path(LIST_FILE), format!("{text}\n[[key]]{more}")).unwrap();
    write(key);
    assert_eq!(
        keys.refused(),
        format!("DIR/keys/keys.toml:19: tag: {tag} is already in line 9")
    );
    let tag_line = format!("tag = {tag}");
    write(
        &key.replace("ed25519", "ecdsap256sha256")
            .replace(&tag_line, "tag = 1"),
    );
    assert_eq!(
        keys.refused(),
        "DIR/keys/keys.toml:20: algorithm: ECDSAP256SHA256, but the keys before have ED25519; all keys of a zone \
         must have the same algorithm, and tinyns cannot replace it by another"
    );
    let zsk = key
        .replace("\"csk\"", "\"zsk\"")
        .replace(&tag_line, "tag = 1");
    write(&zsk);
    let problem = "cds: a key with the role \"zsk\" has no DS record";
    assert_eq!(keys.refused(), format!("DIR/keys/keys.toml:18: {problem}"));
    let many = (0..33).map(|tag| {
        format!(
            "[[key]]{}\n",
            key.replace(&tag_line, &format!("tag = {tag}"))
        )
    });
    fs::write(
        keys.path(LIST_FILE),
        format!("{head}{}", many.collect::<String>()),
    )
    .unwrap();
    assert!(
        keys.refused()
            .ends_with("key: 33 keys; at most 32 are allowed")
    );
    fs::write(keys.path(LIST_FILE), "#".repeat(70_000)).unwrap();
    assert_eq!(
        keys.refused(),
        "DIR/keys/keys.toml:1: larger than 65536 bytes"
    );
    fs::write(keys.path(LIST_FILE), b"# a\n\xFF").unwrap();
    assert_eq!(keys.refused(), "DIR/keys/keys.toml:2: not UTF-8 text");
    fs::remove_file(keys.path(LIST_FILE)).unwrap();
    assert!(
        keys.refused()
            .starts_with("DIR/keys: keys.toml is missing, but there is DIR/keys/Ks.example.com.+")
    );
    // A key of another zone, and a file that is not a key.
    fs::remove_dir_all(&keys.config.keys).unwrap();
    fs::create_dir(&keys.config.keys).unwrap();
    for file in [
        "Kother.example.+015+00001.pem",
        "Ks.example.com.+015+00001.txt",
    ] {
        fs::write(keys.path(file), "").unwrap();
    }
    let none = "there are no keys yet (keys.toml is missing); `tinyns keys generate` makes one";
    assert_eq!(keys.refused(), format!("DIR/keys: {none}"));
}

#[test]
fn two_commands_at_once_lose_nothing() {
    let keys = Keys::new();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..4 {
                    keys.generate(Algorithm::Ed25519, Role::Csk, 1_000);
                }
            });
        }
    });
    let list = keys.list().unwrap();
    assert_eq!(list.keys.len(), 16);
    assert_eq!(keys.load().unwrap().at(at(1_000)).key_signers.len(), 1);
    assert_eq!(
        strangers(&keys.config.keys, &list).unwrap(),
        Vec::<PathBuf>::new()
    );
}

#[test]
fn a_command_waits_for_the_one_before() {
    let keys = Keys::new();
    let first = LockedDirectory::open(&keys.config.keys, true).unwrap();
    let begun = std::time::Instant::now();
    std::thread::scope(|scope| {
        let second = scope.spawn(|| LockedDirectory::open(&keys.config.keys, false));
        std::thread::sleep(std::time::Duration::from_millis(200));
        drop(first);
        second.join().unwrap().unwrap();
    });
    assert!(begun.elapsed() >= std::time::Duration::from_millis(200));
}

#[test]
fn an_interrupted_command_changes_nothing() {
    let keys = Keys::new();
    keys.generate(Algorithm::Ed25519, Role::Csk, 1_000);
    let before = keys.list().unwrap();
    // It is killed between the key and the list.
    let directory = LockedDirectory::open(&keys.config.keys, false).unwrap();
    let (file, _) = directory
        .make_key(&before, Algorithm::Ed25519, Role::Csk)
        .unwrap();
    drop(directory);
    assert_eq!(keys.list().unwrap(), before);
    keys.load().unwrap();
    let left = strangers(&keys.config.keys, &before).unwrap();
    assert_eq!(left, std::slice::from_ref(&file));
    // It is killed while it writes, and something else has the name of the draft.
    let elsewhere = keys.dir.path().join("elsewhere");
    fs::write(&elsewhere, "untouched").unwrap();
    symlink(&elsewhere, keys.path(".draft")).unwrap();
    keys.generate(Algorithm::Ed25519, Role::Csk, 2_000);
    assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "untouched");
    assert_eq!(keys.list().unwrap().keys.len(), 2);
    assert!(file.exists());
    assert!(!keys.path(".draft").exists());
}

#[test]
fn a_directory_that_is_not_there_has_no_keys() {
    let keys = Keys::new();
    let error = LockedDirectory::open(&keys.config.keys, false).unwrap_err();
    assert!(matches!(error, KeysError::NoKeys(_)), "{error}");
    assert!(!keys.config.keys.exists());
    fs::write(&keys.config.keys, "a file").unwrap();
    let message = LockedDirectory::open(&keys.config.keys, true)
        .unwrap_err()
        .to_string();
    assert!(message.contains("cannot make the directory"), "{message}");
}

/// After commands by root the server can read the files.
#[test]
fn files_have_the_owner_of_the_directory() {
    use std::os::unix::fs::{MetadataExt as _, chown};
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: only root can give files away");
        return;
    }
    let keys = Keys::new();
    fs::create_dir(&keys.config.keys).unwrap();
    chown(&keys.config.keys, Some(65_534), Some(65_534)).unwrap();
    let (file, _) = keys.generate(Algorithm::Ed25519, Role::Csk, 1_000);
    for file in [file, keys.path(LIST_FILE)] {
        let metadata = fs::metadata(file).unwrap();
        assert_eq!((metadata.uid(), metadata.gid()), (65_534, 65_534));
    }
}
