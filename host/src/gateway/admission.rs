//! Which connections are open, and which one makes room for the next if there are too many.
//!
//! Each connection takes one of the process's open files. If all were taken, no one could connect,
//! operators included. So connections that wait for a request make room for new ones, the longest
//! waiting first, and a few are kept for operators in case that all others are busy.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::{
    task::{AbortHandle, Id},
    time::Instant,
};
use tracing::warn;

use crate::config::Connections;

use super::connection::Requests;

/// Connections for operators beyond those for everyone.
const FOR_OPERATORS: usize = 16;

/// Files that are not connections of exchanges: the log, the plugin folder, idle connections to
/// upstreams.
const OTHER_FILES: usize = 64;

/// Too few connections would lock clients out although there are files.
const FEWEST: usize = 16;

/// How long a connection for operators may wait for a request.
const OPERATORS_WAIT: Duration = Duration::from_secs(5);

/// Who a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Everyone,
    /// All connections for everyone are busy: only `/healthz` and `/metrics` are answered.
    Operators,
}

impl Place {
    /// The limits of a connection at this place.
    pub(super) fn limits(self, limits: Connections) -> Connections {
        match self {
            Self::Everyone => limits,
            Self::Operators => Connections {
                request_head: limits.request_head.min(OPERATORS_WAIT),
                idle: limits.idle.min(OPERATORS_WAIT),
                ..limits
            },
        }
    }
}

/// The open connections.
pub(super) struct Admission {
    /// How many there may be for everyone.
    most: usize,
    open: HashMap<Id, Open>,
    /// Whether the log says that all connections are taken.
    warned: bool,
}

struct Open {
    task: AbortHandle,
    requests: Arc<Requests>,
}

impl Admission {
    /// `files` is the process's limit of open files.
    pub(super) fn new(files: u64) -> Self {
        Self {
            most: most_connections(files),
            open: HashMap::new(),
            warned: false,
        }
    }

    /// Finds a place for a new connection. `None` if even those for operators are busy.
    pub(super) fn admit(&mut self) -> Option<Place> {
        if self.open.len() < self.most {
            self.warned = false;
            return Some(Place::Everyone);
        }
        if !std::mem::replace(&mut self.warned, true) {
            let limit = self.most;
            warn!(
                limit,
                "all client connections are in use; closing those that wait longest"
            );
        }
        if let Some(longest) = self.longest_waiting()
            && let Some(open) = self.open.remove(&longest)
        {
            open.task.abort();
        }
        match self.open.len() {
            open if open < self.most => Some(Place::Everyone),
            open if open < self.most + FOR_OPERATORS => Some(Place::Operators),
            _ => None,
        }
    }

    pub(super) fn opened(&mut self, task: AbortHandle, requests: Arc<Requests>) {
        self.open.insert(task.id(), Open { task, requests });
    }

    pub(super) fn closed(&mut self, task: Id) {
        self.open.remove(&task);
    }

    fn longest_waiting(&self) -> Option<Id> {
        let waiting = |(id, open): (&Id, &Open)| Some((open.requests.waiting_since()?, *id));
        let waiting = self.open.iter().filter_map(waiting);
        let longest = waiting.min_by_key(|(since, _): &(Instant, Id)| *since);
        longest.map(|(_, id)| id)
    }
}

/// Half of the files, because an exchange has a connection to its client and one to its upstream.
fn most_connections(files: u64) -> usize {
    let files = usize::try_from(files).unwrap_or(usize::MAX);
    let left = files.saturating_sub(OTHER_FILES + FOR_OPERATORS);
    (left / 2).max(FEWEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An admission with this many places, without files to count.
    fn admission(most: usize) -> Admission {
        Admission {
            most,
            ..Admission::new(0)
        }
    }

    fn open(admission: &mut Admission) -> (Option<Place>, Arc<Requests>) {
        let requests = Arc::new(Requests::new());
        let place = admission.admit();
        if place.is_some() {
            let task = tokio::spawn(std::future::pending::<()>());
            admission.opened(task.abort_handle(), Arc::clone(&requests));
        }
        (place, requests)
    }

    #[tokio::test]
    async fn the_longest_waiting_connection_makes_room() {
        let mut admission = admission(2);
        let (_, busy) = open(&mut admission);
        let _running = busy.begin();
        let (_, waiting) = open(&mut admission);
        let (place, newest) = open(&mut admission);
        assert_eq!(place, Some(Place::Everyone));
        let left = admission.open.values();
        let left: Vec<_> = left.map(|open| Arc::as_ptr(&open.requests)).collect();
        assert_eq!(left.len(), 2);
        assert!(left.contains(&Arc::as_ptr(&busy)) && left.contains(&Arc::as_ptr(&newest)));
        assert!(!left.contains(&Arc::as_ptr(&waiting)));
    }

    #[tokio::test]
    async fn operators_get_in_when_all_others_are_busy() {
        let mut admission = admission(1);
        let (_, busy) = open(&mut admission);
        let running = busy.begin();
        let mut reserved = Vec::new();
        for _ in 0..FOR_OPERATORS {
            let (place, requests) = open(&mut admission);
            assert_eq!(place, Some(Place::Operators));
            reserved.push(requests.begin());
        }
        assert_eq!(open(&mut admission).0, None);
        // A connection for operators that waits makes room for the next.
        drop(reserved.pop());
        assert_eq!(open(&mut admission).0, Some(Place::Operators));
        drop((running, reserved));
    }

    #[test]
    fn half_of_the_files_are_for_clients() {
        assert_eq!(most_connections(1024), 472);
        assert_eq!(most_connections(64), FEWEST);
        assert_eq!(most_connections(1 << 20), 524_248);
    }
}
