//! What a body with a `thread` is told.

use witgate_plugin::{Refusal, Value, Verdict, json};

/// A thread that is null is none.
pub(crate) fn judge(thread: Option<&Value>) -> Verdict {
    match thread {
        None | Some(Value::Null) => Verdict::Proceed,
        Some(_) => {
            Refusal::invalid_request("thread: this upstream does not support message threads")
                .details(json!({ "error_code": "thread_unsupported_request" }))
                .into()
        }
    }
}
