//! The configuration of a kit's gateway: one upstream, given plugins, no file.

use std::{
    collections::BTreeMap,
    fmt::{self, Write},
    net::SocketAddr,
    path::Path,
};

use serde_json::{Map, Value};

use super::{Setup, SetupError};
use crate::{
    config::{self, Config, PluginConfig, Problem, Traces, did_you_mean},
    ids::PluginId,
    message::ANTHROPIC,
    pipeline::{builtin_names, plugin_name},
};

/// The settings of plugins, by their names. Each is a JSON object.
pub(crate) type Settings = BTreeMap<String, Map<String, Value>>;

/// The number of the upstream's accounts, so that an exchange can move on to another one.
const ACCOUNTS: usize = 8;

/// The keys of a target as text.
const KEYS: [&str; 5] = ["preset", "dialect", "lacks", "model", "upstream"];

/// The upstream that a kit's exchanges go to. By default it is like Anthropic's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Target {
    /// As in a configuration. By default the one with the dialect's name, if there is one.
    pub(crate) preset: Option<String>,
    pub(crate) dialect: Option<String>,
    /// The features that it lacks, instead of those of the preset.
    pub(crate) lacks: Option<Vec<String>>,
    /// The model to which every request is mapped.
    pub(crate) model: Option<String>,
    /// The upstream's name.
    pub(crate) upstream: Option<String>,
}

impl Target {
    /// Reads `dialect=d,lacks=cache_control,model=m`. `lacks` may be given several times, and empty
    /// for a target that lacks nothing.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut target = Self::default();
        for pair in text.split(',').filter(|pair| !pair.trim().is_empty()) {
            let Some((key, value)) = pair.split_once('=') else {
                return Err(format!(
                    "`{pair}` is not `key=value`, expected such as `model=m,lacks=images`"
                ));
            };
            target.set(key.trim(), value.trim())?;
        }
        Ok(target)
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        let field = match key {
            "lacks" => {
                let lacks = self.lacks.get_or_insert_default();
                lacks.extend((!value.is_empty()).then(|| value.to_owned()));
                return Ok(());
            }
            "preset" => &mut self.preset,
            "dialect" => &mut self.dialect,
            "model" => &mut self.model,
            "upstream" => &mut self.upstream,
            _ => {
                let near = did_you_mean(key, KEYS);
                let keys = KEYS.join("`, `");
                return Err(format!(
                    "unknown key `{key}`, expected one of `{keys}`{near}"
                ));
            }
        };
        if field.replace(value.to_owned()).is_some() {
            return Err(format!("`{key}` is given twice"));
        }
        Ok(())
    }

    /// Whether it speaks Anthropic's dialect, as far as the text says.
    pub(crate) fn is_anthropic(&self) -> bool {
        let dialect = self.dialect.as_deref();
        dialect.or_else(|| config::dialect_of_preset(self.preset()?)) == Some(ANTHROPIC)
    }

    fn preset(&self) -> Option<&str> {
        match (&self.preset, &self.dialect) {
            (Some(preset), _) => Some(preset),
            (None, None) => Some(ANTHROPIC),
            (None, Some(dialect)) => {
                Some(dialect.as_str()).filter(|name| config::dialect_of_preset(name).is_some())
            }
        }
    }

    /// The upstream's table in a configuration, and its route.
    fn toml(&self, address: SocketAddr) -> String {
        let name = self.upstream.as_deref().unwrap_or("upstream");
        let mut text = format!(
            "[auth]\nmode = \"off\"\n[[upstream]]\nname = {}\nbase_url = \"http://{address}\"\n",
            quoted(name)
        );
        let mut line = |key: &str, value: Option<&str>| {
            if let Some(value) = value {
                // Writing to a string cannot fail.
                let _ = writeln!(text, "{key} = {}", quoted(value));
            }
        };
        line("preset", self.preset());
        line("dialect", self.dialect.as_deref());
        if let Some(lacks) = &self.lacks {
            let words: Vec<String> = lacks.iter().map(|word| quoted(word)).collect();
            let _ = writeln!(text, "lacks = [{}]", words.join(", "));
        }
        let account = |n: usize| format!("{{ name = \"account-{n}\", key = \"key-{n}\" }}");
        let accounts: Vec<String> = (1..=ACCOUNTS).map(account).collect();
        let _ = writeln!(text, "accounts = [{}]", accounts.join(", "));
        if let Some(model) = &self.model {
            let to = quoted(&format!("{name}/{model}"));
            let _ = writeln!(text, "[[route]]\nmodel = \"*\"\nto = {to}");
        }
        text
    }
}

