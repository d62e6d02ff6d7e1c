//! Completions and man pages, as the programs that read them see them.

use std::fs;
use std::process::Command;

use super::said;
use crate::harness::{output, tinyns};

#[test]
fn bash_completes_commands_and_options() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("tinyns");
    let mut command = tinyns();
    command.args(["completions", "bash"]);
    let script = said(command);
    assert_eq!((script.code, script.err.as_str()), (Some(0), ""));
    fs::write(&file, script.out).unwrap();
    let complete = |words: &str, current: &str| {
        let index = words.split(' ').count() - 1;
        let line = format!(
            "source {}; COMP_WORDS=({words}); COMP_CWORD={index}; _tinyns tinyns '{current}' ''; \
             echo ${{COMPREPLY[@]}}",
            file.display()
        );
        let output = output("bash", &["-euc", &line]);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(complete("tinyns del", "del"), "delete\n");
    assert_eq!(complete("tinyns edit --if", "--if"), "--if-version\n");
    // The command for packages stays out of the way.
    let all = complete("tinyns ''", "");
    assert!(all.contains("list") && !all.contains("man"), "{all}");
}

#[test]
fn every_shell_has_completions() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let mut command = tinyns();
        command.args(["completions", shell]);
        let script = said(command);
        assert_eq!(script.code, Some(0), "{script:?}");
        assert!(script.out.contains("if-version"), "{shell}");
    }
    let mut command = tinyns();
    command.args(["completions", "csh"]);
    assert_eq!(said(command).code, Some(2));
}

#[test]
fn every_command_has_a_man_page() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    let mut command = tinyns();
    command.args(["man", path]);
    let written = said(command);
    assert_eq!((written.code, written.err.as_str()), (Some(0), ""));
    let mut pages: Vec<_> = fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    pages.sort();
    for page in [
        "tinyns.1",
        "tinyns-add.1",
        "tinyns-delete.1",
        "tinyns-import-csv.1",
        "tinyns-keys-ds.1",
    ] {
        assert!(pages.iter().any(|name| name == page), "{pages:?}");
    }
    assert!(
        !pages.iter().any(|name| name == "tinyns-man.1"),
        "{pages:?}"
    );
    for page in &pages {
        // groff has no complaint about any page.
        let file = format!("{path}/{page}");
        let page = output("groff", &["-man", "-ww", "-Tascii", "-P-c", &file]);
        assert!(page.status.success(), "{file}");
        assert_eq!(String::from_utf8_lossy(&page.stderr), "", "{file}");
    }
    let page = Command::new("groff")
        .args([
            "-man",
            "-Tascii",
            "-P-cbou",
            &format!("{path}/tinyns-add.1"),
        ])
        .output()
        .unwrap();
    let page = String::from_utf8(page.stdout).unwrap();
    for part in [
        "tinyns-add - Create links",
        "--expires <WHEN>",
        "EXIT STATUS\n       0      each link exists as requested\n",
        "EXAMPLES\n       tinyns add https://example.net/a/long/path\n       \
         tinyns add https://example.net/sale --code sale --expires 30d --ttl 5m\n",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }

    let mut command = tinyns();
    command.args(["man", "/nonexistent"]);
    let failed = said(command);
    assert_eq!(failed.code, Some(1));
    assert!(
        failed
            .err
            .starts_with("tinyns: cannot write the man pages into /nonexistent: ")
    );
}
