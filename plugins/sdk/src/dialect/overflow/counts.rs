//! Which number of a message counts what: the prompt, the response, both, or the limit.

use std::collections::BTreeSet;

use super::{Overflow, words::Token};

/// Smaller numbers count something else: the 4 in "gpt 4", a line, a lower bound.
pub(super) const LEAST: u64 = 64;

/// No model writes less.
const LEAST_OUTPUT: u64 = 256;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Prompt,
    Output,
    Total,
    Limit,
    /// By how much the limit is exceeded, a status, or a code.
    Irrelevant,
    Unknown,
}

/// A number and its position.
#[derive(Clone, Copy, Debug)]
struct Count {
    number: u64,
    role: Role,
}

const PROMPT_WORDS: &[&str] = &[
    "prompt",
    "input",
    "inputs",
    "message",
    "messages",
    "text",
    "conversation",
];
const OUTPUT_WORDS: &[&str] = &[
    "output",
    "outputs",
    "completion",
    "completions",
    "response",
    "max_tokens",
    "max_completion_tokens",
    "max_new_tokens",
    "max_output_tokens",
];
const LIMIT_WORDS: &[&str] = &[
    "maximum",
    "max",
    "limit",
    "limits",
    "window",
    "only",
    "allowed",
    "allows",
    "supports",
    "most",
    "capacity",
    "max_model_len",
    "max_seq_len",
    "n_ctx",
    "exceed",
    "exceeds",
];
/// Words after which a number counts what was sent.
const SENT_WORDS: &[&str] = &[
    "contains", "contain", "has", "have", "resulted", "got", "given", "passed", "provided", "sent",
    "received",
];

/// The numbers of a prompt that does not fit.
pub(super) fn overflow(tokens: &[Token], max_tokens: Option<u64>) -> Overflow {
    resolve(&counts(tokens, max_tokens), max_tokens)
}

/// The limit of the response: the largest of the possible ones. If that is wrong the upstream says
/// so, while one that is too small would truncate every response.
pub(super) fn output_limit(tokens: &[Token], max_tokens: u64) -> Option<u64> {
    let counts = counts(tokens, Some(max_tokens));
    let of = |roles: &'static [Role]| {
        let possible = counts.iter().filter(move |count| {
            roles.contains(&count.role) && (LEAST_OUTPUT..max_tokens).contains(&count.number)
        });
        possible.map(|count| count.number)
    };
    of(&[Role::Limit]).max().or_else(|| {
        of(&[Role::Output, Role::Unknown])
            .filter(|n| !is_status(*n))
            .max()
    })
}

/// Whether a number may be an HTTP status.
fn is_status(number: u64) -> bool {
    (400..600).contains(&number)
}

/// Every number with its role.
fn counts(tokens: &[Token], max_tokens: Option<u64>) -> Vec<Count> {
    let mut counts = Vec::new();
    let mut from = 0;
    for (at, token) in tokens.iter().enumerate() {
        let Token::Number(number) = token else {
            continue;
        };
        if *number < LEAST {
            continue;
        }
        let role =
            in_formula(tokens, at).unwrap_or_else(|| role(&tokens[from..at], &tokens[at + 1..]));
        let role = match role {
            Role::Unknown | Role::Prompt if Some(*number) == max_tokens => Role::Output,
            role => role,
        };
        counts.push(Count {
            number: *number,
            role,
        });
        from = at + 1;
    }
    counts
}

/// `197202 + 21333 > 200000`, `210000 tokens > 200000`, `128000 > 32768 - 2000`.
fn in_formula(tokens: &[Token], at: usize) -> Option<Role> {
    let next = |sign: char, from: usize| {
        let after = &tokens[from + 1..];
        let after = match after {
            [Token::Word(word), rest @ ..] if word == "tokens" => rest,
            rest => rest,
        };
        matches!(after, [Token::Sign(own), ..] if *own == sign)
    };
    let before = |sign: char| {
        let before = &tokens[..at];
        let before = match before {
            [rest @ .., Token::Sign('=')] => rest,
            rest => rest,
        };
        matches!(before, [.., Token::Number(_) | Token::Word(_), Token::Sign(own)] if *own == sign)
    };
    let end = tokens
        .iter()
        .skip(at + 1)
        .position(|token| matches!(token, Token::Stop | Token::Sign('(' | ')' | ',' | ':')));
    let end = end.map_or(tokens.len(), |end| at + 1 + end);
    let later = |sign: char| tokens[at + 1..end].contains(&Token::Sign(sign));
    match () {
        // `<400>`
        () if before_is(tokens, at, '<') && next('>', at) => Some(Role::Irrelevant),
        // `[1, 129024]`
        () if matches!(
            &tokens[..at],
            [.., Token::Sign('['), Token::Number(_), Token::Sign(',')]
        ) =>
        {
            Some(Role::Limit)
        }
        () if before('>') && tokens[..at].len() > 1 => Some(Role::Limit),
        () if before('-') && tokens[..at].contains(&Token::Sign('>')) => Some(Role::Prompt),
        () if before('+') && later('>') => Some(Role::Output),
        () if next('+', at) && later('>') => Some(Role::Prompt),
        () if next('>', at) && later('-') => Some(Role::Output),
        () if next('>', at) => Some(Role::Prompt),
        () => None,
    }
}

