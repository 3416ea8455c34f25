use alloc::{format, string::ToString, vec};

use proptest::prelude::*;
use rstest::rstest;

use super::*;

#[rstest]
#[case("/", "/")]
#[case("//", "/")]
#[case("/a/b", "/a/b")]
#[case("/a/b/", "/a/b/")]
#[case("/a//b///c//", "/a/b/c/")]
#[case("/.", "/")]
#[case("/..", "/")]
#[case("/../../..", "/")]
#[case("/a/.", "/a/")]
#[case("/a/..", "/")]
#[case("/a/b/..", "/a/")]
#[case("/a/b/../", "/a/")]
#[case("/a/./b", "/a/b")]
#[case("/a//../b", "/b")]
#[case("/x/../messages", "/messages")]
#[case("/x/%2e%2e/messages", "/messages")]
#[case("/x/.%2E/messages", "/messages")]
#[case("/%6d%65ssages", "/messages")]
#[case("/...", "/...")]
#[case("/.a/..b", "/.a/..b")]
#[case("/a%2fb", "/a%2Fb")]
#[case("/%c3%a9", "/%C3%A9")]
#[case("/%7euser", "/~user")]
#[case("/%252e%252e/a", "/%252e%252e/a")]
#[case("/%25%32%65", "/%252e")]
#[case("/a;b=c/..;/d", "/a;b=c/..;/d")]
#[case("/a\\b", "/a\\b")]
fn the_normal_form(#[case] path: &str, #[case] normal: &str) {
    assert_eq!(normalise(path).unwrap(), normal);
}

#[rstest]
#[case("", PathError::NotAbsolute)]
#[case("*", PathError::NotAbsolute)]
#[case("a/b", PathError::NotAbsolute)]
#[case("/%", PathError::BadEscape)]
#[case("/%2", PathError::BadEscape)]
#[case("/%zz", PathError::BadEscape)]
#[case("/%+1", PathError::BadEscape)]
#[case("//%2", PathError::BadEscape)]
#[case("/a%00", PathError::Nul)]
#[case("//a%00", PathError::Nul)]
#[case("/a b", PathError::BadByte)]
#[case("//a b", PathError::BadByte)]
#[case("/a\tb", PathError::BadByte)]
#[case("/a\r\nb", PathError::BadByte)]
#[case("/a\0", PathError::BadByte)]
#[case("/a\x7f", PathError::BadByte)]
#[case("/caf\u{e9}", PathError::BadByte)]
#[case("/a?b", PathError::BadByte)]
#[case("/a#b", PathError::BadByte)]
fn what_has_no_normal_form(#[case] path: &str, #[case] error: PathError) {
    assert_eq!(normalise(path), Err(error));
}

#[test]
fn a_path_has_a_bound() {
    let longest = format!("/{}", "a".repeat(PATH_BYTES_MAX - 1));
    assert!(normalise(&longest).is_ok());
    assert_eq!(normalise(&(longest + "a")), Err(PathError::TooLong));
}

#[rstest]
#[case("/a b", "/a%20b")]
#[case("a", "/a")]
#[case("/caf\u{e9}", "/caf%C3%A9")]
#[case("/caf%c3%a9/", "/caf%C3%A9/")]
#[case("/100%", "/100%25")]
#[case("/a?b#c", "/a%3Fb%23c")]
#[case("/a/../b//c", "/b/c")]
#[case("", "/")]
fn paths_of_the_configuration(#[case] text: &str, #[case] normal: &str) {
    assert_eq!(of_config(text), normal);
}

#[rstest]
#[case("/a", Doubt::None)]
#[case("/a%20b", Doubt::Characters)]
#[case("/a%20b%2Fc", Doubt::Structure)]
#[case("/a;b", Doubt::Structure)]
#[case("/a\\b", Doubt::Structure)]
#[case("/%252e", Doubt::Structure)]
fn doubts(#[case] path: &str, #[case] expected: Doubt) {
    assert_eq!(doubt(path), expected);
}

#[rstest]
#[case("/a/b", "/a/b", false)]
#[case("/a%20b%26", "/a b&", false)]
#[case("/a%2Fb/", "/a/b/", false)]
#[case("/a%2F", "/a/", false)]
#[case("/%2Fa", "/a", false)]
#[case("/a%5Cb\\c", "/a/b/c", false)]
#[case("/a;x=1/b;y", "/a/b", false)]
#[case("/a%3Bx/c", "/a/c", false)]
#[case("/a%3Fx", "/a", false)]
#[case("/x/..%2Fa", "/a", true)]
#[case("/x/..;/a", "/a", true)]
#[case("/x/%252e%252e/a", "/a", true)]
#[case("/x/%25252e%25252E%25252fa", "/a", true)]
#[case("/x/..\\a", "/a", true)]
#[case("/x/%C0%AE%C0%AE%C0%AFa", "/a", true)]
#[case("/a/.%2F", "/a/", true)]
fn loose_readings(#[case] path: &str, #[case] expected: &str, #[case] dots: bool) {
    let reading = Reading::of(&normalise(path).unwrap());
    assert_eq!(reading.certain(), Certain::All(expected.as_bytes()));
    assert_eq!(reading.dots, dots);
}

