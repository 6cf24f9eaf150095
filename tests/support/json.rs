//! JSON written in any spelling, and a check of what was removed that shares no code with the
//! gateway.

/// A JSON value with its spelling: members keep their order and may repeat, numbers and escapes are
/// raw text.
#[derive(Clone)]
pub enum Json {
    /// Written verbatim: `1.0e0`, `"\u0041"`, `null`.
    Raw(String),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

/// How much space is between tokens.
#[derive(Clone, Copy)]
pub enum Spacing {
    None,
    /// The spacing of Python's `json.dumps`.
    Single,
    /// Tabs, line ends and runs of blanks, different from place to place.
    Odd,
}

pub fn raw(text: &str) -> Json {
    Json::Raw(text.to_owned())
}

pub fn string(text: &str) -> Json {
    Json::Raw(serde_json::to_string(text).unwrap())
}

pub fn array(items: impl IntoIterator<Item = Json>) -> Json {
    Json::Array(items.into_iter().collect())
}

pub fn object<const N: usize>(members: [(&str, Json); N]) -> Json {
    Json::Object(
        members
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
    )
}

impl Json {
    #[must_use]
    pub fn with(mut self, name: &str, value: Json) -> Self {
        if let Self::Object(members) = &mut self {
            members.push((name.to_owned(), value));
        }
        self
    }

    pub fn write(&self, spacing: Spacing) -> Vec<u8> {
        let mut writer = Writer {
            out: Vec::new(),
            spacing,
            odd: 7,
        };
        writer.value(self);
        writer.out
    }
}

struct Writer {
    out: Vec<u8>,
    spacing: Spacing,
    odd: u32,
}

impl Writer {
    fn value(&mut self, value: &Json) {
        match value {
            Json::Raw(text) => self.out.extend(text.as_bytes()),
            Json::Array(items) => {
                self.out.push(b'[');
                for (at, item) in items.iter().enumerate() {
                    self.before_item(at);
                    self.value(item);
                }
                self.gap(false);
                self.out.push(b']');
            }
            Json::Object(members) => {
                self.out.push(b'{');
                for (at, (name, value)) in members.iter().enumerate() {
                    self.before_item(at);
                    self.out
                        .extend(serde_json::to_string(name).unwrap().as_bytes());
                    self.gap(false);
                    self.out.push(b':');
                    self.gap(true);
                    self.value(value);
                }
                self.gap(false);
                self.out.push(b'}');
            }
        }
    }

    fn before_item(&mut self, at: usize) {
        self.gap(false);
        if at > 0 {
            self.out.push(b',');
            self.gap(true);
        }
    }

