//! Sends the requests that an agent makes for itself (titles, summaries of pages, searches) to a model of the operator's
//! choice. Off until `settings` name that model, and then an edit of the model and of nothing else.

mod auxiliary;

use serde::Deserialize;
use witgate_plugin::{
    Error, Guard, Manifest, Operation, Plugin, Request, RequestHook, Verdict, export, log, settings,
};

#[derive(Default)]
struct BackgroundModel;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// What auxiliary requests are sent to; without it they stay where they are.
    model: Option<String>,
    /// Whether requests without the header that says so may be recognised by their shape.
    #[serde(default)]
    unmarked: bool,
}

impl Plugin for BackgroundModel {
    fn describe() -> Result<Manifest, Error> {
        let Settings { model, unmarked } = settings()?;
        if model.as_ref().is_some_and(String::is_empty) {
            return Err(Error::new(
                "settings: `model` is empty, a model's name was wanted",
            ));
        }
        let manifest = Manifest::new("sends auxiliary requests to the model in `settings.model`");
        Ok(match (model, unmarked) {
            (None, _) => manifest.request(Guard::never()),
            (Some(_), false) => manifest.request(auxiliary::marked()),
            (Some(_), true) => manifest
                .request(auxiliary::marked())
                .request(auxiliary::shaped_like_one()),
        })
    }
}

impl RequestHook for BackgroundModel {
    fn on_request(&mut self, request: &mut Request) -> Result<Verdict, Error> {
        let Settings { model, unmarked } = settings()?;
        let (Some(model), Some(asked)) = (model, request.first::<String>("$.model")?) else {
            return Ok(Verdict::proceed());
        };
        if asked != model && auxiliary::is_one(request, unmarked)? {
            log::info(format!(
                "auxiliary request moved from `{asked}` to `{model}`"
            ));
            request.patch([Operation::replace("/model", model)])?;
        }
        Ok(Verdict::proceed())
    }
}

export!(BackgroundModel: RequestHook);

#[cfg(test)]
mod tests;
