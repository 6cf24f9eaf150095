//! Templates: texts with `{{placeholders}}`, and files in sections.

/// The columns of a line of Rust.
pub(super) const WIDTH: usize = 100;

/// Replaces each `{{name}}` by its value.
pub(super) fn fill(template: &str, values: &[(&str, String)]) -> String {
    let mut text = template.to_owned();
    for (name, value) in values {
        text = text.replace(&format!("{{{{{name}}}}}"), value);
    }
    text
}

/// Returns the lines after `//-- name`, up to the next such line; empty if there is no such line.
pub(super) fn section<'a>(file: &'a str, name: &str) -> &'a str {
    const MARK: &str = "//-- ";
    let begin = format!("{MARK}{name}\n");
    let Some(at) = file.find(&begin) else {
        return "";
    };
    let body = &file[at + begin.len()..];
    body.find(MARK).map_or(body, |end| &body[..end])
}

/// Writes `use library::{...};` as rustfmt formats it.
pub(super) fn import(library: &str, names: &[&str]) -> String {
    let mut names = names.to_vec();
    names.sort_unstable();
    names.dedup();
    let line = format!("use {library}::{{{}}};", names.join(", "));
    // As rustfmt counts it.
    if line.len() + 2 <= WIDTH {
        return line;
    }
    let mut lines = vec![String::from("   ")];
    for name in names {
        let fits = |line: &String| line.len() + name.len() + 2 <= WIDTH;
        if !lines.last().is_some_and(fits) {
            lines.push(String::from("   "));
        }
        if let Some(line) = lines.last_mut() {
            line.push_str(&format!(" {name},"));
        }
    }
    format!("use {library}::{{\n{}\n}};", lines.join("\n"))
}

/// `MyRule` for `my-rule`.
pub(super) fn camel(name: &str) -> String {
    let word = |word: &str| {
        let mut letters = word.chars();
        let first = letters.next().map(|first| first.to_ascii_uppercase());
        first.into_iter().chain(letters).collect::<String>()
    };
    name.split('-').map(word).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_ends_where_the_next_begins() {
        let file = "//-- a\n1\n2\n//-- b\n3\n";
        assert_eq!(section(file, "a"), "1\n2\n");
        assert_eq!(section(file, "b"), "3\n");
        assert_eq!(section(file, "c"), "");
    }

    #[test]
    fn placeholders_are_replaced_and_other_braces_stay() {
        let filled = fill(
            "{{a}} {a} {{b}}",
            &[("a", "1".to_owned()), ("b", "{2}".to_owned())],
        );
        assert_eq!(filled, "1 {a} {2}");
    }

    #[test]
    fn an_import_is_sorted_and_wrapped() {
        assert_eq!(import("x", &["b", "A", "b"]), "use x::{A, b};");
        let names = ["Operation"; 1];
        let many: Vec<String> = (0..12).map(|n| format!("{}{n:02}", names[0])).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let text = import("witgate_plugin", &many);
        assert!(text.lines().count() > 2 && text.lines().all(|line| line.len() <= 100));
        assert!(text.starts_with("use witgate_plugin::{\n    Operation00, "));
    }

    #[test]
    fn a_type_is_named_after_the_plugin() {
        assert_eq!(camel("my-rule"), "MyRule");
        assert_eq!(camel("a2-b--c-"), "A2BC");
    }
}
