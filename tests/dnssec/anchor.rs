//! Trust anchors: the DS records of a zone, in the format of each validator.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;

use tempfile::TempDir;

use crate::harness::run;

/// The DS records of a zone.
pub struct Anchor {
    /// The zone, without its last dot.
    pub origin: String,
    /// The data of its DS records.
    pub ds: Vec<String>,
    dir: TempDir,
}

impl Anchor {
    /// From DS records in the master file format.
    pub fn from_ds(origin: &str, text: &str) -> Self {
        let ds = text.lines().filter(|line| !line.starts_with(';'));
        let ds = ds.filter_map(|line| line.split_once("DS"));
        let ds = ds.map(|(_, data)| data.split_whitespace().collect::<Vec<_>>());
        let ds = ds.map(|words| {
            let (numbers, digest) = words.split_at(3);
            format!("{} {}", numbers.join(" "), digest.concat())
        });
        let ds: Vec<String> = ds.collect();
        assert!(!ds.is_empty(), "no DS records: {text}");
        Self {
            origin: origin.into(),
            ds,
            dir: tempfile::tempdir().unwrap(),
        }
    }

    /// From DNSKEY records in the master file format.
    pub fn from_dnskeys(origin: &str, text: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("dnskey");
        std::fs::write(&file, format!("{text}\n")).unwrap();
        let file = file.to_str().unwrap();
        // Without -A, the tool makes DS records only of keys with the SEP flag.
        let text = run("dnssec-dsfromkey", &["-A", "-2", "-f", file, origin]);
        Self::from_ds(origin, &text)
    }

    /// From the DNSKEY records that a server of any kind publishes.
    pub fn from_server(address: SocketAddr, origin: &str) -> Self {
        Self::from_dnskeys(origin, &dnskeys(address, origin))
    }

    /// The tags of the keys.
    pub fn tags(&self) -> Vec<u16> {
        let tag = |ds: &String| ds.split(' ').next().unwrap().parse().unwrap();
        self.ds.iter().map(tag).collect()
    }

    /// The same DS records with one bit of each digest changed.
    pub fn falsified(&self) -> Self {
        let falsify = |ds: &String| {
            let (rest, last) = ds.split_at(ds.len() - 1);
            let digit = u8::from_str_radix(last, 16).unwrap() ^ 1;
            format!("DS {rest}{digit:X}\n")
        };
        let text: String = self.ds.iter().map(falsify).collect();
        Self::from_ds(&self.origin, &text)
    }

    /// The DS records in the master file format.
    pub fn records(&self) -> String {
        let mut text = String::new();
        for ds in &self.ds {
            writeln!(text, "{}. 3600 IN DS {ds}", self.origin).unwrap();
        }
        text
    }

    /// A file with the DS records for unbound and drill.
    pub fn ds_file(&self) -> PathBuf {
        self.file("ds", &self.records())
    }

    /// A file with the DS records for delv.
    pub fn delv_file(&self) -> PathBuf {
        let anchor = |ds: &String| {
            let (numbers, digest) = ds.rsplit_once(' ').unwrap();
            format!("{}. static-ds {numbers} \"{digest}\"; ", self.origin)
        };
        let anchors: String = self.ds.iter().map(anchor).collect();
        self.file("delv", &format!("trust-anchors {{ {anchors}}};\n"))
    }

    /// A file with the keys that a server publishes now, for `drill -D`, which accepts no DS records.
    pub fn key_file(&self, address: SocketAddr) -> PathBuf {
        self.file("dnskey", &dnskeys(address, &self.origin))
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let file = self.dir.path().join(name);
        std::fs::write(&file, text).unwrap();
        file
    }
}

/// The DNSKEY records of a server in the master file format.
pub fn dnskeys(address: SocketAddr, origin: &str) -> String {
    let at = format!("@{}", address.ip());
    let port = address.port().to_string();
    let args = [&at, "-p", &port, "+noall", "+answer", "DNSKEY", origin];
    let text = run("dig", &args);
    assert!(text.contains("DNSKEY"), "{origin} has no keys");
    text
}
