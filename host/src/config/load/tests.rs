//! Configuration files and the problems reported for them.

use std::{collections::BTreeSet, path::PathBuf};

use super::*;
use crate::config::{
    Access, AuthStyle, Command, Destination, OAuth2, OnError, OpenRoute, accounts, plugin_settings,
    routes, upstreams,
};

/// The environment variables of these tests.
const VARIABLES: &[(&str, &str)] = &[
    ("KEY", "sk-from-env"),
    ("PADDED", " sk-padded\n"),
    ("EMPTY", ""),
    ("WORDS", "two words"),
    ("HOME", "/users/ada"),
];

fn variable(name: &str) -> Option<String> {
    VARIABLES
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, value)| (*value).to_owned())
}

#[track_caller]
fn good(text: &str) -> Config {
    match parse(Path::new("witgate.toml"), text, &variable) {
        Ok((config, _)) => config,
        Err(problems) => panic!("{problems}"),
    }
}

#[track_caller]
fn warned(text: &str) -> String {
    let (_, warnings) = parse(Path::new("witgate.toml"), text, &variable).unwrap();
    warnings
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("\n")
}

#[track_caller]
fn problems(text: &str) -> String {
    match parse(Path::new("witgate.toml"), text, &variable) {
        Ok(_) => panic!("accepted:\n{text}"),
        Err(problems) => problems.to_string(),
    }
}

/// A folder that is gone when the test ends.
struct Folder(PathBuf);

