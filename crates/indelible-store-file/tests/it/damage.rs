//! Changes to what was synced are found, and never cut as if they were a torn write.
