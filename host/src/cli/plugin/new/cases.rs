//! The first cases of a project, for `witgate plugin test`.

use super::{Hook, Project};

/// A file below the folder of templates, with its name in a case folder.
macro_rules! files {
    ($folder:literal: $($file:literal),+) => {
        &[$((
            $file,
            include_str!(concat!("../../../../templates/cases/", $folder, "/", $file)),
        )),+]
    };
}

type Files = &'static [(&'static str, &'static str)];

const RULE: Files =
    files!("rule": "request.json", "sent.json", "sent.txt", "upstream.sse", "reply.sse");
const DIALECT: Files =
    files!("dialect": "request.json", "sent.json", "sent.txt", "upstream.sse", "reply.sse");
const TRANSLATION: Files = files!("translation": "request.merge.json", "sent.merge.json");
const REQUEST: Files = files!("request": "request.merge.json");
const ATTEMPT: Files = files!("attempt": "request.merge.json", "sent.merge.json");
const FAILURE: Files = files!("failure": "upstream.http", "status.txt", "reply.json");
const RESPONSE: Files = files!("response": "headers.txt");

/// The case folders of a project: the defaults, and a case for each hook.
pub(super) fn files(project: &Project) -> Vec<(String, String)> {
    let mut all = Vec::new();
    if project.dialect.is_some() {
        add(&mut all, "_default", DIALECT);
        add(&mut all, "a-system-prompt-is-translated", TRANSLATION);
        return all;
    }
    add(&mut all, "_default", RULE);
    for hook in &project.hooks {
        let (name, files) = match hook {
            Hook::Request => ("top-k-is-removed", REQUEST),
            Hook::Attempt => ("a-large-max-tokens-is-capped", ATTEMPT),
            Hook::Failure => ("a-busy-upstream-is-overloaded", FAILURE),
            Hook::Response => ("the-model-is-named-in-a-header", RESPONSE),
        };
        add(&mut all, name, files);
    }
    all
}

fn add(all: &mut Vec<(String, String)>, case: &str, files: Files) {
    let path = |name: &str| format!("cases/{case}/{name}");
    all.extend(
        files
            .iter()
            .map(|(name, text)| (path(name), (*text).to_owned())),
    );
}
