use witgate_plugin::{Hook, json, testing::Exchange};

use super::MessageThreads;

type Threads = Exchange<MessageThreads>;

#[test]
fn a_thread_is_refused_with_the_documented_error() {
    let threads = [
        json!({"type": "create"}),
        json!({"type": "continue", "previous_message_id": "msg_1"}),
    ];
    for thread in threads {
        let body = json!({"model": "m", "thread": thread, "messages": []});
        let mut exchange = Threads::new(body).lacks("message-threads");
        assert!(exchange.would_call(Hook::Attempt));

        let refusal = exchange.on_attempt().unwrap().expect_refusal();

        assert_eq!(refusal["status"], 400);
        assert_eq!(refusal["type"], "invalid_request_error");
        assert_eq!(
            refusal["details"],
            json!({"error_code": "thread_unsupported_request"})
        );
    }
}

#[test]
fn a_request_without_a_thread_proceeds() {
    let mut exchange = Threads::new(json!({"messages": []})).lacks("message-threads");
    assert!(!exchange.would_call(Hook::Attempt));
    assert!(exchange.on_attempt().unwrap().is_proceed());

    let mut exchange = Threads::new(json!({"thread": null})).lacks("message-threads");
    assert!(exchange.on_attempt().unwrap().is_proceed());
}

#[test]
fn a_target_that_supports_threads_gets_them() {
    assert!(!Threads::new(json!({"thread": {"type": "create"}})).would_call(Hook::Attempt));
}
