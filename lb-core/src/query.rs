//! Edits of a query that leave every other byte of it as it was.

use alloc::{borrow::Cow, string::String, vec, vec::Vec};

use crate::path::{hex_value, is_unreserved, push_escaped};

/// Whether the query has a parameter of this name and value, both percent-decoded. A parameter without
/// `=` has an empty value.
#[must_use]
pub fn has(query: &str, name: &str, value: &str) -> bool {
    query.split('&').any(|parameter| {
        let (raw_name, raw_value) = parameter.split_once('=').unwrap_or((parameter, ""));
        // An empty piece, as in `a&&b`, is no parameter with an empty name.
        !parameter.is_empty() && means(raw_name, name) && means(raw_value, value)
    })
}

/// The percent-decoded value of the first parameter of this name.
pub(crate) fn value(query: &str, name: &str) -> Option<Vec<u8>> {
    query.split('&').filter(|parameter| !parameter.is_empty()).find_map(|parameter| {
        let (raw_name, raw_value) = parameter.split_once('=').unwrap_or((parameter, ""));
        means(raw_name, name).then(|| decoded(raw_value).collect())
    })
}

/// What a piece of a query stands for (application/x-www-form-urlencoded: `+` is a space). A `%` that
/// two hexadecimal digits do not follow stands for itself.
fn decoded(raw: &str) -> impl Iterator<Item = u8> {
    let mut rest = raw.as_bytes();
    core::iter::from_fn(move || {
        let (&first, after) = rest.split_first()?;
        let escaped = match (first, after) {
            (b'%', [high, low, ..]) => hex_value(*high).zip(hex_value(*low)),
            _ => None,
        };
        rest = if escaped.is_some() { &after[2..] } else { after };
        Some(match (escaped, first) {
            (Some((high, low)), _) => high << 4 | low,
            (None, b'+') => b' ',
            (None, other) => other,
        })
    })
}

fn means(raw: &str, plain: &str) -> bool {
    // Decoding never lengthens.
    raw.len() >= plain.len() && decoded(raw).eq(plain.bytes())
}

/// Edits of a query, prepared: first remove, then set, then append. Names are compared decoded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueryEdits {
    remove: Vec<String>,
    set: Vec<Set>,
    append: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Set {
    name: String,
    /// `name=value`, percent-encoded.
    parameter: String,
}

/// What becomes of one parameter.
enum Fate {
    Keep,
    Drop,
    /// By the parameter of this place in `set`.
    Replace(usize),
}

impl QueryEdits {
    /// Prepares edits; names and values are given plainly. Of several values that are set for one name
    /// the last counts.
    #[must_use]
    pub fn new(set: &[(String, String)], append: &[(String, String)], remove: &[String]) -> Self {
        let mut prepared: Vec<Set> = Vec::new();
        for (name, value) in set {
            let parameter = encode(name, value);
            match prepared.iter_mut().find(|other| other.name == *name) {
                Some(other) => other.parameter = parameter,
                None => prepared.push(Set { name: name.clone(), parameter }),
            }
        }
        let append = append.iter().map(|(name, value)| encode(name, value)).collect();
        Self { remove: remove.to_vec(), set: prepared, append }
    }

