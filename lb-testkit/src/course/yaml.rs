//! As much of YAML as the course's configuration files use: block maps and lists, lists in brackets, plain
//! and quoted scalars, comments. Everything else is refused by its name, never guessed at.

/// A value, and the line where it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) line: usize,
    pub(super) value: Value,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Nothing,
    Scalar(String),
    List(Vec<Node>),
    /// In the order of the file; a key comes once.
    Map(Vec<(String, Node)>),
}

/// What is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mistake {
    pub(super) line: usize,
    pub(super) what: String,
}

const LINES_MAX: usize = 10_000;
const DEPTH_MAX: usize = 16;

/// A line with something in it: its number, its indentation in spaces, the rest without a comment.
struct Line<'a> {
    number: usize,
    indent: usize,
    text: &'a str,
}

struct Reader<'a> {
    lines: Vec<Line<'a>>,
    next: usize,
}

/// Reads a document.
pub(super) fn parse(text: &str) -> Result<Node, Mistake> {
    let mut lines = Vec::new();
    for (index, raw) in text.lines().enumerate() {
        let number = index + 1;
        if number > LINES_MAX {
            return mistake(number, format!("more than {LINES_MAX} lines"));
        }
        let line = without_comment(raw).trim_end();
        let text = line.trim_start_matches(' ');
        if text.starts_with('\t') {
            return mistake(number, "a tab in the indentation; YAML takes spaces only");
        }
        if text == "---" && lines.is_empty() || text.is_empty() {
            continue;
        }
        if text == "---" || text == "..." {
            return mistake(number, "more than one document");
        }
        lines.push(Line { number, indent: line.len() - text.len(), text });
    }
    let mut reader = Reader { lines, next: 0 };
    let indent = reader.lines.first().map_or(0, |line| line.indent);
    let node = reader.block(indent, 0)?;
    match reader.peek() {
        None => Ok(node),
        Some(line) => mistake(line.number, "this line's indentation fits none of the lines before"),
    }
}

fn mistake<T>(line: usize, what: impl Into<String>) -> Result<T, Mistake> {
    Err(Mistake { line, what: what.into() })
}

/// Cuts a comment off: a `#` at the beginning or after a space, outside of quotes.
fn without_comment(line: &str) -> &str {
    let mut quote = None;
    let mut before = ' ';
    for (index, character) in line.char_indices() {
        match quote {
            Some(open) if character == open => quote = None,
            Some(_) => {}
            None if character == '#' && before == ' ' => return &line[..index],
            None if matches!(character, '"' | '\'') && matches!(before, ' ' | '[' | ',') => {
                quote = Some(character);
            }
            None => {}
        }
        before = character;
    }
    line
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<&Line<'a>> {
        self.lines.get(self.next)
    }

    /// The lines from here on that have this indentation, and what is below them.
    fn block(&mut self, indent: usize, depth: usize) -> Result<Node, Mistake> {
        let Some(first) = self.peek().filter(|line| line.indent >= indent) else {
            let line = self.lines.get(self.next.saturating_sub(1)).map_or(1, |line| line.number);
            return Ok(Node { line, value: Value::Nothing });
        };
        let (line, indent, is_list) = (first.number, first.indent, is_item(first.text));
        if depth > DEPTH_MAX {
            return mistake(line, format!("more than {DEPTH_MAX} levels"));
        }
        let value = if is_list {
            Value::List(self.list(indent, depth)?)
        } else {
            Value::Map(self.map(indent, depth)?)
        };
        Ok(Node { line, value })
    }

    fn list(&mut self, indent: usize, depth: usize) -> Result<Vec<Node>, Mistake> {
        let mut items = Vec::new();
        while let Some(line) = self.lines.get_mut(self.next)
            && line.indent == indent
            && is_item(line.text)
        {
            let number = line.number;
            let rest = line.text[1..].trim_start_matches(' ');
            if rest.is_empty() {
                self.next += 1;
                items.push(self.below(number, indent + 1, depth)?);
            } else if key(rest).is_some() || is_item(rest) {
                // `- host: x` is a block that begins within the line.
                line.indent += line.text.len() - rest.len();
                line.text = rest;
                let inner = line.indent;
                items.push(self.block(inner, depth + 1)?);
            } else {
                self.next += 1;
                items.push(Node { line: number, value: inline(number, rest)? });
            }
        }
        Ok(items)
    }

    fn map(&mut self, indent: usize, depth: usize) -> Result<Vec<(String, Node)>, Mistake> {
        let mut pairs: Vec<(String, Node)> = Vec::new();
        while let Some(line) = self.peek().filter(|line| line.indent == indent) {
            let number = line.number;
            let Some((key, rest)) = key(line.text) else {
                return mistake(number, format!("expected `key: value`, found `{}`", line.text));
            };
            let Value::Scalar(key) = inline(number, key)? else {
                return mistake(number, "a key must be plain text");
            };
            if pairs.iter().any(|(other, _)| *other == key) {
                return mistake(number, format!("`{key}` is given twice"));
            }
            let rest = rest.to_owned();
            self.next += 1;
            let node = if rest.is_empty() {
                // A list may stand below its key without being indented.
                let is_list = self.peek().is_some_and(|line| line.indent == indent && is_item(line.text));
                self.below(number, if is_list { indent } else { indent + 1 }, depth)?
            } else {
                Node { line: number, value: inline(number, &rest)? }
            };
            pairs.push((key, node));
        }
        Ok(pairs)
    }

    /// What stands below a line that ends with a colon or a dash.
    fn below(&mut self, line: usize, indent: usize, depth: usize) -> Result<Node, Mistake> {
        match self.peek() {
            Some(next) if next.indent >= indent => self.block(indent, depth + 1),
            _ => Ok(Node { line, value: Value::Nothing }),
        }
    }
}

