//! Rings from outside: rotation, compromise, destruction, import, master keys; random histories; processes that are killed.

#[cfg(test)]
mod changes;
#[cfg(test)]
mod kill;
#[cfg(test)]
mod masters;
#[cfg(test)]
mod model;
#[cfg(test)]
mod world;
