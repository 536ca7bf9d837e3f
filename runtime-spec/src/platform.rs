//! Platforms (`linux/arm64/v8`): parsed, normalized and ranked as containerd's `platforms` package does.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An operating system, an architecture and its variant, normalized. The JSON is that of an OCI image index's `platform`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Platform {
    /// `amd64`, `arm64`, `arm`, `386`, ... as Go names them.
    #[serde(default)]
    pub architecture: String,
    /// `linux`.
    #[serde(default)]
    pub os: String,
    /// `v7` of arm; empty where there is none or it is the usual one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub variant: String,
}

/// Why a text is no platform.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A component with other letters than `[A-Za-z0-9_.-]`, or none.
    #[error(
        "{component:?} is an invalid component of {text:?}: platform specifier component must match \
         \"^[A-Za-z0-9_.-]+$\": invalid argument"
    )]
    Component {
        /// The component.
        component: String,
        /// The whole.
        text: String,
    },
    /// One word that is neither a system nor an architecture.
    #[error("{0:?}: unknown operating system or architecture: invalid argument")]
    Unknown(String),
    /// More than three components.
    #[error("{0:?}: cannot parse platform specifier: invalid argument")]
    Shape(String),
}

const SYSTEMS: &[&str] = &[
    "aix",
    "android",
    "darwin",
    "dragonfly",
    "freebsd",
    "hurd",
    "illumos",
    "ios",
    "js",
    "linux",
    "nacl",
    "netbsd",
    "openbsd",
    "plan9",
    "solaris",
    "windows",
    "zos",
];
const ARCHITECTURES: &[&str] = &[
    "386",
    "amd64",
    "amd64p32",
    "arm",
    "armbe",
    "arm64",
    "arm64be",
    "ppc64",
    "ppc64le",
    "loong64",
    "mips",
    "mipsle",
    "mips64",
    "mips64le",
    "mips64p32",
    "mips64p32le",
    "ppc",
    "riscv",
    "riscv64",
    "s390",
    "s390x",
    "sparc",
    "sparc64",
    "wasm",
];

impl Platform {
    /// A platform from its parts, normalized.
    pub fn new(os: &str, architecture: &str, variant: &str) -> Self {
        let os = match os.to_ascii_lowercase().as_str() {
            "" => "linux".to_owned(),
            "macos" => "darwin".to_owned(),
            other => other.to_owned(),
        };
        let (architecture, variant) = normalize(architecture, variant);
        Self {
            architecture,
            os,
            variant,
        }
    }

    /// The platform this program was built for.
    pub fn host() -> Self {
        Self::new(std::env::consts::OS, std::env::consts::ARCH, "")
    }

    /// How well a candidate (of an image index) suits this platform: 0 is best, `None` is not at all. A 64-bit x86 also runs 386, an
    /// arm64 the 32-bit arms, and a later arm the earlier ones.
    pub fn rank(&self, candidate: &Platform) -> Option<usize> {
        let candidate = Self::new(&candidate.os, &candidate.architecture, &candidate.variant);
        if candidate.os != self.os {
            return None;
        }
        self.compatible()
            .iter()
            .position(|(a, v)| *a == candidate.architecture && *v == candidate.variant)
    }

    /// Whether a candidate is this platform exactly.
    pub fn matches(&self, candidate: &Platform) -> bool {
        self.rank(candidate) == Some(0)
    }

    fn compatible(&self) -> Vec<(String, String)> {
        let pair = |a: &str, v: &str| (a.to_owned(), v.to_owned());
        let arms = |from: u32| {
            (5..=from)
                .rev()
                .map(|v| ("arm".to_owned(), format!("v{v}")))
                .collect::<Vec<_>>()
        };
        let mut all = vec![pair(&self.architecture, &self.variant)];
        match (
            self.architecture.as_str(),
            self.variant.strip_prefix('v').and_then(|v| v.parse::<u32>().ok()),
        ) {
            ("amd64", Some(level)) => {
                all.extend((2..level).rev().map(|v| ("amd64".to_owned(), format!("v{v}"))));
                all.extend([pair("amd64", ""), pair("386", "")]);
            }
            ("amd64", None) => all.push(pair("386", "")),
            ("arm64", _) => {
                if !self.variant.is_empty() {
                    all.push(pair("arm64", ""));
                }
                all.extend(arms(8));
            }
            ("arm", Some(version)) if version > 5 => all.extend(arms(version - 1)),
            _ => {}
        }
        all
    }
}

