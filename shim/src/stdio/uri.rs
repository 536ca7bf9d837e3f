//! What the stream fields of a request say, as data. The forms are described at the top of the crate.

use std::path::PathBuf;

/// Where an output leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Nowhere: `/dev/null`.
    Null,
    /// A fifo, or an existing file.
    Path(PathBuf),
    /// A file that is appended to, and made when missing.
    File(PathBuf),
    /// containerd's logging program with its arguments: keys and values in turn.
    Binary {
        /// The program.
        path: PathBuf,
        /// Its arguments.
        arguments: Vec<String>,
    },
    /// Docker's log and listeners; rules both outputs.
    Docker(DockerLog),
}

/// What `docker-json-file:` and `docker-attach:` say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DockerLog {
    /// The log; `None` for `docker-attach`.
    pub path: Option<PathBuf>,
    /// Size in bytes at which the log is rotated.
    pub max_size: Option<u64>,
    /// Number of files, the present one included; at least 1.
    pub max_files: u32,
    /// The JSON object for `attrs`, checked, in its own spelling.
    pub attrs: Option<String>,
    /// Fifo of who listens to stdout.
    pub attach_stdout: Option<PathBuf>,
    /// Fifo of who listens to stderr.
    pub attach_stderr: Option<PathBuf>,
}

/// A stream field that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("stream {uri:?}: {reason}")]
pub struct UriError {
    /// The field's value.
    pub uri: String,
    /// What is wrong with it.
    pub reason: String,
}

impl Target {
    /// Understands a stream field.
    ///
    /// # Errors
    /// An unknown scheme, a relative path, a query that makes no sense.
    pub fn parse(text: &str) -> Result<Self, UriError> {
        let error = |reason: &str| UriError {
            uri: text.to_owned(),
            reason: reason.to_owned(),
        };
        if text.is_empty() {
            return Ok(Self::Null);
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return absolute(text)
                .map(Self::Path)
                .ok_or_else(|| error("not an absolute path"));
        };
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let path = decode(path, false).ok_or_else(|| error("bad percent encoding"))?;
        let path = absolute(&path).ok_or_else(|| error("not an absolute path"));
        let pairs = query_pairs(query).ok_or_else(|| error("bad percent encoding"))?;
        match scheme {
            "fifo" => path.map(Self::Path),
            "file" => path.map(Self::File),
            "binary" => Ok(Self::Binary {
                path: path?,
                arguments: pairs.into_iter().flat_map(|(key, value)| [key, value]).collect(),
            }),
            "docker-json-file" => docker(Some(path?), pairs).map(Self::Docker).map_err(|e| error(&e)),
            "docker-attach" => docker(None, pairs).map(Self::Docker).map_err(|e| error(&e)),
            _ => Err(error("unknown scheme")),
        }
    }
}

fn docker(path: Option<PathBuf>, pairs: Vec<(String, String)>) -> Result<DockerLog, String> {
    let mut log = DockerLog {
        path,
        max_files: 1,
        ..DockerLog::default()
    };
    let fifo = |value: &str| absolute(value).ok_or_else(|| format!("{value}: not an absolute path"));
    for (key, value) in pairs {
        let number = || format!("{key}: {value:?} is not a number in range");
        match key.as_str() {
            "max-size" if value == "-1" => log.max_size = None,
            "max-size" => log.max_size = Some(value.parse().ok().filter(|n| *n > 0).ok_or_else(number)?),
            "max-file" => log.max_files = value.parse().ok().filter(|n| *n > 0).ok_or_else(number)?,
            "attrs" => log.attrs = attrs(&value)?,
            "attach-stdout" => log.attach_stdout = Some(fifo(&value)?),
            "attach-stderr" => log.attach_stderr = Some(fifo(&value)?),
            _ => return Err(format!("unknown key {key:?}")),
        }
    }
    Ok(log)
}

/// Checks that `text` is an object of strings; an empty one is none.
fn attrs(text: &str) -> Result<Option<String>, String> {
    let parsed: std::collections::BTreeMap<String, String> =
        serde_json::from_str(text).map_err(|e| format!("attrs: {e}"))?;
    if parsed.is_empty() {
        return Ok(None);
    }
    serde_json::to_string(&parsed)
        .map(Some)
        .map_err(|e| format!("attrs: {e}"))
}

fn absolute(path: &str) -> Option<PathBuf> {
    (path.starts_with('/') && !path.contains('\0')).then(|| PathBuf::from(path))
}

fn query_pairs(query: &str) -> Option<Vec<(String, String)>> {
    let parts = query.split('&').filter(|part| !part.is_empty());
    parts
        .map(|part| {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            Some((decode(key, true)?, decode(value, true)?))
        })
        .collect()
}

/// Undoes percent encoding; in queries `+` is a space.
fn decode(text: &str, query: bool) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                let digits = std::str::from_utf8(&digits).ok()?;
                u8::from_str_radix(digits, 16).ok()?
            }
            b'+' if query => b' ',
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_forms() {
        assert_eq!(Target::parse(""), Ok(Target::Null));
        assert_eq!(Target::parse("/run/f"), Ok(Target::Path("/run/f".into())));
        assert_eq!(Target::parse("fifo:///run/f"), Ok(Target::Path("/run/f".into())));
        assert_eq!(Target::parse("file:///a%20b"), Ok(Target::File("/a b".into())));
        let arguments = vec!["k".to_owned(), "v w".to_owned(), "flag".to_owned(), String::new()];
        let path = "/bin/l".into();
        assert_eq!(
            Target::parse("binary:///bin/l?k=v+w&flag"),
            Ok(Target::Binary { path, arguments })
        );
    }

    #[test]
    fn docker_forms() {
        let uri = "docker-json-file:///d/x-json.log?max-size=1000&max-file=3&attrs=%7B%22a%22%3A%22b%22%7D&attach-stdout=%2Frun%2Fo";
        let log = DockerLog {
            path: Some("/d/x-json.log".into()),
            max_size: Some(1000),
            max_files: 3,
            attrs: Some(r#"{"a":"b"}"#.to_owned()),
            attach_stdout: Some("/run/o".into()),
            attach_stderr: None,
        };
        assert_eq!(Target::parse(uri), Ok(Target::Docker(log)));
        let none = DockerLog {
            max_files: 1,
            ..DockerLog::default()
        };
        assert_eq!(Target::parse("docker-attach:///"), Ok(Target::Docker(none)));
    }

    #[test]
    fn refuses_what_makes_no_sense() {
        let bad = [
            "relative",
            "file://relative",
            "http:///x",
            "file:///%zz",
            "file:///%00",
            "docker-json-file:///x?max-size=0",
            "docker-json-file:///x?max-file=0",
            "docker-json-file:///x?max-size=1k",
            "docker-json-file:///x?attrs=[]",
            "docker-json-file:///x?colour=red",
            "docker-json-file:///x?attach-stdout=fifo",
        ];
        for uri in bad {
            assert!(Target::parse(uri).is_err(), "{uri}");
        }
    }
}
