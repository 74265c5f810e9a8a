//! What the library promises, tested from outside: one binary, one module for each subject.

#[cfg(test)]
mod adversarial;
#[cfg(test)]
mod api;
#[cfg(test)]
mod attachments;
#[cfg(test)]
mod basics;
#[cfg(test)]
mod closed;
#[cfg(test)]
mod copy;
#[cfg(test)]
mod design;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod flips;
#[cfg(test)]
mod full_disk;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod keeper;
#[cfg(test)]
mod keys;
#[cfg(test)]
mod keys_absent;
#[cfg(test)]
mod keys_attacked;
#[cfg(test)]
mod keys_excuses;
#[cfg(test)]
mod keys_missing;
#[cfg(test)]
mod keys_retired;
#[cfg(test)]
mod kill;
#[cfg(test)]
mod meanwhile;
#[cfg(test)]
mod model;
#[cfg(test)]
mod named_once;
#[cfg(test)]
mod panics;
#[cfg(test)]
mod put_back;
#[cfg(test)]
mod repair;
#[cfg(test)]
mod replaced_entry_key;
#[cfg(test)]
mod sqlite;
#[cfg(test)]
mod sqlite_kill;
#[cfg(test)]
mod strays;
#[cfg(test)]
mod support;
#[cfg(test)]
mod together;
#[cfg(test)]
mod world;
