//! Decodes base64 inside a JSON text.

/// Decodes base64 up to the first character that is not a base64 digit. JSON's escaped slash counts
/// as a slash.
pub(crate) fn decode(base64: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(base64.len() / 4 * 3);
    let (mut bits, mut held) = (0u32, 0u32);
    let digits = base64.bytes().filter(|byte| *byte != b'\\');
    for digit in digits.map_while(value) {
        bits = bits << 6 | digit;
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held & 0xff) as u8);
        }
    }
    bytes
}

fn value(digit: u8) -> Option<u32> {
    let value = match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    };
    Some(u32::from(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_decoded_with_padding_and_escaped_slashes() {
        assert_eq!(decode("aGVsbG8="), b"hello");
        assert_eq!(decode("\\/\\/8="), [0xff, 0xff]);
    }
}
