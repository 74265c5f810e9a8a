//! The command line, as a newcomer, an auditor and an attacker type it.

#[cfg(test)]
mod attach;
#[cfg(all(test, feature = "postgres", feature = "sqlite"))]
#[cfg(test)]
mod bench;
#[cfg(test)]
mod files;
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
mod keys;
#[cfg(test)]
mod live;
#[cfg(test)]
mod newcomer;
#[cfg(test)]
mod openssl;
#[cfg(all(feature = "server", unix))]
#[cfg(test)]
mod packaging;
#[cfg(test)]
mod places;
#[cfg(test)]
#[cfg(feature = "postgres")]
#[cfg(test)]
mod postgres;
#[cfg(test)]
mod proofs;
#[cfg(test)]
mod refusals;
#[cfg(feature = "server")]
#[cfg(test)]
mod serve;
#[cfg(all(feature = "client", feature = "server"))]
#[cfg(test)]
mod served;
#[cfg(all(test, feature = "sqlite"))]
#[cfg(test)]
mod sqlite;
#[cfg(test)]
mod verify;
#[cfg(test)]
mod world;
