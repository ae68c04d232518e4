//! Who a hook or check runs as: users of this machine, read from its own files (a static binary has no other source).
//!
//! Never here: who may run as whom.

use std::io;
use std::path::Path;

use rustix::process::{Gid, Uid, geteuid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

/// A user of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Its name.
    pub name: String,
    /// Its number.
    pub uid: u32,
    /// Its own group.
    pub gid: u32,
    /// The other groups that it is in, such as `dialout` or `gpio`.
    pub groups: Vec<u32>,
}

/// Whether this agent is root, and so decides for others who they are.
pub fn is_root() -> bool {
    geteuid().is_root()
}

/// The user called `name`; none when `/etc/passwd` has no such line.
///
/// # Errors
/// `/etc/passwd` or `/etc/group` cannot be read.
pub fn named(name: &str) -> io::Result<Option<User>> {
    let passwd = std::fs::read_to_string(Path::new("/etc/passwd"))?;
    let group = std::fs::read_to_string(Path::new("/etc/group"))?;
    Ok(find(name, &passwd, &group))
}

/// The number of the group called `name`; none when `/etc/group` has no such line.
///
/// # Errors
/// `/etc/group` cannot be read.
pub fn group(name: &str) -> io::Result<Option<u32>> {
    let group = std::fs::read_to_string(Path::new("/etc/group"))?;
    let of = |line: &str| {
        let fields: Vec<_> = line.split(':').collect();
        fields.get(2)?.parse().ok().filter(|_| fields.first() == Some(&name))
    };
    Ok(group.lines().find_map(of))
}

impl User {
    /// Makes this *thread* the user, for good: what it starts afterwards runs as the user, the rest of the agent goes on
    /// as before. Linux keeps credentials per thread; only the C library pretends otherwise.
    ///
    /// # Errors
    /// The agent may not.
    pub fn take_over_this_thread(&self) -> io::Result<()> {
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        let groups: Vec<_> = self.groups.iter().copied().map(Gid::from_raw).collect();
        set_thread_groups(&groups)?;
        set_thread_res_gid(gid, gid, gid)?;
        set_thread_res_uid(uid, uid, uid)?;
        Ok(())
    }
}

fn find(name: &str, passwd: &str, group: &str) -> Option<User> {
    let fields = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let found = fields.into_iter().find(|fields| fields.first() == Some(&name))?;
    let (uid, gid) = (found.get(2)?.parse().ok()?, found.get(3)?.parse().ok()?);
    let member_of = |line: &str| {
        let fields: Vec<_> = line.split(':').collect();
        let member = fields.get(3)?.split(',').any(|member| member == name);
        fields.get(2)?.parse().ok().filter(|_| member)
    };
    let groups = group.lines().filter_map(member_of).filter(|group| *group != gid).collect();
    Some(User { name: name.to_owned(), uid, gid, groups })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_with_the_groups_that_it_is_in() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\nweb:x:990:991::/nonexistent:/usr/sbin/nologin\nbad\n";
        let group = "root:x:0:\ndialout:x:20:pi,web\nweb:x:991:web\ngpio:x:997:web2\n\n";
        let web = User { name: "web".into(), uid: 990, gid: 991, groups: vec![20] };
        assert_eq!(find("web", passwd, group), Some(web));
        assert_eq!(find("root", passwd, group).unwrap().uid, 0);
        assert_eq!(find("bad", passwd, group), None);
        assert_eq!(find("", passwd, group), None);
    }
}
