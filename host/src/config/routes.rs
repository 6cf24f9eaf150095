//! Reads the routes, and finds those that are never used.

use globset::Glob;

use super::{
    Destination, Route, Upstream,
    problem::did_you_mean,
    table::{Source, Table, Text},
};

/// The keys of the table, which docs/configuration.md explains.
pub(super) const ROUTE: &[&str] = &["model", "to"];

/// The suffix by which Claude Code requests a context of a million tokens. In a glob it would be a
/// class of two characters, which no one needs.
const LONG_CONTEXT: &str = "[1m]";

/// An upstream as routes see it.
pub(super) struct Named {
    /// Empty if the upstream has no valid name.
    pub(super) name: String,
    pub(super) has_accounts: bool,
}

pub(super) fn read(source: &Source<'_>, top: &Table<'_>, upstreams: &[Named]) -> Vec<Route> {
    let mut routes: Vec<Route> = Vec::new();
    let read = top.tables("route", ROUTE, |table| {
        let route = route(source, &table, upstreams)?;
        if let Some(earlier) = routes.iter().position(|earlier| earlier.covers(&route)) {
            let what = format!(
                "this route is never used: route[{earlier}] matches the same models and comes first"
            );
            table.warning("model", what);
        }
        routes.push(route.clone());
        Some(route)
    });
    read.into_iter().flatten().collect()
}

fn route(source: &Source<'_>, table: &Table<'_>, upstreams: &[Named]) -> Option<Route> {
    let model = table.parsed("model", "a glob such as `claude-*`", |text| {
        let glob = (!text.is_empty()).then(|| Glob::new(&escaped(text)).ok())?;
        Some((text.to_owned(), glob?.compile_matcher()))
    });
    if !table.has("model") {
        table.problem("model", "missing, expected a glob such as `claude-*`");
    }
    if !table.has("to") {
        table.problem("to", "missing, expected an upstream, or `upstream/model`");
    }
    let given = table.one_or_more("to", "upstream")?;
    let to: Vec<Destination> = given
        .iter()
        .filter_map(|text| destination(source, text, upstreams))
        .collect();
    for (text, destination) in given.iter().zip(&to) {
        let first = to.first().map(|first| first.upstream);
        if Some(destination.upstream) != first && !upstreams[destination.upstream].has_accounts {
            let what = text.message(format!(
                "`{}` is never used here: it has no accounts, and a client's own credential is \
                 sent to the first upstream only",
                upstreams[destination.upstream].name
            ));
            source.warning(text.at, &text.key, what);
        }
    }
    let (pattern, model) = model?;
    Some(Route { pattern, model, to })
}

/// Escapes the suffix `[1m]`, so that a route can name it.
fn escaped(glob: &str) -> String {
    match glob.strip_suffix(LONG_CONTEXT) {
        Some(model) => format!("{model}\\[1m\\]"),
        None => glob.to_owned(),
    }
}

impl Route {
    /// Whether it matches every model that `later` matches, as far as that is easily seen.
    fn covers(&self, later: &Self) -> bool {
        // `*` matches whatever the other glob has there. Other signs could match one of its signs
        // by chance.
        let has_only_stars = !escaped(&self.pattern).contains(['?', '[', '{', '\\']);
        self.pattern == later.pattern || (has_only_stars && self.model.is_match(&later.pattern))
    }

    /// The model, if the route is for one model only.
    pub(crate) fn one_model(&self) -> Option<&str> {
        let name = self.pattern.strip_suffix(LONG_CONTEXT);
        let is_literal = !name
            .unwrap_or(&self.pattern)
            .contains(['*', '?', '[', '{', '\\']);
        is_literal.then_some(&self.pattern)
    }
}

/// The route of a model, and the model without Claude Code's suffix `[1m]` if only that matches.
pub(super) fn find<'a>(
    routes: &'a [Route],
    model: &'a str,
) -> Option<(&'a Route, Option<&'a str>)> {
    let route_of = |model: &str| routes.iter().find(|route| route.model.is_match(model));
    if let Some(route) = route_of(model) {
        return Some((route, None));
    }
    let short = model.strip_suffix(LONG_CONTEXT)?;
    Some((route_of(short)?, Some(short)))
}

/// Warns of upstreams that no request reaches. The first one with the dialect `anthropic` serves
/// passthrough routes even without a route.
pub(super) fn warn_of_unused(
    source: &Source<'_>,
    upstreams: &[(Upstream, usize)],
    routes: &[Route],
) {
    let serves = |(upstream, _): &(Upstream, usize)| &*upstream.dialect == "anthropic";
    let passthrough = upstreams.iter().position(serves);
    for (index, (upstream, at)) in upstreams.iter().enumerate() {
        let key = format!("upstream[{index}]");
        let mut destinations = routes.iter().flat_map(|route| &route.to);
        if routes.is_empty() && index > 0 && upstream.accounts.is_empty() {
            let what = "this upstream is never used: it has no accounts, and a client's own \
                        credential is sent to the first upstream only";
            source.warning(*at, key, what);
        } else if !routes.is_empty()
            && passthrough != Some(index)
            && !destinations.any(|to| to.upstream == index)
        {
            let what = format!(
                "this upstream is never used: no route leads to `{}`",
                upstream.name
            );
            source.warning(*at, key, what);
        }
    }
}

/// Splits at the first slash, because a model's name may contain one and an upstream's may not.
fn destination(source: &Source<'_>, text: &Text, upstreams: &[Named]) -> Option<Destination> {
    let (name, model) = match text.value.split_once('/') {
        Some((name, model)) => (name, Some(model.to_owned())),
        None => (text.value.as_str(), None),
    };
    if model.as_ref().is_some_and(String::is_empty) {
        let what = format!("got {}, expected a model after the slash", text.shown());
        source.problem(text.at, &text.key, what);
    }
    let mut names = upstreams.iter().map(|upstream| upstream.name.as_str());
    let upstream = names.position(|known| known == name && !name.is_empty());
    if upstream.is_none() {
        let names = upstreams.iter().map(|upstream| upstream.name.as_str());
        let near = did_you_mean(name, names.filter(|name| !name.is_empty()));
        let what = text.message(format!("no upstream is named `{name}`{near}"));
        source.problem(text.at, &text.key, what);
    }
    Some(Destination {
        upstream: upstream?,
        model,
    })
}
