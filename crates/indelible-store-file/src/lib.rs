//! A log as a directory (`docs/format.md` section 5): JSON Lines segments as the only truth, everything else rebuilt from them.
//!
//! A batch is one write and one sync at the end of the active segment. The tree, the offsets and the id files are written later, from
//! bytes that were read back. A crash leaves, at worst, a torn line inside the batch that nobody was told about: [`recover`]
//! cuts it, keeps the cut bytes aside, and never cuts below what is known to have been durable.
//!
//! | module | holds |
//! |---|---|
//! | [`layout`] | file names, `log.json`, `durable` |
//! | [`segments`] | the segment files, plain and closed |
//! | [`frames`] | seekable zstd |
//! | [`tree_files`] | `tree/*` and `offsets` |
//! | [`ids`] | exact id lookup in sorted files |
//! | `anchor` | where the entries of the newest head end |
//! | [`recover`] | what may be cut, and the cutting |
//! | [`reader`], [`writer`] | the two sides of the store |
//! | [`driver`] | creating and opening a log, for the library |
//! | [`check`] | derived files against the entries |
//! | `unfinished` | what a crash leaves before there is a log |

mod anchor;
pub mod check;
pub mod driver;
pub mod frames;
pub mod ids;
pub mod layout;
pub mod reader;
pub mod recover;
pub mod segments;
pub mod tree_files;
pub mod writer;

mod unfinished;

pub use driver::FileDriver;
pub use layout::Settings;
pub use reader::FileReader;
pub use writer::FileWriter;
