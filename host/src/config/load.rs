//! Reads and checks a configuration file: all problems at once, each with file, line and key.

/// One problem of a configuration.
pub struct Problem;

/// All problems of a configuration.
pub struct Problems(pub Vec<Problem>);
