//! Who the process is: names of the request, by the files of the image.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use runtime_spec::user;

use super::model::{ContainerConfig, HostConfig};
use super::rootfs::Root;
use super::spec::User;
use crate::error::{Error, Result};

/// Resolved users of fresh containers: their files are the image's, which never change.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    known: Mutex<HashMap<(String, String), User>>,
}

/// Entries kept; more start over.
const MOST: usize = 1000;

impl Cache {
    /// What is known of this user of this image.
    pub(crate) fn get(&self, image: &str, wanted: &str) -> Option<User> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&(image.to_owned(), wanted.to_owned())).cloned()
    }

    /// Keeps it.
    pub(crate) fn put(&self, image: &str, wanted: &str, user: User) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST {
            known.clear();
        }
        known.insert((image.to_owned(), wanted.to_owned()), user);
    }
}

/// What a user depends on, as one text: the user and the groups added.
pub(crate) fn key(config: &ContainerConfig, host_config: &HostConfig) -> String {
    format!(
        "{}\n{}",
        config.user,
        host_config.group_add.clone().unwrap_or_default().join("\n")
    )
}

/// Finds user, groups and home in the files beneath `root`.
///
/// # Errors
/// 400 in Docker's words for a name that is not there, or an id out of range.
pub(crate) fn resolve(root: &Root, wanted: &str, groups: &[String]) -> Result<User> {
    let (passwd, group) = (root.read("/etc/passwd")?, root.read("/etc/group")?);
    let found = user::resolve(wanted, &passwd, &group).map_err(|e| Error::invalid(e.to_string()))?;
    let added = user::additional_groups(groups, &group).map_err(|e| Error::invalid(e.to_string()))?;
    let mut all = vec![found.gid];
    for gid in found.additional_gids.iter().chain(&added) {
        if !all.contains(gid) {
            all.push(*gid);
        }
    }
    Ok(User {
        uid: found.uid,
        gid: found.gid,
        groups: all,
        home: found.home,
    })
}
