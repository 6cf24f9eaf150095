//! The part of the gateway's `Cargo.lock` that a plugin needs, so that it is built with the same
//! versions.

use std::collections::BTreeSet;

/// A `[[package]]` of a lock file.
struct Package<'a> {
    name: &'a str,
    text: &'a str,
}

/// Returns the lock file of a package with these dependencies. `unused` are dependencies of crates
/// that only their own tests need.
pub(super) fn lock(
    name: &str,
    dependencies: &[&str],
    lock: &str,
    unused: &[(&str, Vec<&str>)],
) -> String {
    const PACKAGE: &str = "[[package]]\n";
    let mut parts = lock.split(PACKAGE);
    let head = parts.next().unwrap_or_default();
    let all: Vec<Package> = parts.map(Package::parse).collect();
    let needed = closure(&all, dependencies, unused);
    let own = format!(
        "name = \"{name}\"\nversion = \"0.1.0\"\ndependencies = [\n{}]\n",
        dependencies
            .iter()
            .map(|name| format!(" \"{name}\",\n"))
            .collect::<String>()
    );
    let mut packages = vec![(name, own)];
    for package in all.iter().filter(|package| needed.contains(package.name)) {
        let left_out = unused_by(package.name, unused);
        packages.push((package.name, package.without(left_out)));
    }
    packages.sort_by_key(|(name, _)| *name);
    let packages = packages.iter().map(|(_, text)| {
        format!(
            "{PACKAGE}{}\n",
            text.trim_end_matches('\n').to_owned() + "\n"
        )
    });
    let text = head.to_owned() + &packages.collect::<String>();
    text.trim_end().to_owned() + "\n"
}

/// Whether a lock file has a package of this name.
pub(super) fn has(lock: &str, name: &str) -> bool {
    lock.contains(&format!("\nname = \"{name}\"\n"))
}

/// The names of all packages that these need, directly or through others.
fn closure<'a>(
    all: &[Package<'a>],
    from: &[&'a str],
    unused: &[(&str, Vec<&str>)],
) -> BTreeSet<&'a str> {
    let mut needed = BTreeSet::new();
    let mut open = from.to_vec();
    while let Some(name) = open.pop() {
        if !needed.insert(name) {
            continue;
        }
        let left_out = unused_by(name, unused);
        for package in all.iter().filter(|package| package.name == name) {
            open.extend(package.needs().filter(|name| !left_out.contains(name)));
        }
    }
    needed
}

fn unused_by<'a>(name: &str, unused: &'a [(&str, Vec<&'a str>)]) -> &'a [&'a str] {
    let found = unused.iter().find(|(package, _)| *package == name);
    found.map_or(&[], |(_, names)| names)
}

impl<'a> Package<'a> {
    fn parse(text: &'a str) -> Self {
        let name = text.strip_prefix("name = \"").unwrap_or_default();
        Self {
            name: name.split('"').next().unwrap_or_default(),
            text,
        }
    }

    /// The names of its dependencies. Those of a name with several versions have the version too.
    fn needs(&self) -> impl Iterator<Item = &'a str> {
        self.text.lines().filter_map(dependency)
    }

    fn without(&self, left_out: &[&str]) -> String {
        let kept = self
            .text
            .lines()
            .filter(|line| !dependency(line).is_some_and(|name| left_out.contains(&name)));
        kept.map(|line| format!("{line}\n")).collect()
    }
}

/// The name in a line of a list of dependencies.
fn dependency(line: &str) -> Option<&str> {
    let quoted = line.strip_prefix(" \"")?.strip_suffix("\",")?;
    quoted.split(' ').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCK: &str = "\
# generated
version = 4

[[package]]
name = \"a\"
version = \"1.0.0\"
dependencies = [
 \"b\",
 \"t\",
]

[[package]]
name = \"b\"
version = \"1.0.0\"
source = \"registry\"
dependencies = [
 \"c 2.0.0\",
]

[[package]]
name = \"c\"
version = \"2.0.0\"

[[package]]
name = \"t\"
version = \"1.0.0\"

[[package]]
name = \"z\"
version = \"1.0.0\"
";

    #[test]
    fn a_lock_has_what_is_needed_and_nothing_that_only_tests_need() {
        let text = lock("rule", &["a"], LOCK, &[("a", vec!["t"])]);
        let wanted = "\
# generated
version = 4

[[package]]
name = \"a\"
version = \"1.0.0\"
dependencies = [
 \"b\",
]

[[package]]
name = \"b\"
version = \"1.0.0\"
source = \"registry\"
dependencies = [
 \"c 2.0.0\",
]

[[package]]
name = \"c\"
version = \"2.0.0\"

[[package]]
name = \"rule\"
version = \"0.1.0\"
dependencies = [
 \"a\",
]
";
        assert_eq!(text, wanted);
        assert!(has(LOCK, "b") && !has(LOCK, "1.0.0"));
    }
}
