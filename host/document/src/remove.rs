//! Removes all nodes of a query with one splice.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::{ControlFlow, Range},
};

use crate::{
    Error, MAX_SELECTED, Path,
    index::Index,
    path::{Duplicates, Walk},
    scan::{Children, skip_space, skip_space_back, string_end},
};

/// The number of removed nodes, and the spans of text to cut, ascending and separate.
type Cuts = (usize, Vec<Range<usize>>);

/// The children to remove, by container: their nesting depth and their starts.
pub(crate) type Chosen = BTreeMap<usize, (usize, BTreeSet<usize>)>;

/// Returns what to cut to remove all nodes of `path`. A node inside another removed node is not
/// counted.
pub(crate) fn cuts(text: &[u8], index: &Index, path: &Path) -> Result<Cuts, Error> {
    let searched = path.anywhere().and_then(|name| {
        let occurrences = index.occurrences(text, name, true);
        found(text, index, occurrences.all(text.len())?)
    });
    match searched {
        Some(cuts) => Ok(cuts),
        None => walked(text, index, path),
    }
}

/// Returns the cuts for members whose keys are at `keys`, judged by the text around each, without a
/// walk. `None` if that text is not the text around members.
pub(crate) fn found(text: &[u8], index: &Index, keys: &[usize]) -> Option<Cuts> {
    let mut count = 0;
    let mut cuts = Vec::new();
    let mut keys = keys.iter().copied().peekable();
    while let Some(first) = keys.next() {
        let mut end = member_end(text, index, first)?;
        count += 1;
        // Adjacent members share one cut. Keys inside of a member go with it.
        let follow = loop {
            while keys.next_if(|&key| key < end).is_some() {}
            let follow = skip_space(text, end);
            let next = skip_space(text, follow + 1);
            if text.get(follow) == Some(&b',') && keys.next_if_eq(&next).is_some() {
                end = member_end(text, index, next)?;
                count += 1;
                continue;
            }
            break follow;
        };
        let before = skip_space_back(text, first);
        let mark = text[..before].last()?;
        cuts.push(match (mark, text.get(follow)?) {
            (b'{' | b',', b',') => before..follow + 1,
            (b'{', b'}') => before..end,
            (b',', b'}') => skip_space_back(text, before - 1)..end,
            _ => return None,
        });
    }
    Some((count, cuts))
}

fn member_end(text: &[u8], index: &Index, key: usize) -> Option<usize> {
    let colon = skip_space(text, string_end(text, key).ok()?);
    let start = skip_space(text, colon + 1);
    index.value_end(text, start, 1).ok()
}

fn walked(text: &[u8], index: &Index, path: &Path) -> Result<Cuts, Error> {
    let mut walk = Walk::new(text, index, path, Duplicates::All);
    around(text, index, chosen(&mut walk, &mut |_| Ok(()))?)
}

/// The same as [`cuts`], with pointers to the nodes that a reader sees. The pointers are `None` if
/// duplicates hide some nodes.
pub(crate) fn noted(
    text: &[u8],
    index: &Index,
    path: &Path,
) -> Result<(Cuts, Option<Vec<String>>), Error> {
    let mut walk = Walk::new(text, index, path, Duplicates::All).tracking_shadows();
    let mut pointers = Pointers::default();
    let chosen = chosen(&mut walk, &mut |walk| pointers.take(walk))?;
    let all_seen = !walk.found_shadows();
    Ok((
        around(text, index, chosen)?,
        all_seen.then_some(pointers.all),
    ))
}

fn chosen<'t>(
    walk: &mut Walk<'t>,
    each: &mut dyn FnMut(&Walk<'t>) -> Result<(), Error>,
) -> Result<Chosen, Error> {
    let mut chosen = Chosen::new();
    let mut selected = 0;
    let mut whole = false;
    walk.run(&mut |walk, place| {
        match walk.parent() {
            Some(parent) => {
                let (_, starts) = chosen
                    .entry(parent)
                    .or_insert((place.depth, BTreeSet::new()));
                starts.insert(place.start);
            }
            None => whole = true,
        }
        selected += 1;
        if selected > MAX_SELECTED {
            return Err(too_many());
        }
        each(walk)?;
        Ok(ControlFlow::Continue(()))
    })?;
    if whole {
        return Err(Error::NotApplicable(
            "cannot remove the whole document".to_owned(),
        ));
    }
    Ok(chosen)
}

/// Returns the cuts that remove these children.
pub(crate) fn around(text: &[u8], index: &Index, chosen: Chosen) -> Result<Cuts, Error> {
    let mut removed: BTreeMap<usize, usize> = BTreeMap::new();
    let mut cuts = Vec::new();
    // In ascending order, a container comes before those inside of it.
    for (parent, (depth, starts)) in chosen {
        let inside = removed
            .range(..=parent)
            .next_back()
            .is_some_and(|(_, &end)| parent < end);
        if !inside {
            cut_children(
                (text, index),
                parent,
                (depth, starts),
                &mut removed,
                &mut cuts,
            )?;
        }
    }
    cuts.sort_unstable_by_key(|cut: &Range<usize>| cut.start);
    Ok((removed.len(), cuts))
}

