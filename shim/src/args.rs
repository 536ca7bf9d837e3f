//! The command line, in the manner of Go's `flag` package: `-name value`, `-name=value`, two dashes as good as one, flags before the action.

use std::path::PathBuf;

/// What the program is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Action {
    /// Serve the task service on the inherited socket (no action on the command line).
    #[default]
    Serve,
    /// `start`: leave a serving process behind and print its address.
    Start,
    /// `delete`: clean up after a serving process that is gone.
    Delete,
    /// `-v`.
    Version,
    /// `-info`.
    Info,
}

/// The flags that containerd passes, and one of our own.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Args {
    /// `-namespace`.
    pub namespace: String,
    /// `-id` of the container (or of the group, when serving).
    pub id: String,
    /// `-address` of the manager's gRPC socket.
    pub address: String,
    /// `-publish-binary`; accepted, not used: events go by ttrpc.
    pub publish_binary: String,
    /// `-bundle`, for `delete`.
    pub bundle: PathBuf,
    /// `-socket`: the path of the inherited listening socket, which the serving process removes at its end. From `start` to its child only.
    pub socket: PathBuf,
    /// `-debug`.
    pub debug: bool,
    /// The action.
    pub action: Action,
}

/// A command line that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArgsError {
    /// Go's words.
    #[error("flag provided but not defined: -{0}")]
    Unknown(String),
    /// Go's words.
    #[error("flag needs an argument: -{0}")]
    NoValue(String),
    /// Go's words.
    #[error("invalid boolean value {value:?} for -{flag}: parse error")]
    NotBoolean {
        /// The flag.
        flag: String,
        /// Its value.
        value: String,
    },
    /// An action that is none.
    #[error("unknown action {0:?}: want start or delete")]
    Action(String),
}

impl Args {
    /// Parses the arguments after the program's name.
    ///
    /// # Errors
    /// [`ArgsError`].
    pub fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Self, ArgsError> {
        let mut args = Self::default();
        let mut rest = arguments.into_iter();
        while let Some(argument) = rest.next() {
            let Some(flag) = argument.strip_prefix('-').filter(|flag| !flag.is_empty()) else {
                args.action = action(&argument)?;
                break;
            };
            let flag = flag.strip_prefix('-').unwrap_or(flag);
            let (name, value) = match flag.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (flag, None),
            };
            args.set(name, value, &mut rest)?;
        }
        Ok(args)
    }

    fn set(
        &mut self,
        name: &str,
        value: Option<String>,
        rest: &mut impl Iterator<Item = String>,
    ) -> Result<(), ArgsError> {
        match name {
            "debug" => self.debug = boolean(name, value)?,
            "v" | "version" if boolean(name, value.clone())? => self.action = Action::Version,
            "info" if boolean(name, value.clone())? => self.action = Action::Info,
            "v" | "version" | "info" => {}
            "namespace" | "id" | "address" | "publish-binary" | "bundle" | "socket" => {
                let value = value
                    .or_else(|| rest.next())
                    .ok_or_else(|| ArgsError::NoValue(name.to_owned()))?;
                match name {
                    "namespace" => self.namespace = value,
                    "id" => self.id = value,
                    "address" => self.address = value,
                    "publish-binary" => self.publish_binary = value,
                    "bundle" => self.bundle = value.into(),
                    _ => self.socket = value.into(),
                }
            }
            _ => return Err(ArgsError::Unknown(name.to_owned())),
        }
        Ok(())
    }
}

fn boolean(flag: &str, value: Option<String>) -> Result<bool, ArgsError> {
    match value.as_deref() {
        None | Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(true),
        Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(false),
        Some(value) => Err(ArgsError::NotBoolean {
            flag: flag.to_owned(),
            value: value.to_owned(),
        }),
    }
}

fn action(word: &str) -> Result<Action, ArgsError> {
    match word {
        "" => Ok(Action::Serve),
        "start" => Ok(Action::Start),
        "delete" => Ok(Action::Delete),
        _ => Err(ArgsError::Action(word.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Args, ArgsError> {
        Args::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn containerds_command_lines() {
        let args =
            parse("-namespace default -address /run/c.sock -publish-binary /usr/bin/containerd -id c1 -debug start")
                .unwrap();
        assert_eq!(args.action, Action::Start);
        assert_eq!(
            (args.id.as_str(), args.namespace.as_str(), args.debug),
            ("c1", "default", true)
        );
        assert_eq!(args.address, "/run/c.sock");
        let args = parse("--namespace=n --id=c -debug=false -bundle /b delete").unwrap();
        assert_eq!(
            (args.action, args.bundle, args.debug),
            (Action::Delete, "/b".into(), false)
        );
        assert_eq!(parse("-v").unwrap().action, Action::Version);
        assert_eq!(parse("-info").unwrap().action, Action::Info);
        assert_eq!(parse("-id c -namespace n").unwrap().action, Action::Serve);
    }

    #[test]
    fn refuses() {
        assert_eq!(parse("-nope x"), Err(ArgsError::Unknown("nope".into())));
        assert_eq!(parse("-id"), Err(ArgsError::NoValue("id".into())));
        assert!(matches!(parse("-debug=maybe"), Err(ArgsError::NotBoolean { .. })));
        assert_eq!(parse("-id x stop"), Err(ArgsError::Action("stop".into())));
    }
}
