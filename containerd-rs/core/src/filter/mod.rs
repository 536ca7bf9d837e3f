//! containerd's filter language, which all lists and event subscriptions take.
//!
//! A filter is `SELECTOR[,SELECTOR]...`, all of which must hold; a list of filters holds when one of them does, and an empty
//! list always. A selector is `FIELD`, which asks whether the field is there, or `FIELD OPERATOR VALUE`, with the operators
//! `==`, `!=` and `~=` (a regular expression, found anywhere in the value). A field is a path of names with dots; a name that
//! is not plain stands in double quotes: `labels."a.b/c"`. Values are plain or quoted; a regular expression may also stand
//! between two equal punctuation marks, as in `topic~=|^/tasks/|`.

mod adapt;
mod parser;

use regex::Regex;

use crate::Result;

/// Something that has fields to filter by.
pub trait Adaptor {
    /// The value of a field, and `None` when there is no such field.
    fn field(&self, path: &[String]) -> Option<String>;
}

/// A parsed list of filters.
#[derive(Debug, Clone, Default)]
pub struct Filters(Vec<Filter>);

/// One filter: selectors that must all hold.
#[derive(Debug, Clone)]
struct Filter(Vec<Selector>);

#[derive(Debug, Clone)]
struct Selector {
    path: Vec<String>,
    test: Test,
}

#[derive(Debug, Clone)]
enum Test {
    Present,
    Equal(String),
    NotEqual(String),
    Matches(Regex),
}

impl Filters {
    /// Parses a list of filters.
    ///
    /// # Errors
    /// `InvalidArgument`, with the filter and the place in it.
    pub fn parse<S: AsRef<str>>(filters: &[S]) -> Result<Self> {
        let parsed: Result<Vec<_>> = filters.iter().map(|text| parser::parse(text.as_ref())).collect();
        parsed.map(Filters)
    }

    /// Whether one of the filters holds, or there is none.
    #[must_use]
    pub fn matches(&self, object: &dyn Adaptor) -> bool {
        self.0.is_empty()
            || self
                .0
                .iter()
                .any(|filter| filter.0.iter().all(|selector| selector.holds(object)))
    }
}

impl Selector {
    fn holds(&self, object: &dyn Adaptor) -> bool {
        let value = object.field(&self.path);
        match &self.test {
            Test::Present => value.is_some(),
            Test::Equal(wanted) => value.is_some_and(|value| value == *wanted),
            Test::NotEqual(other) => value.is_none_or(|value| value != *other),
            Test::Matches(regex) => value.is_some_and(|value| regex.is_match(&value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Container, Labels};

    fn matches(filter: &str) -> bool {
        let object = Container {
            id: "web-1".into(),
            image: "docker.io/library/nginx:1.25".into(),
            labels: Labels::from([("env".into(), "prod".into()), ("a.b/c".into(), "x y".into())]),
            ..Container::default()
        };
        Filters::parse(&[filter]).unwrap().matches(&object)
    }

    #[test]
    fn the_cases_of_the_language() {
        let yes = [
            "id==web-1",
            "id!=other",
            "id~=^web",
            "labels.env",
            "labels.env==prod",
            "labels.env==prod,id==web-1",
            r#"labels."a.b/c"=="x y""#,
            r#"labels."env"==prod"#,
            "image~=nginx",
            "id~=/^web-[0-9]$/",
            "id~=|web|",
            "image==docker.io/library/nginx:1.25",
            "labels.absent!=x",
            r#"id=="web-1""#,
            r#"id~="^web""#,
        ];
        for filter in yes {
            assert!(matches(filter), "{filter}");
        }
        let no = [
            "id==web",
            "id!=web-1",
            "labels.absent",
            "labels.env==prod,id==other",
            "unknown==1",
            "id~=^1",
        ];
        for filter in no {
            assert!(!matches(filter), "{filter}");
        }
    }

    #[test]
    fn a_list_is_an_or_and_an_empty_one_holds() {
        let object = Container {
            id: "a".into(),
            ..Container::default()
        };
        assert!(Filters::parse(&["id==b", "id==a"]).unwrap().matches(&object));
        assert!(!Filters::parse(&["id==b", "id==c"]).unwrap().matches(&object));
        assert!(Filters::parse::<&str>(&[]).unwrap().matches(&object));
        assert!(Filters::parse(&[""]).unwrap().matches(&object));
    }

    #[test]
    fn what_does_not_parse_says_where() {
        for bad in [
            "id==",
            "==x",
            "id=x",
            "id==a,",
            "labels.\"open",
            "id~=|open",
            "id~=[",
            "id==a b",
            "a..b==x",
            "id~=/(/",
        ] {
            let error = Filters::parse(&[bad]).unwrap_err();
            assert_eq!(error.kind(), crate::Kind::InvalidArgument, "{bad}");
            assert!(error.to_string().contains("filters"), "{error}");
        }
    }

    #[test]
    fn quotes_take_escapes() {
        let object = Container {
            id: "a\"b\n\u{e9}".into(),
            ..Container::default()
        };
        assert!(Filters::parse(&[r#"id=="a\"b\n\u00e9""#]).unwrap().matches(&object));
        assert!(Filters::parse(&[r#"id=="a\x22b\012é""#]).unwrap().matches(&object));
    }
}
