//! Addresses: which are let in, and whose word is taken for another's.
//!
//! The lists, and how the client behind a proxy is found, are those of `indelible-middleware`, which other programs use as well.

pub use indelible_middleware::network::{Cidr, CidrError, ForwardedBy, Network};
