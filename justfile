# Shortcuts for https://just.systems. Each recipe is a command or two that you can also type.

# List the recipes.
default:
    @just --list --unsorted

# Run the gateway with the default plugins: `just run --log debug`.
run *ARGS:
    cargo run --release -- {{ ARGS }}

# Run all tests, or those that arguments of `cargo test` select: `just test --test e2e streaming`.
test *ARGS:
    ./tests/run {{ ARGS }}

# Run the cases below tests/cases whose name contains NAME.
case NAME:
    WITGATE_SKIP_CLIENTS=1 ./tests/run --test cases {{ NAME }}

# Rewrite what cases expect with what they get: `just bless NAME`, or all; then read `git diff`.
bless NAME='':
    UPDATE_CASES=1 WITGATE_SKIP_CLIENTS=1 ./tests/run --test cases {{ NAME }}

# Measure what the gateway costs beside nginx: `just bench cpu streams`.
bench *WHAT='cpu':
    cargo build --release -p witgate -p witgate-bench
    ./target/release/witgate-bench --rounds 5 {{ WHAT }}

# Try the deadline clock in every order in which its threads can take their steps.
loom:
    RUSTFLAGS="--cfg loom" cargo test --release --manifest-path tests/loom/Cargo.toml

# Fuzz each target for some seconds, or try mutations of seeds if there is no cargo-fuzz.
fuzz SECONDS='60':
    .ci/fuzz {{ SECONDS }}

# Check formatting, lints and dependencies.
lint: deny
    cargo fmt --all --check
    cargo clippy --release --workspace --all-targets -- -D warnings

# Check licences, bans and sources of the dependencies.
deny *CHECKS:
    .ci/deny {{ CHECKS }}

# Compare the published crates with the last release.
semver:
    cargo semver-checks --baseline-rev "$(git describe --tags --abbrev=0 --match 'v*')" \
        --package witgate-document --package witgate-contract --package witgate-plugin

# Package the published crates and build each from its package alone.
packages:
    .ci/packages

# Run everything that has to pass before a change goes in.
ci:
    bash .ci/run
