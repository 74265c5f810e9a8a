//! What registry and relay promise, tested from outside.

#[cfg(test)]
mod held;
#[cfg(test)]
mod making;
#[cfg(test)]
#[cfg(feature = "postgres")]
mod pool;
#[cfg(test)]
mod registry;
#[cfg(test)]
#[cfg(feature = "postgres")]
mod relay;