fn normalize(architecture: &str, variant: &str) -> (String, String) {
    let architecture = architecture.to_ascii_lowercase();
    let mut variant = variant.to_ascii_lowercase();
    let name = match architecture.as_str() {
        "i386" | "x86" => {
            variant.clear();
            "386"
        }
        "x86_64" | "x86-64" | "amd64" => {
            if variant == "v1" {
                variant.clear();
            }
            "amd64"
        }
        "aarch64" | "arm64" => {
            if variant == "8" || variant == "v8" {
                variant.clear();
            }
            "arm64"
        }
        "armhf" => {
            variant = "v7".to_owned();
            "arm"
        }
        "armel" => {
            variant = "v6".to_owned();
            "arm"
        }
        "arm" => {
            match variant.as_str() {
                "" => variant = "v7".to_owned(),
                "5" | "6" | "7" | "8" => variant = format!("v{variant}"),
                _ => {}
            }
            "arm"
        }
        "powerpc64le" => "ppc64le",
        "loongarch64" => "loong64",
        other => other,
    };
    (name.to_owned(), variant)
}

impl FromStr for Platform {
    type Err = Error;

    /// `os`, `arch`, `os/arch` or `os/arch/variant`.
    fn from_str(text: &str) -> Result<Self, Error> {
        let parts: Vec<&str> = text.split('/').collect();
        for part in &parts {
            let good = !part.is_empty()
                && part
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
            if !good {
                return Err(Error::Component {
                    component: (*part).to_owned(),
                    text: text.to_owned(),
                });
            }
        }
        let host = Self::host();
        match parts.as_slice() {
            [word] => {
                let as_system = Self::new(word, &host.architecture, "");
                if SYSTEMS.contains(&as_system.os.as_str()) {
                    return Ok(as_system);
                }
                let as_architecture = Self::new(&host.os, word, "");
                if ARCHITECTURES.contains(&as_architecture.architecture.as_str()) {
                    return Ok(as_architecture);
                }
                Err(Error::Unknown(text.to_owned()))
            }
            [os, architecture] => Ok(Self::new(os, architecture, "")),
            [os, architecture, variant] => Ok(Self::new(os, architecture, variant)),
            _ => Err(Error::Shape(text.to_owned())),
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if self.variant.is_empty() {
            Ok(())
        } else {
            write!(f, "/{}", self.variant)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_normalized() {
        let cases = [
            ("linux/x86_64", "linux/amd64"),
            ("Linux/aarch64", "linux/arm64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/arm/6", "linux/arm/v6"),
            ("linux/armel", "linux/arm/v6"),
            ("linux/i386", "linux/386"),
            ("linux/amd64/v1", "linux/amd64"),
            ("linux/amd64/v3", "linux/amd64/v3"),
            ("macos/arm64", "darwin/arm64"),
        ];
        for (text, normal) in cases {
            assert_eq!(text.parse::<Platform>().unwrap().to_string(), normal);
        }
        assert_eq!("arm64".parse::<Platform>().unwrap().architecture, "arm64");
        assert_eq!(
            "linux".parse::<Platform>().unwrap(),
            Platform::new("linux", std::env::consts::ARCH, "")
        );
    }

    #[test]
    fn refusals() {
        assert_eq!("x".parse::<Platform>(), Err(Error::Unknown("x".into())));
        assert!(matches!("linux//v1".parse::<Platform>(), Err(Error::Component { .. })));
        assert!(matches!("linux/a b".parse::<Platform>(), Err(Error::Component { .. })));
        assert!(matches!("a/b/c/d".parse::<Platform>(), Err(Error::Shape(_))));
    }

    #[test]
    fn ranks() {
        let amd64 = Platform::new("linux", "amd64", "");
        assert_eq!(amd64.rank(&Platform::new("linux", "x86_64", "")), Some(0));
        assert_eq!(amd64.rank(&Platform::new("linux", "386", "")), Some(1));
        assert_eq!(amd64.rank(&Platform::new("linux", "arm64", "")), None);
        assert_eq!(amd64.rank(&Platform::new("windows", "amd64", "")), None);
        let arm64 = Platform::new("linux", "arm64", "v8");
        assert!(arm64.matches(&Platform::new("linux", "arm64", "")));
        assert!(arm64.rank(&Platform::new("linux", "arm", "v7")) < arm64.rank(&Platform::new("linux", "arm", "v6")));
    }
}
