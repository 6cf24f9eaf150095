//! Roles: chat templates and some APIs insist on their order.

use super::{super::refusal::Refusal, Lesson, Used};

/// How messages name a system message.
const SYSTEM: &[&str] = &[
    "system message",
    "system role",
    "system prompt",
    "role system",
    "role 'system'",
    "role \"system\"",
    "role `system`",
    "role: system",
    "role: 'system'",
    "role: \"system\"",
    "got system",
    "got 'system'",
    "got: system",
    "'system' role",
    "\"system\" role",
    "`system` role",
    "variant `system`",
    "variant 'system'",
    "system instruction",
];

pub(super) fn roles(refusal: &Refusal<'_>, used: &Used) -> Option<Lesson> {
    let alternate =
        refusal.says(&["alternat"]) && refusal.says(&["role", "user", "assistant", "message"]);
    let names_system = refusal.says(SYSTEM) || refusal.says(&["role"]) && refusal.says(&["system"]);
    let about_system = names_system && refusal.refuses();
    let only_first = refusal.says(&["beginning", "at the start", "first message", "be first"]);
    if about_system && only_first && used.mid_system && !alternate {
        return Some(Lesson::SystemFirst);
    }
    if (alternate || about_system && used.mid_system) && !used.alternating_roles {
        return Some(Lesson::AlternatingRoles);
    }
    if about_system && !only_first && !used.mid_system && used.system {
        return Some(Lesson::NoSystem);
    }
    (used.user_after_tool && is_about_user_after_tool(refusal)).then_some(Lesson::NoUserAfterTool)
}

/// "Unexpected role 'user' after role 'tool'".
fn is_about_user_after_tool(refusal: &Refusal<'_>) -> bool {
    let after = [
        "after role 'tool'",
        "after role tool",
        "after a tool",
        "after tool",
        "follow a tool",
        "follow tool",
        "following a tool",
        "tool message must be followed by",
    ];
    refusal.says(&["user"]) && refusal.says(&after) && refusal.refuses()
}
