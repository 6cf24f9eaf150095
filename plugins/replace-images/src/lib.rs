//! Replaces images by a text that says so, only where the target does not accept them. An image
//! would otherwise end the conversation: every later request contains it again.

mod position;

use std::collections::BTreeMap;

use witgate_plugin::{
    AttemptHook, Error, Guard, Manifest, NoSettings, Operation, Plugin, Request, Target, Verdict,
    export, json,
};

/// What the model reads. Always the same, so that the prompt cache of the upstream is not lost.
const TEXT: &str = "[An image was here. It was left out because this model cannot see images.]";

/// Every object that may be an image.
const ANYWHERE: &str = "$..[?@.type == 'image']";

/// The cache breakpoints on images. They move to the texts.
const BREAKPOINTS: &str = "$..[?@.type == 'image'].cache_control";

struct ReplaceImages;

impl Plugin for ReplaceImages {
    type Settings = NoSettings;

    fn new(_: NoSettings) -> Result<Self, Error> {
        Ok(Self)
    }

    fn describe(&self) -> Manifest {
        let guard = Guard::new()
            .kinds(["messages", "count_tokens"])
            .lacks(["images"])
            .path(ANYWHERE);
        Manifest::new("replaces images by a text where the target lacks images").attempt(guard)
    }
}

impl AttemptHook for ReplaceImages {
    fn on_attempt(&mut self, request: &mut Request, _: &Target) -> Result<Verdict, Error> {
        let images = position::only_images(request.select(ANYWHERE)?);
        if images.is_empty() {
            return Ok(Verdict::Proceed);
        }
        let breakpoints = request.read(BREAKPOINTS)?.into_iter();
        let breakpoints: BTreeMap<String, String> =
            breakpoints.map(|node| (node.pointer, node.value)).collect();
        let edits = images.into_iter().map(|image| {
            let text = json!(TEXT);
            let mut block = format!(r#"{{"type":"text","text":{text}"#);
            if let Some(breakpoint) = breakpoints.get(&format!("{image}/cache_control")) {
                block.push_str(&format!(r#","cache_control":{breakpoint}"#));
            }
            block.push('}');
            Operation::replace_json(image, block)
        });
        request.patch(edits.collect::<Vec<_>>())?;
        Ok(Verdict::Proceed)
    }
}

export!(ReplaceImages: AttemptHook);

#[cfg(test)]
mod tests;
