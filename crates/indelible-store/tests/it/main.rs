//! Tests of the store seam from the outside.

mod sim_disk;
