//! Where a `cache_control` is a mark of the API, and where it is a word of the user's.

/// Every member of that name. The document engine finds a name faster than it walks a dozen exact paths.
pub(crate) const ANYWHERE: &str = "$..cache_control";

/// Leaves the pointers of marks. A property of a tool's schema, a key of a tool's input or of the metadata may have the
/// same name; it is data, and stays.
pub(crate) fn only_marks(mut pointers: Vec<String>) -> Vec<String> {
    pointers.retain(|pointer| is_mark(pointer));
    pointers
}

/// A mark stands at the top, on a block of `system`, on a tool, or on a block of a message, however deep that block lies
/// in the content of others (results of tools, documents made of blocks).
fn is_mark(pointer: &str) -> bool {
    let names: Vec<&str> = pointer.split('/').skip(1).collect();
    match names.as_slice() {
        ["cache_control"] => true,
        ["system" | "tools", index, "cache_control"] => is_index(index),
        [
            "messages",
            message,
            "content",
            block,
            inner @ ..,
            "cache_control",
        ] => {
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
    fn marks_are_told_from_data() {
        let marks = [
            "/cache_control",
            "/system/0/cache_control",
            "/tools/12/cache_control",
            "/messages/0/content/1/cache_control",
            "/messages/0/content/1/content/0/cache_control",
            "/messages/0/content/1/source/content/0/cache_control",
            "/messages/0/content/1/content/0/source/content/0/cache_control",
        ];
        let data = [
            "/metadata/cache_control",
            "/tools/0/input_schema/properties/cache_control",
            "/tools/0/input_schema/cache_control",
            "/tools/0/input_examples/0/cache_control",
            "/messages/0/content/0/input/cache_control",
            "/messages/0/content/0/input/content/0/cache_control",
            "/messages/0/cache_control",
            "/thinking/cache_control",
            "/system/x/cache_control",
            "/safeguards/0/classifier_context/cache_control",
        ];
        for pointer in marks {
            assert!(is_mark(pointer), "{pointer}");
        }
        for pointer in data {
            assert!(!is_mark(pointer), "{pointer}");
        }
    }
}
