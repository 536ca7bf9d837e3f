//! systemd itself: the connection to a manager, and the few calls that a container's unit takes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::bus::address::{self, Address};
use super::bus::message::Message;
use super::bus::{BusError, Connection, Value};
use super::names::Unit;
use super::properties::Property;
use crate::error::{Error, Result};

const SERVICE: &str = "org.freedesktop.systemd1";
const OBJECT: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const BUS: &str = "org.freedesktop.DBus";
/// How long a unit may take to start or stop, as in runc.
const JOB_LIMIT: Duration = Duration::from_secs(30);

/// Which of systemd's managers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// The one of the machine, process 1.
    System,
    /// The one of the calling user.
    User,
}

/// A connection to a manager.
#[derive(Debug)]
pub struct Manager {
    connection: Connection,
    /// Its version (252), for what older ones lack.
    version: u32,
    /// The top of its own tree, as `/proc/PID/cgroup` has it: `/` or `/user.slice/user-1000.slice/user@1000.service`.
    control_group: PathBuf,
    /// Its unique name on the bus, by which its signals are told from forged ones; empty without a bus.
    name: String,
}

impl Manager {
    /// Connects to a manager.
    ///
    /// The machine's is reached by the system bus (`DBUS_SYSTEM_BUS_ADDRESS`), else, by root, at its private socket. The user's by
    /// `DBUS_SESSION_BUS_ADDRESS`, else `$XDG_RUNTIME_DIR/bus`, else its private socket below `$XDG_RUNTIME_DIR/systemd`.
    ///
    /// # Errors
    /// [`Error::SystemdNotRunning`]; [`Error::Systemd`] when it cannot be reached.
    pub fn connect(scope: Scope) -> Result<Self> {
        if !Path::new("/run/systemd/system").is_dir() {
            return Err(Error::SystemdNotRunning);
        }
        let env = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let place = places(scope, rustix::process::geteuid().is_root(), env);
        Self::open(&place).map_err(|error| Error::Systemd {
            action: "unable to connect to systemd".to_owned(),
            source: Box::new(error),
        })
    }

    fn open(place: &Places) -> Result<Self, BusError> {
        match (Connection::open(&place.buses), &place.private) {
            (Ok(connection), _) => Self::on_bus(connection),
            (Err(_), Some(private)) => {
                let socket = Address::Path(private.clone());
                Self::introduce(Connection::open(&[socket])?, &[])
            }
            (Err(error), None) => Err(error),
        }
    }

    fn on_bus(mut connection: Connection) -> Result<Self, BusError> {
        let rule = format!("type='signal',sender='{SERVICE}',interface='{MANAGER}',member='JobRemoved'");
        let calls = [
            connection.send(BUS, "/org/freedesktop/DBus", BUS, "Hello", &[])?,
            connection.send(BUS, "/org/freedesktop/DBus", BUS, "AddMatch", &[Value::Str(rule)])?,
        ];
        Self::introduce(connection, &calls)
    }