    fn gap(&mut self, after_sign: bool) {
        match self.spacing {
            Spacing::None => {}
            Spacing::Single => self
                .out
                .extend(if after_sign { b" ".as_slice() } else { b"" }),
            Spacing::Odd => {
                self.odd = self.odd.wrapping_mul(1_103_515_245).wrapping_add(12_345);
                let gaps: [&[u8]; 6] = [b"", b" ", b"\n  ", b"\t", b"\r\n", b"    "];
                self.out
                    .extend(gaps[(self.odd >> 16) as usize % gaps.len()]);
            }
        }
    }
}

/// Fails unless `arrived` is `sent` without every member called `name`. Each such member may take
/// one comma and the blanks around it along; every other byte must be there, in order.
#[track_caller]
pub fn is_without_members(sent: &[u8], arrived: &[u8], name: &str) {
    let spans = members(sent, name);
    assert!(!spans.is_empty(), "nothing to remove");
    // Checks the number of removed commas: the result is valid JSON and has the right value.
    let got: serde_json::Value = serde_json::from_slice(arrived).expect("valid JSON arrived");
    let mut wanted: serde_json::Value = serde_json::from_slice(sent).unwrap();
    take_out(&mut wanted, name);
    assert!(
        got == wanted,
        "the value is not the one sent without `{name}`"
    );

    let loose = |byte: &u8| b" \t\r\n,".contains(byte);
    let mut at = 0;
    let mut from = 0;
    // The blanks and commas around the members removed since the last byte that had to stay.
    let mut around: Vec<u8> = Vec::new();
    let end = (sent.len(), sent.len());
    for (start, next) in spans.into_iter().chain([end]) {
        let piece = &sent[from..start];
        let lead = if from == 0 {
            0
        } else {
            piece.iter().take_while(|byte| loose(byte)).count()
        };
        around.extend(&piece[..lead]);
        if lead < piece.len() || start == sent.len() {
            let run = arrived[at..].iter().take_while(|byte| loose(byte)).count();
            if from > 0 {
                let mut were = around.drain(..);
                for byte in &arrived[at..at + run] {
                    assert!(were.any(|was| was == *byte), "blanks were added at {at}");
                }
                drop(were);
                at += run;
            }
            let solid = &piece[lead..];
            let tail = match start == sent.len() {
                true => 0,
                false => solid.iter().rev().take_while(|byte| loose(byte)).count(),
            };
            let (solid, after) = solid.split_at(solid.len() - tail);
            assert!(
                arrived[at..].starts_with(solid),
                "a byte that had to stay changed after {at}"
            );
            at += solid.len();
            around.extend(after);
        }
        from = next;
    }
    assert_eq!(at, arrived.len(), "more arrived than was sent");
}

/// Where the members of this name are, from the first quote of the name to the last byte of the
/// value.
pub fn members(text: &[u8], name: &str) -> Vec<(usize, usize)> {
    let mut found: Vec<(usize, usize)> = Vec::new();
    let mut at = 0;
    while at < text.len() {
        if text[at] != b'"' {
            at += 1;
            continue;
        }
        let (start, end) = (at, string_end(text, at));
        at = end;
        let colon = skip_blanks(text, end);
        if text.get(colon) != Some(&b':') {
            continue;
        }
        let spelt: String = serde_json::from_slice(&text[start..end]).unwrap();
        if spelt == name {
            at = value_end(text, skip_blanks(text, colon + 1));
            found.push((start, at));
        }
    }
    found
}

fn skip_blanks(text: &[u8], from: usize) -> usize {
    from + text[from..]
        .iter()
        .take_while(|byte| b" \t\r\n".contains(byte))
        .count()
}

/// The place after the string that begins here.
fn string_end(text: &[u8], from: usize) -> usize {
    let mut at = from + 1;
    while text[at] != b'"' {
        at += if text[at] == b'\\' { 2 } else { 1 };
    }
    at + 1
}

/// The place after the value that begins here.
fn value_end(text: &[u8], from: usize) -> usize {
    let (mut at, mut depth) = (from, 0);
    loop {
        match text[at] {
            b'"' => at = string_end(text, at),
            b'{' | b'[' => {
                depth += 1;
                at += 1;
            }
            b'}' | b']' => {
                depth -= 1;
                at += 1;
            }
            _ if depth == 0 => {
                let ends = |byte: &u8| b",]} \t\r\n".contains(byte);
                return at + text[at..].iter().take_while(|byte| !ends(byte)).count();
            }
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
}

fn take_out(value: &mut serde_json::Value, name: &str) {
    match value {
        serde_json::Value::Array(items) => items.iter_mut().for_each(|item| take_out(item, name)),
        serde_json::Value::Object(members) => {
            members.remove(name);
            members
                .values_mut()
                .for_each(|member| take_out(member, name));
        }
        _ => {}
    }
}

#[test]
fn the_check_sees_each_kind_of_difference() {
    let sent = br#"{"a": 1, "c": {"x": "}"}, "b": [{"c": 2}, {"c":3 , "d":4}]}"#;
    is_without_members(sent, br#"{"a": 1, "b": [{}, { "d":4}]}"#, "c");
    is_without_members(sent, br#"{"a": 1, "b": [{}, {"d":4}]}"#, "c");
    for wrong in [
        br#"{"a":1, "b": [{}, {"d":4}]}"#.as_slice(),
        br#"{"a": 1, "b": [{}, {"d":4} ]}"#,
        br#"{"a": 1,   "b": [{}, {"d":4}]}"#,
    ] {
        let seen = std::panic::catch_unwind(|| is_without_members(sent, wrong, "c"));
        assert!(seen.is_err(), "{}", String::from_utf8_lossy(wrong));
    }
}
