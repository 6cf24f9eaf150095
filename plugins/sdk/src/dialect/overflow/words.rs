//! Splits an error's message into words and numbers, without what it only quotes.

/// A piece of a message, in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// A word. An identifier, path or file name is one word: `max_tokens`, `src/context.rs`.
    Word(String),
    Number(u64),
    /// The end of a sentence.
    Stop,
    /// Any other sign.
    Sign(char),
}

impl Token {
    pub(super) fn is(&self, word: &str) -> bool {
        matches!(self, Self::Word(own) if own == word)
    }

    pub(super) fn is_any(&self, words: &[&str]) -> bool {
        matches!(self, Self::Word(own) if words.contains(&own.as_str()))
    }
}

/// Names of the request's members that messages quote and that matter here.
const MEMBERS: &[&str] = &[
    "input",
    "inputs",
    "prompt",
    "messages",
    "max_tokens",
    "max_completion_tokens",
    "max_new_tokens",
    "max_output_tokens",
    "maxoutputtokens",
];

/// What precedes a quotation that is the message itself: keys of a nested error, and exceptions.
const BEFORE_MESSAGE: &[&str] = &["message", "error", "detail", "msg", "exception", "reason"];

/// A message says what is wrong at its beginning. The rest may be as long as what was sent.
const MOST_CHARS: usize = 4_096;

pub(super) fn tokens(text: &str) -> Vec<Token> {
    let text: String = text.chars().take(MOST_CHARS).collect();
    let text = text.to_lowercase().replace("\\n", "\n").replace('\\', "");
    let chars: Vec<char> = text.chars().collect();
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(&sign) = chars.get(at) {
        match sign {
            '"' | '\'' | '`' | '“' | '‘' if opens(&chars, at) => {
                at = quotation(&chars, at, &mut tokens);
            }
            _ if is_part(sign) && sign != '.' && sign != '-' && sign != '/' => {
                let end = end_of_word(&chars, at);
                word(&chars[at..end], &mut tokens);
                at = end;
            }
            _ => {
                tokens.extend(sign_token(&chars, at));
                at += 1;
            }
        }
    }
    tokens
}

fn sign_token(chars: &[char], at: usize) -> Option<Token> {
    match chars[at] {
        '.' | '!' | '?' | ';' | '\n' | '。' | '；' => Some(Token::Stop),
        sign if sign.is_whitespace() => None,
        sign => Some(Token::Sign(sign)),
    }
}

fn is_part(sign: char) -> bool {
    sign.is_alphanumeric() || matches!(sign, '_' | '.' | '-' | '/')
}

/// An apostrophe within a word opens nothing.
fn opens(chars: &[char], at: usize) -> bool {
    let before = at.checked_sub(1).map(|before| chars[before]);
    !before.is_some_and(char::is_alphanumeric)
}

/// Where the quotation that begins here ends. One that is not closed was cut, so it ends with the
/// text; a single quote that is not closed is an apostrophe.
fn closing(chars: &[char], at: usize) -> Option<usize> {
    let close = match chars[at] {
        '“' => '”',
        '‘' => '’',
        sign => sign,
    };
    let ends = |end: &usize| {
        chars[*end] == close
            && (close != '\''
                || !chars
                    .get(end + 1)
                    .is_some_and(|after| after.is_alphanumeric()))
    };
    (at + 1..chars.len())
        .find(ends)
        .or_else(|| (close != '\'').then_some(chars.len()))
}

/// Skips a quotation, unless it is the message itself or the name of a relevant member.
fn quotation(chars: &[char], at: usize, tokens: &mut Vec<Token>) -> usize {
    if is_message(tokens) {
        // Its content is read like any other text.
        tokens.push(Token::Stop);
        return at + 1;
    }
    let Some(end) = closing(chars, at) else {
        return at + 1;
    };
    let inner: String = chars[at + 1..end].iter().collect();
    if let Ok(number) = inner.replace(',', "").parse() {
        tokens.push(Token::Number(number));
        return end + 1;
    }
    if !MEMBERS.contains(&inner.as_str()) {
        tokens.push(Token::Sign('"'));
    }
    if MEMBERS.contains(&inner.as_str()) || BEFORE_MESSAGE.contains(&inner.as_str()) {
        tokens.push(Token::Word(inner));
    }
    end + 1
}

/// Whether the last tokens are a key with its colon, or an exception with its parenthesis.
fn is_message(tokens: &[Token]) -> bool {
    match tokens {
        [.., Token::Sign('"'), Token::Word(key), Token::Sign(':')] => {
            BEFORE_MESSAGE.contains(&key.as_str())
        }
        [.., Token::Word(word), Token::Sign('(' | '=')] => {
            BEFORE_MESSAGE.iter().any(|name| word.ends_with(name))
        }
        _ => false,
    }
}

fn end_of_word(chars: &[char], at: usize) -> usize {
    let end = chars[at..].iter().position(|sign| !is_part(*sign));
    let mut end = end.map_or(chars.len(), |length| at + length);
    while matches!(chars[end - 1], '.' | '-' | '/') {
        end -= 1;
    }
    match chars[at..end].iter().all(char::is_ascii_digit) {
        true => end_of_number(chars, at, end),
        false => end,
    }
}

/// Whether exactly three digits follow.
fn is_group(chars: &[char]) -> bool {
    chars
        .iter()
        .take_while(|sign| sign.is_ascii_digit())
        .count()
        == 3
}

/// Includes groups of thousands: `131,072`.
fn end_of_number(chars: &[char], at: usize, mut end: usize) -> usize {
    let first = end - at;
    while first <= 3 && chars.get(end) == Some(&',') && is_group(&chars[end + 1..]) {
        end += 4;
    }
    end
}

/// Adds a number, an identifier, or the parts of a hyphenated word.
fn word(chars: &[char], tokens: &mut Vec<Token>) {
    let text: String = chars.iter().collect();
    let digits = text.replace(',', "");
    if let Ok(number) = digits.parse() {
        tokens.push(Token::Number(number));
        return;
    }
    if let Some((from, to)) = text.split_once("..") {
        // A range: `1..4096`.
        let ends = [from, to].map(|end| end.parse().ok().map(Token::Number));
        tokens.extend(ends.into_iter().flatten());
        return;
    }
    let is_name = text.contains(['_', '.', '/']) || text.matches('-').count() > 1;
    if is_name {
        tokens.push(Token::Word(text));
    } else {
        tokens.extend(text.split('-').map(|part| match part.parse() {
            // `gpt-4`: part of a name.
            Ok(number) if !text.contains('-') => Token::Number(number),
            _ => Token::Word(part.to_owned()),
        }));
    }
}
