//! Tables in real databases, and a real log.

#[cfg(test)]
mod follow;
#[cfg(test)]
mod values;
#[cfg(test)]
mod world;
