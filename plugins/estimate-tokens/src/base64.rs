//! Decodes base64 inside a JSON text.

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

/// With or without padding, like the API.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Decodes base64, in which a slash may be escaped as JSON allows. Empty if it is not base64.
pub(crate) fn decode(base64: &str) -> Vec<u8> {
    let decoded = if base64.contains('\\') {
        BASE64.decode(base64.replace("\\/", "/"))
    } else {
        BASE64.decode(base64)
    };
    decoded.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_decoded_with_padding_and_escaped_slashes() {
        assert_eq!(decode("aGVsbG8="), b"hello");
        assert_eq!(decode("aGVsbG8"), b"hello");
        assert_eq!(decode("\\/\\/8="), [0xff, 0xff]);
        assert_eq!(decode("aGVs%"), b"");
    }
}
