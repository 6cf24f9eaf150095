//! The tokens of an image: its area divided by 750, after scaling to what a model sees. The formula
//! is from Anthropic's documentation.

use crate::base64::decode;

/// The most tokens that an image costs: larger ones are scaled down first.
pub(crate) const MOST: u64 = 1_600;

/// The longest edge that a model sees.
const LONGEST_EDGE: u64 = 1_568;

/// The tokens of an image, from the base64 text of its data. An image of unknown size costs the
/// maximum.
pub(crate) fn tokens(base64: &str) -> u64 {
    size(&decode(base64)).map_or(MOST, |(width, height)| area_tokens(width, height))
}

fn area_tokens(width: u64, height: u64) -> u64 {
    let longest = width.max(height).max(1);
    let (mut width, mut height) = (width, height);
    if longest > LONGEST_EDGE {
        width = width * LONGEST_EDGE / longest;
        height = height * LONGEST_EDGE / longest;
    }
    (width * height).div_ceil(750).clamp(1, MOST)
}

/// Width and height, from the header of a PNG, GIF, WebP or JPEG.
fn size(data: &[u8]) -> Option<(u64, u64)> {
    let size = imagesize::blob_size(data).ok()?;
    Some((size.width as u64, size.height as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_costs_its_area() {
        assert_eq!(area_tokens(200, 200), 54);
        assert_eq!(area_tokens(1000, 1000), 1_334);
        assert_eq!(area_tokens(1092, 1092), 1_590);
        assert_eq!(area_tokens(8000, 100), 40);
        assert_eq!(area_tokens(4000, 4000), MOST);
        assert_eq!(area_tokens(1, 1), 1);
    }

    #[test]
    fn the_size_is_read_from_the_header() {
        let png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\x01\x90\0\0\0\xc8";
        assert_eq!(size(png), Some((400, 200)));
        assert_eq!(size(b"GIF89a\x90\x01\xc8\x00\0\0"), Some((400, 200)));
        let jpeg = b"\xff\xd8\xff\xe0\x00\x04ab\xff\xc0\x00\x11\x08\x00\xc8\x01\x90";
        assert_eq!(size(jpeg), Some((400, 200)));
        let vp8x = b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0\x8f\x01\x00\xc7\x00\x00";
        assert_eq!(size(vp8x), Some((400, 200)));
        let vp8 = b"RIFF\0\0\0\0WEBPVP8 \0\0\0\0\0\0\0\x9d\x01\x2a\x90\x01\xc8\x00";
        assert_eq!(size(vp8), Some((400, 200)));
        // 399 and 199 in 14 bits each.
        let vp8l = b"RIFF\0\0\0\0WEBPVP8L\0\0\0\0\x2f\x8f\xc1\x31\x00";
        assert_eq!(size(vp8l), Some((400, 200)));
    }

    #[test]
    fn an_image_with_an_unreadable_header_costs_the_maximum() {
        for data in [
            &b"\x89PNG"[..],
            b"\xff\xd8\xff\xe0\x00\x00",
            b"RIFF",
            b"GIF8",
            b"",
        ] {
            assert_eq!(size(data), None, "{data:?}");
        }
        assert_eq!(tokens("%%%"), MOST);
    }
}
