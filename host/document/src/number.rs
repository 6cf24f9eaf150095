//! Compares JSON numbers by value, exactly, without converting them to floats.
//!
//! So `1e999` is larger than `1e998`, and 2^53 differs from 2^53 + 1, which floats cannot
//! distinguish.

use std::cmp::Ordering;

/// Returns the offset after the number that starts at `at`, or `None` if no JSON number does.
pub(crate) fn end(text: &[u8], at: usize) -> Option<usize> {
    let digits = |from: usize| {
        let run = text.get(from..)?.iter().take_while(|b| b.is_ascii_digit());
        let end = from + run.count();
        (end > from).then_some(end)
    };
    let start = at + usize::from(text.get(at) == Some(&b'-'));
    let mut end = digits(start)?;
    if text[start] == b'0' && end > start + 1 {
        return None;
    }
    if text.get(end) == Some(&b'.') {
        end = digits(end + 1)?;
    }
    if matches!(text.get(end), Some(b'e' | b'E')) {
        let signed = matches!(text.get(end + 1), Some(b'+' | b'-'));
        end = digits(end + 1 + usize::from(signed))?;
    }
    Some(end)
}

/// Orders two JSON number tokens by value. Exponents beyond 18 digits count as equally large.
pub(crate) fn compare(a: &[u8], b: &[u8]) -> Ordering {
    let (a, b) = (Decimal::read(a), Decimal::read(b));
    match (a.is_zero(), b.is_zero()) {
        (true, true) => return Ordering::Equal,
        (true, false) => {
            return if b.negative {
                Ordering::Greater
            } else {
                Ordering::Less
            };
        }
        (false, true) => {
            return if a.negative {
                Ordering::Less
            } else {
                Ordering::Greater
            };
        }
        (false, false) => {}
    }
    match (a.negative, b.negative) {
        (false, true) => Ordering::Greater,
        (true, false) => Ordering::Less,
        (false, false) => a.magnitude(&b),
        (true, true) => b.magnitude(&a),
    }
}

/// A number as 0.d1d2d3... times ten to the power of `exponent`, where d1 is not zero.
struct Decimal<'t> {
    negative: bool,
    whole: &'t [u8],
    fraction: &'t [u8],
    exponent: i64,
}

impl<'t> Decimal<'t> {
    fn read(token: &'t [u8]) -> Self {
        let (negative, rest) = match token.strip_prefix(b"-") {
            Some(rest) => (true, rest),
            None => (false, token),
        };
        let mark = rest.iter().position(|b| matches!(b, b'e' | b'E'));
        let (digits, power) = match mark {
            Some(mark) => (&rest[..mark], power(&rest[mark + 1..])),
            None => (rest, 0),
        };
        let dot = digits.iter().position(|&b| b == b'.');
        let (whole, fraction) = match dot {
            Some(dot) => (&digits[..dot], &digits[dot + 1..]),
            None => (digits, &digits[..0]),
        };
        let mut number = Self {
            negative,
            whole,
            fraction,
            exponent: power,
        };
        let zeros = number.digits().take_while(|&d| d == b'0').count();
        let point = i64::try_from(whole.len()).unwrap_or(i64::MAX);
        let zeros_len = i64::try_from(zeros).unwrap_or(i64::MAX);
        number.exponent = power.saturating_add(point - zeros_len);
        let from_whole = zeros.min(whole.len());
        number.whole = &whole[from_whole..];
        number.fraction = &fraction[zeros - from_whole..];
        number
    }

    fn digits(&self) -> impl Iterator<Item = u8> + use<'t> {
        self.whole.iter().chain(self.fraction).copied()
    }

    fn is_zero(&self) -> bool {
        self.whole.is_empty() && self.fraction.is_empty()
    }

    fn magnitude(&self, other: &Self) -> Ordering {
        let by_digits = || {
            let (mut a, mut b) = (self.digits(), other.digits());
            loop {
                match (a.next(), b.next()) {
                    (None, None) => return Ordering::Equal,
                    (x, y) => match x.unwrap_or(b'0').cmp(&y.unwrap_or(b'0')) {
                        Ordering::Equal => {}
                        unequal => return unequal,
                    },
                }
            }
        };
        self.exponent.cmp(&other.exponent).then_with(by_digits)
    }
}

fn power(text: &[u8]) -> i64 {
    /// Far beyond any meaningful exponent, and far from overflow when digits are added.
    const HUGE: i64 = 1_000_000_000_000_000_000;
    let (sign, digits) = match text.split_first() {
        Some((b'-', digits)) => (-1, digits),
        Some((b'+', digits)) => (1, digits),
        _ => (1, text),
    };
    let value = digits.iter().fold(0i64, |value, &digit| {
        let next = value
            .saturating_mul(10)
            .saturating_add(i64::from(digit.wrapping_sub(b'0')));
        next.min(HUGE)
    });
    sign * value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_compared_by_value() {
        let ascending = [
            "-1e999",
            "-10",
            "-9.5",
            "-1",
            "-0.1",
            "0",
            "1e-999",
            "0.01",
            "0.1",
            "0.11",
            "1",
            "1.5",
            "9",
            "10",
            "99",
            "1e2",
            "9007199254740992",
            "9007199254740993",
            "1e998",
            "1e999",
            "1e99999999999999999999",
        ];
        for (i, a) in ascending.iter().enumerate() {
            for (j, b) in ascending.iter().enumerate() {
                assert_eq!(compare(a.as_bytes(), b.as_bytes()), i.cmp(&j), "{a} {b}");
            }
        }
    }

    #[test]
    fn spelling_does_not_matter() {
        for same in [
            ["1", "1.0"],
            ["100", "1e2"],
            ["0", "-0.0e5"],
            ["12.5", "125E-1"],
            ["0.001", "1e-3"],
        ] {
            assert_eq!(
                compare(same[0].as_bytes(), same[1].as_bytes()),
                Ordering::Equal
            );
        }
    }

    #[test]
    fn the_grammar_is_that_of_json() {
        for (text, len) in [("0", 1), ("-0.5e+3,", 7), ("10]", 2), ("1.5E-2", 6)] {
            assert_eq!(end(text.as_bytes(), 0), Some(len));
        }
        for text in ["", "-", "01", "1.", ".5", "+1", "1e", "1e+", "-a"] {
            assert_eq!(end(text.as_bytes(), 0), None, "{text}");
        }
    }
}
