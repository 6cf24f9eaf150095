//! Whether a message says that a prompt is too long for the model's context.

use super::{counts, words::Token};

/// What is too long.
const INPUT: &[&str] = &[
    "prompt",
    "prompts",
    "input",
    "inputs",
    "context",
    "contexts",
    "messages",
    "conversation",
    "history",
    "transcript",
    "chat",
];

/// What may be the prompt, if the sentence measures it in tokens or for a model.
const TEXT: &[&str] = &["text", "texts", "message", "sequence", "request"];

/// Codes that some servers send as the message.
const CODES: &[&str] = &[
    "context_length_exceeded",
    "context_window_exceeded",
    "model_context_window_exceeded",
    "exceed_context_size",
    "exceed_context_size_error",
    "prompt_too_long",
    "input_too_long",
];

/// What is limited for other reasons.
const OUTPUT: &[&str] = &[
    "max_tokens",
    "max_completion_tokens",
    "max_new_tokens",
    "max_output_tokens",
    "maxoutputtokens",
    "output",
    "outputs",
    "completion",
    "completions",
    "response",
    "generation",
    "budget",
    "budget_tokens",
];

/// Things with limits of their own, which have nothing to do with the context.
const OTHER: &[&str] = &[
    "image",
    "images",
    "file",
    "files",
    "audio",
    "video",
    "videos",
    "pdf",
    "document",
    "documents",
    "page",
    "pages",
    "schema",
    "schemas",
    "tool",
    "tools",
    "function",
    "functions",
    "name",
    "names",
    "description",
    "id",
    "ids",
    "key",
    "string",
    "array",
    "list",
    "items",
    "depth",
    "body",
    "payload",
    "temperature",
    "session",
    "sessions",
    "queue",
];

/// The measure: how long something is, or may be.
const MEASURE: &[&str] = &[
    "length", "lengths", "len", "long", "large", "size", "window", "limit", "limits", "maximum",
    "max", "capacity", "token", "tokens", "context", "model",
];

const EXCEEDS: &[&str] = &[
    "exceed",
    "exceeds",
    "exceeded",
    "exceeding",
    "overflow",
    "overflows",
    "overflowed",
    "overlong",
    "over",
    "beyond",
    "surpasses",
    "surpassed",
];

/// Phrases of more than one word that say the same.
const EXCEEDS_PHRASES: &[&[&str]] = &[
    &["too", "long"],
    &["too", "large"],
    &["too", "big"],
    &["too", "many"],
    &["longer", "than"],
    &["larger", "than"],
    &["greater", "than"],
    &["bigger", "than"],
    &["higher", "than"],
    &["more", "than"],
    &["less", "than"],
    &["fewer", "than"],
    &["smaller", "than"],
    &["shorter", "than"],
    &["at", "most"],
    &["not", "fit"],
    &["doesn't", "fit"],
    &["cannot", "fit"],
    &["not", "enough"],
    &["only", "supports"],
    &["ran", "out"],
    &["out", "of"],
    &["is", "full"],
    &["window", "full"],
    &["context", "full"],
    &["must", "be", "<"],
    &["should", "be", "["],
];

/// Words of rate limits, of bills, and of time that ran out.
const RATES: &[&str] = &[
    "minute",
    "daily",
    "monthly",
    "min",
    "hour",
    "day",
    "tpm",
    "rpm",
    "tpd",
    "quota",
    "quotas",
    "credits",
    "credit",
    "afford",
    "balance",
    "billing",
    "deadline",
    "timeout",
    "timed",
    "seconds",
    "canceled",
    "cancelled",
    "throttling",
    "throttled",
    "concurrency",
    "concurrent",
];

/// The same in Chinese, which has no spaces between words.
const CHINESE_INPUT: &[&str] = &["上下文", "输入", "提示词", "prompt", "token"];
const CHINESE_EXCEEDS: &[&str] = &["超过", "超出", "超长", "过长"];

