//! Platforms: which of an index's images is ours.

use containerd_rs_registry::Platform as OciPlatform;

use crate::error::{Error, Result};

/// Operating system, architecture and variant, normalized.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Platform {
    /// GOOS.
    pub os: String,
    /// GOARCH.
    pub architecture: String,
    /// `v7`, `v8`; empty where there is none or it goes without saying.
    pub variant: String,
}

impl std::fmt::Display for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if self.variant.is_empty() {
            Ok(())
        } else {
            write!(f, "/{}", self.variant)
        }
    }
}

impl Platform {
    /// A platform of parts, with aliases (`x86_64`, `aarch64`) and default variants brought to one form.
    pub fn new(os: &str, architecture: &str, variant: &str) -> Self {
        let (architecture, variant) = normalize(&architecture.to_lowercase(), &variant.to_lowercase());
        Self {
            os: os.to_lowercase(),
            architecture,
            variant,
        }
    }

    /// The platform of this machine.
    pub fn host() -> Self {
        Self::new(std::env::consts::OS, std::env::consts::ARCH, "")
    }

    /// Parses `os/arch[/variant]`, `arch` or `os`.
    ///
    /// # Errors
    /// 400 for what is none of these.
    pub fn parse(text: &str) -> Result<Self> {
        let sound = |p: &&str| !p.is_empty() && p.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
        let parts: Vec<&str> = text.split('/').collect();
        if !parts.iter().all(sound) {
            return Err(Error::invalid(format!(
                "{text:?}: invalid platform specifier: invalid argument"
            )));
        }
        let host = Self::host();
        match parts.as_slice() {
            [one] if matches!(*one, "linux" | "windows" | "darwin" | "freebsd") => {
                Ok(Self::new(one, &host.architecture, ""))
            }
            [one] => Ok(Self::new(&host.os, one, "")),
            [os, architecture] => Ok(Self::new(os, architecture, "")),
            [os, architecture, variant] => Ok(Self::new(os, architecture, variant)),
            _ => Err(Error::invalid(format!(
                "{text:?}: cannot parse platform specifier: invalid argument"
            ))),
        }
    }

    /// How well an image of platform `other` runs here: 0 is best, nothing is not at all. amd64 runs 386, arm64 runs arm,
    /// a higher arm variant runs the lower ones.
    pub fn accepts(&self, other: &Self) -> Option<u32> {
        if self.os != other.os {
            return None;
        }
        let arm = |variant: &str| variant.trim_start_matches('v').parse::<u32>().ok();
        match (self.architecture.as_str(), other.architecture.as_str()) {
            ("arm", "arm") => {
                let (ours, theirs) = (arm(&self.variant).unwrap_or(7), arm(&other.variant).unwrap_or(7));
                ours.checked_sub(theirs)
            }
            ("arm64", "arm") => Some(10 + 8u32.saturating_sub(arm(&other.variant).unwrap_or(7))),
            ("amd64", "386") => Some(10),
            ("amd64", "amd64") => {
                let level = |v: &str| arm(v).unwrap_or(1);
                level(&self.variant).checked_sub(level(&other.variant))
            }
            (ours, theirs) if ours == theirs && self.variant == other.variant => Some(0),
            _ => None,
        }
    }

    /// Whether an image of platform `other` is exactly this.
    pub fn is(&self, other: &Self) -> bool {
        self.os == other.os
            && self.architecture == other.architecture
            && (self.variant.is_empty() || self.variant == other.variant)
    }
}

impl From<&OciPlatform> for Platform {
    fn from(platform: &OciPlatform) -> Self {
        let variant = platform.variant().clone().unwrap_or_default();
        Self::new(
            &platform.os().to_string(),
            &platform.architecture().to_string(),
            &variant,
        )
    }
}

fn normalize(architecture: &str, variant: &str) -> (String, String) {
    let (architecture, variant) = match (architecture, variant) {
        ("x86_64" | "x86-64" | "amd64", "v1" | "") => ("amd64", ""),
        ("x86_64" | "x86-64", v) => ("amd64", v),
        ("i386" | "x86", _) => ("386", ""),
        ("aarch64" | "arm64", "8" | "v8" | "") => ("arm64", ""),
        ("armhf", _) => ("arm", "v7"),
        ("armel", _) => ("arm", "v6"),
        ("arm", "" | "7") => ("arm", "v7"),
        ("arm", "5") => ("arm", "v5"),
        ("arm", "6") => ("arm", "v6"),
        ("arm", "8") => ("arm", "v8"),
        (a, v) => (a, v),
    };
    (architecture.to_owned(), variant.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_are_normalized_and_ranked() {
        let p = |s: &str| Platform::parse(s).unwrap();
        assert_eq!(p("linux/x86_64").to_string(), "linux/amd64");
        assert_eq!(p("linux/arm64/v8").to_string(), "linux/arm64");
        assert_eq!(p("linux/arm").to_string(), "linux/arm/v7");
        assert_eq!(p("linux/amd64").accepts(&p("linux/amd64")), Some(0));
        assert_eq!(p("linux/amd64").accepts(&p("linux/arm64")), None);
        assert!(p("linux/amd64").accepts(&p("linux/386")) > Some(0));
        assert!(p("linux/arm/v7").accepts(&p("linux/arm/v6")) > p("linux/arm/v7").accepts(&p("linux/arm/v7")));
        assert_eq!(p("linux/arm/v6").accepts(&p("linux/arm/v7")), None);
        assert_eq!(p("linux/amd64").accepts(&p("windows/amd64")), None);
        for bad in ["", "/", "a/b/c/d", "linux/", "li nux/amd64"] {
            assert!(Platform::parse(bad).is_err(), "{bad}");
        }
    }
}
