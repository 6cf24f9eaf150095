//! JSON texts for the property tests: trees, spelt with whitespace and escapes chosen by a seed.

use proptest::prelude::*;

#[derive(Clone, Debug)]
pub(crate) enum Json {
    Word(&'static str),
    Text(&'static str),
    List(Vec<Json>),
    Object(Vec<(&'static str, Json)>),
}

pub(crate) const NAMES: &[&str] = &[
    "a",
    "b",
    "",
    "cache_control",
    "a/b",
    "~1",
    "ü",
    "q\"",
    "\\n",
    "0",
    "-",
    "\u{1f600}",
];

const WORDS: &[&str] = &[
    "null",
    "true",
    "false",
    "0",
    "-0",
    "1",
    "1.0",
    "10e-1",
    "2.5",
    "-3",
    "1E2",
    "12345678901",
];

const TEXTS: &[&str] = &[
    "",
    "a",
    "b",
    "{\"a\":1}",
    "],[",
    "\\",
    "ü\u{1f600}",
    "\n\t\u{1}",
    "a/b",
    "\"cache_control\":",
    // Long enough for texts that are not scanned byte by byte.
    "a text of more than a hundred characters, without anything in it that has a meaning in JSON, so that it is just long",
    "one with \"quotes\": {[\\\"\\\\\"]} and brackets, \\ and backslashes before them, which spread over more than one block \\\\",
];

pub(crate) fn name() -> impl Strategy<Value = &'static str> {
    // The first few are more frequent, so that duplicates occur.
    prop_oneof![3 => prop::sample::select(&NAMES[..2]), 2 => prop::sample::select(NAMES)]
}

pub(crate) fn json() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        prop::sample::select(WORDS).prop_map(Json::Word),
        prop::sample::select(TEXTS).prop_map(Json::Text),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Json::List),
            prop::collection::vec((name(), inner), 0..5).prop_map(Json::Object),
        ]
    })
}

/// A text with a seed for its spelling.
pub(crate) fn text() -> impl Strategy<Value = String> {
    (json(), any::<u64>()).prop_map(|(json, seed)| json.spell(seed))
}

impl Json {
    pub(crate) fn spell(&self, seed: u64) -> String {
        let mut out = String::new();
        let mut chance = Chance(seed | 1);
        chance.space(&mut out);
        self.write(&mut out, &mut chance);
        chance.space(&mut out);
        out
    }

    fn write(&self, out: &mut String, chance: &mut Chance) {
        match self {
            Json::Word(word) => out.push_str(word),
            Json::Text(text) => write_text(text, out, chance),
            Json::List(items) => {
                out.push('[');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    chance.space(out);
                    item.write(out, chance);
                    chance.space(out);
                }
                chance.space(out);
                out.push(']');
            }
            Json::Object(members) => {
                out.push('{');
                for (index, (name, value)) in members.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    chance.space(out);
                    write_text(name, out, chance);
                    chance.space(out);
                    out.push(':');
                    chance.space(out);
                    value.write(out, chance);
                    chance.space(out);
                }
                chance.space(out);
                out.push('}');
            }
        }
    }
}

fn write_text(text: &str, out: &mut String, chance: &mut Chance) {
    out.push('"');
    for c in text.chars() {
        let must = c < ' ' || c == '"' || c == '\\';
        match c {
            '"' | '\\' | '/' if chance.one_in(2) => {
                out.push('\\');
                out.push(c);
            }
            c if must || chance.one_in(8) => {
                let mut units = [0; 2];
                for unit in c.encode_utf16(&mut units) {
                    out.push_str(&format!("\\u{unit:04x}"));
                }
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, count: usize) -> usize {
        (self.next() >> 8) as usize % count.max(1)
    }

    pub(crate) fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    fn space(&mut self, out: &mut String) {
        while self.one_in(4) {
            out.push([' ', '\n', '\t', '\r'][self.below(4)]);
        }
    }
}
