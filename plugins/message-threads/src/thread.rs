//! The refusal of a body with a `thread`.

use witgate_plugin::{Refusal, Value, Verdict, json};

/// Refuses any thread. `null` counts as no thread.
pub(crate) fn check(thread: Option<&Value>) -> Verdict {
    match thread {
        None | Some(Value::Null) => Verdict::Proceed,
        Some(_) => {
            Refusal::invalid_request("thread: this upstream does not support message threads")
                .details(json!({ "error_code": "thread_unsupported_request" }))
                .into()
        }
    }
}
