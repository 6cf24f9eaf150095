//! What is known of named providers, as data. What is not known is left out, not guessed.
