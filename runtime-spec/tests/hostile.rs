//! Whatever comes in, the small parsers answer or refuse; and what they accept, they give back.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use runtime_spec::seccomp::{Context, Profile};
use runtime_spec::user::{additional_groups, parse_ids, resolve};
use runtime_spec::{Digest, Platform, Reference, Timestamp};

/// Text made of the pieces that the grammars are made of, so that some of it gets far.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        prop::sample::select(vec![
            "a",
            "b-c",
            "Z",
            "0",
            "42",
            ".",
            "..",
            "_",
            "__",
            "___",
            "-",
            "/",
            "//",
            ":",
            "@",
            "[",
            "]",
            "::1",
            "localhost",
            "docker.io",
            "index.docker.io",
            "library",
            "latest",
            "sha256:",
            "sha512:",
            " ",
            "\n",
            "\0",
            "é",
            "5000",
            "+",
            "2147483647",
            "2147483648",
            "-1",
            "root",
            "alice",
            "linux",
            "arm64",
            "v8",
        ])
        .prop_map(str::to_owned),
        "[0-9a-f]{64}",
        "[0-9a-f]{1,130}",
        "\\PC{0,3}",
    ];
    prop::collection::vec(piece, 0..9).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn references_come_back_as_they_are(text in pieces()) {
        let Ok(reference) = Reference::parse(&text) else { return Ok(()) };
        let canonical = reference.to_string();
        prop_assert_eq!(&Reference::parse(&canonical).unwrap(), &reference);
        // A path that begins with another's domain would be read as that: such names have no short form.
        if let Ok(familiar) = Reference::parse(&reference.familiar()) {
            prop_assert_eq!(&familiar, &reference);
        }
        prop_assert!(!reference.path().contains("..") && !reference.path().starts_with('/'));
        prop_assert!(canonical.is_ascii() && !canonical.contains(char::is_whitespace));
        prop_assert!(reference.path().len() <= 255 && reference.tag().is_none_or(|t| t.len() <= 128));
        prop_assert!(reference.path().split('/').all(|c| !c.is_empty() && c != "." && c != ".."));
    }

    #[test]
    fn digests_come_back_as_they_are(text in pieces()) {
        if let Ok(digest) = text.parse::<Digest>() {
            prop_assert_eq!(digest.as_str(), &text);
            prop_assert!(digest.hex().len() == 64 || digest.hex().len() == 128);
            prop_assert!(!digest.hex().contains(['/', '.']));
        }
    }

    #[test]
    fn content_has_one_digest(content in prop::collection::vec(any::<u8>(), 0..200), flip in any::<prop::sample::Index>()) {
        let digest = Digest::of(&content);
        prop_assert!(digest.verify(&content).is_ok());
        if !content.is_empty() {
            let mut other = content.clone();
            other[flip.index(content.len())] ^= 1;
            prop_assert!(digest.verify(&other).is_err());
        }
    }

    #[test]
    fn platforms_are_stable_once_normal(text in pieces()) {
        if let Ok(platform) = text.parse::<Platform>() {
            let again: Platform = platform.to_string().parse().unwrap();
            prop_assert!(again.rank(&platform).is_some());
        }
    }

    #[test]
    fn a_user_is_exact_or_an_error(spec in pieces(), passwd in "([a-z:0-9x\n,/-]{0,80})", group in "([a-z:0-9x\n,]{0,60})") {
        if let Ok(user) = resolve(&spec, &passwd, &group) {
            prop_assert!(user.uid < 1 << 31 && user.gid < 1 << 31);
            prop_assert!(user.additional_gids.iter().all(|g| *g < 1 << 31));
            // Root is had only by asking for it: by no name, by its number, or by the name of an entry with that number.
            let name = spec.split(':').next().unwrap();
            let asked = name.is_empty() || name.parse::<i64>() == Ok(0);
            prop_assert!(user.uid != 0 || asked || user.name.as_deref() == Some(name), "{:?}", spec);
        }
        if let Ok((uid, gid)) = parse_ids(&spec) {
            let back = gid.map_or(uid.to_string(), |g| format!("{uid}:{g}"));
            prop_assert_eq!(back.parse::<u64>().ok(), spec.replace('+', "").parse::<u64>().ok());
        }
        let _ = additional_groups(&[&spec], &group);
    }

    #[test]
    fn times_come_back_as_they_are(seconds in -62_135_596_800_i64..253_402_207_200, nanoseconds in 0_i32..1_000_000_000) {
        let time = Timestamp::from_unix(seconds, nanoseconds).unwrap();
        prop_assert_eq!(time.to_string().parse::<Timestamp>().unwrap(), time);
        prop_assert_eq!(time.unix(), (seconds, nanoseconds));
    }

    #[test]
    fn configs_and_profiles_of_any_shape_are_answered(json in json_text()) {
        if let Ok(spec) = runtime_spec::load(json.as_bytes()) {
            let _ = runtime_spec::validate(&spec);
        }
        if let Ok(profile) = Profile::parse(json.as_bytes()) {
            let _ = profile.resolve(&Context::native(&[]));
        }
    }
}

/// The default config with something replaced, removed, or cut off.
fn json_text() -> impl Strategy<Value = String> {
    let values = prop::sample::select(vec![
        "null",
        "0",
        "-1",
        "1e9",
        "18446744073709551616",
        "\"\"",
        "\"/\"",
        "\"..\"",
        "[]",
        "{}",
        "[null]",
        "[{}]",
        "true",
    ]);
    let text = runtime_spec::default::default_spec_json(runtime_spec::default::Options::default());
    (any::<prop::sample::Index>(), values, any::<bool>()).prop_map(move |(at, value, cut)| {
        let lines: Vec<&str> = text.lines().collect();
        let line = at.index(lines.len());
        if cut {
            return lines[..line].join("\n");
        }
        let replaced = match lines[line].split_once(": ") {
            Some((key, rest)) => {
                let comma = if rest.ends_with(',') { "," } else { "" };
                format!("{key}: {value}{comma}")
            }
            None => value.to_owned(),
        };
        let mut lines: Vec<&str> = lines;
        lines[line] = &replaced;
        lines.join("\n")
    })
}
