//! indelible-store-file
