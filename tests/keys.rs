//! `tinyns keys`, as an operator uses it: from the first key over its successor to a zone without signatures.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::Value;
use tempfile::TempDir;

use crate::harness::{ZONE, tinyns};

/// A configuration with a signed zone, in which a DNSKEY set is in caches for a second.
struct Operator {
    dir: TempDir,
    config: PathBuf,
}

/// The lines of a signed zone.
fn zone(dir: &Path, origin: &str, links: &str) -> String {
    let file = dir.join("test.zone");
    let keys = dir.join("keys").join(origin);
    format!(
        "[[zone]]\norigin = \"{origin}\"\nfile = \"{}\"\n{links}[zone.dnssec]\nkeys = \"{}\"\n\
         dnskey_ttl = 1\npropagation_delay = 0\n",
        file.display(),
        keys.display()
    )
}

impl Operator {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("test.zone"), ZONE).unwrap();
        let config = dir.path().join("tinyns.toml");
        let text = zone(dir.path(), "s.example.com", "redirect_host = \"r\"\n");
        std::fs::write(&config, text).unwrap();
        Self { dir, config }
    }

    fn run(&self, args: &str) -> Output {
        let mut command = tinyns();
        command.current_dir(self.dir.path());
        command.arg("--config").arg(&self.config);
        command.args(args.split_whitespace()).output().unwrap()
    }

    /// Standard output and standard error of a command that must succeed.
    fn does(&self, args: &str) -> (String, String) {
        let output = self.run(args);
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let (out, err) = (text(output.stdout), text(output.stderr));
        assert_eq!(output.status.code(), Some(0), "{args}: {out}{err}");
        (out, err)
    }

    /// The one line that a command says that is to be refused.
    fn refused(&self, args: &str) -> String {
        let output = self.run(args);
        assert_eq!(output.status.code(), Some(1), "{args}: {output:?}");
        assert!(output.stdout.is_empty(), "{args}: {output:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(said.lines().count(), 1, "{args}: {said}");
        let dir = self.dir.path().display().to_string();
        said.trim_end().replace(&dir, "DIR")
    }

    /// Makes a key; returns its tag.
    fn generate(&self, args: &str) -> String {
        let (out, _) = self.does(&format!("keys generate {args}"));
        let file = out.lines().next().unwrap();
        assert!(Path::new(file).is_file(), "{out}");
        let (_, tag) = file.rsplit_once('+').unwrap();
        tag.trim_end_matches(".pem").trim_start_matches('0').into()
    }

    fn list(&self) -> Value {
        serde_json::from_str(&self.does("keys list --json").0).unwrap()
    }

    fn states(&self) -> Vec<String> {
        let list = self.list();
        let keys = list["keys"].as_array().unwrap().iter();
        keys.map(|key| format!("{} {}", key["tag"], key["state"].as_str().unwrap()))
            .collect()
    }
}

