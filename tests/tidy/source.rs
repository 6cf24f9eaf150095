//! Rust sources as the checks see them: their paths and names, without code that only tests use.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// The place of a module in its crate, such as `["exchange", "relay"]`; empty for the root.
pub(crate) type Module = Vec<String>;

/// The source files of a crate.
pub(crate) struct Sources {
    pub(crate) files: BTreeMap<Module, Source>,
}

/// The contents of a file that matter to the checks.
#[derive(Default)]
pub(crate) struct Source {
    pub(crate) file: PathBuf,
    /// Every path, with its line: `crate::sse::Event`.
    pub(crate) paths: Vec<(usize, Vec<String>)>,
    /// Every declared item, field and variant, with its line.
    pub(crate) names: Vec<(usize, String)>,
    /// The imports of `use`, by their local name.
    uses: BTreeMap<String, Vec<String>>,
    /// Modules that exist only in tests.
    only_tests: Vec<String>,
}

/// A word or a sign, with its line. A literal is one sign; comments are dropped.
type Token = (usize, String);

impl Sources {
    /// Reads a crate from its `src` folder.
    pub(crate) fn read(folder: &Path) -> Self {
        let mut files: BTreeMap<Module, Source> = BTreeMap::new();
        for file in rust_files(folder) {
            let text = fs::read_to_string(&file).unwrap();
            files.insert(module_of(folder, &file), Source::parse(&file, &text));
        }
        let mut only_tests = BTreeSet::new();
        for (module, source) in &files {
            let children = source.only_tests.iter();
            only_tests.extend(children.map(|child| below(module, child)));
        }
        files.retain(|module, _| !(1..=module.len()).any(|n| only_tests.contains(&module[..n])));
        Self { files }
    }

    /// The path from the crate's root on, if it leads into this crate.
    pub(crate) fn absolute(&self, module: &Module, path: &[String]) -> Option<Vec<String>> {
        let supers = path.iter().take_while(|name| *name == "super").count();
        let (start, rest) = match path.first()?.as_str() {
            "crate" => (&[][..], &path[1..]),
            "self" => (&module[..], &path[1..]),
            "super" => (
                &module[..module.len().checked_sub(supers)?],
                &path[supers..],
            ),
            child if self.files.contains_key(&below(module, child)) => (&module[..], path),
            _ => return None,
        };
        Some([start, rest].concat())
    }

    /// The module that declares what a path names, followed through re-exports.
    pub(crate) fn resolve(&self, module: &Module, path: &[String]) -> Option<Module> {
        self.resolve_within(module, path, 8)
    }

    fn resolve_within(&self, module: &Module, path: &[String], steps: u32) -> Option<Module> {
        let steps = steps.checked_sub(1)?;
        let Some(path) = self.absolute(module, path) else {
            // The first part may be a name that this file imports.
            let import = self.files[module].uses.get(path.first()?)?;
            let path = [&import[..], &path[1..]].concat();
            self.absolute(module, &path)?;
            return self.resolve_within(module, &path, steps);
        };
        let mut at = Vec::new();
        for (number, name) in path.iter().enumerate() {
            let child = below(&at, name);
            if self.files.contains_key(&child) {
                at = child;
                continue;
            }
            let import = self.files.get(&at).and_then(|source| source.uses.get(name));
            let import = import.map(|import| [&import[..], &path[number + 1..]].concat());
            let declared = import.and_then(|path| self.resolve_within(&at, &path, steps));
            return Some(declared.unwrap_or(at));
        }
        Some(at)
    }
}

impl Source {
    pub(crate) fn parse(file: &Path, text: &str) -> Self {
        let stream: Result<TokenStream, _> = text.parse();
        let stream = stream.unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let mut tokens = Vec::new();
        flatten(stream, &mut tokens);
        let mut source = Self {
            file: file.to_owned(),
            ..Self::default()
        };
        source.only_tests = without_tests(&mut tokens);
        let mut at = 0;
        while at < tokens.len() {
            at = match tokens[at].1.as_str() {
                "use" if word(&tokens, at + 1) != "<" => source.import(&tokens, at + 1, &[]) + 1,
                _ => source.path(&tokens, at),
            };
        }
        source.declare(&tokens);
        source
    }

    /// Reads a path and returns the place after it.
    fn path(&mut self, tokens: &[Token], at: usize) -> usize {
        let mut path = Vec::new();
        let mut next = at;
        while is_name(word(tokens, next)) {
            path.push(tokens[next].1.clone());
            next += 1;
            if word(tokens, next) != "::" || !is_name(word(tokens, next + 1)) {
                break;
            }
            next += 1;
        }
        if !path.is_empty() {
            self.paths.push((tokens[at].0, path));
        }
        next.max(at + 1)
    }

