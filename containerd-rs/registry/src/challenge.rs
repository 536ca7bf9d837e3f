//! `WWW-Authenticate` (RFC 9110, section 11.6.1): what a registry wants to see.

use hyper::HeaderMap;
use hyper::header::WWW_AUTHENTICATE;

/// A challenge that we can answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// User name and password.
    Basic,
    /// A token from the server at `realm`.
    Bearer {
        /// URL of the token server.
        realm: String,
        /// The registry's name there.
        service: Option<String>,
        /// What the token must allow, `repository:library/debian:pull`.
        scope: Option<String>,
        /// Why the last token did not do.
        error: Option<String>,
    },
}

/// All challenges of a reply that we understand, Bearer first.
pub(crate) fn parse(headers: &HeaderMap) -> Vec<Challenge> {
    let mut all: Vec<Challenge> = Vec::new();
    for value in headers.get_all(WWW_AUTHENTICATE) {
        if let Ok(text) = value.to_str() {
            parse_value(text, &mut all);
        }
    }
    all.sort_by_key(|c| matches!(c, Challenge::Basic));
    all
}

/// Parses one header value, which may hold several challenges: `scheme name=value, name="value", scheme ...`.
fn parse_value(text: &str, all: &mut Vec<Challenge>) {
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (scheme, after) = token(rest);
        if scheme.is_empty() {
            return;
        }
        let mut parameters = Vec::new();
        rest = after.trim_start();
        while let Some((name, value, after)) = parameter(rest) {
            parameters.push((name.to_ascii_lowercase(), value));
            rest = after.trim_start();
            match rest.strip_prefix(',') {
                Some(after) => rest = after.trim_start(),
                None => break,
            }
        }
        rest = rest.trim_start_matches([',', ' ']);
        let get = |name: &str| parameters.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone());
        if scheme.eq_ignore_ascii_case("basic") {
            all.push(Challenge::Basic);
        } else if scheme.eq_ignore_ascii_case("bearer")
            && let Some(realm) = get("realm")
        {
            all.push(Challenge::Bearer {
                realm,
                service: get("service"),
                scope: get("scope"),
                error: get("error"),
            });
        }
    }
}

/// A run of token characters and what follows.
fn token(text: &str) -> (&str, &str) {
    let end = text
        .find(|c: char| !(c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)))
        .unwrap_or(text.len());
    text.split_at(end)
}

/// `name=value` or `name="quoted value"`, and what follows; nothing when the next thing is a scheme.
fn parameter(text: &str) -> Option<(&str, String, &str)> {
    let (name, rest) = token(text);
    let rest = rest.trim_start().strip_prefix('=')?.trim_start();
    if name.is_empty() {
        return None;
    }
    let Some(quoted) = rest.strip_prefix('"') else {
        let (value, rest) = token(rest);
        return Some((name, value.to_owned(), rest));
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => return Some((name, value, &quoted[at + 1..])),
            '\\' => value.push(characters.next()?.1),
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[&str]) -> Vec<Challenge> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(WWW_AUTHENTICATE, value.parse().unwrap());
        }
        parse(&headers)
    }

    #[test]
    fn bearer_with_commas_in_its_scope() {
        let got = of(&[r#"Bearer realm="https://a/token",service="reg",scope="repository:x:pull,push",error="e""#]);
        let want = Challenge::Bearer {
            realm: "https://a/token".into(),
            service: Some("reg".into()),
            scope: Some("repository:x:pull,push".into()),
            error: Some("e".into()),
        };
        assert_eq!(got, vec![want]);
    }

    #[test]
    fn several_challenges_prefer_bearer() {
        let got = of(&[
            r#"Basic realm="r", Bearer realm="https://a/t", service=s"#,
            "Negotiate abc==",
        ]);
        assert!(matches!(&got[0], Challenge::Bearer { service: Some(s), .. } if s == "s"));
        assert_eq!(got[1], Challenge::Basic);
        assert_eq!(got.len(), 2);
    }

    #[test]
    fn garbage_is_no_challenge() {
        for text in ["", "Bearer", "Bearer realm=\"unclosed", "=,=,=", "\"", "Bearer realm"] {
            assert_eq!(of(&[text]), vec![], "{text}");
        }
    }
}