    /// Whether no query is ever changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty() && self.append.is_empty()
    }

    /// The edited query; none is one without `?`. A parameter that is set takes the place of the first
    /// one of its name, and the other ones go; where there is none, it goes to the end.
    #[must_use]
    pub fn apply<'a>(&self, query: Option<&'a str>) -> Option<Cow<'a, str>> {
        let adds = !self.set.is_empty() || !self.append.is_empty();
        if !adds && !query.is_some_and(|query| self.removes_from(query)) {
            return query.map(Cow::Borrowed);
        }
        let mut out = Joined { text: String::with_capacity(query.map_or(0, str::len) + 32), any: false };
        let mut was_set = vec![false; self.set.len()];
        for parameter in
            query.filter(|query| !query.is_empty()).into_iter().flat_map(|query| query.split('&'))
        {
            match self.fate(parameter) {
                Fate::Keep => out.push(parameter),
                Fate::Replace(place) if !was_set[place] => {
                    was_set[place] = true;
                    out.push(&self.set[place].parameter);
                }
                Fate::Replace(_) | Fate::Drop => {}
            }
        }
        let unset = self.set.iter().zip(was_set).filter(|(_, was_set)| !was_set);
        unset.for_each(|(set, _)| out.push(&set.parameter));
        self.append.iter().for_each(|parameter| out.push(parameter));
        (!out.text.is_empty()).then_some(Cow::Owned(out.text))
    }

    fn removes_from(&self, query: &str) -> bool {
        !self.remove.is_empty()
            && query.split('&').any(|parameter| matches!(self.fate(parameter), Fate::Drop))
    }

    fn fate(&self, parameter: &str) -> Fate {
        if parameter.is_empty() {
            return Fate::Keep;
        }
        let name = parameter.split_once('=').map_or(parameter, |(name, _)| name);
        if self.remove.iter().any(|other| means(name, other)) {
            return Fate::Drop;
        }
        self.set.iter().position(|set| means(name, &set.name)).map_or(Fate::Keep, Fate::Replace)
    }
}

/// Parameters with `&` between them.
struct Joined {
    text: String,
    any: bool,
}

impl Joined {
    fn push(&mut self, parameter: &str) {
        if self.any {
            self.text.push('&');
        }
        self.text.push_str(parameter);
        self.any = true;
    }
}

fn encode(name: &str, value: &str) -> String {
    let mut out = Vec::with_capacity(name.len() + value.len() + 1);
    encode_into(&mut out, name);
    out.push(b'=');
    encode_into(&mut out, value);
    out.into_iter().map(char::from).collect()
}

