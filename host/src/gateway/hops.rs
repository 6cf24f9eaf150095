//! Requests that a gateway sent to itself, directly or through others.

use http::{HeaderMap, HeaderValue};

use crate::{
    fault::{Blame, Fault, Kind},
    ids::{HOPS, gateway_id},
};

/// More gateways than any useful chain has.
const MOST: usize = 8;

/// Rejects a request that has passed this gateway before, or too many others.
pub(super) fn check(headers: &HeaderMap) -> Result<(), Fault> {
    let hops = headers.get_all(HOPS).iter().flat_map(ids);
    let mut count = 0;
    for hop in hops {
        count += 1;
        if hop == gateway_id() {
            let what = "this gateway sent the request to itself: the `base_url` of an upstream \
                        leads back here";
            return Err(looped(what));
        }
    }
    if count >= MOST {
        return Err(looped("the request has passed too many gateways"));
    }
    Ok(())
}

/// The ids in a header, which another hop may have joined.
fn ids(value: &HeaderValue) -> impl Iterator<Item = &str> {
    let text = value.to_str().unwrap_or_default();
    text.split(',').map(str::trim).filter(|id| !id.is_empty())
}

fn looped(what: &'static str) -> Fault {
    let kind = Kind::Refused {
        status: 508,
        kind: "api_error".to_owned(),
    };
    Fault::new(Blame::Gateway, kind, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(hops: &[&str]) -> Result<(), Fault> {
        let values = hops.iter().map(|hop| (HOPS, hop.parse().unwrap()));
        check(&values.collect())
    }

    #[test]
    fn other_gateways_may_be_passed_but_not_this_one_and_not_very_many() {
        assert!(passed(&[]).is_ok() && passed(&["a", "b, c"]).is_ok());
        assert!(passed(&["a", gateway_id()]).is_err());
        assert!(passed(&[&format!("a,{}", gateway_id())]).is_err());
        assert!(passed(&["a,b,c,d", "e,f,g"]).is_ok());
        assert!(passed(&["a,b,c,d", "e,f,g,h"]).is_err());
    }
}
