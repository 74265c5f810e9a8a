//! Ratios against the bare engine, in one run.