impl Folder {
    fn new(files: &[(&str, &str)]) -> Self {
        let path = env::temp_dir().join(format!("witgate-config-{}", uuid::Uuid::new_v4()));
        fs::create_dir(&path).unwrap();
        for (name, text) in files {
            fs::write(path.join(name), text).unwrap();
        }
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A test that failed for another reason should report that one.
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn an_empty_file_is_the_defaults() {
    let config = good("");
    assert_eq!(config.listen.to_string(), "127.0.0.1:8045");
    assert_eq!(config.log, "info");
    assert_eq!(config.body_limit, 32 << 20);
    assert_eq!(config.max_body_memory, 1 << 30);
    assert!(
        config
            .hosts
            .iter()
            .any(|host| host == "host.docker.internal")
    );
    assert_eq!(config.auth.mode, AuthMode::Auto);
    assert!(config.expose_accounts && config.upstreams.is_empty() && config.routes.is_empty());
    assert_eq!(config.plugins.dir, Path::new("plugins"));
    assert_eq!(
        config.plugins.cache.as_deref(),
        Some(Path::new("/users/ada/.cache/witgate"))
    );
}

#[test]
fn every_key_means_what_it_says() {
    let config = good(
        r#"
        listen = "[::1]:9000"
        log = "warn,witgate=debug"
        body_limit = "1.5KiB"
        drain = "1m 5s"
        max_body_memory = "64KiB"
        hosts = ["Box.", "*.corp.example"]
        cors_origins = ["https://App.example.com/"]
        expose_accounts = false
        [auth]
        mode = "strict"
        keys = ["sk-a", "env:KEY"]
        [[upstream]]
        name = "a"
        preset = "anthropic"
        base_url = "http://127.0.0.1:1/base/"
        lacks = ["count_tokens", "of-my-own"]
        models = ["m1", "m2"]
        force_stream = true
        proxy = "http://user:pw@proxy:3128"
        auth = "bearer"
        accounts = [{ name = "ada@example.com", key = "env:PADDED" }, { name = "bob", key = "sk-b" }]
        [[route]]
        model = "claude-*"
        to = "a/vendor/model"
        [passthrough]
        routes = ["/v1/files", "*"]
        [plugins]
        dir = "rules"
        poll = "2s"
        cache = "warm"
        instances = 8000
        keep_versions = "4h"
        traces = 50
        [plugin.merge-roles]
        enabled = false
        on_error = "skip"
        deadline = "500ms"
        memory = "64MiB"
        settings = { words = ["x", 1, 1.5, true], key = "env:KEY", when = 2026-01-01 }
        [plugin.redact]
        required = true
        "#,
    );
    assert_eq!(config.listen.to_string(), "[::1]:9000");
    assert_eq!(config.body_limit, 1536);
    assert_eq!(config.drain, Duration::from_secs(65));
    assert_eq!(config.max_body_memory, 64 << 10);
    assert_eq!(config.hosts, ["box", "*.corp.example"]);
    assert_eq!(config.cors_origins, ["https://app.example.com"]);
    assert!(!config.expose_accounts);
    assert!(config.auth.keys[1].matches(b"sk-from-env"));
    let upstream = &config.upstreams[0];
    assert_eq!(upstream.base_url.url, "http://127.0.0.1:1/base");
    assert_eq!(upstream.auth, AuthStyle::Bearer);
    assert!(upstream.force_stream && upstream.proxy.is_some() && upstream.models.len() == 2);
    assert_eq!(upstream.accounts[0].name.as_str(), "ada@example.com");
    assert!(upstream.accounts[0].access == Access::Key(Secret::new("sk-padded")));
    let model = Some("vendor/model".to_owned());
    assert_eq!(config.routes[0].to, [Destination { upstream: 0, model }]);
    assert!(config.route("claude-opus").is_some());
    let open = [OpenRoute::Below("/v1/files".to_owned()), OpenRoute::All];
    assert_eq!(config.passthrough.routes.as_deref(), Some(&open[..]));
    assert_eq!(config.plugins.dir, Path::new("rules"));
    assert_eq!(config.plugins.poll, Some(Duration::from_secs(2)));
    assert_eq!(config.plugins.cache.as_deref(), Some(Path::new("warm")));
    assert_eq!(config.plugins.instances, 8000);
    assert_eq!(config.plugins.keep_versions, Duration::from_secs(4 * 3600));
    assert_eq!(config.plugins.traces.count, 50);
    let plugin = &config.plugin[&"merge-roles".parse().unwrap()];
    assert!(!plugin.enabled && !plugin.required);
    assert!(config.plugin[&"redact".parse().unwrap()].required);
    assert_eq!(plugin.on_error, Some(OnError::Skip));
    assert_eq!(plugin.deadline, Some(Duration::from_millis(500)));
    assert_eq!(plugin.memory, Some(64 << 20));
    assert_eq!(
        serde_json::Value::from(plugin.settings.clone()),
        serde_json::json!({
            "words": ["x", 1, 1.5, true], "key": "sk-from-env", "when": "2026-01-01"
        })
    );
}

/// One line of a file and the problem reported for it.
#[rustfmt::skip]
const LINES: &[(&str, &str)] = &[
    ("listen = \"127.0.0.1\"", "listen: got \"127.0.0.1\", expected an address with a port such as `127.0.0.1:8045`"),
    ("listen = 8045", "listen: got an integer, expected an address with a port such as `127.0.0.1:8045`"),
    ("log = \"=,=\"", "log: got \"=,=\", expected a filter such as `info` or `warn,witgate=debug`: `=` has no module or no level"),
    ("log = \"warning\"", "log: got \"warning\", expected a filter such as `info` or `warn,witgate=debug`: `warning` is not a level, expected `off`, `error`, `warn`, `info`, `debug` or `trace`, did you mean `warn`?"),
    ("body_limit = \"lots\"", "body_limit: got \"lots\", expected a size such as `32MiB`"),
    ("body_limit = \"0\"", "body_limit: got \"0\", expected a size such as `32MiB`"),
    ("drain = \"15\"", "drain: got \"15\", expected a duration such as `15s`"),
    ("cors_origins = [\"app.example.com\"]", "cors_origins[0]: got \"app.example.com\", expected an origin such as `https://app.example.com`"),
    ("cors_origins = [\"https://*\"]", "cors_origins[0]: got \"https://*\", expected an origin such as `https://app.example.com`"),
    ("hosts = [\"a:80\"]", "hosts[0]: got \"a:80\", expected a host name without a port, such as `host.docker.internal`"),
    ("max_body_memory = \"31MiB\"", "max_body_memory: got \"31MiB\", expected a size of at least `body_limit`"),
    ("cors_origins = \"https://a\"", "cors_origins: got a string, expected a list of strings"),
    ("expose_accounts = \"no\"", "expose_accounts: got a string, expected `true` or `false`"),
    ("expose-accounts = false", "expose-accounts: unknown key, did you mean `expose_accounts`?"),
    ("colour = 1", "colour: unknown key"),
    ("auth = \"strict\"", "auth: got a string, expected a table"),
    ("auth.mode = \"on\"", "auth.mode: got \"on\", expected `off`, `strict`, `all-except-health` or `auto`"),
    ("auth.keys = [\"\"]", "auth.keys[0]: got an empty key, expected a key"),
    ("auth.keys = [\"two words\"]", "auth.keys[0]: got a key with spaces or other characters that are not allowed in a header"),
    ("auth.keys = [1]", "auth.keys[0]: got an integer, expected a string"),
    ("auth.keys = [\"env:UNSET\"]", "auth.keys[0]: the environment variable `UNSET` is not set"),
    ("auth.keys = [\"env:EMPTY\"]", "auth.keys[0]: the environment variable `EMPTY` is empty"),
    ("auth.keys = [\"file:none.key\"]", "auth.keys[0]: cannot read `none.key`: No such file or directory (os error 2)"),
    ("drain = \"env:WORDS\"", "drain: got the value of `env:WORDS`, expected a duration such as `15s`"),
    ("upstream = 1", "upstream: got an integer, expected a list of tables, each under `[[upstream]]`"),
    ("upstream = [1]", "upstream[0]: got an integer, expected a table"),
    ("upstream = [{ base_url = \"http://x\" }]", "upstream[0].name: missing, expected a name, or a preset that gives it one"),
    ("upstream = [{ name = \"a/b\", base_url = \"http://x\" }]", "upstream[0].name: `a/b` is not a valid upstream name, expected 1 to 64 letters, digits, `-`, `_` and `.`"),
    ("upstream = [{ name = \"env:WORDS\", base_url = \"http://x\" }]", "upstream[0].name: the value of `env:WORDS` is not valid here"),
    ("upstream = [{ name = \"a\" }]", "upstream[0].base_url: missing, expected an http or https URL, or a preset that has one"),
    ("upstream = [{ name = \"a\", base_url = \"ftp://x\" }]", "upstream[0].base_url: got \"ftp://x\", expected an http or https URL"),
    ("upstream = [{ name = \"a\", base_url = \"https://u:pw@x\" }]", "upstream[0].base_url: got a value with `@`, expected an http or https URL"),
    ("upstream = [{ preset = \"antropic\" }]", "upstream[0].preset: got \"antropic\", expected one of anthropic, compatible, zai, moonshot, deepseek, minimax, openrouter, gemini, vertex, openai, did you mean `anthropic`?"),
    ("upstream = [{ preset = \"anthropic\" }, { preset = \"anthropic\" }]", "upstream[1].name: an earlier upstream has the same name"),
    ("upstream = [{ preset = \"anthropic\", account = [] }]", "upstream[0].account: unknown key, did you mean `accounts`?"),
    ("upstream = [{ preset = \"anthropic\", auth = \"basic\" }]", "upstream[0].auth: got \"basic\", expected `x-api-key`, `bearer`, `x-goog-api-key` or `{ header = \"...\" }`"),
    ("upstream = [{ preset = \"anthropic\", auth = {} }]", "upstream[0].auth.header: missing, expected the name of a header"),
    ("upstream = [{ preset = \"anthropic\", auth = { header = \"a b\" } }]", "upstream[0].auth.header: `a b` is not a valid header name"),
    ("upstream = [{ preset = \"anthropic\", auth = { header = \"host\" } }]", "upstream[0].auth.header: is set by the gateway for each connection"),
    ("upstream = [{ preset = \"anthropic\", headers = { x-api-key = \"k\" } }]", "upstream[0].headers.x-api-key: is set by the gateway, expected `auth` and `accounts` instead"),
    ("upstream = [{ preset = \"anthropic\", headers = { x = 1 } }]", "upstream[0].headers.x: got an integer, expected a string"),
    ("upstream = [{ preset = \"anthropic\", headers = { x = \"${TEAM}\" } }]", "upstream[0].headers.x: got \"${TEAM}\", which is sent as it is, expected `env:TEAM` for the value of the variable"),
    ("upstream = [{ preset = \"anthropic\", query = \"a=b\" }]", "upstream[0].query: got a string, expected a table of strings"),
    ("upstream = [{ preset = \"anthropic\", extra_body = \"[]\" }]", "upstream[0].extra_body: got \"[]\", expected a table, or a JSON object as a string"),
    ("upstream = [{ preset = \"anthropic\", first_event = \"0s\" }]", "upstream[0].first_event: got \"0s\", expected a duration above zero such as `90s`"),
    ("upstream = [{ name = \"a\", base_url = \"https://x.test:99999\" }]", "upstream[0].base_url: got \"https://x.test:99999\", expected an http or https URL"),
    ("upstream = [{ name = \"a\", base_url = \"https://x.test/v1/messages\" }]", "upstream[0].base_url: the URL ends with `/v1/messages`, which is added to each request, expected `https://x.test`"),
    ("upstream = [{ preset = \"openai\", base_url = \"https://x.test/v1/chat/completions\" }]", "upstream[0].base_url: the URL ends with `/chat/completions`, which is added to each request, expected `https://x.test/v1`"),
    ("upstream = [{ preset = \"gemini\", base_url = \"https://x.test/v1beta/models/m:generateContent\" }]", "upstream[0].base_url: the URL ends with `:generateContent`, which is added to each request, expected `https://x.test/v1beta`"),
    ("upstream = [{ name = \"a\", url = \"http://x\", base_url = \"http://x\" }]", "upstream[0].url: unknown key, did you mean `base_url`?"),
    ("upstream = [{ preset = \"anthropic\", api_key = \"k\" }]", "upstream[0].api_key: unknown key, did you mean `accounts = [{ name = \"...\", key = \"...\" }]`?"),
    ("upstream = [{ preset = \"anthropic\", key = \"k\" }]", "upstream[0].key: unknown key, did you mean `accounts = [{ name = \"...\", key = \"...\" }]`?"),
    ("upstream = [{ preset = \"anthropic\", accounts = [{ name = \"a\", key = \"k\", api-key = \"k\" }] }]", "upstream[0].accounts[0].api-key: unknown key, did you mean `key`?"),
    ("upstream = [{ preset = \"anthropic\", accounts = [{ name = \"a\", key = \"os.environ/KEY\" }] }]", "upstream[0].accounts[0].key: got \"os.environ/KEY\", which is sent as it is, expected `env:KEY` for the value of the variable"),
    ("auth.keys = [\"$KEY\"]", "auth.keys[0]: got \"$KEY\", which is sent as it is, expected `env:KEY` for the value of the variable"),
    ("upstream = [{ preset = \"anthropic\", proxy = \"proxy:3128\" }]", "upstream[0].proxy: got \"proxy:3128\", expected an http or https URL"),
    ("upstream = [{ preset = \"anthropic\", ca_file = \"none.pem\" }]", "upstream[0].ca_file: cannot read `none.pem`: No such file or directory (os error 2)"),
    ("upstream = [{ preset = \"anthropic\", dialect = \"\" }]", "upstream[0].dialect: got \"\", expected the name of a dialect"),
    ("upstream = [{ preset = \"anthropic\", models = [\"\"] }]", "upstream[0].models[0]: got an empty string, expected a model's name"),
    ("upstream = [{ preset = \"anthropic\", accounts = [{ key = \"k\" }] }]", "upstream[0].accounts[0].name: missing, expected the account's name"),
    ("upstream = [{ preset = \"anthropic\", accounts = [{ name = \"a\" }] }]", "upstream[0].accounts[0].key: missing, expected `key` (the key, `env:NAME` or `file:PATH`), `command` or `oauth2`"),
    ("upstream = [{ preset = \"anthropic\", accounts = [{ name = \"a\", key = \"k\", command = \"c\" }] }]", "upstream[0].accounts[0].command: cannot be combined with `key`, expected one of them"),
    ("upstream = [{ preset = \"anthropic\", accounts = [{ name = \"a\", key = \"k\", ttl = \"1s\" }] }]", "upstream[0].accounts[0].ttl: can only be combined with `command`"),
    ("upstream = [{ preset = \"anthropic\", accounts = [{ name = \"a\", command = \"\" }] }]", "upstream[0].accounts[0].command: got \"\", expected a program and its arguments"),
    ("upstream = [{ preset = \"anthropic\", accounts = [{ name = \"a\", command = \"a 'b\" }] }]", "upstream[0].accounts[0].command: got \"a 'b\", expected a program and its arguments"),
    ("upstream = [{ preset = \"anthropic\", accounts = [{ name = \"a\", command = \"c\", ttl = \"0s\" }] }]", "upstream[0].accounts[0].ttl: got \"0s\", expected a duration above zero such as `5m`"),
    ("upstream = [{ preset = \"anthropic\", accounts = [{ name = \"a\", oauth2 = { token_url = \"http://t\", client_id = \"c\" } }] }]", "upstream[0].accounts[0].oauth2.refresh_token: missing, expected a refresh token, or `env:NAME` or `file:PATH`"),
    ("upstream = [{ preset = \"anthropic\", accounts = [{ name = \"a\", oauth2 = { token_url = \"t\", client_id = \"c\", refresh_token = \"r\" } }] }]", "upstream[0].accounts[0].oauth2.token_url: got \"t\", expected an http or https URL"),
    ("upstream = [{ preset = \"anthropic\", accounts = [{ name = \"a\", oauth2 = { scope = [], token_url = \"http://t\", client_id = \"c\", refresh_token = \"r\" } }] }]", "upstream[0].accounts[0].oauth2.scope: unknown key, did you mean `scopes`?"),
    ("retry.max_attempts = 0", "retry.max_attempts: got 0, expected a whole number from 1 to 100"),
    ("retry.idle = \"0s\"", "retry.idle: got \"0s\", expected a duration above zero such as `15s`"),
    ("retry.max_cooldown_wait = 5", "retry.max_cooldown_wait: got an integer, expected a duration such as `15s`"),
    ("retry.patience = \"5s\"", "retry.patience: `patience` was renamed to `max_cooldown_wait`"),
    ("retry.short_wait = \"2s\"", "retry.short_wait: `short_wait` was renamed to `same_account_wait`"),
    ("retry.credential_rest = \"10m\"", "retry.credential_rest: `credential_rest` was renamed to `credential_cooldown`"),
    ("patience = \"5s\"", "patience: unknown key"),
    ("retry.attempts = 5", "retry.attempts: unknown key, did you mean `max_attempts`?"),
    ("upstream = [{ preset = \"anthropic\", accounts = [{ name = \"a\", key = \"\" }] }]", "upstream[0].accounts[0].key: got an empty key, expected a key"),
    ("upstream = [{ preset = \"anthropic\", accounts = [{ name = \"a\", key = \"x\" }, { name = \"a\", key = \"y\" }] }]", "upstream[0].accounts[1].name: an earlier account has the same name"),
    ("upstream = [{ preset = \"anthropic\", accounts = [{ name = \"a\", keys = \"x\", key = \"x\" }] }]", "upstream[0].accounts[0].keys: unknown key, did you mean `key`?"),
    ("route = [{ model = \"*\" }]", "route[0].to: missing, expected an upstream, or `upstream/model`"),
    ("route = [{ model = \"*\", to = [] }]", "route[0].to: got an empty list, expected at least one upstream"),
    ("route = [{ model = \"*\", to = 1 }]", "route[0].to: got an integer, expected a string or a list of strings"),
    ("route = [{ model = \"*\", to = [\"x\"] }]", "route[0].to[0]: no upstream is named `x`"),
    ("passthrough.routes = \"*\"", "passthrough.routes: got a string, expected a list of strings"),
    ("passthrough.routes = [\"files\"]", "passthrough.routes[0]: got \"files\", expected a path below `/v1/` such as `/v1/files`, or `*`"),
    ("passthrough.open = []", "passthrough.open: unknown key, did you mean `routes`?"),
    ("plugins.poll = \"1ms\"", "plugins.poll: got \"1ms\", expected a duration of at least `10ms`"),
    ("plugins.cache = 1", "plugins.cache: got an integer, expected a folder or `false`"),
    ("plugins.instances = 0", "plugins.instances: got 0, expected a whole number from 1 to 8000"),
    ("plugins.instances = 8001", "plugins.instances: got 8001, expected a whole number from 1 to 8000"),
    ("plugins.instances = \"many\"", "plugins.instances: got a string, expected a whole number from 1 to 8000"),
    ("plugin.merge_roles = {}", "plugin.merge_roles: `merge_roles` is not a valid plugin name, expected 1 to 64 lower-case letters, digits and hyphens, did you mean `merge-roles`?"),
    ("plugin.x.on_error = \"panic\"", "plugin.x.on_error: got \"panic\", expected `fail` or `skip`"),
    ("plugin.x = { required = true, enabled = false }", "plugin.x.required: cannot be combined with `enabled = false`"),
    ("plugin.x = { required = true, on_error = \"skip\" }", "plugin.x.required: cannot be combined with `on_error = \"skip\"`, which continues without the plugin"),
    ("plugin.x.deadline = \"0s\"", "plugin.x.deadline: got \"0s\", expected a duration such as `500ms`"),
    ("plugin.x.memory = \"1KiB\"", "plugin.x.memory: got \"1KiB\", expected a size from `64KiB` to `1GiB`"),
    ("plugin.x.settings = []", "plugin.x.settings: got an array, expected a table"),
    ("plugin.x.settings.far = inf", "plugin.x.settings.far: got inf, expected a number that JSON can represent"),
    ("plugin.x.setting.a = 1", "plugin.x.setting: unknown key, did you mean `settings`?"),
];

#[test]
fn an_account_may_get_its_credential_from_a_program_or_a_token_server() {
    let text = r#"
        [[upstream]]
        preset = "anthropic"
        accounts = [
            { name = "a", command = "pass show 'team keys/anthropic'" },
            { name = "b", command = "bin/key --of b", ttl = "1m" },
            { name = "c", oauth2 = { token_url = "https://id.example.com/token", client_id = "witgate",
              client_secret = "env:KEY", refresh_token = "sk-refresh", scopes = ["messages"] } },
        ]
        "#;
    let folder = Folder::new(&[("witgate.toml", text)]);
    let (config, _) = file(&folder.0.join("witgate.toml"), &variable).unwrap();
    let accounts: Vec<_> = config.upstreams[0]
        .accounts
        .iter()
        .map(|account| account.access.clone())
        .collect();
    let command = |program: PathBuf, arguments: &[&str], seconds| {
        Access::Command(Command {
            program,
            arguments: arguments.iter().map(|text| (*text).to_owned()).collect(),
            ttl: Duration::from_secs(seconds),
        })
    };
    let of_pass = ["show", "team keys/anthropic"];
    assert_eq!(accounts[0], command("pass".into(), &of_pass, 300));
    let of_key = ["--of", "b"];
    assert_eq!(accounts[1], command(folder.0.join("bin/key"), &of_key, 60));
    let oauth2 = Access::OAuth2(OAuth2 {
        token_url: "https://id.example.com/token".to_owned(),
        client_id: "witgate".to_owned(),
        client_secret: Some(Secret::new("sk-from-env")),
        refresh_token: Secret::new("sk-refresh"),
        scopes: vec!["messages".to_owned()],
    });
    assert_eq!(accounts[2], oauth2);
}

#[test]
fn every_limit_of_retry_means_what_it_says() {
    assert_eq!(good("[retry]").retry, Retry::default());
    let retry = good(
        r#"
        [retry]
        max_attempts = 5
        connect = "1s"
        first_event = "2s"
        answer = "3s"
        idle = "4s"
        max_cooldown_wait = "0s"
        same_account_wait = "6s"
        ping_after = "7s"
        ping_every = "8s"
        credential_cooldown = "9s"
        "#,
    )
    .retry;
    let seconds = Duration::from_secs;
    let expected = Retry {
        max_attempts: 5,
        connect: seconds(1),
        first_event: seconds(2),
        answer: seconds(3),
        idle: seconds(4),
        max_cooldown_wait: seconds(0),
        same_account_wait: seconds(6),
        ping_after: seconds(7),
        ping_every: seconds(8),
        credential_cooldown: seconds(9),
    };
    assert_eq!(retry, expected);
}

#[test]
fn a_problem_names_the_file_the_line_the_key_what_it_got_and_what_it_expected() {
    for (line, said) in LINES {
        // On the second line, so that a line number that is always 1 does not pass.
        let text = format!("# first\n{line}\n");
        assert_eq!(problems(&text), format!("witgate.toml:2: {said}"), "{line}");
    }
}

#[test]
fn all_problems_come_at_once_in_the_order_of_their_lines() {
    let text = r#"listen = "nowhere"

[[upstream]]
name = "a"
base_url = "ftp://x"
accounts = [
  { name = "ada", key = "env:UNSET" },
]

[[upstream]]
preset = "anthropic"

[[route]]
model = "[a"
to = ["anthropc/m", "anthropic/"]

[plugin.merge-roles]
enable = false
"#;
    assert_eq!(
        problems(text),
        "witgate.toml:1: listen: got \"nowhere\", expected an address with a port such as `127.0.0.1:8045`\n\
         witgate.toml:5: upstream[0].base_url: got \"ftp://x\", expected an http or https URL\n\
         witgate.toml:7: upstream[0].accounts[0].key: the environment variable `UNSET` is not set\n\
         witgate.toml:14: route[0].model: got \"[a\", expected a glob such as `claude-*`\n\
         witgate.toml:15: route[0].to[0]: no upstream is named `anthropc`, did you mean `anthropic`?\n\
         witgate.toml:15: route[0].to[1]: got \"anthropic/\", expected a model after the slash\n\
         witgate.toml:18: plugin.merge-roles.enable: unknown key, did you mean `enabled`?"
    );
}

#[test]
fn a_missing_value_is_reported_at_the_head_of_its_table() {
    let text =
        "\n[[upstream]]\nname = \"a\"\nbase_url = \"http://x\"\n\n[[upstream]]\nname = \"b\"\n";
    let said = "witgate.toml:6: upstream[1].base_url: missing, expected an http or https URL, or a \
                preset that has one";
    assert_eq!(problems(text), said);
}

#[test]
fn invalid_toml_is_reported_by_line_and_hides_other_problems() {
    let said = problems("listen = \"127.0.0.1:1\"\nlog = info\nexpose_accounts = maybe\n");
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 2, "{said}");
    assert!(
        lines[0].starts_with("witgate.toml:2: invalid TOML: "),
        "{said}"
    );
    assert!(
        lines[1].starts_with("witgate.toml:3: invalid TOML: "),
        "{said}"
    );
}

#[test]
fn a_duplicate_key_is_reported() {
    let said = problems("log = \"info\"\nlog = \"warn\"\n");
    assert_eq!(said, "witgate.toml:2: invalid TOML: duplicate key");
}

#[test]
fn no_secret_is_in_a_problem() {
    let said = problems(
        "[auth]\nkeys = [\"sk-secret one\", \"env:WORDS\"]\n[[upstream]]\npreset = \"zai\"\n\
         accounts = [{ name = \"a\", key = \"sk-secret two\" }]\nproxy = \"ftp://u:secret@x\"\n",
    );
    assert_eq!(said.lines().count(), 4, "{said}");
    assert!(
        !said.contains("secret") && !said.contains("two words"),
        "{said}"
    );
}

#[test]
fn files_are_read_beside_the_configuration_and_known_as_its_sources() {
    let text = "[auth]\nkeys = [\"file:gateway.key\"]\n[plugins]\ndir = \"rules\"\n";
    let folder = Folder::new(&[("gateway.key", "sk-from-file\n"), ("witgate.toml", text)]);
    let (config, _) = file(&folder.0.join("witgate.toml"), &variable).unwrap();
    assert!(config.auth.keys[0].matches(b"sk-from-file"));
    assert_eq!(config.sources, [folder.0.join("gateway.key")]);
    assert_eq!(config.plugins.dir, folder.0.join("rules"));
}

#[test]
fn an_empty_key_file_is_reported_by_name() {
    let folder = Folder::new(&[
        ("empty.key", "\n"),
        ("witgate.toml", "auth.keys = [\"file:empty.key\"]"),
    ]);
    let problems = file(&folder.0.join("witgate.toml"), &variable).unwrap_err();
    assert!(
        problems.to_string().ends_with("empty.key` is empty"),
        "{problems}"
    );
}

#[test]
fn a_configuration_that_is_not_there_is_one_problem_without_a_line() {
    let problems = file(Path::new("none.toml"), &variable).unwrap_err();
    let said = "none.toml: cannot read the file: No such file or directory (os error 2)";
    assert_eq!(problems.to_string(), said);
}

#[test]
fn a_preset_fills_in_what_the_file_leaves_out() {
    let upstream = &good("[[upstream]]\npreset = \"openrouter\"\n").upstreams[0];
    assert_eq!(upstream.name.as_str(), "openrouter");
    assert_eq!(upstream.base_url.url, "https://openrouter.ai/api");
    assert_eq!(&*upstream.dialect, "anthropic");
    assert_eq!(upstream.auth, AuthStyle::Bearer);
}

#[test]
fn lacks_comes_from_the_preset_unless_the_file_sets_it() {
    let words = |words: &[&str]| {
        words
            .iter()
            .map(|word| (*word).to_owned())
            .collect::<BTreeSet<_>>()
    };
    let lacked = |text: &str| {
        let upstream = good(&format!("[[upstream]]\nname = \"a\"\n{text}"))
            .upstreams
            .remove(0);
        (upstream.lacks, upstream.lacks_beside_others)
    };
    let signatures = words(&["foreign-signatures"]);
    let thinking = words(&["foreign-signatures", "unsigned-thinking"]);
    assert_eq!(lacked("preset = \"anthropic\""), (words(&[]), thinking));
    let five = [
        "cache_control",
        "same-role-turns",
        "message-threads",
        "count_tokens",
        "new-features",
    ];
    assert_eq!(
        lacked("base_url = \"http://x\""),
        (words(&five), signatures)
    );
    // A list of what is missing does not say that the server knows all that is new.
    assert_eq!(
        lacked("preset = \"zai\"\nlacks = [\"images\"]"),
        (words(&["images", "new-features"]), words(&[]))
    );
    let set = "preset = \"anthropic\"\nlacks = [\"count_tokens\"]";
    assert_eq!(lacked(set), (words(&["count_tokens"]), words(&[])));
    assert_eq!(
        lacked("preset = \"openai\"\nlacks = []"),
        (words(&[]), words(&[]))
    );
}

#[test]
fn a_word_in_lacks_that_is_nearly_a_known_one_is_warned_of() {
    let said =
        warned("[[upstream]]\npreset = \"anthropic\"\nlacks = [\"cache-control\", \"my-own\"]\n");
    let expected = "witgate.toml:3: upstream[0].lacks[0]: no default plugin knows \"cache-control\", \
                  did you mean `cache_control`?";
    assert_eq!(said, expected);
}

#[test]
fn what_is_legal_but_cannot_be_meant_is_warned_of() {
    const A: &str =
        "[[upstream]]\npreset = \"anthropic\"\naccounts = [{ name = \"a\", key = \"k\" }]\n";
    let table = [
        (
            "[plugins]\ndir = \"rulez\"\n".to_owned(),
            "plugins.dir: there is no folder",
        ),
        (
            format!(
                "{A}[[upstream]]\nname = \"b\"\nbase_url = \"http://x\"\n[[route]]\nmodel = \"*\"\nto = [\"anthropic\", \"b\"]\n"
            ),
            "route[0].to[1]: `b` is never used here",
        ),
        (
            format!("{A}[[upstream]]\nname = \"b\"\nbase_url = \"http://x\"\n"),
            "upstream[1]: this upstream is never used",
        ),
        (
            format!(
                "{A}[[route]]\nmodel = \"claude-*\"\nto = \"anthropic\"\n[[route]]\nmodel = \"claude-haiku-*\"\nto = \"anthropic/x\"\n"
            ),
            "route[1].model: this route is never used: route[0]",
        ),
        (
            "[[upstream]]\nname = \"a\"\nbase_url = \"http://localhost:8045\"\n".to_owned(),
            "upstream[0].base_url: this is the address that the gateway listens on",
        ),
        (
            "[[upstream]]\npreset = \"openai\"\nbase_url = \"http://127.0.0.1:11434\"\n".to_owned(),
            "upstream[0].base_url: has no path",
        ),
        (
            A.replace("}]", "}, { name = \"b\", key = \"k\" }]"),
            "upstream[0].accounts[1].name: an earlier account has the same credential",
        ),
        (
            "[auth]\nmode = \"off\"\nkeys = [\"k\"]\n".to_owned(),
            "auth.mode: the configured `keys` are not required",
        ),
        (
            "[auth]\nmode = \"auto\"\nkeys = [\"k\"]\n".to_owned(),
            "auth.mode: the configured `keys` are not required",
        ),
    ];
    for (text, said) in table {
        let warnings = warned(&text);
        assert_eq!(warnings.lines().count(), 1, "{text}\n{warnings}");
        assert!(warnings.contains(said), "{text}\n{warnings}");
    }
    assert_eq!(warned(A), "");
    let routes = "[[route]]\nmodel = \"claude-haiku-?\"\nto = \"anthropic\"\n[[route]]\nmodel = \"claude-*\"\nto = \"anthropic\"\n";
    assert_eq!(warned(&format!("{A}{routes}")), "");
}

#[test]
fn keys_without_a_mode_are_required() {
    assert_eq!(
        good("auth.keys = [\"k\"]").auth.mode,
        AuthMode::AllExceptHealth
    );
    let explicit = good("auth = { keys = [\"k\"], mode = \"auto\" }");
    assert_eq!(explicit.auth.mode, AuthMode::Auto);
    assert_eq!(good("auth = {}").auth.mode, AuthMode::Auto);
}

#[test]
fn settings_for_an_upstream_that_does_not_exist_are_a_problem() {
    let openai = "[[upstream]]\npreset = \"openai\"\n";
    let settings = |name: &str| {
        format!("{openai}[plugin.dialect-openai.settings.upstreams.{name}]\nfiles = true\n")
    };
    good(&settings("openai"));
    let said = problems(&settings("opena"));
    assert_eq!(
        said,
        "witgate.toml:3: plugin.dialect-openai.settings: no upstream is named `opena`, did you mean `openai`?"
    );
    let vertex = format!("{openai}[plugin.dialect-gemini]\nsettings = {{ vertex = [\"x\"] }}\n");
    assert!(problems(&vertex).ends_with("no upstream is named `x`"));
}

#[test]
fn the_preset_vertex_is_enough_for_its_dialect() {
    let config = good(
        "[[upstream]]\nname = \"v\"\npreset = \"vertex\"\nbase_url = \"https://x.test/v1\"\n[[upstream]]\nname = \"w\"\npreset = \"vertex\"\nbase_url = \"https://x.test/v1\"\naccounts = [{ name = \"a\", key = \"k\" }]\n[plugin.dialect-gemini]\nsettings = { vertex = [\"w\"] }\n",
    );
    let plugin = &config.plugin[&"dialect-gemini".parse().unwrap()];
    assert_eq!(plugin.settings["vertex"], serde_json::json!(["w", "v"]));
    assert!(
        good("[[upstream]]\npreset = \"gemini\"\n")
            .plugin
            .is_empty()
    );
}

#[test]
fn what_is_added_to_requests_is_read() {
    let upstream = good(
        r#"
        [[upstream]]
        name = "azure"
        preset = "openai"
        base_url = "https://x.test/openai/deployments/gpt/?api-version=1&x=%20y"
        auth = { header = "api-key" }
        headers = { X-Team = "env:KEY" }
        query = { api-version = "2024-10-21", "a b" = "c&d" }
        extra_body = { options = { num_ctx = 65536 } }
        images = false
        first_event = "5m"
        idle = "10m"
        "#,
    )
    .upstreams
    .remove(0);
    assert_eq!(
        upstream.base_url.url,
        "https://x.test/openai/deployments/gpt"
    );
    assert!(!upstream.base_url.is_providers);
    assert_eq!(upstream.auth, AuthStyle::Header("api-key".parse().unwrap()));
    assert_eq!(upstream.extra.headers["x-team"], "sk-from-env");
    let query: Vec<String> = upstream
        .extra
        .query
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    assert_eq!(query, ["x=%20y", "a%20b=c%26d", "api-version=2024-10-21"]);
    assert_eq!(upstream.extra.body["options"]["num_ctx"], 65536);
    assert!(upstream.lacks.contains("images"));
    assert_eq!(upstream.first_event, Some(Duration::from_secs(300)));
    assert_eq!(upstream.idle, Some(Duration::from_secs(600)));
    let text = "[[upstream]]\npreset = \"openai\"\nextra_body = '{\"temperature\":null}'\n";
    assert!(good(text).upstreams[0].extra.body["temperature"].is_null());
}

#[test]
fn a_url_from_the_environment_is_not_shown() {
    let text = "[[upstream]]\nname = \"a\"\nbase_url = \"env:URL\"\n";
    let env = |name: &str| (name == "URL").then(|| "https://secret.test".to_owned());
    let (config, _) = parse(Path::new("witgate.toml"), text, &env).unwrap();
    let base_url = &config.upstreams[0].base_url;
    assert_eq!(
        (&*base_url.url, &*base_url.shown),
        ("https://secret.test", "env:URL")
    );
}

#[test]
fn the_suffix_of_a_long_context_can_be_named_and_is_left_out_where_no_route_has_it() {
    let config = good(
        "[[upstream]]\npreset = \"anthropic\"\n[[route]]\nmodel = \"claude-opus-5-5[1m]\"\nto = \"anthropic/long\"\n[[route]]\nmodel = \"claude-opus-5-5\"\nto = \"anthropic\"\n[[route]]\nmodel = \"claude-haiku-5-5\"\nto = \"anthropic\"\n",
    );
    let route = |model: &str| {
        let (route, short) = config.route(model)?;
        Some((route.one_model()?.to_owned(), short.map(str::to_owned)))
    };
    let of = |name: &str, short: Option<&str>| Some((name.to_owned(), short.map(str::to_owned)));
    assert_eq!(
        route("claude-opus-5-5[1m]"),
        of("claude-opus-5-5[1m]", None)
    );
    assert_eq!(route("claude-opus-5-5"), of("claude-opus-5-5", None));
    let haiku = "claude-haiku-5-5";
    assert_eq!(route("claude-haiku-5-5[1m]"), of(haiku, Some(haiku)));
    assert_eq!(route("claude-opus-5-51"), None);
}

#[test]
fn the_cache_can_be_switched_off_and_needs_a_home() {
    assert_eq!(good("plugins.cache = false").plugins.cache, None);
    assert!(good("plugins.cache = true").plugins.cache.is_some());
    assert_eq!(defaults(Path::new(""), &|_| None).plugins.cache, None);
    let xdg = |name: &str| (name == "XDG_CACHE_HOME").then(|| "/cache".to_owned());
    assert_eq!(
        defaults(Path::new(""), &xdg).plugins.cache,
        Some("/cache/witgate".into())
    );
}

#[test]
fn every_key_is_in_the_reference() {
    let reference = include_str!("../../../../docs/configuration.md");
    let tables: [(&str, &[&str]); 11] = [
        ("Top level", TOP),
        ("`[auth]`", AUTH),
        ("`[connections]`", CONNECTIONS),
        ("`[retry]`", RETRY),
        ("`[[upstream]]`", upstreams::UPSTREAM),
        ("`accounts`", accounts::ACCOUNT),
        ("`oauth2`", accounts::OAUTH2),
        ("`[[route]]`", routes::ROUTE),
        ("`[passthrough]`", passthrough::PASSTHROUGH),
        ("`[plugins]`", PLUGINS),
        ("`[plugin.NAME]`", plugin_settings::PLUGIN),
    ];
    for (title, keys) in tables {
        let section = reference
            .split("\n## ")
            .find(|section| section.starts_with(title));
        let section = section.unwrap_or_else(|| panic!("no section {title}"));
        for key in keys {
            assert!(
                section.contains(&format!("| `{key}` |")),
                "{title}: no row for `{key}`"
            );
        }
    }
}

#[test]
fn the_annotated_example_is_good() {
    let example = include_str!("../../../../docs/witgate.toml");
    // Every variable that it refers to is set.
    let all_set = |_: &str| Some("sk-test".to_owned());
    if let Err(problems) = parse(Path::new("witgate.toml"), example, &all_set) {
        panic!("{problems}");
    }
}

/// The recipes are parts of a file, so each is read with upstreams for the names in its routes.
#[test]
fn every_recipe_is_good() {
    let recipes = include_str!("../../../../docs/upstreams.md");
    let all_set = |_: &str| Some("sk-test".to_owned());
    let folder = Folder::new(&[
        ("bob.key", "sk-bob"),
        ("company-ca.pem", "-----BEGIN CERTIFICATE-----\n"),
    ]);
    let mut count = 0;
    for piece in recipes.split("```toml\n").skip(1) {
        let mut text = piece.split("```").next().unwrap().to_owned();
        if !text.contains("[[upstream]]") {
            for name in ["anthropic", "zai", "deepseek", "ollama"] {
                text.push_str(&format!(
                    "[[upstream]]\nname = \"{name}\"\npreset = \"anthropic\"\n"
                ));
            }
        }
        if let Err(problems) = parse(&folder.0.join("witgate.toml"), &text, &all_set) {
            panic!("{problems}\n{text}");
        }
        count += 1;
    }
    assert!(count > 8, "{count} recipes");
}

#[test]
fn the_reference_describes_the_presets_as_they_are() {
    let reference = include_str!("../../../../docs/configuration.md");
    for preset in crate::config::preset::PRESETS {
        let row = reference
            .lines()
            .find(|line| line.starts_with(&format!("| `{}` |", preset.name)));
        let row = row.unwrap_or_else(|| panic!("no row for {}", preset.name));
        let auth = match preset.auth {
            AuthStyle::XApiKey => "x-api-key",
            AuthStyle::Bearer => "bearer",
            AuthStyle::XGoogApiKey => "x-goog-api-key",
            AuthStyle::Header(ref name) => name.as_str(),
        };
        let words = preset
            .lacks
            .iter()
            .chain(preset.base_url.iter())
            .chain([&preset.dialect, &auth]);
        for word in words {
            assert!(
                row.contains(word),
                "{}: {word} is not in {row}",
                preset.name
            );
        }
    }
}
