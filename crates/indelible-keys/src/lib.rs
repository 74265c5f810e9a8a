//! indelible-keys