/// Pointers to the nodes of a walk, within the limits.
#[derive(Default)]
pub(crate) struct Pointers {
    pub(crate) all: Vec<String>,
    /// Their total length.
    size: usize,
}

impl Pointers {
    /// Adds the pointer to the current node.
    pub(crate) fn take(&mut self, walk: &Walk<'_>) -> Result<(), Error> {
        /// A limit, since deep nodes with long names multiply.
        const MOST: usize = 64 << 20;

        let pointer = walk.pointer();
        self.size += pointer.len();
        if self.all.len() == MAX_SELECTED {
            return Err(too_many());
        }
        if self.size > MOST {
            return Err(Error::TooMuch(format!(
                "the pointers to the selected nodes exceed {MOST} bytes"
            )));
        }
        self.all.push(pointer);
        Ok(())
    }
}

pub(crate) fn too_many() -> Error {
    Error::TooMuch(format!("selects more than {MAX_SELECTED} nodes"))
}

fn cut_children(
    (text, index): (&[u8], &Index),
    parent: usize,
    (depth, mut starts): (usize, BTreeSet<usize>),
    removed: &mut BTreeMap<usize, usize>,
    cuts: &mut Vec<Range<usize>>,
) -> Result<(), Error> {
    let mut children = Children::of(text, parent)?;
    // The end of the last remaining value, and the start of the current run of removed children.
    let mut kept = parent + 1;
    let mut run: Option<usize> = None;
    while let Some(child) = children.next()? {
        let goes = starts.remove(&child.start);
        if !goes && let Some(from) = run.take() {
            cuts.push(from..child.lead);
        }
        if !goes && starts.is_empty() {
            return Ok(());
        }
        let end = index.value_end(text, child.start, depth)?;
        if goes {
            run.get_or_insert(child.lead);
            removed.insert(child.start, end);
        } else {
            kept = end;
        }
        children.passed(end);
        if children_end(text, end) && run.is_some() {
            cuts.push(kept..end);
            return Ok(());
        }
    }
    Ok(())
}

/// Whether the container ends after its child that ended at `end`.
fn children_end(text: &[u8], end: usize) -> bool {
    matches!(text.get(skip_space(text, end)), Some(b'}' | b']'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::splice::{Cut, splice};

    /// Both ways to find the cuts must agree if both apply.
    #[track_caller]
    fn without(text: &str, path: &str) -> (usize, String) {
        let path = Path::parse(path).expect("a path");
        let bytes = text.as_bytes();
        let (count, spans) = walked(bytes, &Index::default(), &path).expect("valid");
        for index in [Index::default(), Index::of(bytes)] {
            assert_eq!(cuts(bytes, &index, &path), Ok((count, spans.clone())));
            assert_eq!(walked(bytes, &index, &path), Ok((count, spans.clone())));
        }
        let spans: Vec<Cut> = spans.into_iter().map(Cut::removal).collect();
        let left = splice(bytes, &spans);
        (count, String::from_utf8_lossy(&left).into_owned())
    }

    #[test]
    fn a_member_goes_with_one_comma_and_the_space_on_one_side() {
        for (text, left) in [
            (r#"{"c":1,"a":2}"#, r#"{"a":2}"#),
            (r#"{"a":2,"c":1}"#, r#"{"a":2}"#),
            (r#"{"a":2,"c":1,"b":3}"#, r#"{"a":2,"b":3}"#),
            (r#"{"c":1}"#, r#"{}"#),
            ("{ \"c\" : 1 }", "{ }"),
            ("{\n  \"c\": 1,\n  \"a\": 2\n}", "{\n  \"a\": 2\n}"),
            ("{\n  \"a\": 2,\n  \"c\": 1\n}", "{\n  \"a\": 2\n}"),
            (
                "{\n  \"a\": 2,\n  \"c\": 1,\n  \"b\": 3\n}",
                "{\n  \"a\": 2,\n  \"b\": 3\n}",
            ),
            ("{\"a\":2 , \"c\":1 }", "{\"a\":2 }"),
        ] {
            assert_eq!(without(text, "$..c"), (1, left.to_owned()));
        }
    }

    #[test]
    fn runs_duplicates_and_nests_go_at_once() {
        let text = r#"{"c":1,"a":{"c":{"c":2},"c":3},"c":4,"\u0063":5}"#;
        assert_eq!(without(text, "$..c"), (5, r#"{"a":{}}"#.to_owned()));
        assert_eq!(without("[1, 2, 3, 4]", "$[0,2,3]"), (3, "[ 2]".to_owned()));
        assert_eq!(without("[1, 2, 3, 4]", "$[1:3]"), (2, "[1, 4]".to_owned()));
        assert_eq!(without("[[1],[2]]", "$..*"), (2, "[]".to_owned()));
        assert_eq!(
            without(r#"{"a":1,"b":[{"a":2}],"a":3}"#, "$.a"),
            (2, r#"{"b":[{"a":2}]}"#.to_owned())
        );
    }

    #[test]
    fn the_root_cannot_be_removed() {
        let path = Path::parse("$").expect("a path");
        assert!(cuts(b"{}", &Index::default(), &path).is_err());
    }
}
