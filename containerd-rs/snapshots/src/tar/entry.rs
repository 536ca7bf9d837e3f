//! One member of an archive.

/// What a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A file; its data follows.
    File,
    /// Another name of an earlier member.
    HardLink,
    /// A symbolic link.
    Symlink,
    /// A directory.
    Directory,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A named pipe.
    Fifo,
}

/// One member, with what PAX and GNU headers said already put in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) kind: Kind,
    /// The name as written.
    pub(crate) path: Vec<u8>,
    /// The target of a link, as written.
    pub(crate) link: Vec<u8>,
    /// Permissions with set-id and sticky bits.
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Seconds and nanoseconds.
    pub(crate) mtime: (i64, u32),
    /// Bytes of the file as it is to be; the archive may have fewer of a sparse one.
    pub(crate) size: u64,
    /// Major and minor number of a device.
    pub(crate) device: (u32, u32),
    /// Extended attributes, in the order of their names.
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Pieces of a sparse file: offset and length, in order.
    pub(crate) sparse: Option<Vec<(u64, u64)>>,
}
