//! Distinguishes the API's `cache_control` from the user's data of the same name.

/// Every member of that name. The document engine finds a name faster than it follows a dozen exact
/// paths.
pub(crate) const ANYWHERE: &str = "$..cache_control";

/// Keeps the pointers of breakpoints. A property of a tool's schema, or a key of a tool's input or
/// of the metadata, may have the same name; it is data and stays in the body.
pub(crate) fn only_breakpoints(mut pointers: Vec<String>) -> Vec<String> {
    pointers.retain(|pointer| is_breakpoint(pointer));
    pointers
}

/// Whether a pointer is a breakpoint: at the top level, on a block of `system`, on a tool, or on a
/// block of a message. Such a block may be at any depth in the content of others (tool results,
/// documents made of blocks).
fn is_breakpoint(pointer: &str) -> bool {
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
    fn breakpoints_are_distinguished_from_data() {
        let breakpoints = [
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
        for pointer in breakpoints {
            assert!(is_breakpoint(pointer), "{pointer}");
        }
        for pointer in data {
            assert!(!is_breakpoint(pointer), "{pointer}");
        }
    }
}