    /// Asks what there is to know; everything is sent before the first answer is awaited.
    fn introduce(mut connection: Connection, earlier: &[u32]) -> Result<Self, BusError> {
        let mut property = |name: &str| {
            let body = [Value::str(MANAGER), Value::str(name)];
            connection.send(SERVICE, OBJECT, "org.freedesktop.DBus.Properties", "Get", &body)
        };
        let (version, group) = (property("Version")?, property("ControlGroup")?);
        let subscribe = connection.send(SERVICE, OBJECT, MANAGER, "Subscribe", &[])?;
        for call in earlier {
            connection.answer(*call)?;
        }
        let version = connection.answer(version)?;
        let text = |message: &Message| {
            message
                .body
                .first()
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let control_group = text(&connection.answer(group)?);
        match connection.answer(subscribe) {
            Err(error) if !error.is("org.freedesktop.systemd1.AlreadySubscribed") => return Err(error),
            _ => {}
        }
        Ok(Self {
            connection,
            version: number(&text(&version)),
            control_group: PathBuf::from(control_group),
            name: version.sender,
        })
    }

    /// systemd's version.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The top of the manager's tree, from the top of the hierarchy; relative, empty for the machine's.
    pub fn control_group(&self) -> &Path {
        let path = self.control_group.strip_prefix("/").unwrap_or(&self.control_group);
        // In a container process 1 lives in init.scope, and so may its tree seem to.
        path.parent().filter(|_| path.ends_with("init.scope")).unwrap_or(path)
    }

    fn call(&mut self, member: &str, body: &[Value]) -> Result<Message, BusError> {
        let call = self.connection.send(SERVICE, OBJECT, MANAGER, member, body)?;
        self.connection.answer(call)
    }

    /// Waits for the end of the job that a call's answer names; its result (`done`, `failed`, `timeout`, ...).
    fn wait_for_job(&mut self, answer: &Message) -> Result<String, BusError> {
        let job = answer.body.first().and_then(Value::as_str).unwrap_or_default();
        let name = &self.name;
        let ended = |message: &Message| {
            message.member == "JobRemoved"
                && message.sender == *name
                && message.body.get(1).and_then(Value::as_str) == Some(job)
        };
        let signal = self.connection.wait_for(JOB_LIMIT, ended)?;
        Ok(signal
            .body
            .get(3)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned())
    }

    /// Starts a transient unit and waits until it is there. What an earlier, failed unit left under the name is cleared away once.
    ///
    /// # Errors
    /// [`Error::Systemd`] when systemd refuses; [`Error::UnitResult`] when the unit does not come up.
    pub fn start(&mut self, unit: &str, properties: &[Property]) -> Result<()> {
        let failed = |source: BusError| Error::Systemd {
            action: format!("unable to start unit {unit:?}"),
            source: Box::new(source),
        };
        let auxiliary = Value::Array("(sa(sv))".to_owned(), Vec::new());
        let body = [Value::str(unit), Value::str("replace"), pairs(properties), auxiliary];
        let answer = match self.call("StartTransientUnit", &body) {
            Err(error) if error.is("org.freedesktop.systemd1.UnitExists") => {
                // When it has not failed, the second attempt says so.
                let _ = self.reset_failed(unit);
                self.call("StartTransientUnit", &body)
            }
            first => first,
        };
        let result = self.wait_for_job(&answer.map_err(failed)?);
        match result.as_deref() {
            Ok("done") => Ok(()),
            _ => {
                // The error is what to report, not that there was nothing to reset.
                let _ = self.reset_failed(unit);
                Err(Error::UnitResult {
                    unit: unit.to_owned(),
                    result: result.map_err(failed)?,
                })
            }
        }
    }

    /// Changes properties of a unit, until the next boot at most.
    ///
    /// # Errors
    /// [`Error::Systemd`].
    pub fn set(&mut self, unit: &str, properties: &[Property]) -> Result<()> {
        let body = [Value::str(unit), Value::Bool(true), pairs(properties)];
        let failed = |source: BusError| Error::Systemd {
            action: "unable to set unit properties".to_owned(),
            source: Box::new(source),
        };
        self.call("SetUnitProperties", &body).map(drop).map_err(failed)
    }

    /// The properties of a unit that are its type's own.
    ///
    /// # Errors
    /// [`Error::Systemd`], also when there is no such unit.
    pub fn get(&mut self, unit: &Unit) -> Result<Vec<Property>> {
        let interface = if unit.is_slice() { "Slice" } else { "Scope" };
        let interface = Value::Str(format!("{SERVICE}.{interface}"));
        let path = object_path(&unit.name);
        let properties = "org.freedesktop.DBus.Properties";
        let call = self.connection.send(SERVICE, &path, properties, "GetAll", &[interface]);
        let failed = |source: BusError| Error::Systemd {
            action: "unable to get unit properties".to_owned(),
            source: Box::new(source),
        };
        let answer = call.and_then(|call| self.connection.answer(call)).map_err(failed)?;
        let Some(Value::Array(_, pairs)) = answer.body.into_iter().next() else {
            return Err(failed(BusError::Malformed));
        };
        let property = |pair| match pair {
            Value::Struct(pair) => match <[Value; 2]>::try_from(pair) {
                Ok([Value::Str(name), Value::Variant(value)]) => Some(Property::new(name, *value)),
                _ => None,
            },
            _ => None,
        };
        Ok(pairs.into_iter().filter_map(property).collect())
    }

    /// Puts a process into a unit's cgroup, or into one below it (`/` is the unit's own). systemd 238.
    ///
    /// # Errors
    /// [`Error::Systemd`], with the kernel's reason when that refuses.
    pub fn attach(&mut self, unit: &str, below: &Path, pid: i32) -> Result<()> {
        let pids = Value::Array("u".to_owned(), vec![Value::U32(pid.cast_unsigned())]);
        let body = [Value::str(unit), Value::str(below.to_string_lossy()), pids];
        let failed = |source: BusError| Error::Systemd {
            action: format!("unable to attach process {pid} to unit {unit:?}"),
            source: Box::new(source),
        };
        self.call("AttachProcessesToUnit", &body).map(drop).map_err(failed)
    }

    /// Stops a unit, waits for that, and has systemd forget it, also when it failed. A unit that is gone already is a success.
    ///
    /// # Errors
    /// [`Error::Systemd`] when systemd cannot be reached or does not get it done in time.
    pub fn stop(&mut self, unit: &str) -> Result<()> {
        let failed = |source: BusError| Error::Systemd {
            action: format!("unable to stop unit {unit:?}"),
            source: Box::new(source),
        };
        match self.call("StopUnit", &[Value::str(unit), Value::str("replace")]) {
            // Whatever the result, its processes are gone or the directory's removal will tell.
            Ok(answer) => drop(self.wait_for_job(&answer).map_err(failed)?),
            Err(BusError::Method { .. }) => {}
            Err(error) => return Err(failed(error)),
        }
        match self.reset_failed(unit) {
            // Not loaded any more, or not failed.
            Ok(()) | Err(BusError::Method { .. }) => Ok(()),
            Err(error) => Err(failed(error)),
        }
    }

    fn reset_failed(&mut self, unit: &str) -> Result<(), BusError> {
        self.call("ResetFailedUnit", &[Value::str(unit)]).map(drop)
    }
}

/// Where a manager may listen.
#[derive(Debug, PartialEq, Eq)]
struct Places {
    /// Buses on which it is a service.
    buses: Vec<Address>,
    /// Its own socket, without a bus.
    private: Option<PathBuf>,
}

fn places(scope: Scope, root: bool, env: impl Fn(&str) -> Option<String>) -> Places {
    let runtime = env("XDG_RUNTIME_DIR").map(PathBuf::from);
    match scope {
        Scope::System => {
            let default = "unix:path=/run/dbus/system_bus_socket;unix:path=/var/run/dbus/system_bus_socket";
            Places {
                buses: address::parse(&env("DBUS_SYSTEM_BUS_ADDRESS").unwrap_or_else(|| default.to_owned())),
                private: root.then(|| PathBuf::from("/run/systemd/private")),
            }
        }
        Scope::User => Places {
            buses: match (env("DBUS_SESSION_BUS_ADDRESS"), &runtime) {
                (Some(list), _) => address::parse(&list),
                (None, Some(runtime)) => vec![Address::Path(runtime.join("bus"))],
                (None, None) => Vec::new(),
            },
            private: runtime.map(|runtime| runtime.join("systemd/private")),
        },
    }
}

/// Where a unit is as an object: letters and digits stand for themselves, every other byte is `_` and two hexadecimal digits, and so
/// is a digit at the beginning.
fn object_path(unit: &str) -> String {
    let mut path = format!("{OBJECT}/unit/");
    for (at, byte) in unit.bytes().enumerate() {
        if byte.is_ascii_alphabetic() || (at > 0 && byte.is_ascii_digit()) {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("_{byte:02x}"));
        }
    }
    path
}