#[test]
fn from_the_first_key_to_a_zone_without_signatures() {
    let operator = Operator::new();
    let none = "tinyns: DIR/keys/s.example.com: there are no keys yet (keys.toml is missing); \
                `tinyns keys generate` makes one";
    assert_eq!(operator.refused("keys list"), none);
    let check = operator.run("check");
    assert_eq!(check.status.code(), Some(1));
    assert!(
        String::from_utf8(check.stderr)
            .unwrap()
            .contains("there are no keys yet")
    );

    // The first key.
    let old = operator.generate("");
    let (out, _) = operator.does("check");
    assert!(out.contains("signed with the keys in"), "{out}");
    let (out, err) = operator.does("keys ds");
    let start = format!("s.example.com. IN DS {old} 13 2 ");
    assert!(
        out.starts_with(&start) && out.len() == start.len() + 65,
        "{out}"
    );
    assert!(
        err.contains("must not be in the parent zone before"),
        "{err}"
    );
    let ds: Value = serde_json::from_str(&operator.does("keys ds --json").0).unwrap();
    assert_eq!(ds[0]["tag"].to_string(), old);
    assert_eq!(ds[0]["digest"], out[start.len()..].trim());
    let (out, _) = operator.does(&format!("keys ds --seen {old} --ttl 0"));
    assert!(out.contains("was published too early"), "{out}");
    let message = operator.refused(&format!("keys retire {old}"));
    assert!(
        message.contains("no other key could then sign the DNSKEY records"),
        "{message}"
    );

    // Its successor.
    let new = operator.generate("");
    let message = operator.refused(&format!("keys retire {old}"));
    assert!(
        message.contains(&format!(
            "the DS record of its successor {new} is not confirmed"
        )),
        "{message}"
    );
    assert_eq!(operator.does("keys ds").0.lines().count(), 2);
    operator.does(&format!("keys ds --seen {new} --ttl 3600"));
    let message = operator.refused(&format!("keys retire {old}"));
    assert!(
        message.contains("may have DS records without its successor"),
        "{message}"
    );
    operator.does(&format!("keys ds --seen {new} --ttl 2"));
    std::thread::sleep(std::time::Duration::from_secs(3));
    let (out, _) = operator.does("keys list");
    let can = format!(
        "{old}: can be retired now (`tinyns keys retire {old}`); {new} then signs in its place"
    );
    assert!(out.contains(&can), "{out}");
    assert_eq!(
        operator.states(),
        [format!("{old} active"), format!("{new} published")]
    );
    let (out, _) = operator.does(&format!("keys retire {old}"));
    assert!(out.contains(&format!("{new}: signs from then on")), "{out}");
    assert_eq!(
        operator.states(),
        [format!("{old} retired"), format!("{new} active")]
    );
    operator.does(&format!("keys ds --gone {old}"));

    // The end.
    let message = operator.refused(&format!("keys ds --gone {new}"));
    assert!(message.contains("signs the DNSKEY records"), "{message}");
    let (out, _) = operator.does("keys retire --all");
    assert!(
        out.contains("ask the parent zone to remove all DS records of s.example.com"),
        "{out}"
    );
    let (out, err) = operator.does("keys ds");
    assert!(
        out.is_empty() && err.contains("should publish no DS record"),
        "{out}{err}"
    );
    let message = operator.refused("keys generate");
    assert!(message.contains("is being unsigned"), "{message}");
    let (out, _) = operator.does(&format!("keys ds --gone {new}"));
    assert!(
        out.contains("[zone.dnssec] can be removed from the configuration"),
        "{out}"
    );
    assert!(operator.list()["unsigning"].is_string());
    operator.does("check");
}

#[test]
fn two_keys_with_a_role_each() {
    let operator = Operator::new();
    let ksk = operator.generate("--role ksk --algorithm ed25519");
    let message = operator.refused("keys generate --role zsk --algorithm ecdsap256sha256");
    assert!(
        message.contains("all keys of a zone must have the same algorithm"),
        "{message}"
    );
    assert_eq!(operator.run("check").status.code(), Some(1));
    let (out, _) = operator.does("keys list");
    assert!(
        out.contains("no key signs the records of the zone"),
        "{out}"
    );
    let zsk = operator.generate("--role zsk");
    std::fs::create_dir(operator.dir.path().join("data")).unwrap();
    let (_, message) = operator.does("check");
    assert_eq!(message, "");
    let files = std::fs::read_dir(operator.dir.path().join("keys/s.example.com")).unwrap();
    let mut keys = files.map(|file| file.unwrap().path());
    let pem = keys.find(|file| file.extension().is_some_and(|end| end == "pem"));
    let pem = pem.unwrap();
    std::fs::set_permissions(&pem, Permissions::from_mode(0o640)).unwrap();
    for args in ["check", "keys list"] {
        let (_, message) = operator.does(args);
        let warning = format!(
            "{}: users other than the owner can read or change this private key; set its mode to 0600",
            pem.display()
        );
        assert!(message.contains(&warning), "{args}: {message}");
    }
    assert_eq!(
        operator.states(),
        [format!("{ksk} active"), format!("{zsk} active")]
    );
    let (out, _) = operator.does("keys ds");
    assert!(
        out.starts_with(&format!("s.example.com. IN DS {ksk} 15 2 ")),
        "{out}"
    );
    let message = operator.refused(&format!("keys ds {zsk}"));
    assert_eq!(
        message,
        format!("tinyns: {zsk} is a ZSK, which has no DS record")
    );
}

