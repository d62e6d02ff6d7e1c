//! The configuration of a test server.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::Server;
use super::ZONE;
use super::process::{bare, tinyns};

/// The configuration and environment of a test server.
pub struct Setup {
    dir: TempDir,
    zones: String,
    files: Vec<(PathBuf, String)>,
    listen: String,
    dns: String,
    admin: String,
    limits: String,
    launcher: Vec<String>,
    sections: String,
    /// The lines of `[store]`, if it is not a SQLite file of this server's own.
    store: Option<String>,
    environment: Vec<(String, String)>,
}

impl Setup {
    /// The default zone in its default layout.
    pub fn new() -> Self {
        Self::with_layout("cname")
    }

    /// The default zone in the given layout.
    pub fn with_layout(layout: &str) -> Self {
        Self::empty().zone(
            "s.example.com",
            &format!("redirect_host = \"r\"\nlayout = \"{layout}\"\n"),
            ZONE,
        )
    }

    /// No zone yet.
    pub fn empty() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            zones: String::new(),
            files: Vec::new(),
            listen: "[\"127.0.0.1:0\"]".into(),
            dns: String::new(),
            admin: "127.0.0.1:0".into(),
            limits: String::new(),
            launcher: Vec::new(),
            sections: String::new(),
            store: None,
            environment: Vec::new(),
        }
    }

    /// Adds a zone with further lines of its configuration.
    pub fn zone(mut self, origin: &str, config: &str, text: &str) -> Self {
        // A slash is a part of some origins, but of no file's name.
        let file = format!("{}.zone", origin.replace(['/', '\\'], "_"));
        let file = self.dir.path().join(file);
        write!(
            self.zones,
            "[[zone]]\norigin = {origin:?}\nfile = \"{}\"\n{config}\n",
            file.display()
        )
        .unwrap();
        self.files.push((file, text.into()));
        self
    }

    /// Listens for DNS elsewhere than on 127.0.0.1; a TOML list.
    pub fn listen(mut self, listen: &str) -> Self {
        self.listen = listen.into();
        self
    }

    /// Adds a line to `[dns]`.
    pub fn dns_line(mut self, line: &str) -> Self {
        writeln!(self.dns, "{line}").unwrap();
        self
    }

    /// Has the admin API elsewhere than at a port that the system chooses.
    pub fn admin(mut self, address: SocketAddr) -> Self {
        self.admin = address.to_string();
        self
    }

    /// The server's directory: zone files, configuration, data.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Adds a section to the configuration.
    pub fn section(mut self, text: &str) -> Self {
        self.sections += text;
        self
    }

    /// Replaces the sections that were added.
    pub fn sections(mut self, text: &str) -> Self {
        self.sections = text.into();
        self
    }

    /// Shell commands that run before the server, in its process: `ulimit` and the like. They hold
    /// for the first start only.
    pub fn limits(mut self, commands: &str) -> Self {
        self.limits = commands.into();
        self
    }

    /// A program that executes the server, with its first arguments. It holds for the first start only.
    pub fn launcher(mut self, words: &[&str]) -> Self {
        self.launcher = words.iter().copied().map(Into::into).collect();
        self
    }

    /// Sets the lines of `[store]`. The default is a SQLite file in the server's directory.
    pub fn store(mut self, lines: &str) -> Self {
        self.store = Some(lines.into());
        self
    }

    /// Has the links in the table of a DynamoDB endpoint, and makes the table if it is not there.
    pub fn dynamodb(self, url: &str) -> Self {
        self.store(&format!(
            "kind = \"dynamodb\"\nendpoint_url = \"{url}\"\ncreate_table = true\n"
        ))
    }

    /// Sets a variable of its environment.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Adds a line to `[store]`.
    pub fn store_line(mut self, line: &str) -> Self {
        let lines = self.store.as_mut().expect("lines of a store of its own");
        writeln!(lines, "{line}").unwrap();
        self
    }

    /// Replaces a line of `[store]`.
    pub fn replace_in_store(mut self, line: &str, by: &str) -> Self {
        let lines = self.store.as_mut().expect("lines of a store of its own");
        assert!(lines.contains(line), "{lines}");
        *lines = lines.replace(line, by);
        self
    }

    /// Checks that neither `tinyns serve` nor `tinyns check` accepts it, and that both say all of these parts.
    #[track_caller]
    pub fn check_refused(&self, parts: &[&str]) {
        let path = self.write();
        for command in ["serve", "check"] {
            let mut refused = tinyns();
            let done = refused.args([command, "--config"]).arg(&path).output();
            let done = done.unwrap();
            assert!(!done.status.success(), "{command}");
            let said = [done.stdout, done.stderr].concat();
            let said = String::from_utf8_lossy(&said);
            for part in parts {
                assert!(said.contains(part), "{command}, {part}: {said}");
            }
        }
    }

    /// Writes its files, for commands that come before the start, and returns the configuration's path.
    pub fn write(&self) -> PathBuf {
        for (file, text) in &self.files {
            std::fs::write(file, text).unwrap();
        }
        let config = self.dir.path().join("tinyns.toml");
        let data = self.dir.path().join("data");
        let sqlite = || format!("path = \"{}/links.sqlite\"\n", data.display());
        let text = format!(
            "[dns]\nlisten = {listen}\n{dns}{zones}\n[store]\n{store}\
             [admin]\nlisten = \"{admin}\"\ntoken_file = \"{data}/admin.token\"\n\
             [redirect]\nlisten = \"127.0.0.1:0\"\n{sections}",
            sections = self.sections,
            listen = self.listen,
            dns = self.dns,
            admin = self.admin,
            zones = self.zones,
            store = self.store.clone().unwrap_or_else(sqlite),
            data = data.display(),
        );
        std::fs::write(&config, text).unwrap();
        config
    }

    /// Starts the server and waits until all its listeners are there.
    pub fn start(self) -> Server {
        let config = self.write();
        let mut command = Command::new("sh");
        command
            .args(["-c", &format!("{}\nexec \"$@\"", self.limits), "sh"])
            .args(self.launcher)
            .arg(env!("CARGO_BIN_EXE_tinyns"));
        Server::launch(bare(command), self.dir, config, self.environment)
    }
}