/// All but the unreserved characters are encoded: every program reads these alike.
fn encode_into(out: &mut Vec<u8>, plain: &str) {
    for byte in plain.bytes() {
        if is_unreserved(byte) { out.push(byte) } else { push_escaped(out, byte) }
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    fn edits(set: &[(&str, &str)], append: &[(&str, &str)], remove: &[&str]) -> QueryEdits {
        let owned = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
        };
        let remove: Vec<String> = remove.iter().map(ToString::to_string).collect();
        QueryEdits::new(&owned(set), &owned(append), &remove)
    }

    #[rstest]
    #[case(None, None)]
    #[case(Some(""), Some(""))]
    #[case(Some("RemoveMe=Remove"), None)]
    #[case(Some("RemoveMe"), None)]
    #[case(Some("RemoveMe&"), None)]
    #[case(Some("%52emove%4de=1&a=%20"), Some("a=%20"))]
    #[case(Some("a=1&RemoveMe=2&b=3&RemoveMe=4"), Some("a=1&b=3"))]
    #[case(Some("removeme=1"), Some("removeme=1"))]
    #[case(Some("a=RemoveMe"), Some("a=RemoveMe"))]
    #[case(Some("a&&b=&=c&%zz"), Some("a&&b=&=c&%zz"))]
    fn removing(#[case] query: Option<&str>, #[case] expected: Option<&str>) {
        assert_eq!(edits(&[], &[], &["RemoveMe"]).apply(query).as_deref(), expected);
    }

    #[rstest]
    #[case(None, Some("P=Test"))]
    #[case(Some(""), Some("P=Test"))]
    #[case(Some("a=1"), Some("a=1&P=Test"))]
    #[case(Some("P=1&a=+%7e&P=2&%50=3"), Some("P=Test&a=+%7e"))]
    #[case(Some("a=1&"), Some("a=1&&P=Test"))]
    fn setting(#[case] query: Option<&str>, #[case] expected: Option<&str>) {
        assert_eq!(edits(&[("P", "Test")], &[], &[]).apply(query).as_deref(), expected);
    }

    #[test]
    fn remove_comes_before_set_and_set_before_append() {
        let edits = edits(&[("a", "x"), ("a", "y"), ("b", "2")], &[("a", "z"), ("c d", "&=\u{e9}")], &["a"]);
        assert_eq!(edits.apply(Some("a=1&b=1")).as_deref(), Some("b=2&a=y&a=z&c%20d=%26%3D%C3%A9"));
    }

    #[test]
    fn what_stays_is_borrowed() {
        assert!(matches!(edits(&[], &[], &["x"]).apply(Some("a=1&b")), Some(Cow::Borrowed("a=1&b"))));
    }

    #[rstest]
    #[case("a=1", true)]
    #[case("b&%61=%31", true)]
    #[case("a=2&a=1", true)]
    #[case("a", false)]
    #[case("A=1", false)]
    #[case("a=1+", false)]
    fn conditions(#[case] query: &str, #[case] holds: bool) {
        assert_eq!(has(query, "a", "1"), holds);
    }

    #[test]
    fn an_empty_value_may_lack_its_sign_but_not_its_name() {
        assert!(has("a", "a", "") && has("a=", "a", ""));
        assert!(!has("", "", "") && has("=", "", ""));
    }

    type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

    fn parse(query: Option<&str>) -> Pairs {
        let parameters = query.unwrap_or("").split('&').filter(|parameter| !parameter.is_empty());
        let pair = |parameter: &str| {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            (decoded(name).collect(), decoded(value).collect())
        };
        parameters.map(pair).collect()
    }

    /// The same edits on a list of pairs, one after the other.
    fn oracle(
        mut pairs: Pairs,
        set: &[(String, String)],
        append: &[(String, String)],
        remove: &[String],
    ) -> Pairs {
        pairs.retain(|(name, _)| !remove.iter().any(|other| other.as_bytes() == name));
        for (name, value) in set {
            let place = pairs.iter().position(|(other, _)| other == name.as_bytes());
            let place = place.unwrap_or(pairs.len());
            let mut index = 0;
            pairs.retain(|(other, _)| {
                index += 1;
                index <= place || other != name.as_bytes()
            });
            pairs.insert(place, (name.clone().into(), value.clone().into()));
        }
        pairs.extend(append.iter().map(|(name, value)| (name.clone().into(), value.clone().into())));
        pairs
    }

    fn names() -> impl Strategy<Value = String> {
        "[ab +%&=\u{e9}]{1,2}"
    }

    fn some_pairs() -> impl Strategy<Value = Vec<(String, String)>> {
        proptest::collection::vec((names(), names()), 0..4)
    }

    proptest! {
        #[test]
        fn editing_then_parsing_gives_what_the_edit_says(
            query in proptest::option::of("([ab]|%61|%62|\\+|%20|%|%2|=|&|&a=){0,12}"),
            (set, append) in (some_pairs(), some_pairs()),
            remove in proptest::collection::vec(names(), 0..3),
        ) {
            let edits = QueryEdits::new(&set, &append, &remove);
            let edited = edits.apply(query.as_deref());
            let expected = oracle(parse(query.as_deref()), &set, &append, &remove);
            prop_assert_eq!(parse(edited.as_deref()), expected);
            if edits.is_empty() {
                prop_assert_eq!(edited.as_deref(), query.as_deref());
            }
        }

        /// What no edit names keeps its bytes and its order.
        #[test]
        fn untouched_parameters_keep_their_bytes(kept in proptest::collection::vec("[b-d%+]{1,3}=[a-d%+2]{0,3}", 1..5)) {
            let query = kept.join("&a=1&");
            let edited = edits(&[("new", "1")], &[], &["a"]).apply(Some(&query));
            prop_assert_eq!(edited.as_deref(), Some(&*(kept.join("&") + "&new=1")));
        }
    }
}
