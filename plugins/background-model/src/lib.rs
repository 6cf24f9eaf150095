//! Sends background requests of an agent (titles, summaries of pages, searches) to a model of the
//! operator's choice.
//!
//! The plugin does nothing until `settings` name that model. It edits the model and nothing else.

mod auxiliary;

use serde::Deserialize;
use witgate_plugin::{
    Error, Guard, Manifest, Operation, Plugin, Request, RequestHook, Verdict, export, log,
};

struct BackgroundModel {
    settings: Settings,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    /// The model for auxiliary requests; without it they keep their own.
    model: Option<String>,
    /// Whether requests without the header are recognised by their shape.
    unmarked: bool,
}

impl Plugin for BackgroundModel {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self, Error> {
        if settings.model.as_ref().is_some_and(String::is_empty) {
            return Err(Error::new(
                "settings: `model`: got an empty string, expected the name of a model",
            ));
        }
        Ok(Self { settings })
    }

    fn describe(&self) -> Manifest {
        let manifest = Manifest::new("sends auxiliary requests to the model in `settings.model`");
        match (&self.settings.model, self.settings.unmarked) {
            (None, _) => manifest.request(Guard::never()),
            (Some(_), false) => manifest.request(auxiliary::marked()),
            (Some(_), true) => manifest
                .request(auxiliary::marked())
                .request(auxiliary::shaped_like_one()),
        }
    }
}

impl RequestHook for BackgroundModel {
    fn on_request(&mut self, request: &mut Request) -> Result<Verdict, Error> {
        let (Some(model), Some(requested)) =
            (&self.settings.model, request.first::<String>("$.model")?)
        else {
            return Ok(Verdict::Proceed);
        };
        if requested != *model && auxiliary::is_one(request, self.settings.unmarked)? {
            log::info(format!(
                "auxiliary request moved from `{requested}` to `{model}`"
            ));
            request.patch([Operation::replace("/model", model.as_str())])?;
        }
        Ok(Verdict::Proceed)
    }
}

export!(BackgroundModel: RequestHook);

#[cfg(test)]
mod tests;
