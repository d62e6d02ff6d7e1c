//! Child processes: the program under test, and clients.

use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use super::PATIENCE;

/// A child process that does not outlive its test.
pub struct Process(pub Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The program under test.
pub fn tinyns() -> Command {
    bare(Command::new(env!("CARGO_BIN_EXE_tinyns")))
}

/// Without the variables of the tests' environment that would change its behaviour.
pub(super) fn bare(mut command: Command) -> Command {
    command
        .stdin(Stdio::null())
        .env_remove("TINYNS_CONFIG")
        .env_remove("TINYNS_SERVER")
        .env_remove("TINYNS_ADMIN_TOKEN")
        .env_remove("TINYNS_REDIS_PASSWORD")
        .env_remove("TINYNS_POSTGRESQL_PASSWORD")
        .env_remove("TINYNS_LOG");
    // Whatever AWS account the machine has is not for tests.
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("AWS_")) {
        command.env_remove(name);
    }
    command
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test")
        .env("AWS_REGION", "us-east-1")
        .env("AWS_CONFIG_FILE", "/dev/null")
        .env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
        .env("AWS_EC2_METADATA_DISABLED", "true");
    command
}

/// Waits for a process to end.
pub fn wait(child: &mut Child) -> ExitStatus {
    let end = Instant::now() + PATIENCE + PATIENCE;
    loop {
        match child.try_wait().unwrap() {
            Some(status) => return status,
            None if Instant::now() > end => panic!("the process does not end"),
            None => std::thread::sleep(Duration::from_millis(10)),
        }
    }
}

/// Runs a client program to its end and returns what it printed; it must succeed.
pub fn run(program: &str, args: &[&str]) -> String {
    let output = output(program, args);
    let stdout = String::from_utf8(output.stdout).unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{program} {args:?}: {stdout}{stderr}"
    );
    stdout
}

/// Runs a client program to its end.
pub fn output(program: &str, args: &[&str]) -> Output {
    Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|e| panic!("{program}: {e}; tests/run.sh installs what tests need"))
}
