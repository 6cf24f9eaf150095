//! One try of an exchange: this target's copy of the request, the attempt hooks, out, and a look at what comes back.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use witgate_document::{Operation, string};

use crate::{
    fault::Fault,
    ids::AccountId,
    message::{Request, Target},
    pipeline::{Decision, LocalAnswer, Receipt, Run},
    upstream::Credential,
};

use super::{
    Snapshot,
    arrival::{self, Arrived},
    failed::{Bad, Failed},
    route,
    verdict::Came,
};

/// How an attempt ended.
pub(crate) enum End {
    Arrived(Arrived),
    /// A plugin answered in the upstream's place.
    Local(LocalAnswer),
    /// A plugin will not have this target.
    Refused {
        fault: Fault,
        try_next: bool,
    },
    /// The failure hooks have seen it.
    Failed(Box<Failed>),
    /// A plugin failed, or the gateway.
    Broken(Fault),
}

impl End {
    /// For the verdict.
    pub(crate) fn came(&self) -> Came {
        match self {
            Self::Arrived(_) | Self::Local(_) | Self::Broken(_) => Came::Final,
            Self::Refused { try_next, .. } => Came::Refused {
                try_next: *try_next,
            },
            Self::Failed(failed) => failed.came(),
        }
    }
}

/// Runs one attempt. `request` is as the request hooks left it; what is edited here is edited on a copy.
pub(crate) async fn run(
    run: &mut Run,
    snapshot: &Snapshot,
    request: &Request,
    target: &Target,
) -> End {
    let mut request = request.clone();
    let mapped = match map_model(&mut request, target) {
        Ok(mapped) => mapped,
        Err(fault) => return End::Broken(fault),
    };
    match run.on_attempt(&mut request, target).await {
        Ok(Decision::Proceed) => {}
        Ok(Decision::Answer { answer, .. }) => return End::Local(answer),
        Ok(Decision::Refuse {
            fault, try_next, ..
        }) => return End::Refused { fault, try_next },
        Err(fault) => return End::Broken(fault),
    }
    let bad = match send(snapshot, &request, target, &edits(run.receipt(), mapped)).await {
        Ok(arrived) => return End::Arrived(arrived),
        Err(bad) => bad,
    };
    let mut failed = Failed::new(bad, target);
    match run
        .on_failure(&request, target, failed.failure.clone())
        .await
    {
        Ok(failure) => failed.failure = failure,
        Err(fault) => return End::Broken(fault),
    }
    End::Failed(Box::new(failed))
}

/// What plugins and the route did to the request, in a line: `strip-cache-control=4, route=1`.
pub(crate) fn edits(receipt: &Receipt, mapped: bool) -> String {
    let edited = receipt
        .edits
        .iter()
        .map(|edits| format!("{}={}", edits.plugin, edits.count));
    let skipped = receipt
        .skipped
        .iter()
        .map(|(plugin, _)| format!("{plugin}=skipped"));
    let route = mapped.then(|| "route=1".to_owned());
    edited
        .chain(skipped)
        .chain(route)
        .collect::<Vec<_>>()
        .join(", ")
}

/// Whether the route sends another model than the one in the request.
pub(crate) fn is_mapped(request: &Request, target: &Target) -> bool {
    target.model != route::model_of(request)
}

async fn send(
    snapshot: &Snapshot,
    request: &Request,
    target: &Target,
    edits: &str,
) -> Result<Arrived, Bad> {
    let Some(upstream) = snapshot.upstreams.at(target.index) else {
        let what = format!(
            "upstream `{}` is gone from the configuration",
            target.upstream
        );
        return Err(Bad::Nothing(Fault::gateway(what)));
    };
    let account = target.account.as_ref();
    let key = account.and_then(|account| snapshot.accounts.key(target.index, account));
    let credential = key.map_or(
        Credential::Client(&request.credentials),
        Credential::Account,
    );
    let answer = upstream
        .send(request, credential, edits)
        .await
        .map_err(Bad::Nothing)?;
    match arrival::look(answer, request.kind, target).await? {
        Arrived::Held(held) if !request.stream => held
            .collected()
            .await
            .map(Arrived::Whole)
            .map_err(Bad::Nothing),
        arrived => Ok(arrived),
    }
}

/// Puts the target's model into the body: only the value is spliced.
fn map_model(request: &mut Request, target: &Target) -> Result<bool, Fault> {
    if !is_mapped(request, target) {
        return Ok(false);
    }
    let value = Bytes::from(string::encode(&target.model));
    let edit = Operation::Replace {
        at: "/model".to_owned(),
        value,
    };
    request.body.patch(&[edit]).map_err(|error| {
        Fault::gateway("the route's model cannot be put into the request").from(error)
    })?;
    Ok(true)
}

/// Headers that tell the client where its answer came from. The account is named only where that is wanted.
pub(crate) fn origin(target: &Target, expose_account: bool, edits: &str) -> HeaderMap {
    let account = target.account.as_ref().filter(|_| expose_account);
    let told = [
        ("x-account-email", account.map_or("", AccountId::as_str)),
        ("x-mapped-model", &*target.model),
        ("x-witgate-edits", edits),
    ];
    let told = told.into_iter().filter(|(_, value)| !value.is_empty());
    // A model that no header can carry is left out.
    let told = told.filter_map(|(name, value)| {
        Some((
            HeaderName::from_static(name),
            HeaderValue::from_str(value).ok()?,
        ))
    });
    told.collect()
}
