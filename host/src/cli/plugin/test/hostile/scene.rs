//! What a check works with: requests to begin from, an answer, and the gateway.

use std::collections::BTreeSet;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value};

use super::{
    super::{
        Outcome,
        case::Case,
        stage::{self, Stage, Stages},
    },
    request,
    response::{self, Pieces},
};
use crate::{
    cli::Failure,
    kit::{Answer, Exchange, Target},
};

/// Requests of cases that checks begin from, besides the one that has everything.
const OF_CASES: usize = 3;

/// About how often an answer is cut, besides after every event.
const CUTS: usize = 300;

const SESSION: HeaderName = HeaderName::from_static("x-claude-code-session-id");

/// What the cases of a plugin say about it. Without cases it is the default.
#[derive(Default)]
pub(in super::super) struct Profile {
    target: String,
    settings: Map<String, Value>,
    requests: Vec<Value>,
    answer: Option<Answer>,
}

impl Profile {
    /// Reads the defaults of the cases, and the first of their requests.
    pub(in super::super) fn of(defaults: &Case, cases: &[Case]) -> Result<Self, String> {
        let settings = match defaults.json("settings.json")? {
            Some(Value::Object(settings)) => settings,
            _ => Map::new(),
        };
        let mut requests: Vec<Value> = Vec::new();
        for case in cases {
            let own = case.own("kind.txt").is_none() && case.own("settings.json").is_none();
            if let Some(request) = case.json("request.json")?.filter(|_| own)
                && requests.len() < OF_CASES
                && !requests.contains(&request)
            {
                requests.push(request);
            }
        }
        let answer = defaults.answers()?.into_iter().next();
        Ok(Self {
            target: defaults
                .text("target.txt")?
                .unwrap_or_default()
                .trim()
                .to_owned(),
            settings,
            requests,
            answer: answer.map(stage::answer).transpose()?,
        })
    }
}

/// What a check works with.
pub(super) struct Scene<'a, 'b> {
    stages: &'a mut Stages<'b>,
    target: Target,
    settings: Map<String, Value>,
    /// Requests for streams.
    bases: Vec<Value>,
    answer: Option<Answer>,
    /// Whether the upstream speaks the Messages API.
    is_plain: bool,
    exchanges: usize,
}

impl<'a, 'b> Scene<'a, 'b> {
    pub(super) fn new(stages: &'a mut Stages<'b>, profile: Profile) -> Result<Self, Failure> {
        let mut target = stages
            .target(&profile.target)
            .map_err(stage::wrong_target)?;
        let words = stages
            .start(target.clone(), profile.settings.clone())?
            .guards();
        // So that the guards hold.
        if target.lacks.is_none() && !words.lacks.is_empty() {
            target.lacks = Some(words.lacks.into_iter().collect());
        }
        let others = words
            .dialects
            .into_iter()
            .find(|dialect| dialect != "anthropic");
        if target.dialect.is_none() && target.preset.is_none() {
            target.dialect = others;
        }
        let is_plain = target.is_anthropic();
        let mut bases = vec![request::rich(), request::short()];
        bases.extend(profile.requests);
        for base in &mut bases {
            base["stream"] = true.into();
        }
        let plain = || Answer::of(response::stream(&response::message(), Pieces::Words));
        let answer = profile.answer.or_else(|| is_plain.then(plain));
        Ok(Self {
            stages,
            target,
            settings: profile.settings,
            bases,
            answer,
            is_plain,
            exchanges: 0,
        })
    }

    pub(super) fn exchanges(&self) -> usize {
        self.exchanges
    }

    /// The requests that checks begin from.
    pub(super) fn bases(&self) -> Vec<Value> {
        self.bases.clone()
    }

    /// Whether the upstream gets what the client sends but for the plugin's edits.
    pub(super) fn is_plain(&self) -> bool {
        self.is_plain
    }

    /// A good answer of the upstream, if there is one.
    pub(super) fn answer(&self) -> Option<Answer> {
        self.answer.clone()
    }

    /// An exchange with a good answer.
    pub(super) fn exchange(&self, body: impl Into<Bytes>) -> Exchange {
        Exchange {
            answers: self.answer.iter().cloned().collect(),
            ..Exchange::of(body)
        }
    }

    /// Runs an exchange in a gateway that remembers nothing.
    pub(super) fn run(&mut self, exchange: &Exchange) -> Result<Outcome, Failure> {
        self.fresh()?;
        self.run_next(exchange)
    }

    /// Runs an exchange after the ones before.
    pub(super) fn run_next(&mut self, exchange: &Exchange) -> Result<Outcome, Failure> {
        self.exchanges += 1;
        self.stage()?.run(exchange)
    }

    /// Runs an exchange of which the client reads only the beginning.
    pub(super) fn leave(&mut self, exchange: &Exchange, after: usize) -> Result<(), Failure> {
        self.exchanges += 1;
        self.stage()?.leave(exchange, after)
    }

    /// Runs an exchange with this body.
    pub(super) fn ask(&mut self, body: &str) -> Result<Outcome, Failure> {
        let exchange = self.exchange(body.to_owned());
        self.run(&exchange)
    }

    /// Runs an exchange with a target that lacks everything that any plugin edits.
    pub(super) fn ask_among_others(&mut self, body: &str) -> Result<Outcome, Failure> {
        let all = self.stage()?.all_lacks();
        let own: BTreeSet<String> = self.target.lacks.iter().flatten().cloned().collect();
        let target = Target {
            lacks: Some(all.union(&own).cloned().collect()),
            ..self.target.clone()
        };
        let exchange = self.exchange(body.to_owned());
        self.exchanges += 1;
        self.stages
            .start(target, self.settings.clone())?
            .run(&exchange)
    }

    /// Cuts the answer of an exchange at every place. Returns why the client's response is wrong.
    pub(super) fn cut(
        &mut self,
        exchange: &Exchange,
        whole: &Outcome,
    ) -> Result<Option<String>, Failure> {
        let cut = self.stage()?.cut(exchange, whole, CUTS)?;
        Ok(match cut {
            Ok(places) => {
                self.exchanges += places;
                None
            }
            Err(flaw) => Some(flaw),
        })
    }

    /// Makes the gateway forget everything, as a restart does.
    pub(super) fn fresh(&mut self) -> Result<(), Failure> {
        self.stage()?.forget();
        Ok(())
    }

    fn stage(&mut self) -> Result<&mut Stage, Failure> {
        self.stages.get(&self.target, &self.settings)
    }
}

/// The exchange with a header.
pub(super) fn with_header(
    mut exchange: Exchange,
    name: &'static str,
    value: &'static str,
) -> Exchange {
    let name = HeaderName::from_static(name);
    exchange
        .headers
        .append(name, HeaderValue::from_static(value));
    exchange
}

/// The exchange as a part of a session.
pub(super) fn in_session(exchange: Exchange) -> Exchange {
    let mut headers = HeaderMap::clone(&exchange.headers);
    headers.insert(SESSION, HeaderValue::from_static("hostile-session"));
    Exchange {
        headers,
        ..exchange
    }
}
