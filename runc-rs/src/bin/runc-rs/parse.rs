//! From arguments to an invocation, by the rules of Go's `flag` package: one dash or two, `=` or a further argument, and runc's words for
//! what is wrong.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use crate::grammar::{Command, Count, Flag, GLOBAL, Kind};
use crate::values::{Values, duration};

/// What the command line asks for.
#[derive(Debug)]
pub(crate) enum Request {
    Run {
        command: &'static Command,
        global: Values,
        values: Values,
        arguments: Vec<OsString>,
    },
    /// Of the program, or of a command.
    Help(Option<&'static Command>),
    Version,
}

/// A command line that makes no sense.
#[derive(Debug)]
pub(crate) struct Misuse {
    pub(crate) message: String,
    /// Precedes the help on standard output; empty where there is none.
    pub(crate) headline: String,
    pub(crate) command: Option<&'static Command>,
    /// The global flags so far: they say where the log is.
    pub(crate) global: Values,
    pub(crate) code: u8,
}

/// What one argument was.
enum Step {
    Argument(OsString),
    /// A flag, with its value; whether it is a global one.
    Value(&'static Flag, OsString, bool),
    /// `--`: no flags from here on.
    End,
    Help,
    Version,
}

/// Parses the arguments that follow the program's name. `program` is that name, for messages.
pub(crate) fn parse(
    program: &OsStr,
    mut arguments: impl Iterator<Item = OsString>,
    commands: &'static [Command],
) -> Result<Request, Box<Misuse>> {
    let mut global = Values::default();
    let name = loop {
        let Some(argument) = arguments.next() else {
            return Ok(Request::Help(None));
        };
        match step(argument, &mut arguments, None) {
            Ok(Step::Value(flag, value, _)) => global.push(flag.name, value),
            Ok(Step::Argument(name)) => break name,
            Ok(Step::End) => {}
            Ok(Step::Help) => return Ok(Request::Help(None)),
            Ok(Step::Version) => return Ok(Request::Version),
            Err(message) => {
                let headline = format!("Incorrect Usage. {message}");
                return Err(misuse(message, headline, None, global));
            }
        }
    };
    if name == "help" || name == "h" {
        return help(arguments.next(), commands, global);
    }
    let Some(command) = commands.iter().find(|command| name == command.name) else {
        return Err(no_topic(&name, global));
    };
    let (mut values, mut rest) = (Values::default(), Vec::new());
    while let Some(argument) = arguments.next() {
        if command.stops && !rest.is_empty() {
            rest.push(argument);
            continue;
        }
        if !rest.is_empty() && !is_known(&argument, command) {
            rest.push(argument);
            continue;
        }
        match step(argument, &mut arguments, Some(command)) {
            Ok(Step::Value(flag, value, true)) => global.push(flag.name, value),
            Ok(Step::Value(flag, value, false)) => values.push(flag.name, value),
            Ok(Step::Argument(argument)) => rest.push(argument),
            Ok(Step::End) => rest.extend(arguments.by_ref()),
            Ok(Step::Help) => return Ok(Request::Help(Some(command))),
            Ok(Step::Version) => return Ok(Request::Version),
            Err(message) => {
                let headline = format!("Incorrect Usage: {message}");
                return Err(misuse(message, headline, Some(command), global));
            }
        }
    }
    if let Some(message) = wrong_count(program, command, rest.len()) {
        return Err(misuse(message, "Incorrect Usage.".into(), Some(command), global));
    }
    Ok(Request::Run {
        command,
        global,
        values,
        arguments: rest,
    })
}

fn misuse(message: String, headline: String, command: Option<&'static Command>, global: Values) -> Box<Misuse> {
    Box::new(Misuse {
        message,
        headline,
        command,
        global,
        code: 1,
    })
}

fn no_topic(name: &OsStr, global: Values) -> Box<Misuse> {
    let message = format!("No help topic for '{}'", name.to_string_lossy());
    Box::new(Misuse {
        code: 3,
        ..*misuse(message, String::new(), None, global)
    })
}

fn help(topic: Option<OsString>, commands: &'static [Command], global: Values) -> Result<Request, Box<Misuse>> {
    let Some(topic) = topic else {
        return Ok(Request::Help(None));
    };
    match commands.iter().find(|command| topic == command.name) {
        Some(command) => Ok(Request::Help(Some(command))),
        None => Err(no_topic(&topic, global)),
    }
}

fn wrong_count(program: &OsStr, command: &Command, found: usize) -> Option<String> {
    let wanted = match command.count {
        Count::Exactly(wanted) if found != wanted => format!("exactly {wanted}"),
        Count::AtLeast(least) | Count::Between(least, _) if found < least => format!("a minimum of {least}"),
        Count::Between(_, most) if found > most => format!("a maximum of {most}"),
        _ => return None,
    };
    let program = program.to_string_lossy();
    Some(format!("{program}: {:?} requires {wanted} argument(s)", command.name))
}

fn step(
    argument: OsString,
    arguments: &mut impl Iterator<Item = OsString>,
    command: Option<&'static Command>,
) -> Result<Step, String> {
    let bytes = argument.as_bytes();
    let Some(one) = bytes.strip_prefix(b"-").filter(|rest| !rest.is_empty()) else {
        return Ok(Step::Argument(argument));
    };
    let text = one.strip_prefix(b"-").unwrap_or(one);
    if text.is_empty() {
        return Ok(Step::End);
    }
    let (name, value) = match text.iter().position(|byte| *byte == b'=') {
        Some(place) => (text.get(..place).unwrap_or(text), text.get(place + 1..)),
        None => (text, None),
    };
    let name = String::from_utf8_lossy(name).into_owned();
    if name.is_empty() || name.starts_with('-') {
        return Err(format!("bad flag syntax: {}", argument.to_string_lossy()));
    }
    let Some((flag, is_global)) = find(&name, command) else {
        return match (name.as_str(), command) {
            ("help" | "h", _) => Ok(Step::Help),
            ("version" | "v", None) => Ok(Step::Version),
            _ => Err(format!("flag provided but not defined: -{name}")),
        };
    };
    let inline = value.map(|bytes| OsString::from_vec(bytes.to_vec()));
    let value = match (flag.kind, inline) {
        (Kind::Switch, value) => value.unwrap_or_else(|| "true".into()),
        (_, Some(value)) => value,
        (_, None) => arguments
            .next()
            .ok_or_else(|| format!("flag needs an argument: -{name}"))?,
    };
    check(flag.kind, &name, &value)?;
    Ok(Step::Value(flag, value, is_global))
}

/// The flag of this name or letter, and whether it is a global one.
fn find(name: &str, command: Option<&'static Command>) -> Option<(&'static Flag, bool)> {
    let find = |flags: &'static [Flag]| flags.iter().find(|flag| flag.name == name || flag.short == Some(name));
    let own = command.and_then(|command| find(command.flags));
    own.map(|flag| (flag, false))
        .or_else(|| find(GLOBAL).map(|flag| (flag, true)))
}

/// Whether an argument that follows another is a flag: one that nobody knows is an argument, such as the signal -1.
fn is_known(argument: &OsStr, command: &'static Command) -> bool {
    let text = argument.to_string_lossy();
    let name = text.trim_start_matches('-');
    let name = name.split_once('=').map_or(name, |(name, _)| name);
    text == "--" || matches!(name, "help" | "h") || find(name, Some(command)).is_some()
}

/// Whether the value is of the flag's kind.
fn check(kind: Kind, name: &str, value: &OsStr) -> Result<(), String> {
    let text = value.to_string_lossy();
    let (fits, what) = match kind {
        Kind::Text | Kind::List => return Ok(()),
        Kind::Switch => (switch(&text).is_some(), "boolean value"),
        Kind::Number | Kind::Numbers => (text.parse::<i64>().is_ok(), "value"),
        Kind::Duration => (duration(&text).is_some(), "value"),
    };
    match (fits, kind) {
        (true, _) => Ok(()),
        (false, Kind::Numbers) => Err(format!(
            "invalid value {text:?} for flag -{name}: strconv.ParseInt: parsing {text:?}: invalid syntax"
        )),
        (false, Kind::Switch) => Err(format!("invalid {what} {text:?} for -{name}: parse error")),
        (false, _) => Err(format!("invalid {what} {text:?} for flag -{name}: parse error")),
    }
}

/// A boolean as Go's `strconv.ParseBool` reads it.
pub(crate) fn switch(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::COMMANDS;

    fn parsed(line: &str) -> Result<Request, Box<Misuse>> {
        parse(
            OsStr::new("runc"),
            line.split(' ').filter(|word| !word.is_empty()).map(Into::into),
            COMMANDS,
        )
    }

    /// `command global=.. | flag=.. | arguments`
    fn shown(line: &str) -> String {
        match parsed(line) {
            Ok(Request::Run {
                command,
                global,
                values,
                arguments,
            }) => {
                let list = |values: &Values| {
                    values
                        .pairs()
                        .map(|(n, v)| format!(" {n}={}", v.display()))
                        .collect::<String>()
                };
                let rest: Vec<_> = arguments.iter().map(|a| a.to_string_lossy()).collect();
                format!(
                    "{}{} |{} | {}",
                    command.name,
                    list(&global),
                    list(&values),
                    rest.join(" ")
                )
            }
            Ok(Request::Help(command)) => format!("help {}", command.map_or("", |command| command.name)),
            Ok(Request::Version) => "version".into(),
            Err(misuse) => format!("{}: {}", misuse.code, misuse.message),
        }
    }

    #[test]
    fn command_lines_as_go_reads_them() {
        for (line, want) in [
            ("", "help "),
            ("-h", "help "),
            ("help run", "help run"),
            ("run --help", "help run"),
            ("-v", "version"),
            ("--version list", "version"),
            ("--root /x --debug state a", "state root=/x debug=true | | a"),
            ("-root=/x state a --debug=false", "state root=/x debug=false | | a"),
            ("state --root /x a", "state root=/x | | a"),
            ("kill a KILL --all", "kill | all=true | a KILL"),
            ("kill -- a -9", "kill | | a -9"),
            ("kill a -9", "kill | | a -9"),
            ("kill a -- --all", "kill | | a --all"),
            ("update a --memory -1", "update | memory=-1 | a"),
            (
                "exec -t a ls -l --root /y -- z",
                "exec | tty=true | a ls -l --root /y -- z",
            ),
            ("exec -e A=b --env C=d a ls", "exec | env=A=b env=C=d | a ls"),
            ("ps -f json a -ef", "ps | format=json | a -ef"),
            ("spec --rootless", "spec | rootless=true | "),
            ("--rootless auto list", "list rootless=auto | | "),
            ("nosuch", "3: No help topic for 'nosuch'"),
            ("help nosuch", "3: No help topic for 'nosuch'"),
            ("state", r#"1: runc: "state" requires exactly 1 argument(s)"#),
            ("list a", r#"1: runc: "list" requires exactly 0 argument(s)"#),
            ("kill", r#"1: runc: "kill" requires a minimum of 1 argument(s)"#),
            ("kill a b c", r#"1: runc: "kill" requires a maximum of 2 argument(s)"#),
            ("state --bogus a", "1: flag provided but not defined: -bogus"),
            ("--bogus", "1: flag provided but not defined: -bogus"),
            ("list --format", "1: flag needs an argument: -format"),
            ("list ---format", "1: bad flag syntax: ---format"),
            (
                "run --detach=maybe a",
                r#"1: invalid boolean value "maybe" for -detach: parse error"#,
            ),
            (
                "run --preserve-fds x a",
                r#"1: invalid value "x" for flag -preserve-fds: parse error"#,
            ),
            (
                "events --interval x a",
                r#"1: invalid value "x" for flag -interval: parse error"#,
            ),
        ] {
            assert_eq!(shown(line), want, "{line:?}");
        }
    }

    #[test]
    fn no_command_has_a_name_or_flag_twice() {
        for (index, command) in COMMANDS.iter().enumerate() {
            assert!(
                !COMMANDS.iter().skip(index + 1).any(|other| other.name == command.name),
                "{}",
                command.name
            );
            let names: Vec<&str> = command
                .flags
                .iter()
                .flat_map(|flag| [Some(flag.name), flag.short])
                .flatten()
                .collect();
            for (place, name) in names.iter().enumerate() {
                assert!(
                    !names.iter().skip(place + 1).any(|other| other == name),
                    "{} --{name}",
                    command.name
                );
            }
        }
    }
}
