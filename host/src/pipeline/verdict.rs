//! Verdicts of request and attempt hooks. One that cannot be used is the plugin's failure.

use bytes::Bytes;
use witgate_contract::verdict::{AnswerDraft, Refusal, RefusalDraft};

use super::{Decision, LocalAnswer};
use crate::{
    fault::{Blame, Fault, Kind, Retry},
    ids::PluginId,
};

/// A verdict as the hook returned it.
pub(super) enum Returned {
    Proceed,
    Answer(AnswerDraft),
    Refuse(RefusalDraft),
}

/// Reads a verdict. The error says why it cannot be used.
pub(super) fn read(verdict: Returned, plugin: &PluginId) -> Result<Decision, String> {
    match verdict {
        Returned::Proceed => Ok(Decision::Proceed),
        Returned::Answer(draft) => {
            let answer = draft
                .finish()
                .map_err(|why| format!("its answer cannot be used: {why}"))?;
            Ok(Decision::Answer {
                plugin: plugin.clone(),
                answer: LocalAnswer {
                    status: answer.status,
                    headers: answer.headers,
                    body: Bytes::from(answer.body),
                    note: answer.note,
                },
            })
        }
        Returned::Refuse(draft) => {
            let refusal = draft
                .finish()
                .map_err(|why| format!("its refusal cannot be used: {why}"))?;
            let try_next = refusal.try_next;
            Ok(Decision::Refuse {
                plugin: plugin.clone(),
                fault: fault(refusal, plugin),
                try_next,
            })
        }
    }
}

fn fault(refusal: Refusal, plugin: &PluginId) -> Fault {
    let kind = Kind::Refused {
        status: refusal.status,
        kind: refusal.error_type,
    };
    let mut fault = Fault::new(Blame::Plugin(plugin.clone()), kind, refusal.message);
    if refusal.try_next {
        fault = fault.retry(Retry::Failover);
    }
    if let Some(details) = refusal.details {
        fault = fault.with_details(details);
    }
    fault
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(verdict: Returned) -> Result<Decision, String> {
        read(verdict, &"rule".parse().unwrap())
    }

    #[test]
    fn a_refusal_has_status_type_details_and_what_is_tried_next() {
        let mut draft = RefusalDraft::new(422, "invalid_request_error".to_owned(), "no".to_owned());
        draft.set_details(r#"{"code": 1}"#.to_owned());
        draft.set_try_next(true);
        let Ok(Decision::Refuse {
            fault, try_next, ..
        }) = of(Returned::Refuse(draft))
        else {
            panic!("not a refusal");
        };
        assert!(try_next);
        assert_eq!(fault.to_string(), "no");
        assert_eq!(fault.details.as_deref(), Some(r#"{"code": 1}"#));
        assert_eq!(
            fault.kind,
            Kind::Refused {
                status: 422,
                kind: "invalid_request_error".to_owned()
            }
        );
    }

    #[test]
    fn an_unusable_verdict_is_named_by_its_kind() {
        let answer = of(Returned::Answer(AnswerDraft::new("OK".to_owned()))).err();
        let answer = answer.unwrap();
        assert!(
            answer.starts_with("its answer cannot be used: "),
            "{answer}"
        );
        let draft = RefusalDraft::new(200, "a".to_owned(), String::new());
        let refusal = of(Returned::Refuse(draft)).err().unwrap();
        assert!(
            refusal.starts_with("its refusal cannot be used: "),
            "{refusal}"
        );
    }
}
