//! Work on large bodies, which cannot be interrupted. It leaves its worker thread to other tasks.

use tokio::{
    runtime::{Handle, RuntimeFlavor::MultiThread},
    task::block_in_place,
};
use witgate_document::Document;

/// The size in bytes from which work on a body is handed over. A smaller one takes a few
/// milliseconds at most, unless it has very many values.
pub(crate) const LARGE: usize = 1 << 20;

/// The number of values from which work on a body is handed over. A query or an edit takes up to a
/// microsecond for each. Handing a worker over costs about as much as a query of 200 KB, so usual
/// bodies are not.
const MANY_VALUES: usize = 1 << 15;

/// The number of edits from which a patch is handed over. One takes a few microseconds.
pub(crate) const MANY_EDITS: usize = 1 << 10;

/// Whether one query or edit of a body may take more than a few milliseconds.
pub(crate) fn is_large(body: &Document) -> bool {
    body.len() >= LARGE || body.values().is_none_or(|values| values >= MANY_VALUES)
}

/// Runs work on a body. If it `may_take_long`, another thread takes over the worker's tasks in the
/// meantime.
pub(crate) fn off_worker<T>(may_take_long: bool, work: impl FnOnce() -> T) -> T {
    // A runtime of one thread cannot hand its tasks over. Plugins are loaded on one.
    let can_hand_over = || Handle::try_current().is_ok_and(|on| on.runtime_flavor() == MultiThread);
    match may_take_long && can_hand_over() {
        true => block_in_place(work),
        false => work(),
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, time::Duration};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);

    #[test]
    fn a_body_is_large_by_its_size_or_by_its_values() {
        let array = |value: &str, count| format!("[{}0]", format!("{value},").repeat(count));
        let text = |size| format!("[\"{}\"]", "x".repeat(size));
        for (body, large) in [
            (text(LARGE), true),
            (text(LARGE - 100), false),
            (array("0", MANY_VALUES), true),
            (array("{}", MANY_VALUES / 2), true),
            (array("0", MANY_VALUES - 100), false),
            // Texts whose values cannot be counted.
            (format!("{}\\", array("0", 10)), true),
            ("[".repeat(5_000), true),
        ] {
            let size = body.len();
            assert_eq!(is_large(&Document::new(body)), large, "{size} bytes");
        }
    }

    #[test]
    fn values_that_an_edit_adds_count() {
        let mut body = Document::new("{\"a\":[],\"b\":1}");
        let value = format!("[{}0]", "0,".repeat(MANY_VALUES)).into();
        let edit = witgate_document::Operation::Replace {
            at: "/a".to_owned(),
            value,
        };
        assert!(!is_large(&body));
        body.patch(&[edit]).unwrap();
        assert!(is_large(&body));
    }

    #[test]
    fn others_go_on_while_work_on_a_large_body_takes_the_only_worker() {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).build().unwrap();
        let (send, receive) = mpsc::channel();
        let (begun, begins) = mpsc::channel();
        let work = runtime.spawn(async move {
            off_worker(true, || {
                begun.send(()).unwrap();
                receive.recv_timeout(LIMIT)
            })
        });
        begins.recv_timeout(LIMIT).unwrap();
        runtime.spawn(async move { send.send(()).unwrap() });
        assert_eq!(runtime.block_on(work).unwrap(), Ok(()));
    }

    #[test]
    fn work_runs_on_a_runtime_of_one_thread_and_on_none() {
        assert_eq!(off_worker(true, || 1), 1);
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.build().unwrap();
        assert_eq!(runtime.block_on(async { off_worker(true, || 2) }), 2);
    }
}
