//! The tinyns program: the command line in, an exit code out. Everything else is in the library.

use std::io::Write;
use std::process::ExitCode;
use std::sync::mpsc::channel;
use std::time::Duration;

use mimalloc::MiMalloc;
use tinyns::cli;

/// Links come from many threads, each among short-lived pieces, and stay; the system's allocator then
/// keeps the gaps. With 1,000,000 links in memory glibc 2.36 had 516 MiB resident and this one 279, and
/// filling them took a tenth less time.
///
/// Its feature `no_thp` keeps it from asking for huge pages. It uses a little memory in many places, so that an empty
/// server would take 18 MiB more. The encoded answers, which need huge pages, ask for their own.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// How long the program waits until its error is printed: standard error may be a pipe without a reader.
const PRINT_TIME: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let cli = cli::read();
    let form = cli.error_form();
    let ended = cli::run(cli);
    if let Err(error) = &ended {
        let complaint = form.shown(error);
        let (done, written) = channel();
        std::thread::spawn(move || {
            // If standard error is closed, the error cannot be reported anywhere.
            let _ = std::io::stderr().lock().write_all(complaint.as_bytes());
            done.send(())
        });
        let _ = written.recv_timeout(PRINT_TIME);
    }
    cli::exit_code(&ended).into()
}
