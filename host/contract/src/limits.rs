//! Every limit that a plugin can meet, in the gateway and in the SDK's test kit.
//!
//! Sizes are in bytes and counts are plain numbers, as each constant says. A limit is inclusive: a
//! value of exactly this size or count is accepted.

use std::time::Duration;

/// JSON text that one `read` or `outline` returns, in bytes. Larger than any rule needs, and
/// smaller than the memory a plugin has by default.
pub const READ: usize = 16 << 20;

/// Length of a JSONPath query, in bytes.
pub const QUERY: usize = 16 << 10;

/// Length of a path with its query string in `set_path`, in bytes.
pub const PATH: usize = 8 << 10;

/// Header edits in one call, as a count.
pub const HEADER_EDITS: usize = 64;

/// Values of one header in one edit, as a count.
pub const HEADER_VALUES: usize = 32;

/// Length of one header value, in bytes.
pub const HEADER_VALUE: usize = 16 << 10;

/// Headers of one message with the edits of plugins: names, values and [`HEADER_ENTRY`] for each,
/// in bytes. Servers take a fraction of it.
pub const HEADERS: usize = 256 << 10;

/// What a header counts in addition to its name and value, in bytes, so that many empty ones count.
pub const HEADER_ENTRY: usize = 32;

/// Text of the edits of one call that is kept for the receipt, in bytes. Edits beyond it are
/// counted.
pub const RECEIPT_EDITS: usize = 16 << 10;

/// Lines for the record in one call, and in one exchange, as a count. Lines beyond it are dropped.
pub const NOTES: usize = 32;

/// Length of one line for the record, in bytes. A longer line is cut.
pub const NOTE: usize = 300;

/// Lines in the log per plugin and exchange, as a count. Lines beyond it are dropped and counted.
pub const LOG_LINES: u32 = 64;

/// Length of one line in the log, in bytes. A longer line is cut.
pub const LOG_LINE: usize = 2 << 10;

/// Part of an upstream's error body that `failure.body` shows, in bytes. A longer body is cut.
pub const FAILURE_BODY_SHOWN: usize = 64 << 10;

/// Body in `failure.set_body`, in bytes.
pub const FAILURE_BODY: usize = 1 << 20;

/// Length of an error type in `failure.set_error_type` and in a refusal, in bytes.
pub const ERROR_TYPE: usize = 64;

/// Delay that `failure.set_retry` can ask for. A longer one is shortened to it: no client waits
/// longer.
pub const RETRY_DELAY: Duration = Duration::from_secs(3_600);

/// Cooldown of an account: a weekly quota and a day. Whatever asks for more, a plugin or a header
/// of an upstream, is taken for a mistake and shortened to it.
pub const COOLDOWN: Duration = Duration::from_secs(8 * 24 * 3_600);

/// Memory of one key-value space, in bytes, with [`KV_ENTRY`] per entry. When it is full, the
/// entries that were not used for the longest time are dropped.
pub const KV_SPACE: usize = 16 << 20;

/// Length of a key, in bytes.
pub const KV_KEY: usize = 1 << 10;

/// Length of a value, in bytes.
pub const KV_VALUE: usize = 1 << 20;

/// What an entry costs in addition to its key and value, in bytes, so that many empty values count.
pub const KV_ENTRY: usize = 128;

/// Lifetime of a key-value entry. A longer one is shortened to it, so that adding it to a clock
/// cannot overflow.
pub const KV_TTL: Duration = Duration::from_secs(10 * 365 * 24 * 3_600);

/// One event of an upstream's stream, in bytes: no message has a longer one.
pub const EVENT: usize = 32 << 20;

/// A whole JSON response of an upstream, in bytes.
pub const RESPONSE: usize = 128 << 20;

/// An upstream's error body that is read, in bytes.
pub const ERROR_BODY: usize = 1 << 20;

/// Plugin instances that live at the same time in a process, as a count. Each reserves some 8 GiB
/// of address space, of the 128 TiB that a process has.
pub const INSTANCES: u32 = 8_000;

/// Linear memory of a plugin instance unless its configuration says otherwise, in bytes. A rule
/// needs one or two MiB, a language runtime some tens.
pub const MEMORY_DEFAULT: usize = 64 << 20;

/// Linear memory that the configuration can grant to a plugin instance, in bytes.
pub const MEMORY: usize = 1 << 30;

/// Table elements of a plugin instance, as a count. A Rust plugin has some hundreds.
pub const TABLE_ELEMENTS: usize = 20_000;

/// Run time of one call unless the configuration says otherwise, plus [`DEADLINE_PER_MIB`].
pub const DEADLINE: Duration = Duration::from_millis(250);

/// Run time added to [`DEADLINE`] for each MiB of the client's body.
pub const DEADLINE_PER_MIB: Duration = Duration::from_millis(100);

/// Data that a plugin passes in one call to the gateway, in bytes as the gateway holds it. Twice
/// the largest body of a message by default.
pub const HOST_CALL: usize = 64 << 20;

/// Handles that a plugin holds of the gateway's resources, as a count: those of the call, and a few
/// streams of its runtime library.
pub const RESOURCES: usize = 256;

/// Answers and refusals that a plugin has made and not returned, as a count. One is enough: a hook
/// returns one.
pub const DRAFTS: usize = 4;

/// Handles that a plugin makes of its own resources, as a count.
pub const OWN_HANDLES: usize = 10_000;

/// Size of a component file, in bytes.
pub const COMPONENT: u64 = 64 << 20;

/// Length of `summary` and of `version` in a manifest, in characters. A longer text is cut.
pub const MANIFEST_LINE: usize = 200;
