//! The plugin's settings, for all upstreams or for one. docs/dialect-openai.md lists them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use witgate_plugin::{ByModel, Error, dialect::OverflowWordings};

/// The effective settings for one upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) max_tokens: MaxTokens,
    /// The limit for `max_tokens`; larger requests are reduced to it.
    pub(crate) max_output: Option<u64>,
    pub(crate) stream_usage: bool,
    pub(crate) mid_system: MidSystem,
    /// Whether a user message may directly follow a tool message.
    pub(crate) user_after_tool: bool,
    pub(crate) reasoning: Thoughts,
    pub(crate) think_tags: ThinkTags,
    pub(crate) files: bool,
    pub(crate) images: bool,
    pub(crate) response_format: Format,
    pub(crate) tool_choice: ToolForce,
    pub(crate) effort: bool,
    pub(crate) prompt_cache_key: bool,
    pub(crate) overflow_wordings: OverflowWordings,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            // Every server knows this name. A server that does not know the newer one ignores it
            // silently, and its responses would be unlimited. If a server rejects this name, the
            // plugin retries with the newer one.
            max_tokens: MaxTokens::MaxTokens,
            max_output: None,
            stream_usage: true,
            mid_system: MidSystem::System,
            user_after_tool: true,
            reasoning: Thoughts::Nowhere,
            think_tags: ThinkTags::Auto,
            files: false,
            images: true,
            response_format: Format::JsonSchema,
            tool_choice: ToolForce::Named,
            effort: false,
            prompt_cache_key: false,
            overflow_wordings: OverflowWordings::default(),
        }
    }
}

/// The name of the member that limits the length of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum MaxTokens {
    MaxTokens,
    MaxCompletionTokens,
}

/// The role under which a system message in the middle of a conversation is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum MidSystem {
    System,
    User,
}

/// The member in which the thinking of earlier turns is sent back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Thoughts {
    #[serde(rename = "none")]
    Nowhere,
    ReasoningContent,
    Reasoning,
}

/// Whether a text contains thinking between tags such as `<think>` and `</think>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ThinkTags {
    /// If it begins with such a tag.
    Auto,
    /// It begins inside thinking: the opening tag is a part of the prompt.
    Opened,
    /// Tags are text like any other.
    None,
}

/// How JSON of a schema is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Format {
    /// With the schema, which the server enforces.
    JsonSchema,
    /// As any JSON; the prompt states the schema.
    JsonObject,
    /// Only in the prompt.
    None,
}

/// How the client's wish for a certain tool is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ToolForce {
    /// By its name.
    Named,
    /// As `required`, with that tool alone.
    Required,
    /// As `auto`, with that tool alone: the server does not enforce it.
    Auto,
    /// Without `tool_choice`.
    None,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    all: Scope,
    upstreams: BTreeMap<String, Scope>,
}

/// The settings for all upstreams or for one, and for some of the models.
#[derive(Clone, Debug, Default)]
struct Scope {
    all: Overrides,
    models: ByModel<Overrides>,
}

/// Settings as written by the operator, for all upstreams or for one.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Overrides {
    max_tokens: Option<MaxTokens>,
    max_output: Option<u64>,
    stream_usage: Option<bool>,
    mid_system: Option<MidSystem>,
    user_after_tool: Option<bool>,
    reasoning: Option<Thoughts>,
    think_tags: Option<ThinkTags>,
    files: Option<bool>,
    images: Option<bool>,
    response_format: Option<Format>,
    tool_choice: Option<ToolForce>,
    effort: Option<bool>,
    prompt_cache_key: Option<bool>,
    overflow_wordings: Option<OverflowWordings>,
}

impl Settings {
    /// Parses the settings. The error names the wrong key and what was expected.
    pub(crate) fn read(mut settings: Map<String, Value>) -> Result<Self, Error> {
        let upstreams = settings.remove("upstreams").unwrap_or_default();
        let upstreams: Option<BTreeMap<String, Value>> = parse(upstreams, "settings.upstreams")?;
        let read = |(name, overrides): (String, Value)| {
            let scope = Scope::read(overrides, &format!("settings.upstreams.{name}"))?;
            Ok((name, scope))
        };
        Ok(Self {
            all: Scope::read(Value::Object(settings), "settings")?,
            upstreams: upstreams
                .unwrap_or_default()
                .into_iter()
                .map(read)
                .collect::<Result<_, Error>>()?,
        })
    }

    /// The settings for a model of an upstream: the upstream's own override the general ones, and
    /// those for a model override those for all models.
    pub(crate) fn of(&self, upstream: &str, model: &str) -> Options {
        let mut options = Options::default();
        let own = self.upstreams.get(upstream);
        let scopes = || [Some(&self.all), own].into_iter().flatten();
        for scope in scopes() {
            options.apply(&scope.all);
        }
        for overrides in scopes().flat_map(|scope| scope.models.of(model)) {
            options.apply(overrides);
        }
        options
    }
}

impl Scope {
    fn read(mut settings: Value, place: &str) -> Result<Self, Error> {
        let models = settings
            .as_object_mut()
            .and_then(|own| own.remove("models"));
        let models: Option<BTreeMap<String, Value>> =
            parse(models.unwrap_or_default(), &format!("{place}.models"))?;
        let read = |(pattern, overrides): (String, Value)| {
            let overrides = check(overrides, &format!("{place}.models.{pattern}"))?;
            Ok((pattern, overrides))
        };
        let models = models.unwrap_or_default().into_iter().map(read);
        let models: BTreeMap<_, _> = models.collect::<Result<_, Error>>()?;
        Ok(Self {
            all: check(settings, place)?,
            models: models.into(),
        })
    }
}

