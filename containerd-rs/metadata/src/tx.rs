//! Tables, and transactions over them that can take back a part of what they did.

use containerd_rs_core::{Error, Result};
use redb::{ReadTransaction, ReadableDatabase as _, ReadableTable as _, TableDefinition, WriteTransaction};

/// The tables of the database. Keys are names with NUL between them, the namespace first; values are rows ([`crate::row`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Table {
    /// `version` to the version of the layout.
    Meta,
    /// `namespace`.
    Namespaces,
    /// `namespace NUL name`.
    Images,
    /// `namespace NUL id`.
    Containers,
    /// `namespace NUL id`.
    Sandboxes,
    /// `namespace NUL id`.
    Leases,
    /// `namespace NUL lease NUL kind NUL id`, without a value.
    Resources,
    /// `namespace NUL digest`.
    Blobs,
    /// `namespace NUL ref`.
    Ingests,
    /// `namespace NUL snapshotter NUL name`.
    Snapshots,
    /// `namespace NUL snapshotter NUL parent NUL name`, without a value.
    Children,
}

/// A change of a row, as the journal has it: the table's place in [`TABLES`], the key, and the new value if there is one.
pub(crate) type Change = (u8, Vec<u8>, Option<Vec<u8>>);

/// All tables. Their order is part of the journal's format.
pub(crate) const TABLES: [Table; 11] = [
    Table::Meta,
    Table::Namespaces,
    Table::Images,
    Table::Containers,
    Table::Sandboxes,
    Table::Leases,
    Table::Resources,
    Table::Blobs,
    Table::Ingests,
    Table::Snapshots,
    Table::Children,
];

impl Table {
    fn definition(self) -> TableDefinition<'static, &'static [u8], &'static [u8]> {
        TableDefinition::new(match self {
            Table::Meta => "meta",
            Table::Namespaces => "namespaces",
            Table::Images => "images",
            Table::Containers => "containers",
            Table::Sandboxes => "sandboxes",
            Table::Leases => "leases",
            Table::Resources => "resources",
            Table::Blobs => "blobs",
            Table::Ingests => "ingests",
            Table::Snapshots => "snapshots",
            Table::Children => "children",
        })
    }
}

/// A broken database is no fault of the caller.
pub(crate) fn broken(what: &str, error: impl std::fmt::Display) -> Error {
    Error::Internal(format!("metadata database: {what}: {error}"))
}

/// What a scan calls with the key behind the prefix, and the value; `false` ends it.
pub(crate) type Visit<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> Result<bool>;

/// Reading, in a snapshot or in a transaction that writes.
pub(crate) trait Read {
    /// The value of a key.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>>;

    /// All keys that begin with a prefix, in order.
    fn scan(&self, table: Table, prefix: &[u8], visit: Visit<'_>) -> Result<()>;

    /// Whether any key begins with a prefix.
    fn any(&self, table: Table, prefix: &[u8]) -> Result<bool> {
        let mut found = false;
        self.scan(table, prefix, &mut |_, _| {
            found = true;
            Ok(false)
        })?;
        Ok(found)
    }
}

fn scan_table(
    table: &impl redb::ReadableTable<&'static [u8], &'static [u8]>,
    prefix: &[u8],
    visit: Visit<'_>,
) -> Result<()> {
    let range = table.range::<&[u8]>(prefix..).map_err(|e| broken("range", e))?;
    for entry in range {
        let (key, value) = entry.map_err(|e| broken("scan", e))?;
        let Some(rest) = key.value().strip_prefix(prefix) else {
            return Ok(());
        };
        if !visit(rest, value.value())? {
            return Ok(());
        }
    }
    Ok(())
}

/// The database as it was when the transaction began.
pub(crate) struct ReadTx(ReadTransaction);

impl ReadTx {
    pub(crate) fn begin(db: &redb::Database) -> Result<Self> {
        db.begin_read().map(ReadTx).map_err(|e| broken("begin read", e))
    }
}

impl Read for ReadTx {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let table = self
            .0
            .open_table(table.definition())
            .map_err(|e| broken("open table", e))?;
        let value = table.get(key).map_err(|e| broken("get", e))?;
        Ok(value.map(|value| value.value().to_vec()))
    }

    fn scan(&self, table: Table, prefix: &[u8], visit: Visit<'_>) -> Result<()> {
        let table = self
            .0
            .open_table(table.definition())
            .map_err(|e| broken("open table", e))?;
        scan_table(&table, prefix, visit)
    }
}

