//! What registry and relay promise, tested from outside.

#[cfg(test)]
mod registry;
#[cfg(all(test, feature = "postgres"))]
mod relay;
