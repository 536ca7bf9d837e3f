//! Names for containers that were given none: an adjective and a surname, as Docker has it.

use crate::error::{Error, Result};

const ADJECTIVES: [&str; 48] = [
    "amber", "ample", "apt", "blithe", "bold", "brave", "bright", "brisk", "calm", "candid", "civil", "clever", "cosy",
    "deft", "eager", "early", "fair", "fleet", "fond", "frank", "gentle", "glad", "grand", "hardy", "humble", "keen",
    "kind", "lively", "loyal", "lucid", "mellow", "merry", "modest", "nimble", "noble", "patient", "placid", "proud",
    "quick", "quiet", "ready", "serene", "sharp", "steady", "sunny", "tidy", "vivid", "witty",
];
const SURNAMES: [&str; 48] = [
    "abel",
    "ampere",
    "avogadro",
    "babbage",
    "banach",
    "bernoulli",
    "boole",
    "bose",
    "cantor",
    "cauchy",
    "chandra",
    "dirac",
    "euler",
    "faraday",
    "fermat",
    "fourier",
    "galois",
    "gauss",
    "germain",
    "hamilton",
    "hertz",
    "hilbert",
    "hypatia",
    "joule",
    "kepler",
    "kirchhoff",
    "lagrange",
    "leavitt",
    "leibniz",
    "linnaeus",
    "lovelace",
    "markov",
    "maxwell",
    "meitner",
    "mendel",
    "nightingale",
    "noether",
    "ohm",
    "pascal",
    "peano",
    "planck",
    "poincare",
    "ramanujan",
    "riemann",
    "somerville",
    "turing",
    "volta",
    "weierstrass",
];

/// A name; with `attempt` above zero, one with a digit behind it.
pub(crate) fn generate(attempt: u32) -> String {
    let (a, b, digit) = (random(), random(), random());
    let mut name = format!("{}_{}", pick(&ADJECTIVES, a), pick(&SURNAMES, b));
    if attempt > 0 {
        name.push_str(&(digit % 10u64.pow(attempt.min(6))).to_string());
    }
    name
}

fn pick<'a>(list: &[&'a str], number: u64) -> &'a str {
    list[usize::try_from(number % list.len() as u64).unwrap_or(0)]
}

fn random() -> u64 {
    u64::from_ne_bytes(random_bytes::<8>())
}

/// A new id: 64 hex digits. Its short form must not read as a number, which would be ambiguous as a hostname.
pub(crate) fn new_id() -> String {
    loop {
        let id = hex::encode(random_bytes::<32>());
        if id[..12].parse::<u64>().is_err() {
            return id;
        }
    }
}

fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    let mut filled = 0;
    while filled < N {
        // An early-boot interruption is the only failure for small requests; asking again is the remedy.
        filled += rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty()).unwrap_or(0);
    }
    bytes
}

/// Checks a name that a client chose; a leading slash is let pass.
///
/// # Errors
/// 400 in Docker's words.
pub(crate) fn check(name: &str) -> Result<&str> {
    let bare = name.strip_prefix('/').unwrap_or(name);
    let mut bytes = bare.bytes();
    let good = bytes.next().is_some_and(|b| b.is_ascii_alphanumeric())
        && bare.len() > 1
        && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
    if good {
        return Ok(bare);
    }
    Err(Error::invalid(format!(
        "Invalid container name ({bare}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_judged_as_docker_judges() {
        for good in ["web", "/web", "a1", "A_b.c-d"] {
            assert!(check(good).is_ok(), "{good}");
        }
        for bad in ["", "a", "-web", "we b", "a/b", ".x"] {
            assert!(check(bad).is_err(), "{bad}");
        }
        for attempt in 0..3 {
            assert!(check(&generate(attempt)).is_ok());
        }
        assert_eq!(new_id().len(), 64);
    }
}
