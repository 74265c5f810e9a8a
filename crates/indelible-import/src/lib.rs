//! indelible-import
