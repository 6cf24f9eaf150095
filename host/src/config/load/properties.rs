//! What holds for every text.

use proptest::prelude::*;

use super::*;

fn texts() -> impl Strategy<Value = String> {
    let line = proptest::sample::select(vec![
        "listen = \"127.0.0.1:0\"",
        "listen = 5",
        "log = \"warning\"",
        "body_limit = \"9999999GiB\"",
        "drain = \"-1s\"",
        "[auth]",
        "keys = [\"\"]",
        "[retry]",
        "[retry",
        "[plugin.merge-roles]",
        "enabled = 1e400",
        "settings = { a = [[[]]] }",
        "[[upstream]]",
        "[[upstream]]\nname = \"a\"\npreset = \"anthropic\"",
        "name = \"a\"",
        "preset = \"openai\"",
        "base_url = \"http://\\u0000\"",
        "accounts = [{ name = \"x\", key = \"env:NONE\" }, {}]",
        "[[route]]",
        "model = \"claude-*\"",
        "to = [\"a/b\", \"\", \"/\"]",
        "\"\" = 1",
        "a.b.c = 1979-05-27",
        "= = =",
        "é = '''",
    ]);
    proptest::collection::vec(line, 0..12).prop_map(|lines| lines.join("\n"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_a_configuration_or_has_a_problem_with_a_place(text in texts()) {
        let lines = text.lines().count();
        if let Err(Problems(problems)) = parse(Path::new("witgate.toml"), &text, &|_| None) {
            prop_assert!(!problems.is_empty());
            for problem in problems {
                prop_assert!(problem.line <= lines + 1, "{}", problem.line);
                prop_assert!(!problem.what.is_empty());
            }
        }
    }
}