fn is_item(text: &str) -> bool {
    text == "-" || text.starts_with("- ")
}

/// `key: rest`, or `key:` alone.
fn key(text: &str) -> Option<(&str, &str)> {
    if text.starts_with(['"', '\'', '[', '{']) {
        return None;
    }
    if let Some(key) = text.strip_suffix(':') {
        return Some((key, ""));
    }
    text.split_once(": ").map(|(key, rest)| (key, rest.trim_start_matches(' ')))
}

/// A value on one line.
fn inline(line: usize, text: &str) -> Result<Value, Mistake> {
    let text = text.trim();
    match text.chars().next() {
        Some('[') => {
            let Some(inner) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) else {
                return mistake(line, "a `[` whose `]` is not on the same line");
            };
            if inner.contains('[') {
                return mistake(line, "a list within a list in brackets");
            }
            let parts = inner.split(',').map(str::trim).filter(|part| !part.is_empty());
            let nodes = parts.map(|part| Ok(Node { line, value: inline(line, part)? }));
            nodes.collect::<Result<_, _>>().map(Value::List)
        }
        Some(quote @ ('"' | '\'')) => {
            let inner = text[1..].strip_suffix(quote).filter(|inner| !inner.contains([quote, '\\']));
            match inner {
                Some(inner) => Ok(Value::Scalar(inner.to_owned())),
                None => mistake(line, format!("`{text}`: quotes that do not match, or an escape in them")),
            }
        }
        Some('{') => mistake(line, "a map in braces: write a line for each of its keys"),
        Some('&' | '*') => mistake(line, "anchors and aliases (`&`, `*`): write the value out"),
        Some('|' | '>') => mistake(line, "a block of text (`|`, `>`)"),
        Some('!' | '%' | '@' | '`') => mistake(line, format!("`{text}`: this kind of YAML is not read")),
        _ => Ok(Value::Scalar(text.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    /// Back in one line: `{a: [b, c]}`.
    fn shown(node: &Node) -> String {
        let all = |nodes: &[Node]| nodes.iter().map(shown).collect::<Vec<_>>().join(", ");
        match &node.value {
            Value::Nothing => "~".into(),
            Value::Scalar(text) => text.clone(),
            Value::List(nodes) => format!("[{}]", all(nodes)),
            Value::Map(pairs) => {
                let pairs: Vec<_> =
                    pairs.iter().map(|(key, node)| format!("{key}: {}", shown(node))).collect();
                format!("{{{}}}", pairs.join(", "))
            }
        }
    }

    #[rstest]
    #[case::empty("", "~")]
    #[case::comments("# a\n\n  # b\n", "~")]
    #[case::map("a: b\nc: d e # f\n", "{a: b, c: d e}")]
    #[case::a_port_is_no_key("- localhost:8081\n- x:1", "[localhost:8081, x:1]")]
    #[case::nested("a:\n  b:\n    - c\n    - d\ne:\n", "{a: {b: [c, d]}, e: ~}")]
    #[case::unindented_list("a:\n- b\n- c\nd: e", "{a: [b, c], d: e}")]
    #[case::maps_in_a_list("---\n- a: 1\n  b:\n    - 2\n-\n  a: 3\n- - 4", "[{a: 1, b: [2]}, {a: 3}, [4]]")]
    #[case::brackets("a: [b, 'c', \"d # e\"]", "{a: [b, c, d # e]}")]
    #[case::quotes("a: 'b: # c'\n", "{a: b: # c}")]
    #[case::a_hash_within("a: b#c", "{a: b#c}")]
    fn is_read(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(parse(text).map(|node| shown(&node)), Ok(expected.to_owned()));
    }

    #[rstest]
    #[case::tab("a:\n\tb: c", 2, "a tab")]
    #[case::outdented("  a: b\n c: d", 2, "fits none")]
    #[case::indented("a: b\n   c: d", 2, "fits none")]
    #[case::text_in_a_map("a: b\nwords", 2, "expected `key: value`, found `words`")]
    #[case::twice("a: b\na: c", 2, "`a` is given twice")]
    #[case::braces("a: {b: c}", 1, "a map in braces")]
    #[case::anchor("a: &b c", 1, "anchors")]
    #[case::block("a: |\n  b", 1, "a block of text")]
    #[case::bracket("a: [b,\n  c]", 1, "`]` is not on the same line")]
    #[case::quote("a: 'b", 1, "quotes that do not match")]
    #[case::documents("a: b\n---\nc: d", 2, "more than one document")]
    fn is_refused(#[case] text: &str, #[case] line: usize, #[case] words: &str) {
        let mistake = parse(text).unwrap_err();
        assert_eq!(mistake.line, line);
        assert!(mistake.what.contains(words), "{mistake:?}");
    }

    #[test]
    fn depth_is_bounded() {
        let deep = "- ".repeat(100_000) + "a";
        assert!(parse(&deep).unwrap_err().what.contains("levels"));
    }
}