impl fmt::Display for Target {
    /// Writes the text that [`Self::parse`] reads.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut pairs = Vec::new();
        let mut add = |key: &str, value: Option<&str>| {
            pairs.extend(value.map(|value| format!("{key}={value}")));
        };
        add("preset", self.preset.as_deref());
        add("dialect", self.dialect.as_deref());
        for word in self.lacks.iter().flatten() {
            add("lacks", Some(word));
        }
        let lacks_nothing = self.lacks.as_ref().is_some_and(Vec::is_empty);
        add("lacks", lacks_nothing.then_some(""));
        add("model", self.model.as_deref());
        add("upstream", self.upstream.as_deref());
        f.write_str(&pairs.join(","))
    }
}

/// A string as TOML: a basic string escapes what a JSON string escapes.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

impl Setup {
    /// The configuration of a gateway with an upstream at this address and this plugin folder.
    pub(super) fn config(&self, address: SocketAddr, folder: &Path) -> Result<Config, SetupError> {
        let text = self.target.toml(address);
        let read = Config::of_text(&folder.join("target"), &text);
        let (mut config, _) = read.map_err(|problems| {
            let each: Vec<String> = problems.0.iter().map(what_is_wrong).collect();
            SetupError::Target(each.join("; "))
        })?;
        config.plugins.dir = folder.to_owned();
        if !self.cached {
            config.plugins.cache = None;
        }
        // Whatever happens in an exchange is reported.
        config.plugins.traces = Traces {
            count: 1,
            bytes: usize::MAX,
            events: true,
        };
        let dialect = config.upstreams.first().map(|upstream| &upstream.dialect);
        let translator = dialect.map(|dialect| format!("dialect-{dialect}"));
        for name in builtin_names() {
            let plugin = PluginConfig {
                enabled: self.with_builtins
                    || self.replaces(&name)
                    || translator.as_deref() == Some(name.as_str()),
                ..PluginConfig::default()
            };
            config.plugin.insert(name, plugin);
        }
        for (name, settings) in &self.settings {
            let name = name
                .parse()
                .map_err(|error| SetupError::Target(format!("{error}")))?;
            config.plugin.entry(name).or_default().settings = settings.clone();
        }
        Ok(config)
    }

    /// Whether one of the files replaces the built-in plugin of this name.
    fn replaces(&self, name: &PluginId) -> bool {
        self.plugins
            .iter()
            .any(|file| plugin_name(file).as_ref() == Ok(name))
    }
}

/// A problem of the target without the place in a file that the user has not written.
fn what_is_wrong(problem: &Problem) -> String {
    let key = problem.key.rsplit('.').next().unwrap_or_default();
    format!("{key}: {}", problem.what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_read_from_text() {
        let target = Target::parse("dialect=x, lacks=a,lacks=b,model=m/n,upstream=up").unwrap();
        assert_eq!(target.dialect.as_deref(), Some("x"));
        assert_eq!(target.lacks.as_deref(), Some(&["a".into(), "b".into()][..]));
        assert_eq!(target.model.as_deref(), Some("m/n"));
        assert_eq!(Target::parse("").unwrap(), Target::default());
        let nothing = Target::parse("lacks=").unwrap();
        assert_eq!(nothing.lacks, Some(Vec::new()));
        for target in [target, nothing, Target::default()] {
            assert_eq!(Target::parse(&target.to_string()).unwrap(), target);
        }
    }

    #[test]
    fn what_is_wrong_with_a_target_is_named() {
        let table = [
            ("dialekt=x", "did you mean `dialect`?"),
            ("dialect", "`dialect` is not `key=value`"),
            ("model=a,model=b", "`model` is given twice"),
        ];
        for (text, wanted) in table {
            let why = Target::parse(text).unwrap_err();
            assert!(why.contains(wanted), "{text}: {why}");
        }
    }

    #[test]
    fn the_configuration_has_the_target_and_only_the_plugins_that_are_wanted() {
        let address = "127.0.0.1:9".parse().unwrap();
        let setup = |target: &str| Setup {
            target: Target::parse(target).unwrap(),
            ..Setup::default()
        };
        let config = setup("").config(address, Path::new("/x")).unwrap();
        assert_eq!(&*config.upstreams[0].dialect, "anthropic");
        assert!(config.plugin.values().all(|plugin| !plugin.enabled));
        let toy = setup("dialect=toy,lacks=a\"b,model=m");
        let config = toy.config(address, Path::new("/x")).unwrap();
        assert_eq!(&*config.upstreams[0].dialect, "toy");
        assert!(config.upstreams[0].lacks.contains("a\"b"));
        let (route, _) = config.route("anything").unwrap();
        assert_eq!(route.to[0].model.as_deref(), Some("m"));
        let why = setup("preset=anthrpic").config(address, Path::new("/x"));
        let why = why.unwrap_err().to_string();
        assert!(
            why.starts_with("preset: ") && why.contains("`anthropic`"),
            "{why}"
        );
    }
}