    /// Reads one tree of a `use` and returns the place after it.
    fn import(&mut self, tokens: &[Token], at: usize, before: &[String]) -> usize {
        let mut path = before.to_vec();
        let mut at = at;
        loop {
            match word(tokens, at) {
                "::" => at += 1,
                "{" => {
                    at += 1;
                    while word(tokens, at) != "}" {
                        at = self.import(tokens, at, &path);
                        at += usize::from(word(tokens, at) == ",");
                    }
                    return at + 1;
                }
                "*" => {
                    self.paths.push((tokens[at].0, path));
                    return at + 1;
                }
                name if is_name(name) && name != "as" => {
                    path.push(name.to_owned());
                    at += 1;
                }
                _ => break,
            }
        }
        // `module::{self}` imports the module.
        if path.len() > 1 && path.last().is_some_and(|last| last == "self") {
            path.pop();
        }
        let mut name = path.last().cloned().unwrap_or_default();
        if word(tokens, at) == "as" {
            name = word(tokens, at + 1).to_owned();
            at += 2;
        }
        self.paths.push((tokens[at - 1].0, path.clone()));
        self.uses.insert(name, path);
        at
    }

    fn declare(&mut self, tokens: &[Token]) {
        const ITEMS: [&str; 8] = [
            "fn", "struct", "enum", "trait", "type", "const", "static", "mod",
        ];
        let mut enums = Vec::new();
        for (at, (line, name)) in tokens.iter().enumerate() {
            let before = at.checked_sub(1).map_or("", |at| word(tokens, at));
            match name.as_str() {
                "{" => {
                    let opener = tokens[..at].iter().rev().map(|(_, word)| word.as_str());
                    let item = opener.take_while(|word| !["{", "}", ";"].contains(word));
                    enums.push(item.into_iter().any(|word| word == "enum"));
                }
                "}" => drop(enums.pop()),
                name if is_name(name) => {
                    let first = ["{", ",", "pub", ")", "]"].contains(&before);
                    let field = first && word(tokens, at + 1) == ":";
                    let variant = enums.last() == Some(&true)
                        && ["{", ",", "]"].contains(&before)
                        && name.starts_with(char::is_uppercase);
                    if ITEMS.contains(&before) || field || variant {
                        self.names.push((*line, name.to_owned()));
                    }
                }
                _ => {}
            }
        }
    }
}

/// Removes code that exists only in tests, and returns the modules in it that are files.
fn without_tests(tokens: &mut Vec<Token>) -> Vec<String> {
    const MARK: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut modules = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let marked = (0..MARK.len()).all(|more| word(tokens, at + more) == MARK[more]);
        if !marked {
            at += 1;
            continue;
        }
        let end = end_of_item(tokens, at + MARK.len());
        let item: Vec<String> = tokens.drain(at..end).map(|(_, word)| word).collect();
        if let [.., keyword, name, end] = &item[..]
            && (keyword.as_str(), end.as_str()) == ("mod", ";")
        {
            modules.push(name.clone());
        }
    }
    modules
}

/// The place after an item: after its `;`, its body, or the comma of a field.
fn end_of_item(tokens: &[Token], from: usize) -> usize {
    let is_field = word(tokens, from + 1) == ":";
    let mut depth = 0_usize;
    for (at, (_, word)) in tokens.iter().enumerate().skip(from) {
        match word.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" => depth = depth.saturating_sub(1),
            "}" => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return at + 1;
                }
            }
            ";" if depth == 0 => return at + 1,
            "," if depth == 0 && is_field => return at + 1,
            _ => {}
        }
    }
    tokens.len()
}

fn flatten(stream: TokenStream, tokens: &mut Vec<Token>) {
    for tree in stream {
        let line = tree.span().start().line;
        match tree {
            TokenTree::Ident(name) => tokens.push((line, name.to_string())),
            TokenTree::Literal(_) => tokens.push((line, "\"".to_owned())),
            TokenTree::Punct(sign) => match tokens.last_mut() {
                Some((_, before)) if sign.as_char() == ':' && before == ":" => before.push(':'),
                _ => tokens.push((line, sign.as_char().to_string())),
            },
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Parenthesis => ("(", ")"),
                    Delimiter::Brace => ("{", "}"),
                    Delimiter::Bracket => ("[", "]"),
                    Delimiter::None => ("", ""),
                };
                tokens.push((line, open.to_owned()));
                flatten(group.stream(), tokens);
                tokens.push((group.span_close().start().line, close.to_owned()));
            }
        }
    }
}

fn word(tokens: &[Token], at: usize) -> &str {
    tokens.get(at).map_or("", |(_, word)| word)
}

fn is_name(word: &str) -> bool {
    word.starts_with(|first: char| first.is_alphabetic() || first == '_')
}

fn below(module: &[String], child: &str) -> Module {
    [module, &[child.to_owned()]].concat()
}

fn module_of(folder: &Path, file: &Path) -> Module {
    let below = file.strip_prefix(folder).unwrap().with_extension("");
    let names = below
        .components()
        .map(|part| part.as_os_str().to_string_lossy().into_owned());
    let mut module: Module = names.collect();
    if module
        .last()
        .is_some_and(|name| name == "mod" || name == "lib")
    {
        module.pop();
    }
    module
}

/// The Rust files in a folder and below, in order.
pub(crate) fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() && !path.ends_with("target") {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}
