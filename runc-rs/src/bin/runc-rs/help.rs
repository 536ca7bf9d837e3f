//! Help in runc's layout.

use std::fmt::Write;

use crate::VERSION;
use crate::grammar::{Command, Flag, GLOBAL, Kind};

const USAGE: &str = "Open Container Initiative runtime

runc-rs runs containers from bundles as the runtime specification of the Open Container
Initiative lays down, with the command line of runc.

A bundle is a directory with a specification file named \"config.json\" and a root filesystem.
A container is a direct child of whoever starts it, so any supervisor of processes serves.

To start a new instance of a container:

    # runc-rs run [ -b bundle ] <container-id>

Where \"<container-id>\" is a name that no other container on the host has. The bundle is the
current directory unless \"-b\" says otherwise.";

const HELP: Flag = Flag::switch("help", "show help").short("h");
const SHOW_VERSION: Flag = Flag::switch("version", "print the version").short("v");

/// Of the program, or of one command.
pub(crate) fn text(command: Option<&Command>, commands: &[Command]) -> String {
    match command {
        Some(command) => of_command(command),
        None => of_program(commands),
    }
}

fn of_program(commands: &[Command]) -> String {
    let version = VERSION.replace("\nspec", "\n   spec");
    let mut text = format!(
        "NAME:\n   runc-rs - {USAGE}\n\nUSAGE:\n   runc-rs [global options] command [command options] [arguments...]\n\n\
         VERSION:\n   {version}\n\nCOMMANDS:\n"
    );
    let mut rows: Vec<(String, String)> = commands
        .iter()
        .map(|command| (command.name.to_owned(), command.usage.to_owned()))
        .collect();
    rows.push((
        "help, h".into(),
        "Shows a list of commands or help for one command".into(),
    ));
    table(&mut text, &rows);
    text += "\nGLOBAL OPTIONS:\n";
    let flags: Vec<_> = GLOBAL.iter().chain([&HELP, &SHOW_VERSION]).collect();
    options(&mut text, &flags);
    text
}

fn of_command(command: &Command) -> String {
    let options_word = if command.flags.is_empty() {
        ""
    } else {
        " [command options]"
    };
    let arguments = if command.arguments.is_empty() {
        String::new()
    } else {
        format!(" {}", command.arguments)
    };
    let mut text = format!(
        "NAME:\n   runc-rs {0} - {1}\n\nUSAGE:\n   runc-rs {0}{options_word}{arguments}\n",
        command.name, command.usage
    );
    if !command.description.is_empty() {
        // Writing to a string cannot fail.
        let _ = write!(text, "\nDESCRIPTION:\n   {}\n", command.description);
    }
    if !command.flags.is_empty() {
        text += "\nOPTIONS:\n";
        options(&mut text, &command.flags.iter().collect::<Vec<_>>());
    }
    text
}

fn options(text: &mut String, flags: &[&Flag]) {
    let rows: Vec<(String, String)> = flags
        .iter()
        .filter(|flag| !flag.hidden)
        .map(|flag| (names(flag), explanation(flag)))
        .collect();
    table(text, &rows);
}

fn names(flag: &Flag) -> String {
    let value = if flag.kind == Kind::Switch { "" } else { " value" };
    match flag.short {
        Some(short) => format!("--{}{value}, -{short}{value}", flag.name),
        None => format!("--{}{value}", flag.name),
    }
}

fn explanation(flag: &Flag) -> String {
    match flag.default {
        Some(default) => format!("{} (default: {default})", flag.help),
        None => flag.help.to_owned(),
    }
}

fn table(text: &mut String, rows: &[(String, String)]) {
    let width = rows.iter().map(|(left, _)| left.len()).max().unwrap_or(0);
    for (left, right) in rows {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "   {left:width$}  {right}");
    }
}
