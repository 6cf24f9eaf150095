//! Files that depend on each other in a circle: one of them can only be read with all of them open.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    crates, root,
    source::{Module, Sources},
};

#[test]
fn files_of_a_module_do_not_need_each_other_in_a_circle() {
    let mut found = Vec::new();
    for folder in crates() {
        for circle in circles(&Sources::read(&root().join(&folder).join("src"))) {
            found.push(format!("{folder}: {}", circle.join(", ")));
        }
    }
    assert!(found.is_empty(), "files in a circle:\n{}", found.join("\n"));
}

/// Groups of files in which each depends on all others, directly or through others. A file may name
/// its parents' items, because a parent is read first.
fn circles(sources: &Sources) -> Vec<Vec<String>> {
    let mut needs: BTreeMap<&Module, BTreeSet<Module>> = BTreeMap::new();
    for (module, source) in &sources.files {
        let targets = source
            .paths
            .iter()
            .filter_map(|(_, path)| sources.resolve(module, path));
        needs.insert(
            module,
            targets
                .filter(|target| !module.starts_with(target))
                .collect(),
        );
    }
    let reach: BTreeMap<&Module, BTreeSet<&Module>> = needs
        .keys()
        .map(|module| (*module, reached(module, &needs)))
        .collect();
    let mut circles = BTreeSet::new();
    for (module, reached) in &reach {
        let back = reached
            .iter()
            .filter(|other| reach[**other].contains(*module));
        let circle: BTreeSet<String> = back.map(|module| module.join("/")).collect();
        if circle.len() > 1 {
            circles.insert(circle.into_iter().collect());
        }
    }
    circles.into_iter().collect()
}

/// Every file that this one depends on, directly or through others.
fn reached<'a>(
    from: &'a Module,
    needs: &'a BTreeMap<&Module, BTreeSet<Module>>,
) -> BTreeSet<&'a Module> {
    let mut seen = BTreeSet::new();
    let mut open = vec![from];
    while let Some(module) = open.pop() {
        for next in needs.get(module).into_iter().flatten() {
            if seen.insert(next) {
                open.push(next);
            }
        }
    }
    seen
}
