//! The change from root to an ordinary user, for good.
//!
//! Only root may bind port 53; the server needs root for nothing else. So the process binds all sockets first, then
//! changes the user, and only then reads and creates files. Then the files belong to the user that has to write to
//! them again, and a zone file that this user may not read fails the start instead of the first reload.
//!
//! The kernel keeps users, groups and capabilities for each thread. The C library changes users and groups in all
//! threads (`nptl(7)`). So this module changes them by nix, which calls the C library, and not by rustix, which does
//! not. Capabilities and `no_new_privs` always change in the calling thread only. See the [parent module](super) for
//! the consequence.
//!
//! Other processes of the same user cannot read the memory of the server, which contains the admin token: the kernel
//! clears `PR_SET_DUMPABLE` when the user changes, and the server leaves it so. `chroot` was not chosen: it would
//! make the zone files, the resolver's configuration and the certificate authorities unreachable. A service manager
//! does the same by mounts, and better (see `zones/tinyns.service`).

use std::ffi::CString;
use std::io;

use nix::unistd::{
    Gid, Group, Uid, User, getegid, geteuid, getgroups, getresgid, getresuid, initgroups,
    setgroups, setresgid, setresuid, setuid,
};

use crate::config::ProcessConfig;

/// Why the server cannot run as the configured user.
#[derive(Debug, thiserror::Error)]
pub enum PrivilegeError {
    /// There is no such user or group.
    #[error("[process]: this system has no {kind} {name:?}")]
    Unknown {
        /// `user` or `group`.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// The user is a number without an entry on this system, so its group is not known.
    #[error("[process]: user {0} has no entry on this system, and so no group; add \"group\"")]
    NoGroup(Uid),
    /// Only root may change the user.
    #[error(
        "[process]: cannot become user {user} with group {group}: the server runs as user {uid} with \
         group {gid}, and only root may change that"
    )]
    NotRoot {
        /// The configured user.
        user: String,
        /// The configured group.
        group: Gid,
        /// The user of the process.
        uid: Uid,
        /// The group of the process.
        gid: Gid,
    },
    /// The system refused.
    #[error("[process]: cannot {step}: {source}")]
    Refused {
        /// The step that failed.
        step: &'static str,
        /// The error of the system.
        source: io::Error,
    },
    /// The system calls succeeded, but the process can become root again.
    #[error(
        "the process could become root again after it gave up root's privileges; this system is not safe"
    )]
    WayBack,
}

/// The user that the server runs as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// The user that started it, which is not root.
    Starter,
    /// Another user; root started it.
    Became {
        /// The user.
        uid: Uid,
        /// The user's group.
        gid: Gid,
    },
    /// Root, because root started it and no user is configured.
    Root,
    /// Root, because the configuration says so.
    RootAsConfigured,
}

/// A user and a group of this system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The user's name, if it has one.
    name: Option<String>,
    uid: Uid,
    gid: Gid,
}

impl Account {
    /// The configured user and group; none if no user is configured.
    ///
    /// # Errors
    /// [`PrivilegeError`] if this system does not know the user or the group.
    pub fn find(config: &ProcessConfig) -> Result<Option<Self>, PrivilegeError> {
        let Some(text) = &config.user else {
            return Ok(None);
        };
        let group = config.group.as_deref().map(find_group).transpose()?;
        let user = User::from_name(text).map_err(refused("look up the user"))?;
        let user = match (user, text.parse().map(Uid::from_raw)) {
            (Some(user), _) => user,
            (None, Ok(uid)) => match User::from_uid(uid).map_err(refused("look up the user"))? {
                Some(user) => user,
                // For example in a container without a list of users.
                None => {
                    let gid = group.ok_or(PrivilegeError::NoGroup(uid))?;
                    let name = None;
                    return Ok(Some(Self { name, uid, gid }));
                }
            },
            (None, Err(_)) => return Err(unknown("user", text)),
        };
        Ok(Some(Self {
            name: Some(user.name),
            uid: user.uid,
            gid: group.unwrap_or(user.gid),
        }))
    }

    /// Becomes this user, for good.
    fn assume(&self) -> Result<(), PrivilegeError> {
        // The user last, because an ordinary user may not change the groups.
        let groups = match &self.name {
            // Zone files may be readable for another group that the user is a member of.
            Some(name) => CString::new(name.as_str())
                .map_err(|_| unknown("user", name))
                .map(|name| initgroups(&name, self.gid))?,
            None => setgroups(&[self.gid]),
        };
        groups.map_err(refused("give up the groups of root"))?;
        // The saved identities, too: with them the process could become root again.
        let (uid, gid) = (self.uid, self.gid);
        setresgid(gid, gid, gid).map_err(refused("become the group"))?;
        setresuid(uid, uid, uid).map_err(refused("become the user"))?;
        self.check_way_back()
    }

