//! The OpenAPI document is true: Schemathesis makes requests from it, good and bad ones, and compares the responses with it.
//!
//! It looks for responses that the document does not describe (status, media type, headers, schema), for bad requests that
//! are accepted, for good ones that are refused, and for calls without a token. Each test has a server of its own and calls
//! it with a token of one role. `hooks.py` has what the document cannot say, and `schemathesis.toml` has the settings. The
//! requests of a test are the same in each run.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::{Server, Setup, TOKEN, ZONE};

/// The time-out of a run, in seconds.
const SECONDS: &str = "300";

/// The program, which tests/run.sh installs.
fn program() -> PathBuf {
    let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let program = target.with_file_name("tools/schemathesis/bin/schemathesis");
    assert!(
        program.exists(),
        "{}: tests/run.sh makes it",
        program.display()
    );
    program
}

/// What the calls need that are made for an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Nobody,
    Reader,
    Editor,
    Admin,
}

/// Who may call an operation.
fn needed(method: &str, path: &str) -> Level {
    let manages = [
        "/v1/tokens",
        "/v1/sessions",
        "/v1/audit",
        "/v1/certificates",
        "/v1/servers",
        "/v1/pools",
    ];
    match method {
        _ if !path.starts_with("/v1/") => Level::Nobody,
        _ if manages.iter().any(|start| path.starts_with(start)) => Level::Admin,
        "GET" => Level::Reader,
        _ => Level::Editor,
    }
}

/// The statuses of all responses, for each operation that the document describes, such as `GET /v1/links`.
type Statuses = BTreeMap<(String, String), BTreeSet<u64>>;

/// The operations of the document.
fn operations(server: &Server) -> Vec<(String, String)> {
    let document = server.api("GET", "/openapi.json", None).json();
    let methods = ["get", "post", "put", "patch", "delete"];
    let paths = document["paths"].as_object().unwrap();
    let of_path = |(path, item): (&String, &Value)| {
        let described = methods
            .into_iter()
            .filter(|method| item[method].is_object());
        let pairs = described.map(|method| (method.to_uppercase(), path.clone()));
        pairs.collect::<Vec<_>>()
    };
    paths.iter().flat_map(of_path).collect()
}

/// The statuses in a report.
fn statuses(report: &Path) -> Statuses {
    let text = std::fs::read_to_string(report).unwrap();
    let mut statuses = Statuses::new();
    for line in text.lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        let recorded = &event["ScenarioFinished"]["recorder"];
        for (id, interaction) in recorded["interactions"].as_object().into_iter().flatten() {
            let case = &recorded["cases"][id]["value"];
            let text = |member: &str| case[member].as_str().unwrap().to_owned();
            let status = interaction["response"]["status_code"].as_u64();
            let of_operation = statuses.entry((text("method"), text("path"))).or_default();
            of_operation.insert(status.unwrap_or_else(|| panic!("no response: {interaction}")));
        }
    }
    statuses
}

/// Has Schemathesis call a new server with the token of a role.
fn check(level: Level, token: impl FnOnce(&Server) -> Option<String>) {
    let (origin, redirect) = ("t.example.com", "redirect_host = \"r\"\npools = \"0\"\n");
    let zone = ZONE.replace("s.example.com", origin);
    // Schemathesis begins with the name "0", of pools and of links, and readers cannot make a link.
    let pool = "[[pool]]\nname = \"0\"\naddresses = \"192.0.2.9\"\n";
    let setup = Setup::new().zone(origin, redirect, &zone);
    let server = setup.section(pool).start();
    for zone in ["s.example.com", origin] {
        let link = json!({"url": "https://example.net/", "code": "0"});
        let made = server.api("POST", &format!("/v1/links?zone={zone}"), Some(&link));
        assert_eq!(made.status, 201, "{made:?}");
    }
    let report = server.dir().join("report.ndjson");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let tests = root.join("tests/openapi");
    let base = format!("http://{}", server.admin);
    let mut command = Command::new("timeout");
    command
        .arg(SECONDS)
        .arg(program())
        .current_dir(server.dir())
        .env("PYTHONPATH", &tests)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .arg("--config-file")
        .arg(tests.join("schemathesis.toml"))
        .arg("run")
        // From the server, Schemathesis would leave out the path of the document.
        .arg(root.join("src/http/openapi.json"))
        .args(["--url", &base])
        .args(["--no-color", "--report", "ndjson", "--report-ndjson-path"])
        .arg(&report);
    if let Some(token) = token(&server) {
        let header = format!("Authorization: Bearer {token}");
        command.args(["--header", &header]);
    }
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{level:?}: {text}{errors}");

    // The requests were of use, and none was let in that should not.
    let found = statuses(&report);
    for (method, path) in operations(&server) {
        let statuses = found.get(&(method.clone(), path.clone()));
        let statuses = statuses.unwrap_or_else(|| panic!("no call of {method} {path}"));
        let shown = format!("{level:?}: {method} {path}: {statuses:?}");
        let done = statuses.iter().any(|status| (200..300).contains(status));
        match (needed(&method, &path), level) {
            // This server orders no certificates.
            (Level::Admin, Level::Admin) if path.ends_with("/order") => {
                assert!(statuses.contains(&409), "{shown}");
            }
            (needed, level) if needed <= level => assert!(done, "{shown}"),
            (_, Level::Nobody) => assert_eq!(statuses, &[401].into(), "{shown}"),
            (_, _) => assert_eq!(statuses, &[403].into(), "{shown}"),
        }
    }
}

/// Makes a token with this role.
fn make(server: &Server, role: &str) -> Option<String> {
    let body = json!({"name": format!("the-{role}"), "role": role});
    let made = server.api("POST", "/v1/tokens", Some(&body));
    assert_eq!(made.status, 201, "{made:?}");
    made.json()["token"].as_str().map(str::to_owned)
}

#[test]
fn without_a_token() {
    check(Level::Nobody, |_| None);
}

#[test]
fn with_a_token_of_a_reader() {
    check(Level::Reader, |server| make(server, "reader"));
}

#[test]
fn with_a_token_of_an_editor() {
    check(Level::Editor, |server| make(server, "editor"));
}

#[test]
fn with_a_token_of_an_admin() {
    check(Level::Admin, |server| make(server, "admin"));
}

#[test]
fn with_the_root_token() {
    check(Level::Admin, |_| Some(TOKEN.into()));
}