impl Options {
    fn apply(&mut self, overrides: &Overrides) {
        fn set<T: Copy>(option: &mut T, value: Option<T>) {
            *option = value.unwrap_or(*option);
        }
        set(&mut self.max_tokens, overrides.max_tokens);
        self.max_output = overrides.max_output.or(self.max_output);
        set(&mut self.stream_usage, overrides.stream_usage);
        set(&mut self.mid_system, overrides.mid_system);
        set(&mut self.user_after_tool, overrides.user_after_tool);
        set(&mut self.reasoning, overrides.reasoning);
        set(&mut self.think_tags, overrides.think_tags);
        set(&mut self.files, overrides.files);
        set(&mut self.images, overrides.images);
        set(&mut self.response_format, overrides.response_format);
        set(&mut self.tool_choice, overrides.tool_choice);
        set(&mut self.effort, overrides.effort);
        set(&mut self.prompt_cache_key, overrides.prompt_cache_key);
        if let Some(wordings) = &overrides.overflow_wordings {
            self.overflow_wordings.clone_from(wordings);
        }
    }
}

fn check(overrides: Value, place: &str) -> Result<Overrides, Error> {
    let overrides: Overrides = parse(overrides, place)?;
    if overrides.max_output == Some(0) {
        return Err(Error::new(format!(
            "{place}.max_output: got 0, expected a positive number of tokens"
        )));
    }
    Ok(overrides)
}

fn parse<T: DeserializeOwned>(value: Value, place: &str) -> Result<T, Error> {
    serde_json::from_value(value).map_err(|error| Error::from(error).context(place))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(settings: Value) -> Result<Settings, String> {
        let Value::Object(settings) = settings else {
            panic!("settings are an object");
        };
        Settings::read(settings).map_err(|error| error.to_string())
    }

    #[test]
    fn settings_of_one_upstream_override_those_of_all() {
        let settings = read(json!({
            "max_tokens": "max_completion_tokens", "files": true,
            "upstreams": { "local": { "files": false, "mid_system": "user", "max_output": 8192 } },
        }))
        .unwrap();
        let all = settings.of("openai", "m");
        assert_eq!(
            (all.max_tokens, all.files),
            (MaxTokens::MaxCompletionTokens, true)
        );
        assert_eq!((all.mid_system, all.max_output), (MidSystem::System, None));
        let local = settings.of("local", "m");
        assert_eq!(
            (local.max_tokens, local.files),
            (MaxTokens::MaxCompletionTokens, false)
        );
        assert_eq!(
            (local.mid_system, local.max_output),
            (MidSystem::User, Some(8192))
        );
        assert_eq!(read(json!({})).unwrap().of("any", "m"), Options::default());
    }

    #[test]
    fn settings_for_a_model_override_those_for_all_models_and_the_longer_pattern_wins() {
        let settings = read(json!({
            "max_output": 1, "files": true,
            "models": { "qwen3-coder*": { "max_output": 3 }, "qwen*": { "max_output": 2, "files": false } },
            "upstreams": { "local": {
                "max_output": 4, "models": { "qwen3-coder-next": { "max_output": 5 } },
            } },
        }))
        .unwrap();
        for (upstream, model, max_output, files) in [
            ("any", "m", 1, true),
            ("any", "qwen2", 2, false),
            ("any", "qwen3-coder", 3, false),
            ("local", "m", 4, true),
            ("local", "qwen2", 2, false),
            ("local", "qwen3-coder-next", 5, false),
        ] {
            let options = settings.of(upstream, model);
            let got = (options.max_output, options.files);
            assert_eq!(got, (Some(max_output), files), "{upstream} {model}");
        }
    }

    #[test]
    fn a_wrong_key_or_value_is_rejected_with_its_place_and_what_was_expected() {
        let table = [
            (
                json!({"max_token": 1}),
                "settings: unknown field `max_token`, expected one of `max_tokens`",
            ),
            (
                json!({"reasoning": "on"}),
                "settings: unknown variant `on`, expected one of `none`, `reasoning_content`, `reasoning`",
            ),
            (
                json!({"response_format": "xml"}),
                "settings: unknown variant `xml`, expected one of `json_schema`, `json_object`, `none`",
            ),
            (
                json!({"tool_choice": "any"}),
                "settings: unknown variant `any`, expected one of `named`, `required`, `auto`, `none`",
            ),
            (
                json!({"overflow_wordings": "full"}),
                "settings: invalid type: string \"full\", expected a sequence",
            ),
            (
                json!({"files": "yes"}),
                "settings: invalid type: string \"yes\", expected a boolean",
            ),
            (
                json!({"upstreams": ["a"]}),
                "settings.upstreams: invalid type: sequence, expected a map",
            ),
            (
                json!({"upstreams": {"a": {"x": 1}}}),
                "settings.upstreams.a: unknown field `x`",
            ),
            (
                json!({"upstreams": {"a": {"max_output": 0}}}),
                "settings.upstreams.a.max_output: got 0",
            ),
            (
                json!({"models": {"qwen*": {"x": 1}}}),
                "settings.models.qwen*: unknown field `x`",
            ),
            (
                json!({"upstreams": {"a": {"models": {"m": {"max_output": 0}}}}}),
                "settings.upstreams.a.models.m.max_output: got 0",
            ),
        ];
        for (settings, wanted) in table {
            let error = read(settings.clone()).unwrap_err();
            assert!(error.starts_with(wanted), "{settings}: {error}");
        }
    }
}
