//! The parser of filters: one pass over the characters.

use regex::Regex;

use super::{Filter, Selector, Test};
use crate::{Error, Result};

/// The characters that separate what would otherwise be one word.
const SEPARATORS: &str = ",.=~!\"";

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

/// Parses one filter.
pub(super) fn parse(text: &str) -> Result<Filter> {
    let mut parser = Parser { text, at: 0 };
    let mut selectors = Vec::new();
    if parser.peek().is_none() {
        return Ok(Filter(selectors));
    }
    loop {
        selectors.push(parser.selector()?);
        match parser.next() {
            None => return Ok(Filter(selectors)),
            Some(',') => {}
            Some(other) => return Err(parser.error(&format!("expected , or the end, got {other:?}"))),
        }
    }
}

impl Parser<'_> {
    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or("")
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn error(&self, what: &str) -> Error {
        let (before, after) = self.text.split_at(self.at.min(self.text.len()));
        Error::InvalidArgument(format!("filters: parse error: [{before} >|||< {after}]: {what}"))
    }

    fn selector(&mut self) -> Result<Selector> {
        let mut path = vec![self.name()?];
        while self.peek() == Some('.') {
            self.next();
            path.push(self.name()?);
        }
        let operator = match self.peek() {
            None | Some(',') => {
                return Ok(Selector {
                    path,
                    test: Test::Present,
                });
            }
            _ => self.rest().get(..2).unwrap_or("").to_owned(),
        };
        if !matches!(operator.as_str(), "==" | "!=" | "~=") {
            return Err(self.error("unsupported operator"));
        }
        self.at += 2;
        let value = self.value(operator == "~=")?;
        let test = match operator.as_str() {
            "==" => Test::Equal(value),
            "!=" => Test::NotEqual(value),
            _ => Test::Matches(Regex::new(&value).map_err(|e| self.error(&format!("regular expression: {e}")))?),
        };
        Ok(Selector { path, test })
    }

    /// A part of a field's path.
    fn name(&mut self) -> Result<String> {
        if self.peek() == Some('"') {
            return self.quoted('"');
        }
        let name = self.word(|c| c.is_alphanumeric() || c == '_' || (!SEPARATORS.contains(c) && !c.is_whitespace()));
        if name.is_empty() {
            Err(self.error("expected a field"))
        } else {
            Ok(name)
        }
    }

    /// A value: quoted, plain up to the next comma, or, for a pattern, between two equal marks.
    fn value(&mut self, pattern: bool) -> Result<String> {
        let first = self.peek().ok_or_else(|| self.error("expected a value"))?;
        if first == '"' {
            return self.quoted('"');
        }
        if pattern && matches!(first, '/' | '|' | '\'' | '`' | '#' | '%' | '@' | ':' | ';') {
            return self.quoted(first);
        }
        let value = self.word(|c| c != ',' && c != '"' && !c.is_whitespace());
        if value.is_empty() {
            Err(self.error("expected a value"))
        } else {
            Ok(value)
        }
    }

    fn word(&mut self, takes: impl Fn(char) -> bool) -> String {
        let rest = self.rest();
        let end = rest.find(|c| !takes(c)).unwrap_or(rest.len());
        let word = rest[..end].to_owned();
        self.at += end;
        word
    }

    /// Text up to the closing mark. Between double quotes, Go's escapes hold; between others only the mark is escaped,
    /// so that a pattern keeps its backslashes.
    fn quoted(&mut self, mark: char) -> Result<String> {
        self.next();
        let mut value = String::new();
        loop {
            match self.next() {
                None => return Err(self.error("quoted literal not terminated")),
                Some(c) if c == mark => return Ok(value),
                Some('\\') if mark == '"' => value.push(self.escape()?),
                Some('\\') if self.peek() == Some(mark) => {
                    self.next();
                    value.push(mark);
                }
                Some(c) => value.push(c),
            }
        }
    }

    fn escape(&mut self) -> Result<char> {
        let c = self.next().ok_or_else(|| self.error("quoted literal not terminated"))?;
        let (digits, radix) = match c {
            'a' => return Ok('\u{7}'),
            'b' => return Ok('\u{8}'),
            'f' => return Ok('\u{c}'),
            'n' => return Ok('\n'),
            'r' => return Ok('\r'),
            't' => return Ok('\t'),
            'v' => return Ok('\u{b}'),
            '\\' | '"' | '\'' => return Ok(c),
            'x' => (2, 16),
            'u' => (4, 16),
            'U' => (8, 16),
            '0'..='7' => {
                self.at -= 1;
                (3, 8)
            }
            _ => return Err(self.error("unknown escape")),
        };
        let code = self
            .rest()
            .get(..digits)
            .and_then(|hex| u32::from_str_radix(hex, radix).ok());
        let value = code.and_then(char::from_u32).ok_or_else(|| self.error("bad escape"))?;
        self.at += digits;
        Ok(value)
    }
}
