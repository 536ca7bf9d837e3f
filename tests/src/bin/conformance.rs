//! `conformance [--only TEXT] [--list] RUNTIME [FLAG...]`: one line for each MUST of runtime-spec 1.3, for any runtime with runc's command line.
//!
//! The flags behind the runtime's program are given to each of its calls (`--systemd-cgroup`). The exit code is 0 when no line says `FAILED` or
//! `MENDED`.

use std::path::PathBuf;
use std::process::ExitCode;

use engine_tests::conformance::must::Proof;
use engine_tests::conformance::subject::Subject;
use engine_tests::conformance::{inventory, report};

fn main() -> ExitCode {
    let mut only = String::new();
    let mut words = std::env::args().skip(1).peekable();
    while let Some(word) = words.peek().filter(|word| word.starts_with("--")).cloned() {
        words.next();
        match word.as_str() {
            "--list" => return list(),
            "--only" => only = words.next().unwrap_or_default(),
            _ => return usage(),
        }
    }
    let Some(runtime) = words.next() else { return usage() };
    let subject = Subject::new(&PathBuf::from(runtime), &words.collect::<Vec<_>>());
    let mut bad = 0;
    report::run(&subject, &only, |line| {
        println!("{line}");
        bad += u32::from(line.answer.is_bad());
    });
    println!("{bad} to look at");
    if bad == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn usage() -> ExitCode {
    eprintln!("usage: conformance [--only TEXT] [--list] RUNTIME [FLAG...]");
    ExitCode::from(2)
}

/// The table, as text.
fn list() -> ExitCode {
    for must in inventory::all() {
        let by = match must.by {
            Proof::Check(check) => check.name.to_owned(),
            Proof::Not(reason) => format!("not tested: {reason}"),
        };
        println!("{}  [{}]  {}  ({by})", must.id, must.section, must.says);
    }
    ExitCode::SUCCESS
}
