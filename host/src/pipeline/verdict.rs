//! What a request or attempt hook decided. What cannot be used is the plugin's failure.

use bytes::Bytes;
use witgate_contract::verdict::{Answer, Refusal};

use super::{Decision, LocalAnswer, bindings::Verdict};
use crate::{
    fault::{Blame, Fault, Kind, Retry},
    ids::PluginId,
};

/// The error says what is wrong with what the plugin returned.
pub(super) fn read(verdict: &Verdict, plugin: &PluginId) -> Result<Decision, String> {
    match verdict {
        Verdict::Proceed => Ok(Decision::Proceed),
        Verdict::Answer(text) => {
            let answer =
                Answer::parse(text).map_err(|why| format!("its answer cannot be used: {why}"))?;
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
        Verdict::Refuse(text) => {
            let refusal =
                Refusal::parse(text).map_err(|why| format!("its refusal cannot be used: {why}"))?;
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

    fn of(verdict: Verdict) -> Result<Decision, String> {
        read(&verdict, &"rule".parse().unwrap())
    }

    #[test]
    fn a_refusal_says_status_type_details_and_where_to_go_on() {
        let text = r#"{"status": 422, "type": "invalid_request_error", "message": "no",
            "details": {"code": 1}, "try_next": true}"#;
        let Ok(Decision::Refuse {
            fault, try_next, ..
        }) = of(Verdict::Refuse(text.to_owned()))
        else {
            panic!("no refusal");
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
    fn what_cannot_be_used_says_which_verdict_it_was() {
        let answer = of(Verdict::Answer("{}".to_owned())).err().unwrap();
        assert!(
            answer.starts_with("its answer cannot be used: "),
            "{answer}"
        );
        let refusal = of(Verdict::Refuse("{}".to_owned())).err().unwrap();
        assert!(
            refusal.starts_with("its refusal cannot be used: "),
            "{refusal}"
        );
    }
}