pub(super) fn is_overflow(tokens: &[Token], max_tokens: Option<u64>) -> bool {
    if is_rate_limit(tokens) {
        return false;
    }
    let mut sentences = tokens.split(|token| *token == Token::Stop);
    is_bare_code(tokens)
        || by_numbers(tokens, max_tokens)
        || sentences.any(|sentence| {
            exceeds(sentence)
                || states_limit(sentence)
                || asks_to_shorten(sentence)
                || in_chinese(sentence)
        })
}

/// Whether a message names the response's length.
pub(super) fn names_output(tokens: &[Token]) -> bool {
    let members = [
        "max_tokens",
        "max_completion_tokens",
        "max_new_tokens",
        "max_output_tokens",
        "maxoutputtokens",
        "maxtokens",
        "max_length",
        "num_predict",
    ];
    let is_phrase = |pair: &[Token]| {
        let measure = ["tokens", "token", "length", "limit"];
        pair[0].is_any(&["output", "completion"]) && pair[1].is_any(&measure)
            || pair[0].is_any(&["max", "maximum"])
                && pair[1].is_any(&["tokens", "output", "completion"])
    };
    let is_member = |token: &Token| match token {
        Token::Word(word) => members
            .iter()
            .any(|name| word.rsplit('.').next() == Some(*name)),
        _ => false,
    };
    tokens.iter().any(is_member) || tokens.windows(2).any(is_phrase)
}

/// A message that is a code, alone or after "error:" or in parentheses.
fn is_bare_code(tokens: &[Token]) -> bool {
    let is_code = |token: &Token| token.is_any(CODES);
    match tokens {
        [code] => is_code(code),
        [error, Token::Sign(':'), code, ..] if error.is_any(&["error", "code"]) => is_code(code),
        _ => tokens
            .windows(2)
            .any(|pair| pair[0] == Token::Sign('(') && is_code(&pair[1])),
    }
}

/// "Your prompt has 9000 tokens, and the model's context window 8192": the numbers say it.
fn by_numbers(tokens: &[Token], max_tokens: Option<u64>) -> bool {
    let has = |words: &[&str]| tokens.iter().any(|token| token.is_any(words));
    let names = |thing| tokens.iter().any(|token| Thing::of(token) == Some(thing));
    if !names(Thing::Input) || names(Thing::Other) || !has(&["token", "tokens"]) {
        return false;
    }
    let overflow = counts::overflow(tokens, max_tokens);
    let (Some(prompt), Some(limit)) = (overflow.prompt, overflow.limit) else {
        return false;
    };
    if names(Thing::Output) {
        let sum = overflow.output.map(|output| prompt.saturating_add(output));
        return has_context(tokens) && sum > Some(limit);
    }
    (has_context(tokens) || has_limit(tokens)) && prompt > limit
}

/// The words of a code, whose sense is the same: `context_length_exceeded`.
pub(super) fn is_code(code: &str) -> bool {
    let words = code_words(code);
    let has = |names: &[&str]| words.iter().any(|word| names.contains(&word.as_str()));
    let too_long = words
        .windows(2)
        .any(|pair| pair[0] == "too" && matches!(pair[1].as_str(), "long" | "large"));
    let about_input = has(&["context", "prompt", "input"]);
    about_input && (has(EXCEEDS) || too_long) && !has(RATES) && !has(&["rate"])
}

/// Splits a code at its signs, and at capitals if it has no signs.
fn code_words(code: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut was_lower = false;
    for sign in code.chars() {
        if !sign.is_alphanumeric() || (sign.is_uppercase() && was_lower) {
            words.push(String::new());
        }
        was_lower = sign.is_lowercase();
        if let (true, Some(word)) = (sign.is_alphanumeric(), words.last_mut()) {
            word.extend(sign.to_lowercase());
        }
    }
    words
}

