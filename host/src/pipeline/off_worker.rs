//! Queries and edits of large bodies, which run outside the guest and so are not interrupted by its
//! deadline. They leave their worker thread to other tasks.

use tokio::{
    runtime::{Handle, RuntimeFlavor::MultiThread},
    task::block_in_place,
};

/// The size of a body from which one query or edit may take tens of milliseconds: 30,000 removals
/// in 2 MB took a fifth of a second on a busy machine. Handing a worker over costs about as much as
/// a query of 200 KB, so smaller bodies do not.
const LARGE: usize = 1 << 20;

/// Runs work on a body of this size. If it is large, another thread takes over the worker's tasks
/// in the meantime.
pub(super) fn off_worker<T>(body: usize, work: impl FnOnce() -> T) -> T {
    // A runtime of one thread cannot hand its tasks over. Plugins are loaded on one.
    let can_hand_over = || Handle::try_current().is_ok_and(|on| on.runtime_flavor() == MultiThread);
    match body >= LARGE && can_hand_over() {
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
    fn others_go_on_while_work_on_a_large_body_takes_the_only_worker() {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).build().unwrap();
        let (send, receive) = mpsc::channel();
        let (begun, begins) = mpsc::channel();
        let work = runtime.spawn(async move {
            off_worker(LARGE, || {
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
        assert_eq!(off_worker(LARGE, || 1), 1);
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.build().unwrap();
        assert_eq!(runtime.block_on(async { off_worker(LARGE, || 2) }), 2);
    }
}
