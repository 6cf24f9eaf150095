//! What one call lends to a plugin: views of the request, the target, a failure and the response. A
//! view keeps its edits until the call has succeeded.

mod failure;
mod request;
mod response;

use crate::message::Target;

pub(super) use self::request::{EditScope, Journal};
#[allow(unreachable_pub, reason = "the generated bindings re-export them")]
pub use self::{failure::FailureView, request::RequestView, response::ResponseView};

/// One call's view of the attempt's target.
#[allow(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct TargetView(pub(super) Target);
