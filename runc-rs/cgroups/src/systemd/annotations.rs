//! `org.systemd.property.NAME` annotations: unit properties in a config, in GVariant's text form (GLib: "GVariant Text Format").

use std::collections::BTreeMap;

use super::bus::Value;
use super::properties::Property;
use crate::error::{Error, Result};

/// What the annotations' names begin with.
pub const PREFIX: &str = "org.systemd.property.";
/// How deep a value may nest.
const MAX_DEPTH: u32 = 16;

/// The properties among a config's annotations. A name that ends in `Sec` is a number of seconds, which systemd takes as microseconds
/// under the name that ends in `USec`.
///
/// # Errors
/// [`Error::Annotation`]: a name that is none of a property, a value that cannot be read.
pub fn properties<'a>(annotations: impl IntoIterator<Item = (&'a String, &'a String)>) -> Result<Vec<Property>> {
    let ours = annotations
        .into_iter()
        .filter_map(|(key, value)| Some((key.strip_prefix(PREFIX)?, value)));
    let sorted: BTreeMap<_, _> = ours.collect();
    sorted.into_iter().map(|(name, value)| property(name, value)).collect()
}

fn property(name: &str, text: &str) -> Result<Property> {
    let failed = |reason: &str| Error::Annotation {
        name: format!("{PREFIX}{name}"),
        value: text.to_owned(),
        reason: reason.to_owned(),
    };
    if name.len() < 3 {
        return Err(failed("name too short"));
    }
    if !name.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        return Err(failed("name contains non-alphabetic characters"));
    }
    let value = parse(text).ok_or_else(|| failed("value parse error"))?;
    match name.strip_suffix("Sec").filter(|stem| !stem.ends_with('U')) {
        None => Ok(Property::new(name, value)),
        Some(stem) => {
            let microseconds = microseconds(&value).ok_or_else(|| failed("not a number of seconds"))?;
            Ok(Property::new(format!("{stem}USec"), Value::U64(microseconds)))
        }
    }
}

fn microseconds(seconds: &Value) -> Option<u64> {
    let whole = |seconds: i64| u64::try_from(seconds).ok()?.checked_mul(1_000_000);
    match seconds {
        Value::Byte(n) => whole(i64::from(*n)),
        Value::I16(n) => whole(i64::from(*n)),
        Value::U16(n) => whole(i64::from(*n)),
        Value::I32(n) => whole(i64::from(*n)),
        Value::U32(n) => whole(i64::from(*n)),
        Value::I64(n) => whole(*n),
        Value::U64(n) => n.checked_mul(1_000_000),
        // Rounded towards zero; what does not fit is refused.
        Value::Double(n) if (0.0..1e13).contains(n) => Some((n * 1e6) as u64),
        _ => None,
    }
}

/// Reads one value of GVariant's text form: numbers (`5`, `uint32 5`, `1.5`), strings, booleans, arrays with an optional type
/// (`@as []`), tuples and variants. A number without a type is an int32. `None` when it is none, or of a type that units do not have.
pub fn parse(text: &str) -> Option<Value> {
    let mut parser = Parser { rest: text };
    let value = parser.value(None, 0)?;
    parser.space();
    parser.rest.is_empty().then_some(value)
}

struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn eat(&mut self, token: char) -> bool {
        self.space();
        let rest = self.rest.strip_prefix(token);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// The longest run of characters of a number or word.
    fn word(&mut self) -> &'a str {
        self.space();
        let end = self
            .rest
            .find(|c: char| !(c.is_ascii_alphanumeric() || "+-._".contains(c)));
        let (word, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        word
    }

    /// A value; of the type `wanted`, where one is known.
    fn value(&mut self, wanted: Option<&str>, depth: u32) -> Option<Value> {
        self.space();
        match self.rest.chars().next().filter(|_| depth < MAX_DEPTH)? {
            '@' => {
                let end = self.rest.find(char::is_whitespace)?;
                let (signature, rest) = self.rest.split_at(end);
                self.rest = rest;
                self.value(Some(signature.get(1..)?), depth + 1)
            }
            '[' => self.array(wanted, depth),
            '(' => {
                self.rest = self.rest.get(1..)?;
                self.list(')', None, depth)
                    .filter(|fields| !fields.is_empty())
                    .map(Value::Struct)
            }
            '<' => {
                self.rest = self.rest.get(1..)?;
                let inner = self.value(None, depth + 1)?;
                self.eat('>').then(|| Value::Variant(Box::new(inner)))
            }
            quote @ ('"' | '\'') => {
                let text = self.quoted(quote)?;
                Some(match wanted {
                    Some("o") => Value::Path(text),
                    Some("g") => Value::Signature(text),
                    _ => Value::Str(text),
                })
            }
            _ => self.plain(wanted, depth),
        }
    }

    fn array(&mut self, wanted: Option<&str>, depth: u32) -> Option<Value> {
        self.rest = self.rest.get(1..)?;
        let wanted = match wanted {
            Some(signature) => Some(signature.strip_prefix('a')?),
            None => None,
        };
        let values = self.list(']', wanted, depth)?;
        // Without a type the first element has the say; none at all is no type.
        let element = match wanted {
            Some(element) => element.to_owned(),
            None => values.first()?.signature(),
        };
        let same = values.iter().all(|value| value.signature() == element);
        same.then_some(Value::Array(element, values))
    }

    fn list(&mut self, end: char, element: Option<&str>, depth: u32) -> Option<Vec<Value>> {
        let mut values = Vec::new();
        while !self.eat(end) {
            if !values.is_empty() && !self.eat(',') {
                return None;
            }
            // A tuple of one ends in a comma.
            if !values.is_empty() && end == ')' && self.eat(end) {
                break;
            }
            values.push(self.value(element, depth + 1)?);
        }
        Some(values)
    }

    fn quoted(&mut self, quote: char) -> Option<String> {
        let mut text = String::new();
        let mut chars = self.rest.char_indices().skip(1);
        while let Some((at, c)) = chars.next() {
            match c {
                '\\' => text.push(match chars.next()?.1 {
                    'n' => '\n',
                    't' => '\t',
                    'r' => '\r',
                    'a' => '\x07',
                    'b' => '\x08',
                    'f' => '\x0c',
                    'v' => '\x0b',
                    'u' => unicode(&mut chars, 4)?,
                    'U' => unicode(&mut chars, 8)?,
                    other => other,
                }),
                c if c == quote => {
                    self.rest = self.rest.get(at + c.len_utf8()..)?;
                    return (!text.contains('\0')).then_some(text);
                }
                c => text.push(c),
            }
        }
        None
    }

    /// A number or boolean, or the name of a type and then one.
    fn plain(&mut self, wanted: Option<&str>, depth: u32) -> Option<Value> {
        let word = self.word();
        let named = match word {
            "true" | "false" => return matches!(wanted, None | Some("b")).then_some(Value::Bool(word == "true")),
            "boolean" => "b",
            "byte" => "y",
            "int16" => "n",
            "uint16" => "q",
            "int32" => "i",
            "uint32" => "u",
            "int64" => "x",
            "uint64" => "t",
            "double" => "d",
            "string" => "s",
            "objectpath" => "o",
            "signature" => "g",
            _ => return number(word, wanted),
        };
        let value = self.value(Some(named), depth + 1)?;
        (value.signature() == named).then_some(value)
    }
}

fn unicode(chars: &mut impl Iterator<Item = (usize, char)>, digits: usize) -> Option<char> {
    let text: String = chars.take(digits).map(|(_, c)| c).collect();
    (text.len() == digits).then_some(())?;
    char::from_u32(u32::from_str_radix(&text, 16).ok()?)
}

