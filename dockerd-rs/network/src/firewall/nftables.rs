//! The firewall by nftables, spoken to the kernel directly.

use std::collections::BTreeSet;
use std::io;

use super::expr::{LIST_ELEM, value};
use super::plan::{self, Chain, Element, Set};
use super::{Firewall, Publication, Ruleset, Watch};
use crate::error::{Error, Result};
use crate::netlink::nfnetlink::{Batch, CREATE, Changes, Kept};
use crate::netlink::nla::Attrs;

/// Messages of the nftables subsystem (`enum nf_tables_msg_types`).
mod message {
    pub(super) const NEW_TABLE: u16 = 0;
    pub(super) const DEL_TABLE: u16 = 2;
    pub(super) const NEW_CHAIN: u16 = 3;
    pub(super) const NEW_RULE: u16 = 6;
    pub(super) const NEW_SET: u16 = 9;
    pub(super) const NEW_ELEMENTS: u16 = 12;
    pub(super) const DEL_ELEMENTS: u16 = 14;
}

/// `NLM_F_APPEND`.
const APPEND: u16 = 0x800;
/// `NFT_SET_MAP`.
const SET_IS_MAP: u32 = 8;
/// Elements in one message: an attribute's length has 16 bits, an element takes at most 60 bytes.
const ELEMENTS_PER_MESSAGE: usize = 500;

/// One table of family `ip`, ours alone.
#[derive(Debug)]
pub(crate) struct Nftables {
    table: String,
    socket: Kept,
}

impl Nftables {
    pub(crate) fn new(table: &str) -> Self {
        Self {
            table: table.to_owned(),
            socket: Kept::default(),
        }
    }

    /// Whether this kernel is without nftables for IPv4.
    pub(crate) fn is_missing() -> bool {
        let mut probe = Self::new("docker-rs-probe");
        let mut batch = Batch::default();
        probe.delete_table(&mut batch);
        batch
            .commit(&mut probe.socket)
            .is_err_and(|error| is_unsupported(&error))
    }

    fn commit(&mut self, batch: Batch, what: &str) -> Result<()> {
        batch.commit(&mut self.socket).map_err(|source| {
            let what = if is_unsupported(&source) {
                format!(
                    "{what}: this kernel has no nftables for IPv4, and iptables is not installed; \
                     without a firewall (iptables=false) the daemon runs, but publishes no port"
                )
            } else {
                what.to_owned()
            };
            Error::Firewall { what, source }
        })
    }

    fn named(&self) -> Attrs {
        Attrs::new().text(1, &self.table)
    }

    /// Deletes the table whether it is there or not: made first, so that there is one.
    fn delete_table(&self, batch: &mut Batch) {
        batch.push(message::NEW_TABLE, CREATE, self.named());
        batch.push(message::DEL_TABLE, 0, self.named());
    }

    fn add_set(&self, batch: &mut Batch, set: &Set, id: u32) {
        let length = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
        let mut attrs = self.named().text(2, set.name);
        attrs = attrs.be32(3, if set.data.is_some() { SET_IS_MAP } else { 0 });
        attrs = attrs.be32(4, set.key_type).be32(5, length(set.key_len));
        if let Some((kind, bytes)) = set.data {
            attrs = attrs.be32(6, kind).be32(7, length(bytes));
        }
        attrs = attrs.be32(10, id);
        if set.host_order {
            // NFTNL_UDATA_SET_KEYBYTEORDER, four bytes long: host endian.
            attrs = attrs.bytes(13, &[&[0, 4], &1_u32.to_ne_bytes()[..]].concat());
        }
        batch.push(message::NEW_SET, CREATE, attrs);
    }

