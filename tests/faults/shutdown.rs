//! Faults of another kind: see `mod.rs`.