pub(super) fn is_rate_limit(tokens: &[Token]) -> bool {
    let is_pair = |pair: &[Token]| {
        pair[0].is("rate") && pair[1].is_any(&["limit", "limits", "limited"])
            || pair[0].is("per") && pair[1].is("second")
            || pair[0].is("please") && pair[1].is("wait")
            || pair[0].is("too")
                && pair[1].is("many")
                && pair.get(2).is_some_and(|token| token.is("requests"))
    };
    tokens
        .iter()
        .any(|token| token.is_any(RATES) || token.is("rate_limit"))
        || tokens.windows(2).any(is_pair)
        || tokens.windows(3).any(is_pair)
}

/// "The input exceeds the context window": what is too long, that it is, and by which measure.
fn exceeds(sentence: &[Token]) -> bool {
    (0..sentence.len()).any(|at| {
        excess_at(sentence, at).is_some_and(|length| {
            let (before, after) = (&sentence[..at], &sentence[at + length..]);
            let phrase = &sentence[at..at + length];
            let measured = sentence.iter().any(|token| token.is_any(MEASURE));
            measured && is_about_input(before, phrase, after)
        })
    })
}

/// The length of the phrase that begins here and says that something exceeds something.
fn excess_at(sentence: &[Token], at: usize) -> Option<usize> {
    if sentence[at].is_any(EXCEEDS) || is_greater_sign(sentence, at) {
        return Some(1);
    }
    let phrase = EXCEEDS_PHRASES.iter().find(|phrase| {
        let tokens = sentence.get(at..at + phrase.len());
        tokens.is_some_and(|tokens| {
            let mut pairs = tokens.iter().zip(phrase.iter());
            pairs.all(|(token, word)| is_word_or_sign(token, word))
        })
    })?;
    Some(phrase.len())
}

/// `9000 > 8192`, and not the end of a tag such as `<400>`.
fn is_greater_sign(sentence: &[Token], at: usize) -> bool {
    match &sentence[..=at] {
        [.., Token::Sign('<'), Token::Number(_), Token::Sign('>')] => false,
        [.., Token::Number(_) | Token::Sign(')'), Token::Sign('>')] => true,
        [.., unit, Token::Sign('>')] => unit.is("tokens"),
        _ => false,
    }
}

fn is_word_or_sign(token: &Token, word: &str) -> bool {
    match token {
        Token::Sign(sign) => word.chars().eq([*sign]),
        token => token.is(word),
    }
}

/// Whether the prompt is what exceeds: the last thing named before, or else the first one after.
fn is_about_input(before: &[Token], phrase: &[Token], after: &[Token]) -> bool {
    if matches!(phrase, [too, many] if too.is("too") && many.is("many")) {
        return counts_tokens(&after[..after.len().min(3)])
            && (has_input(before) || has_input(after));
    }
    match before.iter().rev().find_map(Thing::of) {
        Some(Thing::Input) => !limits_other(after) && !counts_other(before),
        Some(Thing::Output) => has_input(before) && (has_context(after) || is_sum(before)),
        Some(Thing::Other) => counts_tokens(before) && (has_input(after) || has_limit(after)),
        None => is_unnamed_input(before, phrase, after),
    }
}

/// "Total tokens exceed the model's limit", "Your request exceeded the model token limit", "The
/// text is too long for this model".
fn is_unnamed_input(before: &[Token], phrase: &[Token], after: &[Token]) -> bool {
    if after
        .iter()
        .any(|token| Thing::of(token) == Some(Thing::Output))
    {
        return has_context(after);
    }
    if let Some(thing) = after.iter().find_map(Thing::of) {
        return thing == Thing::Input;
    }
    let by_model = counts_tokens(after) || has_model(after);
    let has = |words: &[&str]| before.iter().any(|token| token.is_any(words));
    let counted = counts_tokens(before) && has(&["count", "total"]) && has_limit(after);
    let limited = (counts_tokens(before) || has(&["request", "requested"])) && has_limit(after);
    let too_long = has(TEXT) && !has(&["stop"]) && phrase[0].is("too");
    let token_limit = matches!(before, [.., token, limit] if counts_tokens(std::slice::from_ref(token)) && limit.is("limit"));
    counted || token_limit || by_model && (limited || too_long)
}

