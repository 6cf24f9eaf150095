//! Message threads: the upstream keeps the conversation, so the next message goes to the account
//! that made the last one.

use bytes::Bytes;
use serde::Deserialize;

use crate::{message::Request, sse::Frame};

use super::attempt::Received;

/// What a request says about its thread.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Thread {
    Begins,
    /// The thread continues after this message.
    Continues(String),
}

impl Thread {
    /// `None` if the request has no thread, or one of an unknown form.
    pub(super) fn of(request: &Request) -> Option<Self> {
        Self::read(&request.body.top("thread")?)
    }

    fn read(text: &Bytes) -> Option<Self> {
        #[derive(Deserialize)]
        struct Field {
            r#type: String,
            previous_message_id: Option<String>,
        }
        let field: Field = serde_json::from_slice(text).ok()?;
        match (field.r#type.as_str(), field.previous_message_id) {
            ("continue", Some(id)) => Some(Self::Continues(id)),
            ("create", _) => Some(Self::Begins),
            _ => None,
        }
    }
}

/// The id of a received message, complete or not.
pub(super) fn message_id(received: &Received) -> Option<String> {
    #[derive(Deserialize)]
    struct Message {
        id: String,
    }
    #[derive(Deserialize)]
    struct Start {
        message: Message,
    }
    match received {
        Received::Json(response) => {
            Some(serde_json::from_slice::<Message>(&response.body).ok()?.id)
        }
        Received::Stream(stream) => {
            let data = stream.frames.iter().filter_map(Frame::data);
            let mut starts = data.filter_map(|data| serde_json::from_slice::<Start>(&data).ok());
            Some(starts.next()?.message.id)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_read_and_unknown_forms_are_ignored() {
        let read = |text: &'static str| Thread::read(&Bytes::from_static(text.as_bytes()));
        let continues = r#"{"type":"continue","previous_message_id":"msg_1"}"#;
        assert_eq!(read(continues), Some(Thread::Continues("msg_1".to_owned())));
        assert_eq!(read(r#"{"type":"create"}"#), Some(Thread::Begins));
        assert_eq!(read(r#"{"type":"continue"}"#), None);
        assert_eq!(read(r#""soon""#), None);
    }
}
