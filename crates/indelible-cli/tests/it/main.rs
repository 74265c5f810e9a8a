//! The command line, as a newcomer, an auditor and an attacker type it.

#[cfg(test)]
mod attach;
#[cfg(all(test, feature = "postgres", feature = "sqlite"))]
mod bench;
#[cfg(test)]
mod help;
#[cfg(test)]
mod import;
#[cfg(feature = "import-sql")]
#[cfg(test)]
mod import_sql;
#[cfg(test)]
mod input;
#[cfg(test)]
mod live;
#[cfg(test)]
mod newcomer;
#[cfg(test)]
mod places;
#[cfg(test)]
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(test)]
mod proofs;
#[cfg(test)]
mod refusals;
#[cfg(all(test, feature = "sqlite"))]
mod sqlite;
#[cfg(test)]
mod verify;
#[cfg(test)]
mod world;
