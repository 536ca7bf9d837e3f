//! The `filters` query of lists, prunes and events: JSON, in the shape of new clients or of old ones.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::error::{Error, Result};

/// Filters by key; values of one key are alternatives.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filters(BTreeMap<String, Vec<String>>);

#[derive(Deserialize)]
#[serde(untagged)]
enum Values {
    List(Vec<String>),
    Set(BTreeMap<String, bool>),
}

impl Filters {
    /// Reads the query; an absent or empty one filters nothing.
    ///
    /// # Errors
    /// 400 for what is no JSON of a known shape.
    pub fn parse(text: Option<&str>) -> Result<Self> {
        let Some(text) = text.filter(|text| !text.is_empty()) else {
            return Ok(Self::default());
        };
        let parsed: BTreeMap<String, Values> =
            serde_json::from_str(text).map_err(|e| Error::invalid(format!("invalid filter: {e}")))?;
        let values = |values| match values {
            Values::List(list) => list,
            Values::Set(set) => set.into_iter().filter(|(_, on)| *on).map(|(value, _)| value).collect(),
        };
        Ok(Self(parsed.into_iter().map(|(key, v)| (key, values(v))).collect()))
    }

    /// The values of a key.
    pub fn get(&self, key: &str) -> &[String] {
        self.0.get(key).map_or(&[], Vec::as_slice)
    }

    /// Whether there is such a filter.
    pub fn has(&self, key: &str) -> bool {
        !self.get(key).is_empty()
    }

    /// Refuses keys that are not known.
    ///
    /// # Errors
    /// 400 `invalid filter 'x'`.
    pub fn check(&self, known: &[&str]) -> Result<()> {
        match self.0.keys().find(|key| !known.contains(&key.as_str())) {
            Some(key) => Err(Error::invalid(format!("invalid filter '{key}'"))),
            None => Ok(()),
        }
    }

    /// Whether labels are as `label` (all of them) and `label!` (none of them) say.
    pub fn labels_fit(&self, labels: &BTreeMap<String, String>) -> bool {
        let has = |wanted: &String| match wanted.split_once('=') {
            Some((key, value)) => labels.get(key).is_some_and(|own| own == value),
            None => labels.contains_key(wanted),
        };
        self.get("label").iter().all(has) && !self.get("label!").iter().any(has)
    }

    /// `until` of a prune: a point in time, or a duration before now.
    ///
    /// # Errors
    /// 400 for what is neither.
    pub fn until(&self) -> Result<Option<jiff::Timestamp>> {
        match self.get("until") {
            [] => Ok(None),
            [one] => super::time::point(one).map(Some),
            _ => Err(Error::invalid("more than one until filter specified")),
        }
    }
}

/// Whether a name fits a pattern, a regular expression as Docker has it; a pattern that is none is compared as it is.
pub(crate) fn pattern_fits(pattern: &str, name: &str) -> bool {
    match regex::Regex::new(pattern) {
        Ok(regex) => regex.is_match(name),
        Err(_) => pattern == name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_shapes_are_read() {
        for text in [
            r#"{"label":["a=1","b"]}"#,
            r#"{"label":{"a=1":true,"b":true,"c":false}}"#,
        ] {
            let filters = Filters::parse(Some(text)).unwrap();
            assert_eq!(filters.get("label"), ["a=1", "b"]);
            let labels = |list: &[(&str, &str)]| list.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            assert!(filters.labels_fit(&labels(&[("a", "1"), ("b", "x")])));
            assert!(!filters.labels_fit(&labels(&[("a", "2"), ("b", "x")])));
        }
        assert_eq!(
            Filters::parse(Some(r#"{"x":["1"]}"#))
                .unwrap()
                .check(&["y"])
                .unwrap_err()
                .message,
            "invalid filter 'x'"
        );
        assert!(Filters::parse(Some("[")).is_err());
    }

    #[test]
    fn names_fit_as_regular_expressions() {
        assert!(pattern_fits("^/web$", "/web") && pattern_fits("we", "web") && !pattern_fits("^eb", "web"));
    }
}
