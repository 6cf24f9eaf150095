//! Reads which routes are open although no plugin sees what is sent there.

use witgate_contract::path;

use super::{
    OpenRoute, Passthrough,
    table::{Source, Table},
};

/// The keys of the table, which docs/configuration.md explains.
pub(super) const PASSTHROUGH: &[&str] = &["routes"];

const ALL: &str = "*";

pub(super) fn read(source: &Source<'_>, top: &Table<'_>) -> Passthrough {
    let read = top.table("passthrough", PASSTHROUGH, |table| Passthrough {
        routes: routes(source, &table),
    });
    read.unwrap_or_default()
}

fn routes(source: &Source<'_>, table: &Table<'_>) -> Option<Vec<OpenRoute>> {
    let texts = table.texts("routes")?;
    let open = texts.into_iter().filter_map(|text| {
        let route = open_route(&text.value);
        if route.is_none() {
            let expected = "a path below `/v1/` such as `/v1/files`, or `*`";
            let what = format!("got {}, expected {expected}", text.shown());
            source.problem(text.at, &text.key, what);
        }
        route
    });
    Some(open.collect())
}

fn open_route(text: &str) -> Option<OpenRoute> {
    if text == ALL {
        return Some(OpenRoute::All);
    }
    let below = text.strip_prefix("/v1/")?;
    let is_path = !below.is_empty() && !below.ends_with('/') && path::check(text).is_ok();
    is_path.then(|| OpenRoute::Below(text.to_owned()))
}

impl Passthrough {
    /// Whether `routes` names this path, or one that it is below of. `None` if there is no list.
    pub(crate) fn names(&self, path: &str) -> Option<bool> {
        let names = |route: &OpenRoute| match route {
            OpenRoute::All => true,
            OpenRoute::Below(route) => path
                .strip_prefix(route.as_str())
                .is_some_and(|below| below.is_empty() || below.starts_with('/')),
        };
        Some(self.routes.as_ref()?.iter().any(names))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_is_open_with_everything_below_it_and_nothing_else() {
        let open = |routes: &[&str]| {
            let routes = routes.iter().map(|route| open_route(route).unwrap());
            Passthrough {
                routes: Some(routes.collect()),
            }
        };
        let files = open(&["/v1/messages/batches", "/v1/files"]);
        for (path, expected) in [
            ("/v1/files", true),
            ("/v1/files/file_1/content", true),
            ("/v1/messages/batches/b_1/cancel", true),
            ("/v1/files2", false),
            ("/v1/Files", false),
            ("/v1/complete", false),
        ] {
            assert_eq!(files.names(path), Some(expected), "{path}");
        }
        assert_eq!(open(&["*"]).names("/v1/complete"), Some(true));
        assert_eq!(open(&[]).names("/v1/files"), Some(false));
        assert_eq!(Passthrough::default().names("/v1/files"), None);
    }

    #[test]
    fn what_is_not_a_path_below_v1_is_not_a_route() {
        for text in [
            "",
            "files",
            "/v1",
            "/v1/",
            "/v1/files/",
            "/v2/x",
            "/v1/a/../b",
            "**",
        ] {
            assert_eq!(open_route(text), None, "{text}");
        }
    }
}
