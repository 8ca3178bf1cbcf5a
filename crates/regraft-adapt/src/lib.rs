//! Heads on frozen features and their selection.
