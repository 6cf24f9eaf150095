//! Distinguishes the API's image blocks from the user's data of the same form.

/// Keeps the pointers of image blocks. An object in the input of a tool, in a schema or in the
/// metadata may have the same form; it is data and stays.
pub(crate) fn only_images(mut pointers: Vec<String>) -> Vec<String> {
    pointers.retain(|pointer| is_block(pointer));
    pointers
}

/// Whether a pointer is a block of a message, at any depth in the content of other blocks: tool
/// results, and documents made of blocks.
fn is_block(pointer: &str) -> bool {
    let names: Vec<&str> = pointer.split('/').skip(1).collect();
    match names.as_slice() {
        ["messages", message, "content", inner @ .., block] => {
            is_index(message)
                && is_index(block)
                && inner
                    .iter()
                    .all(|name| is_index(name) || ["content", "source"].contains(name))
        }
        _ => false,
    }
}

fn is_index(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn image_blocks_are_distinguished_from_data() {
        for pointer in [
            "/messages/0/content/0",
            "/messages/12/content/3/content/1",
            "/messages/0/content/1/source/content/0",
            "/messages/0/content/1/content/0/source/content/2",
        ] {
            assert!(is_block(pointer), "{pointer}");
        }
        for pointer in [
            "",
            "/metadata",
            "/tools/0/input_schema/properties/a",
            "/messages/0/content/0/input",
            "/messages/0/content/0/input/content/0",
            "/messages/0/content/0/source",
            "/messages/0",
        ] {
            assert!(!is_block(pointer), "{pointer}");
        }
    }
}
