//! A simulated disk with seeded faults.
