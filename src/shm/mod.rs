//! Files in shared memory: names, directories, mappings, locks and sleeping. What a bus or a topic
//! keeps in them is decided a layer above.

pub(crate) mod build;
pub(crate) mod dir;
pub(crate) mod error;
pub(crate) mod futex;
pub(crate) mod huge;
pub(crate) mod lock;
pub(crate) mod map;
pub(crate) mod name;
pub(crate) mod root;