fn number(word: &str, wanted: Option<&str>) -> Option<Value> {
    let decimal = word.contains('.') || (word.contains(['e', 'E']) && !word.contains(['x', 'X']));
    let signature = wanted.unwrap_or(if decimal { "d" } else { "i" });
    if signature == "d" {
        return word.parse().ok().filter(|n: &f64| n.is_finite()).map(Value::Double);
    }
    let (negative, digits) = match word.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, word.strip_prefix('+').unwrap_or(word)),
    };
    let magnitude = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(hex) => i128::from(u64::from_str_radix(hex, 16).ok()?),
        None if digits.len() > 1 && digits.starts_with('0') => i128::from(u64::from_str_radix(digits, 8).ok()?),
        None => i128::from(digits.parse::<u64>().ok()?),
    };
    let n = if negative { -magnitude } else { magnitude };
    Some(match signature {
        "y" => Value::Byte(n.try_into().ok()?),
        "n" => Value::I16(n.try_into().ok()?),
        "q" => Value::U16(n.try_into().ok()?),
        "i" => Value::I32(n.try_into().ok()?),
        "u" => Value::U32(n.try_into().ok()?),
        "x" => Value::I64(n.try_into().ok()?),
        "t" => Value::U64(n.try_into().ok()?),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(name: &str, value: &str) -> Result<Property> {
        let annotations = BTreeMap::from([
            (format!("{PREFIX}{name}"), value.to_owned()),
            ("other".into(), "x".into()),
        ]);
        properties(&annotations).map(|mut list| list.remove(0))
    }

    #[test]
    fn values_in_text_form() {
        let table = [
            ("5", Value::I32(5)),
            ("uint64 5", Value::U64(5)),
            ("@t 0x10", Value::U64(16)),
            ("-2", Value::I32(-2)),
            ("1.5", Value::Double(1.5)),
            ("true", Value::Bool(true)),
            ("'a \\'b\\' \\u00e9'", Value::str("a 'b' \u{e9}")),
            (
                "['a', \"b\"]",
                Value::Array("s".into(), vec![Value::str("a"), Value::str("b")]),
            ),
            ("@as []", Value::Array("s".into(), vec![])),
            ("[byte 1, 2]", Value::Array("y".into(), vec![])),
            ("('x', uint32 1)", Value::Struct(vec![Value::str("x"), Value::U32(1)])),
            ("<true>", Value::Variant(Box::new(Value::Bool(true)))),
        ];
        for (text, expected) in table {
            // Elements do not take over the type of the one before.
            let expected = (text != "[byte 1, 2]").then_some(expected);
            assert_eq!(parse(text), expected, "{text}");
        }
        for wrong in [
            "",
            "[]",
            "'open",
            "5 6",
            "byte 256",
            "uint32 'x'",
            "[1, 'a']",
            "()",
            "nonsense",
            "string 5",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
        assert_eq!(parse(&"[".repeat(100_000)), None);
    }

    #[test]
    fn seconds_become_microseconds() {
        let expected = Property::new("TimeoutStopUSec", Value::U64(123_500_000));
        assert_eq!(one("TimeoutStopSec", "123.5").unwrap(), expected);
        let expected = Property::new("TimeoutStopUSec", Value::U64(9));
        assert_eq!(one("TimeoutStopUSec", "uint64 9").unwrap(), expected);
        assert!(one("TimeoutStopSec", "'long'").is_err());
    }

    #[test]
    fn names_are_letters() {
        assert_eq!(one("CollectMode", "'inactive-or-failed'").unwrap().name, "CollectMode");
        for wrong in ["AB", "Some_Name", "", "A.B"] {
            assert!(matches!(one(wrong, "1"), Err(Error::Annotation { .. })), "{wrong}");
        }
    }

    #[test]
    fn no_text_makes_it_panic() {
        proptest::proptest!(|(text in "[\\[\\](),<>'\"@a-z0-9\\\\ .+-]{0,40}")| {
            let _ = parse(&text);
        });
    }
}