#[rstest]
#[case("/a;x%2Fb/c", "/a")]
#[case("/a/b;x%5Cb/c", "/a/b")]
#[case("/;%2Fx/messages", "")]
#[case("/a%2F%3Fx%252Fb", "/a")]
#[case("/a;x%2Fb/..;%2F/../c", "/a")]
fn parameters_with_a_hidden_slash_leave_the_rest_open(#[case] path: &str, #[case] certain: &str) {
    let reading = Reading::of(&normalise(path).unwrap());
    assert_eq!(reading.certain(), Certain::Beginning(certain.as_bytes()));
}

/// RFC 3986, section 5.2.4 as text says it, over a list of segments, after decoding what may be decoded.
fn oracle(path: &str) -> String {
    let mut decoded = path.to_string();
    for byte in (b'0'..=b'9').chain(b'A'..=b'Z').chain(b'a'..=b'z').chain(*b"-._~") {
        decoded = replace_escape(&decoded, byte);
    }
    let mut segments: Vec<&str> = Vec::new();
    let mut slash = true;
    for segment in decoded.split('/') {
        slash = matches!(segment, "" | "." | "..");
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            segment => segments.push(segment),
        }
    }
    let body = segments.iter().map(|segment| format!("/{segment}")).collect::<String>();
    format!("{body}{}", if slash { "/" } else { "" })
}

/// Replaces escapes of one byte, looking only at places where an escape begins.
fn replace_escape(text: &str, byte: u8) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = if first == '%' { 3 } else { 1 };
        let unit = &rest[..length];
        let wanted = format!("%{byte:02X}");
        match first {
            '%' if unit.eq_ignore_ascii_case(&wanted) => out.push(char::from(byte)),
            '%' => out.push_str(&unit.to_ascii_uppercase()),
            _ => out.push_str(unit),
        }
        rest = &rest[length..];
    }
    out
}

fn tricky() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("/"),
        Just("."),
        Just(".."),
        Just("%2e"),
        Just("%2E"),
        Just("%2f"),
        Just("%5C"),
        Just("%25"),
        Just("2e"),
        Just("%61"),
        Just("a"),
        Just("b"),
        Just(";"),
        Just("\\"),
        Just("%c3%a9"),
        Just("%3b"),
    ];
    proptest::collection::vec(piece, 0..14).prop_map(|pieces| format!("/{}", pieces.concat()))
}

proptest! {
    #[test]
    fn equals_the_oracle_and_is_idempotent(path in tricky()) {
        let once = normalise(&path).unwrap();
        prop_assert_eq!(&*once, &*oracle(&path));
        let twice = normalise(&once).unwrap();
        prop_assert!(matches!(twice, Cow::Borrowed(_)), "{} gave {}", once, twice);
    }

    #[test]
    fn normal_paths_have_no_dots_and_no_double_slashes(path in "\\PC{0,20}|/[ -~]{0,20}") {
        if let Ok(normal) = normalise(&path) {
            prop_assert!(normal.starts_with('/') && !normal.contains("//"));
            prop_assert!(normal.split('/').all(|segment| segment != "." && segment != ".."));
            prop_assert!(normal.bytes().all(|byte| byte.is_ascii_graphic()));
        }
    }

    #[test]
    fn paths_of_the_configuration_are_normal(text in "\\PC{0,20}|[ -~]{0,20}") {
        let path = of_config(&text);
        if !path.contains("%00") {
            let normal = normalise(&path).unwrap();
            prop_assert_eq!(&normal, &path);
        }
    }

    /// What is decoded, cut and resolved once is so for good.
    #[test]
    fn readings_are_final(path in tricky()) {
        let normal = normalise(&path).unwrap();
        let reading = Reading::of_rule(&normal);
        prop_assert_eq!(reading[0], b'/');
        let text = String::from_utf8_lossy(&reading).into_owned();
        prop_assert!(!text.contains("//") && !text.contains('\\') && !text.contains(';'), "{}", text);
        prop_assert!(text.split('/').all(|segment| segment != "." && segment != ".."), "{}", text);
    }

    /// A path that raises no doubt has one reading: itself.
    #[test]
    fn no_doubt_no_other_reading(path in tricky()) {
        let normal = normalise(&path).unwrap();
        let reading = Reading::of(&normal);
        if doubt(&normal) == Doubt::None {
            prop_assert_eq!(reading.certain(), Certain::All(normal.as_bytes()));
        }
        if doubt(&normal) < Doubt::Structure {
            prop_assert!(!reading.dots && matches!(reading.certain(), Certain::All(_)));
        }
    }
}
