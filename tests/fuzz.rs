//! Runs the fuzz targets on their seeds and on mutations of them, with any compiler.
//! `fuzz/README.md` describes the targets and how to fuzz them.
//!
//! `SEED` and `CASES` make other mutations, or more of them.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

#[allow(unreachable_pub, reason = "in `fuzz` this is a library")]
#[path = "../fuzz/src/lib.rs"]
mod targets;

use std::{
    env, fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

const SEED: u64 = 1;

/// Mutations of each seed.
const CASES: u64 = 100;

#[test]
fn what_the_targets_promise_holds_for_the_seeds_and_their_mutations() {
    let (seed, cases) = (setting("SEED", SEED), setting("CASES", CASES));
    println!("to repeat this run: SEED={seed} CASES={cases}");
    let mut chance = Chance(seed);
    for (name, target) in targets::TARGETS {
        let seeds = seeds(name);
        assert!(!seeds.is_empty(), "`{name}` has no seeds");
        for input in &seeds {
            run(name, *target, input);
            for _ in 0..cases {
                run(name, *target, &chance.mutated(input, &seeds));
            }
        }
    }
}

#[test]
fn every_target_has_a_binary() {
    let manifest = fs::read_to_string(root().join("fuzz/Cargo.toml")).unwrap();
    for (name, _) in targets::TARGETS {
        let path = format!("fuzz_targets/{name}.rs");
        assert!(manifest.contains(&path), "fuzz/Cargo.toml has no `{path}`");
        assert!(root().join("fuzz").join(&path).exists(), "{path}");
    }
    let binaries = manifest.matches("[[bin]]").count();
    assert_eq!(binaries, targets::TARGETS.len());
}

/// Names the input of a failure, which may not be text.
fn run(name: &str, target: targets::Target, input: &[u8]) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| target(input))) {
        eprintln!("`{name}` failed for {:?}", input.escape_ascii().to_string());
        std::panic::resume_unwind(panic);
    }
}

struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) >> 1).unwrap() % limit.max(1)
    }

    /// One to four changes: a part removed, doubled or taken from another seed, or a byte replaced.
    fn mutated(&mut self, input: &[u8], seeds: &[Vec<u8>]) -> Vec<u8> {
        const BYTES: &[u8] = b"\0\"\\{}[]:,0-19eE.$@?*()&|~/u \n\xff\xed";
        let mut output = input.to_vec();
        for _ in 0..=self.below(4) {
            let part = self.part(output.len());
            match self.below(4) {
                0 => drop(output.drain(part)),
                1 => {
                    let copy = output[part.clone()].to_vec();
                    output.splice(part.start..part.start, copy);
                }
                2 => {
                    let other = &seeds[self.below(seeds.len())];
                    let theirs = other[self.part(other.len())].to_vec();
                    output.splice(part, theirs);
                }
                _ if !output.is_empty() => {
                    let at = self.below(output.len());
                    output[at] = BYTES[self.below(BYTES.len())];
                }
                _ => {}
            }
        }
        output
    }

    /// A range in something of this length, mostly a short one.
    fn part(&mut self, length: usize) -> std::ops::Range<usize> {
        let start = self.below(length + 1);
        let most = match self.below(4) {
            0 => length,
            _ => 8,
        };
        start..(start + self.below(most + 1)).min(length)
    }
}

fn seeds(name: &str) -> Vec<Vec<u8>> {
    let entries = fs::read_dir(root().join("fuzz/seeds").join(name)).unwrap();
    // In a fixed order, so that a seed repeats a run.
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.sort();
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}

fn setting(name: &str, default: u64) -> u64 {
    let given = env::var(name).ok();
    given.map_or(default, |text| text.parse().unwrap())
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}
