//! Work in the background, such as compiling: each key once, several keys at once, the smallest
//! first. A large component then holds up neither a reload nor a small one.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::Hash,
    sync::Arc,
    thread,
};

use parking_lot::{Condvar, Mutex};

/// The jobs of the process, and the results that were not taken.
pub(super) struct Jobs<K, T>(Arc<Shared<K, T>>);

struct Shared<K, T> {
    state: Mutex<State<K, T>>,
    finished: Condvar,
    /// How many threads there may be.
    most: usize,
}

struct State<K, T> {
    jobs: HashMap<K, Job<T>>,
    threads: usize,
    /// Called after each job.
    on_finished: Option<Notify>,
}

pub(super) type Notify = Arc<dyn Fn() + Send + Sync>;

enum Job<T> {
    Waiting { size: usize, work: Work<T> },
    Running,
    Finished(T),
}

type Work<T> = Box<dyn FnOnce() -> T + Send>;

impl<K, T> Jobs<K, T>
where
    K: Copy + Eq + Hash + Send + 'static,
    T: Clone + Send + 'static,
{
    /// At most `most` jobs run at once.
    pub(super) fn new(most: usize) -> Self {
        Self(Arc::new(Shared {
            state: Mutex::new(State {
                jobs: HashMap::new(),
                threads: 0,
                on_finished: None,
            }),
            finished: Condvar::new(),
            most,
        }))
    }

    /// Calls this function after each job from now on, on the thread of the job.
    pub(super) fn notify(&self, on_finished: Notify) {
        self.0.state.lock().on_finished = Some(on_finished);
    }

    /// Begins a job, unless there is one with this key. Returns whether it did. `work` must not
    /// panic.
    pub(super) fn begin(
        &self,
        key: K,
        size: usize,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> bool {
        let mut state = self.0.state.lock();
        let Entry::Vacant(free) = state.jobs.entry(key) else {
            return false;
        };
        let work = Box::new(work);
        free.insert(Job::Waiting { size, work });
        if state.threads < self.0.most {
            state.threads += 1;
            drop(state);
            self.start_thread();
        }
        true
    }

    fn start_thread(&self) {
        let shared = Arc::clone(&self.0);
        let thread = thread::Builder::new().name("plugin-compiler".to_owned());
        if thread.spawn(move || shared.run()).is_err() {
            // There are no more threads, so this one does the work.
            self.0.run();
        }
    }

    /// Stores a result for which no job is needed.
    pub(super) fn put(&self, key: K, result: T) {
        let mut state = self.0.state.lock();
        state.jobs.entry(key).or_insert(Job::Finished(result));
    }

    /// The result of a job that has finished.
    pub(super) fn finished(&self, key: &K) -> Option<T> {
        match self.0.state.lock().jobs.get(key) {
            Some(Job::Finished(result)) => Some(result.clone()),
            _ => None,
        }
    }

    /// Waits until no job with one of these keys is waiting or running.
    pub(super) fn wait(&self, keys: &[K]) {
        let mut state = self.0.state.lock();
        let is_open = |state: &State<K, T>, key| {
            let job = state.jobs.get(key);
            matches!(job, Some(Job::Waiting { .. } | Job::Running))
        };
        while keys.iter().any(|key| is_open(&state, key)) {
            self.0.finished.wait(&mut state);
        }
    }

    /// Forgets results and jobs that have not begun, unless their key is wanted.
    pub(super) fn retain(&self, is_wanted: impl Fn(&K) -> bool) {
        let mut state = self.0.state.lock();
        let jobs = &mut state.jobs;
        jobs.retain(|key, job| matches!(job, Job::Running) || is_wanted(key));
    }
}

impl<K: Copy + Eq + Hash, T> Shared<K, T> {
    /// Runs jobs until none is waiting.
    fn run(&self) {
        while let Some((key, work)) = self.next() {
            let result = work();
            let mut state = self.state.lock();
            state.jobs.insert(key, Job::Finished(result));
            let on_finished = state.on_finished.clone();
            drop(state);
            self.finished.notify_all();
            if let Some(on_finished) = on_finished {
                on_finished();
            }
        }
    }

    /// Takes the smallest job that is waiting. Without one, the thread ends.
    fn next(&self) -> Option<(K, Work<T>)> {
        let mut state = self.state.lock();
        let waiting = state.jobs.iter().filter_map(|(key, job)| match job {
            Job::Waiting { size, .. } => Some((*key, *size)),
            Job::Running | Job::Finished(_) => None,
        });
        let smallest = waiting.min_by_key(|(_, size)| *size);
        let begun =
            smallest.and_then(|(key, _)| Some((key, state.jobs.insert(key, Job::Running)?)));
        match begun {
            Some((key, Job::Waiting { work, .. })) => Some((key, work)),
            _ => {
                state.threads -= 1;
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::mpsc::{Receiver, Sender, channel},
        time::Duration,
    };

    use super::*;

    /// Far longer than anything here takes.
    const LIMIT: Duration = Duration::from_secs(20);

    /// A job that says that it has begun, and waits until it may end.
    struct Held {
        begun: Receiver<()>,
        end: Sender<()>,
    }

    fn held(jobs: &Jobs<u32, u32>, key: u32, size: usize) -> Held {
        let (begins, begun) = channel();
        let (end, ends) = channel::<()>();
        jobs.begin(key, size, move || {
            begins.send(()).unwrap();
            let _ = ends.recv_timeout(LIMIT);
            key
        });
        Held { begun, end }
    }

    impl Held {
        #[track_caller]
        fn has_begun(&self) {
            self.begun.recv_timeout(LIMIT).expect("the job begins");
        }
    }

    #[test]
    fn jobs_run_at_once_and_a_result_is_there_when_its_job_has_finished() {
        let jobs = Jobs::new(2);
        let (notified, finished) = channel();
        jobs.notify(Arc::new(move || notified.send(()).unwrap()));
        let (long, short) = (held(&jobs, 1, 10), held(&jobs, 2, 10));
        long.has_begun();
        short.has_begun();
        short.end.send(()).unwrap();
        finished.recv_timeout(LIMIT).expect("a notification");
        assert_eq!((jobs.finished(&1), jobs.finished(&2)), (None, Some(2)));
        // The same key is not run again.
        jobs.begin(2, 10, || 7);
        long.end.send(()).unwrap();
        jobs.wait(&[1, 2, 3]);
        assert_eq!((jobs.finished(&1), jobs.finished(&2)), (Some(1), Some(2)));
    }

    #[test]
    fn the_smallest_job_is_next_and_one_that_is_not_wanted_is_dropped() {
        let jobs = Jobs::new(1);
        let first = held(&jobs, 1, 10);
        first.has_begun();
        let (large, small) = (held(&jobs, 2, 10), held(&jobs, 3, 5));
        jobs.begin(4, 1, || 4);
        jobs.retain(|key| [2, 3].contains(key));
        first.end.send(()).unwrap();
        small.has_begun();
        assert!(large.begun.try_recv().is_err(), "one at once");
        small.end.send(()).unwrap();
        large.has_begun();
        large.end.send(()).unwrap();
        jobs.wait(&[2, 3]);
        assert_eq!(jobs.finished(&4), None);
        jobs.retain(|_| false);
        assert_eq!(jobs.finished(&2), None);
    }
}