/// A transaction that writes. Several callers' changes may go into one, so each caller's can be taken back alone.
pub(crate) struct WriteTx {
    txn: WriteTransaction,
    undo: Vec<(Table, Vec<u8>, Option<Vec<u8>>)>,
    /// All changes, in order.
    changes: Vec<Change>,
    /// How many of them others made.
    others: usize,
}

impl WriteTx {
    pub(crate) fn begin(db: &redb::Database) -> Result<Self> {
        let txn = db.begin_write().map_err(|e| broken("begin write", e))?;
        Ok(WriteTx {
            txn,
            undo: Vec::new(),
            changes: Vec::new(),
            others: 0,
        })
    }

    /// Sets a key.
    pub(crate) fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<()> {
        let old = {
            let mut opened = self
                .txn
                .open_table(table.definition())
                .map_err(|e| broken("open table", e))?;
            let old = opened.insert(key, value).map_err(|e| broken("insert", e))?;
            old.map(|old| old.value().to_vec())
        };
        self.undo.push((table, key.to_vec(), old));
        self.changes.push((table as u8, key.to_vec(), Some(value.to_vec())));
        Ok(())
    }

    /// Removes a key; whether it was there.
    pub(crate) fn delete(&mut self, table: Table, key: &[u8]) -> Result<bool> {
        let old = {
            let mut opened = self
                .txn
                .open_table(table.definition())
                .map_err(|e| broken("open table", e))?;
            let old = opened.remove(key).map_err(|e| broken("remove", e))?;
            old.map(|old| old.value().to_vec())
        };
        let there = old.is_some();
        if there {
            self.undo.push((table, key.to_vec(), old));
            self.changes.push((table as u8, key.to_vec(), None));
        }
        Ok(there)
    }

    /// Removes all keys that begin with a prefix.
    pub(crate) fn delete_prefix(&mut self, table: Table, prefix: &[u8]) -> Result<()> {
        let mut keys = Vec::new();
        self.scan(table, prefix, &mut |rest, _| {
            keys.push([prefix, rest].concat());
            Ok(true)
        })?;
        keys.iter().try_for_each(|key| self.delete(table, key).map(|_| ()))
    }

    /// From here on the changes are another caller's.
    pub(crate) fn mark(&mut self) {
        self.undo.clear();
        self.others = self.changes.len();
    }

    /// All changes that were made and not taken back.
    pub(crate) fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// Makes a change of the journal again.
    pub(crate) fn redo(&mut self, (table, key, value): Change) -> Result<()> {
        let table = *TABLES
            .get(usize::from(table))
            .ok_or_else(|| broken("redo", format_args!("table {table}")))?;
        match value {
            Some(value) => self.put(table, &key, &value),
            None => self.delete(table, &key).map(|_| ()),
        }
    }

    /// Takes back all changes since the mark.
    pub(crate) fn roll_back(&mut self) -> Result<()> {
        while let Some((table, key, old)) = self.undo.pop() {
            let mut opened = self
                .txn
                .open_table(table.definition())
                .map_err(|e| broken("open table", e))?;
            let done = match old {
                Some(old) => opened.insert(key.as_slice(), old.as_slice()).map(|_| ()),
                None => opened.remove(key.as_slice()).map(|_| ()),
            };
            done.map_err(|e| broken("undo", e))?;
        }
        self.changes.truncate(self.others);
        Ok(())
    }

    /// Makes every table, so that readers find them.
    pub(crate) fn make_tables(&mut self) -> Result<()> {
        for table in TABLES {
            self.txn
                .open_table(table.definition())
                .map_err(|e| broken("open table", e))?;
        }
        Ok(())
    }

    /// Ends the transaction; `durable`: with a sync of the disk.
    pub(crate) fn commit(mut self, durable: bool) -> Result<()> {
        let durability = if durable {
            redb::Durability::Immediate
        } else {
            redb::Durability::None
        };
        self.txn
            .set_durability(durability)
            .map_err(|e| broken("durability", e))?;
        self.txn.commit().map_err(|e| broken("commit", e))
    }
}

impl Read for WriteTx {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let table = self
            .txn
            .open_table(table.definition())
            .map_err(|e| broken("open table", e))?;
        let value = table.get(key).map_err(|e| broken("get", e))?;
        Ok(value.map(|value| value.value().to_vec()))
    }

    fn scan(&self, table: Table, prefix: &[u8], visit: Visit<'_>) -> Result<()> {
        let table = self
            .txn
            .open_table(table.definition())
            .map_err(|e| broken("open table", e))?;
        scan_table(&table, prefix, visit)
    }
}
