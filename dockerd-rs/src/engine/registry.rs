//! All containers, by id and by name.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use super::container::Container;
use super::names;
use crate::error::{Error, ErrorKind, Result};

#[derive(Debug, Default)]
struct Maps {
    by_id: HashMap<String, Arc<Container>>,
    /// Name to id; a name is reserved before its container is in `by_id`.
    names: HashMap<String, String>,
}

/// The containers of the daemon.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    maps: RwLock<Maps>,
}

impl Registry {
    /// Reserves `name`, or a name of our making, for `id`.
    pub(crate) fn reserve(&self, name: Option<&str>, id: &str) -> Result<String> {
        let mut maps = self.maps.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(name) = name {
            let name = names::check(name)?;
            if let Some(holder) = maps.names.get(name) {
                return Err(Error::conflict(format!(
                    "Conflict. The container name \"/{name}\" is already in use by container \"{holder}\". \
                     You have to remove (or rename) that container to be able to reuse that name."
                )));
            }
            maps.names.insert(name.to_owned(), id.to_owned());
            return Ok(name.to_owned());
        }
        let free = (0..8).map(names::generate).find(|name| !maps.names.contains_key(name));
        let name = free.unwrap_or_else(|| id[..12].to_owned());
        maps.names.insert(name.clone(), id.to_owned());
        Ok(name)
    }

    /// Gives a name back, if `id` holds it.
    pub(crate) fn release(&self, name: &str, id: &str) {
        let mut maps = self.maps.write().unwrap_or_else(PoisonError::into_inner);
        if maps.names.get(name).is_some_and(|holder| holder == id) {
            maps.names.remove(name);
        }
    }

    /// Adds a container whose name is reserved.
    pub(crate) fn add(&self, container: Arc<Container>) {
        self.maps
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .by_id
            .insert(container.id.clone(), container);
    }

    /// Takes a container and its name out.
    pub(crate) fn remove(&self, id: &str) {
        let mut maps = self.maps.write().unwrap_or_else(PoisonError::into_inner);
        maps.by_id.remove(id);
        maps.names.retain(|_, holder| holder != id);
    }

    /// The container of this id, name, or unambiguous prefix of an id.
    pub(crate) fn get(&self, what: &str) -> Result<Arc<Container>> {
        let maps = self.maps.read().unwrap_or_else(PoisonError::into_inner);
        let missing = || Error::new(ErrorKind::NotFound, format!("No such container: {what}"));
        if what.is_empty() {
            return Err(missing());
        }
        if let Some(found) = maps.by_id.get(what) {
            return Ok(Arc::clone(found));
        }
        let name = what.strip_prefix('/').unwrap_or(what);
        if let Some(found) = maps.names.get(name).and_then(|id| maps.by_id.get(id)) {
            return Ok(Arc::clone(found));
        }
        let mut fitting = maps.by_id.values().filter(|container| container.id.starts_with(what));
        match (fitting.next(), fitting.next()) {
            (Some(found), None) => Ok(Arc::clone(found)),
            (Some(_), Some(_)) => Err(Error::invalid(format!(
                "Multiple IDs found with provided prefix: {what}"
            ))),
            _ => Err(missing()),
        }
    }

    /// The container of exactly this id.
    pub(crate) fn by_id(&self, id: &str) -> Option<Arc<Container>> {
        self.maps
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .by_id
            .get(id)
            .cloned()
    }

    /// Every container, newest first.
    pub(crate) fn all(&self) -> Vec<Arc<Container>> {
        let maps = self.maps.read().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = maps
            .by_id
            .values()
            .map(|container| (container.record().created.clone(), Arc::clone(container)))
            .collect();
        all.sort_by(|a, b| b.0.cmp(&a.0));
        all.into_iter().map(|(_, container)| container).collect()
    }
}
