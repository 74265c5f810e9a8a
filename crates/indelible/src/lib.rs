//! indelible