    fn elements(&self, batch: &mut Batch, kind: u16, set: &str, elements: &BTreeSet<Element>) {
        let elements: Vec<_> = elements.iter().collect();
        for chunk in elements.chunks(ELEMENTS_PER_MESSAGE) {
            let list = chunk.iter().fold(Attrs::new(), |list, element| {
                let mut attrs = Attrs::new().nest(1, value(&element.key));
                // A deletion goes by the key alone.
                if let Some(data) = element.data.as_ref().filter(|_| kind == message::NEW_ELEMENTS) {
                    attrs = attrs.nest(2, value(data));
                }
                list.nest(LIST_ELEM, attrs)
            });
            let flags = if kind == message::NEW_ELEMENTS { CREATE } else { 0 };
            batch.push(kind, flags, self.named().text(2, set).nest(3, list));
        }
    }

    fn add_chain(&self, batch: &mut Batch, chain: &Chain) {
        let mut attrs = self.named().text(3, chain.name);
        if let Some(hook) = chain.hook {
            let place = Attrs::new().be32(1, hook.number).be32(2, hook.priority.cast_unsigned());
            attrs = attrs.nest(4, place).be32(5, 1).text(7, hook.kind);
        }
        batch.push(message::NEW_CHAIN, CREATE, attrs);
        for rule in &chain.rules {
            let list = rule
                .iter()
                .fold(Attrs::new(), |list, expr| list.nest(LIST_ELEM, expr.encode()));
            let attrs = self.named().text(2, chain.name).nest(4, list);
            batch.push(message::NEW_RULE, CREATE | APPEND, attrs);
        }
    }

    /// Changes elements; when our table is not as we left it (flushed, deleted, edited), puts the whole of it back.
    fn change(&mut self, rules: &Ruleset, kind: u16, ports: &[Publication]) -> Result<()> {
        let mut batch = Batch::default();
        for (set, elements) in plan::port_elements(ports.iter()) {
            self.elements(&mut batch, kind, set, &elements);
        }
        match batch.commit(&mut self.socket) {
            Ok(()) => Ok(()),
            Err(e) if is_out_of_step(&e) => {
                tracing::warn!(table = %self.table, error = %e, "firewall table is not as it was left; putting it back");
                self.replace(rules)
            }
            Err(source) => Err(Error::Firewall {
                what: format!("change ports in table {}", self.table),
                source,
            }),
        }
    }
}

fn is_unsupported(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EOPNOTSUPP | libc::EPROTONOSUPPORT | libc::EAFNOSUPPORT)
    )
}

fn is_out_of_step(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ENOENT | libc::EEXIST | libc::EBUSY | libc::EINVAL)
    )
}

impl Firewall for Nftables {
    fn replace(&mut self, rules: &Ruleset) -> Result<()> {
        let table = plan::table(rules);
        let mut batch = Batch::default();
        self.delete_table(&mut batch);
        batch.push(message::NEW_TABLE, CREATE, self.named());
        for (id, set) in (1..).zip(&table.sets) {
            self.add_set(&mut batch, set, id);
        }
        for (set, elements) in &table.elements {
            self.elements(&mut batch, message::NEW_ELEMENTS, set, elements);
        }
        for chain in &table.chains {
            self.add_chain(&mut batch, chain);
        }
        self.commit(batch, &format!("write table {}", self.table))
    }

    fn publish(&mut self, rules: &Ruleset, added: &[Publication]) -> Result<()> {
        self.change(rules, message::NEW_ELEMENTS, added)
    }

    fn withdraw(&mut self, rules: &Ruleset, gone: &[Publication]) -> Result<()> {
        self.change(rules, message::DEL_ELEMENTS, gone)
    }

    fn remove(&mut self) -> Result<()> {
        let mut batch = Batch::default();
        self.delete_table(&mut batch);
        self.commit(batch, &format!("delete table {}", self.table))
    }

    fn watch(&self) -> Result<Option<Watch>> {
        let changes = Changes::open();
        let changes = changes.map_err(|source| Error::Firewall {
            what: "listen for changes".to_owned(),
            source,
        })?;
        Ok(Some(Watch {
            changes,
            table: self.table.clone(),
            ours: self.socket.port(),
        }))
    }
}