/// Without the list a new key would sign alone, while the parent zone has the DS record of another.
#[test]
fn a_lost_key_list_is_an_error() {
    let operator = Operator::new();
    let old = operator.generate("");
    let keys = operator.dir.path().join("keys/s.example.com");
    let list = std::fs::read(keys.join("keys.toml")).unwrap();
    std::fs::remove_file(keys.join("keys.toml")).unwrap();
    let message = format!(
        "tinyns: DIR/keys/s.example.com: keys.toml is missing, but there is \
         DIR/keys/s.example.com/Ks.example.com.+013+{old:0>5}.pem; restore keys.toml, which \
         says when each key signs the zone; if no key is in use, remove the keys"
    );
    for args in ["keys generate", "keys list", "keys ds"] {
        assert_eq!(operator.refused(args), message, "{args}");
    }
    assert_eq!(operator.run("check").status.code(), Some(1));
    std::fs::write(keys.join("keys.toml"), list).unwrap();
    assert_eq!(operator.states(), [format!("{old} active")]);
}

#[test]
fn with_several_zones_the_zone_must_be_named() {
    let operator = Operator::new();
    let unsigned = "[[zone]]\norigin = \"plain.example\"\nfile = \"plain\"\n";
    let text = std::fs::read_to_string(&operator.config).unwrap();
    let more = zone(operator.dir.path(), "other.example", "");
    std::fs::write(&operator.config, format!("{text}{more}{unsigned}")).unwrap();
    assert_eq!(
        operator.refused("keys generate"),
        "tinyns: which zone? --zone names one of s.example.com, other.example"
    );
    assert_eq!(
        operator.refused("keys generate --zone plain.example"),
        "tinyns: the configuration has no signed zone plain.example"
    );
    operator.generate("--zone Other.Example.");
    let (out, _) = operator.does("keys list --zone other.example");
    assert!(out.starts_with("other.example, keys in "), "{out}");
    std::fs::write(&operator.config, "").unwrap();
    assert_eq!(
        operator.refused("keys list"),
        "tinyns: the configuration has no signed zone: a [[zone]] is signed if it has a section [zone.dnssec]"
    );
}

/// Other tools calculate the same DS record from a key file.
#[test]
fn other_tools_get_the_same_ds() {
    let operator = Operator::new();
    let tag = operator.generate("");
    let (ds, _) = operator.does(&format!("keys ds {tag}"));
    let list = operator.list();
    let file = list["keys"][0]["file"].as_str().unwrap();
    let openssl = std::process::Command::new("openssl")
        .args(["pkey", "-in", file, "-pubout", "-outform", "DER"])
        .output()
        .unwrap();
    let public = &openssl.stdout[openssl.stdout.len() - 64..];
    use base64::Engine as _;
    let public = base64::engine::general_purpose::STANDARD.encode(public);
    let key = operator.dir.path().join("dnskey");
    std::fs::write(
        &key,
        format!("s.example.com. 3600 IN DNSKEY 257 3 13 {public}\n"),
    )
    .unwrap();
    let ldns = std::process::Command::new("ldns-key2ds")
        .args(["-n", "-2"])
        .arg(&key)
        .output()
        .unwrap();
    let said = String::from_utf8(ldns.stdout).unwrap();
    let digest = |text: &str| text.split_whitespace().last().unwrap().to_ascii_uppercase();
    assert_eq!(digest(&said), digest(&ds), "{said}");
}