    /// Checks that nothing of root is left. A system call may report success without effect because of a bug of the
    /// kernel or because of a system call filter; both have happened.
    fn check_way_back(&self) -> Result<(), PrivilegeError> {
        let users = getresuid().map_err(refused("ask who the user is"))?;
        let groups = getresgid().map_err(refused("ask who the group is"))?;
        let all = getgroups().map_err(refused("ask for the groups"))?;
        let is_user = [users.real, users.effective, users.saved] == [self.uid; 3];
        let is_group = [groups.real, groups.effective, groups.saved] == [self.gid; 3];
        let root = Gid::from_raw(0);
        let has_root_group = self.gid != root && self.name.is_none() && all.contains(&root);
        if !is_user || !is_group || has_root_group || setuid(Uid::from_raw(0)).is_ok() {
            return Err(PrivilegeError::WayBack);
        }
        Ok(())
    }
}

/// Has the kernel grant no new privileges to this process, whatever program it executes. Call it while the process
/// has one thread.
///
/// # Errors
/// The error of the system; kernels before 3.5 do not know the call.
pub fn forbid_new() -> io::Result<()> {
    #[cfg(target_os = "linux")]
    nix::sys::prctl::set_no_new_privs()?;
    Ok(())
}

/// Becomes the configured user, if there is one, and gives up all capabilities that an ordinary user may have, such
/// as the right to bind port 53. Call it while the process has one thread, after all sockets are bound.
///
/// # Errors
/// [`PrivilegeError`]. Privileges that were given up before the error do not come back.
pub fn give_up(config: &ProcessConfig) -> Result<Identity, PrivilegeError> {
    let identity = match Account::find(config)? {
        None if geteuid().is_root() => return Ok(Identity::Root),
        None => Identity::Starter,
        Some(account) if account.uid.is_root() && geteuid().is_root() => {
            return Ok(Identity::RootAsConfigured);
        }
        Some(account) if geteuid().is_root() => {
            account.assume()?;
            let Account { uid, gid, .. } = account;
            Identity::Became { uid, gid }
        }
        Some(account) if account.uid == geteuid() && account.gid == getegid() => Identity::Starter,
        Some(account) => {
            return Err(PrivilegeError::NotRoot {
                user: account.name.unwrap_or_else(|| account.uid.to_string()),
                group: account.gid,
                uid: geteuid(),
                gid: getegid(),
            });
        }
    };
    give_up_capabilities().map_err(|source| PrivilegeError::Refused {
        step: "give up capabilities",
        source,
    })?;
    Ok(identity)
}

/// Gives up all capabilities of this thread (`capabilities(7)`). If there are none, it makes no system call that a
/// filter might forbid.
#[cfg(target_os = "linux")]
fn give_up_capabilities() -> io::Result<()> {
    use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};

    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    if capabilities(None)? == none {
        return Ok(());
    }
    // The kernel clears the ambient capabilities with them.
    set_capabilities(None, none)?;
    match capabilities(None)? == none {
        true => Ok(()),
        false => Err(io::Error::other("some are still there")),
    }
}

#[cfg(not(target_os = "linux"))]
fn give_up_capabilities() -> io::Result<()> {
    Ok(())
}

fn find_group(text: &str) -> Result<Gid, PrivilegeError> {
    match Group::from_name(text).map_err(refused("look up the group"))? {
        Some(group) => Ok(group.gid),
        None => {
            let number = text.parse().map_err(|_| unknown("group", text))?;
            Ok(Gid::from_raw(number))
        }
    }
}

fn unknown(kind: &'static str, name: &str) -> PrivilegeError {
    PrivilegeError::Unknown {
        kind,
        name: name.into(),
    }
}

fn refused(step: &'static str) -> impl FnOnce(nix::Error) -> PrivilegeError {
    move |error| PrivilegeError::Refused {
        step,
        source: error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(user: &str, group: Option<&str>) -> Result<Account, String> {
        let config = ProcessConfig {
            user: Some(user.into()),
            group: group.map(Into::into),
        };
        match Account::find(&config) {
            Ok(account) => Ok(account.unwrap()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn account(name: Option<&str>, uid: u32, gid: u32) -> Account {
        Account {
            name: name.map(Into::into),
            uid: Uid::from_raw(uid),
            gid: Gid::from_raw(gid),
        }
    }

    #[test]
    fn accounts_are_found_by_name_and_number() {
        assert!(Account::find(&ProcessConfig::default()).unwrap().is_none());
        let root = account(Some("root"), 0, 0);
        assert_eq!(find("root", None), Ok(root.clone()));
        assert_eq!(find("0", None), Ok(root));
        assert_eq!(find("root", Some("7")), Ok(account(Some("root"), 0, 7)));
        let nameless = "4294967000";
        assert_eq!(
            find(nameless, Some("root")),
            Ok(account(None, 4_294_967_000, 0))
        );
        assert_eq!(
            find(nameless, None),
            Err(
                "[process]: user 4294967000 has no entry on this system, and so no group; add \
                 \"group\""
                    .into()
            )
        );
        for user in ["no-such-user", "-1", "4294967296"] {
            let expected = format!("[process]: this system has no user {user:?}");
            assert_eq!(find(user, None), Err(expected));
        }
        assert_eq!(
            find("root", Some("no-such-group")),
            Err("[process]: this system has no group \"no-such-group\"".into())
        );
    }
}