/// "The number of images in the prompt".
fn counts_other(before: &[Token]) -> bool {
    let is_count = |words: &[Token]| {
        words[0].is("number") && words[1].is("of") && Thing::of(&words[2]) == Some(Thing::Other)
    };
    before.windows(3).any(is_count) || before.iter().any(|token| token.is("batch"))
}

fn counts_tokens(part: &[Token]) -> bool {
    part.iter().any(|token| token.is_any(&["token", "tokens"]))
}

fn has_input(part: &[Token]) -> bool {
    part.iter().any(|token| token.is_any(INPUT))
}

/// "prompt tokens plus max_tokens"
fn is_sum(part: &[Token]) -> bool {
    let words = ["sum", "plus", "total", "combined", "together"];
    part.iter()
        .any(|token| *token == Token::Sign('+') || token.is_any(&words))
}

/// What a noun names.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Thing {
    Input,
    Output,
    Other,
}

impl Thing {
    fn of(token: &Token) -> Option<Self> {
        let Token::Word(_) = token else { return None };
        if token.is_any(INPUT) {
            Some(Self::Input)
        } else if token.is_any(OUTPUT) {
            Some(Self::Output)
        } else {
            token.is_any(OTHER).then_some(Self::Other)
        }
    }
}

fn has_context(part: &[Token]) -> bool {
    part.iter().any(|token| token.is("context"))
}

fn has_limit(part: &[Token]) -> bool {
    let words = [
        "limit", "maximum", "max", "length", "window", "size", "allowed",
    ];
    part.iter().any(|token| token.is_any(&words))
}

fn has_model(part: &[Token]) -> bool {
    part.iter()
        .any(|token| token.is_any(&["model", "model's", "models"]))
}

/// "the maximum number of images", "the maximum nesting depth".
fn limits_other(after: &[Token]) -> bool {
    let first = after.iter().find(|token| {
        Thing::of(token).is_some() || token.is_any(&["length", "window", "token", "tokens"])
    });
    first.is_some_and(|token| Thing::of(token) == Some(Thing::Other))
}

/// "This model's maximum context length is 8192 tokens": that an error states it means that it was
/// exceeded.
fn states_limit(sentence: &[Token]) -> bool {
    let limit = ["maximum", "max"];
    let measure = ["length", "size", "window", "tokens", "token", "len"];
    sentence.windows(3).any(|words| {
        words[0].is_any(&limit)
            && words[1].is_any(&["context", "prompt", "input"])
            && words[2].is_any(&measure)
    }) && sentence
        .iter()
        .any(|token| matches!(token, Token::Number(number) if *number >= counts::LEAST))
}

/// "Please reduce the length of the messages."
fn asks_to_shorten(sentence: &[Token]) -> bool {
    let Some(at) = sentence
        .iter()
        .position(|token| token.is_any(&["reduce", "shorten", "truncate", "compact"]))
    else {
        return false;
    };
    let after = &sentence[at + 1..];
    let measured = after
        .iter()
        .any(|token| token.is_any(&["length", "size", "tokens"]));
    let first = after.iter().find_map(Thing::of);
    first == Some(Thing::Input) && (measured || !sentence[at].is("reduce"))
}

fn in_chinese(sentence: &[Token]) -> bool {
    let text: String = sentence
        .iter()
        .filter_map(|token| match token {
            Token::Word(word) => Some(word.as_str()),
            _ => None,
        })
        .collect();
    let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
    has(CHINESE_EXCEEDS) && has(CHINESE_INPUT)
}