/// `a(sv)`.
fn pairs(properties: &[Property]) -> Value {
    let pair = |property: &Property| {
        let value = Value::Variant(Box::new(property.value.clone()));
        Value::Struct(vec![Value::str(&property.name), value])
    };
    Value::Array("(sv)".to_owned(), properties.iter().map(pair).collect())
}

/// The number in `252.39-1~deb12u1`, `v245.4`; 0 when there is none, which counts as very old.
fn number(version: &str) -> u32 {
    let digits = version.trim_start_matches(['v', '"']);
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    digits.get(..end).and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_have_many_forms() {
        for (text, expected) in [
            ("252.39-1~deb12u1", 252),
            ("v245.4-1.fc32", 245),
            ("239", 239),
            ("x", 0),
        ] {
            assert_eq!(number(text), expected);
        }
    }

    #[test]
    fn units_are_objects() {
        assert_eq!(object_path("a-1.scope"), "/org/freedesktop/systemd1/unit/a_2d1_2escope");
        assert_eq!(object_path("1.scope"), "/org/freedesktop/systemd1/unit/_31_2escope");
    }

    #[test]
    fn the_environment_says_where_the_users_manager_is() {
        let env = |pairs: &'static [(&str, &str)]| {
            move |name: &str| {
                pairs
                    .iter()
                    .find(|(key, _)| *key == name)
                    .map(|(_, value)| (*value).to_owned())
            }
        };
        let both = env(&[
            ("DBUS_SESSION_BUS_ADDRESS", "unix:path=/s"),
            ("XDG_RUNTIME_DIR", "/run/user/7"),
        ]);
        let expected = Places {
            buses: vec![Address::Path("/s".into())],
            private: Some("/run/user/7/systemd/private".into()),
        };
        assert_eq!(places(Scope::User, false, both), expected);
        let runtime = places(Scope::User, false, env(&[("XDG_RUNTIME_DIR", "/run/user/7")]));
        assert_eq!(runtime.buses, [Address::Path("/run/user/7/bus".into())]);
        assert_eq!(places(Scope::System, false, env(&[])).private, None);
        assert_eq!(places(Scope::System, true, env(&[])).buses.len(), 2);
    }
}
