//! What the registry promises, tested from outside.

#[cfg(test)]
mod registry;