fn before_is(tokens: &[Token], at: usize, sign: char) -> bool {
    matches!(&tokens[..at], [.., Token::Sign(own)] if *own == sign)
}

/// The role of a number by the words around it, up to its neighbours.
fn role(before: &[Token], after: &[Token]) -> Role {
    by_words_after(after).unwrap_or_else(|| by_words_before(before))
}

/// "40000 input tokens", "32000 in the completion", "65536 maximum context length".
fn by_words_after(after: &[Token]) -> Option<Role> {
    const ENDS: &[&str] = &[
        "is",
        "are",
        "and",
        "but",
        "however",
        "while",
        "whereas",
        "which",
        "when",
        "than",
        "exceed",
        "exceeds",
        "exceeded",
        "exceeding",
        "you",
        "we",
        "longer",
        "larger",
        "greater",
    ];
    let words = after
        .iter()
        .take(6)
        .take_while(|token| matches!(token, Token::Word(_)) && !token.is_any(ENDS));
    for (index, token) in words.enumerate() {
        if token.is_any(OUTPUT_WORDS) {
            return Some(Role::Output);
        }
        if token.is_any(PROMPT_WORDS) {
            return Some(Role::Prompt);
        }
        if index < 2 && token.is_any(&["maximum", "max", "limit", "context"]) {
            return Some(Role::Limit);
        }
    }
    None
}

/// "maximum context length is 65536", "your messages resulted in 10000", "by 1234".
fn by_words_before(before: &[Token]) -> Role {
    let clause = before
        .iter()
        .rposition(|token| matches!(token, Token::Stop | Token::Sign(',' | ')' | '"')))
        .map_or(before, |at| &before[at + 1..]);
    let last = clause.iter().rev().take(10);
    if matches!(clause, [.., Token::Word(word)] if matches!(word.as_str(), "by" | "code" | "status" | "line" | "column" | "index"))
    {
        return Role::Irrelevant;
    }
    let is_limit = |token: &Token| {
        token.is_any(LIMIT_WORDS) || matches!(token, Token::Sign('[' | '<' | '≤' | '>'))
    };
    let is_context = |token: &Token| token.is("context");
    let named = |token: &Token| -> Option<Role> {
        if token.is_any(&["requested", "total"]) {
            Some(Role::Total)
        } else if is_limit(token) || is_context(token) || token.is("than") {
            Some(Role::Limit)
        } else if token.is_any(OUTPUT_WORDS) {
            Some(Role::Output)
        } else if token.is_any(PROMPT_WORDS) || token.is_any(SENT_WORDS) {
            Some(Role::Prompt)
        } else {
            None
        }
    };
    let found: Vec<Role> = last.filter_map(named).collect();
    match found.first() {
        // "the maximum input length of 33536", "input length is limited to at most 33536".
        Some(Role::Prompt) if limits_prompt(clause) => Role::Limit,
        Some(role) => *role,
        None => Role::Unknown,
    }
}

/// Whether the words state a limit of the prompt and not its length.
fn limits_prompt(clause: &[Token]) -> bool {
    let limit = clause
        .iter()
        .rposition(|token| token.is_any(&["maximum", "max", "limit", "limited", "context"]));
    let sent = clause.iter().rposition(|token| token.is_any(SENT_WORDS));
    match (limit, sent) {
        (Some(limit), Some(sent)) => limit > sent,
        (limit, _) => limit.is_some(),
    }
}

/// Brings the numbers together. What is missing follows from the others where it can.
fn resolve(counts: &[Count], max_tokens: Option<u64>) -> Overflow {
    let of = |role| {
        counts
            .iter()
            .filter(move |count| count.role == role)
            .map(|count| count.number)
    };
    let limit = of(Role::Limit).max();
    let mut unknown = of(Role::Unknown);
    let total = of(Role::Total).max();
    let mut output = of(Role::Output).max();
    if output.is_none() && total.is_some() {
        output = max_tokens.filter(|max| total > Some(*max));
    }
    // A number that is stated twice counts once.
    let parts: BTreeSet<u64> = of(Role::Prompt).collect();
    let parts = parts.into_iter().fold(0, u64::saturating_add);
    let prompt = match (total, output) {
        (Some(total), Some(output)) if total >= output => Some(total - output),
        (Some(total), None) if parts == 0 => Some(total),
        _ => Some(parts).filter(|parts| *parts > 0),
    };
    let prompt =
        prompt.or_else(|| unknown.find(|number| limit.is_some_and(|limit| *number > limit)));
    Overflow {
        prompt,
        limit,
        output,
    }
}
