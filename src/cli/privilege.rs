//! `--user` and `--group`: the process goes on as somebody else, before it opens anything.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{Gid, Uid, getgid, getuid};
use rustix::thread::{set_thread_gid, set_thread_groups, set_thread_uid};

/// Where users are looked up.
const USERS: &str = "/etc/passwd";
/// Where groups are looked up.
const GROUPS: &str = "/etc/group";

/// Who the process is to be.
#[derive(Debug, PartialEq, Eq)]
struct Target {
    uid: Option<u32>,
    gid: Option<u32>,
    groups: Vec<u32>,
}

/// Goes on as this user and group: the process starts itself again with their rights. Returns where they are its own
/// already.
///
/// Errors: unknown names, rights that may not be taken.
pub fn change(user: Option<&str>, group: Option<&str>) -> Result<(), String> {
    if user.is_none() && group.is_none() {
        return Ok(());
    }
    let read = |path: &str| fs::read_to_string(path).map_err(|e| format!("{path}: {e}"));
    let target = find(user, group, &read(USERS)?, &read(GROUPS)?)?;
    let is = |wanted: Option<u32>, own: u32| wanted.is_none_or(|id| id == own);
    if is(target.uid, getuid().as_raw()) && is(target.gid, getgid().as_raw()) {
        return Ok(());
    }
    take(&target).map_err(|e| format!("can't change to user {user:?} and group {group:?}: {e}. Start as root"))?;
    // The rights of this thread are those of the whole new image.
    let program = std::env::current_exe().map_err(|e| e.to_string())?;
    let error = Command::new(program).args(std::env::args_os().skip(1)).exec();
    Err(format!("can't start again as user {user:?} and group {group:?}: {error}"))
}

fn take(target: &Target) -> rustix::io::Result<()> {
    if target.uid.is_some() {
        let groups: Vec<Gid> = target.groups.iter().map(|g| Gid::from_raw(*g)).collect();
        set_thread_groups(&groups)?;
    }
    if let Some(gid) = target.gid {
        set_thread_gid(Gid::from_raw(gid))?;
    }
    if let Some(uid) = target.uid {
        set_thread_uid(Uid::from_raw(uid))?;
    }
    Ok(())
}

/// Numbers of a user and a group, by name or number; without a group it is the user's own.
fn find(user: Option<&str>, group: Option<&str>, users: &str, groups: &str) -> Result<Target, String> {
    let entry = |text: &'_ str, name: &str| -> Option<Vec<String>> {
        let lines = text.lines().map(|line| line.split(':').map(str::to_owned).collect::<Vec<_>>());
        lines.into_iter().find(|fields| fields.len() > 3 && (fields[0] == name || fields[2] == name))
    };
    let number = |text: &str| text.parse::<u32>().map_err(|_| format!("{text:?} is no number"));
    let mut target = Target { uid: None, gid: None, groups: Vec::new() };
    if let Some(name) = user {
        match entry(users, name) {
            Some(fields) => {
                (target.uid, target.gid) = (Some(number(&fields[2])?), Some(number(&fields[3])?));
                target.groups = memberships(groups, &fields[0]);
            }
            None => target.uid = Some(number(name).map_err(|_| format!("there is no user {name:?} in {USERS}"))?),
        }
    }
    if let Some(name) = group {
        let gid = match entry(groups, name) {
            Some(fields) => number(&fields[2])?,
            None => number(name).map_err(|_| format!("there is no group {name:?} in {GROUPS}"))?,
        };
        target.gid = Some(gid);
    }
    target.groups.extend(target.gid.filter(|gid| !target.groups.contains(gid)));
    Ok(target)
}

/// Groups that have the user among their members.
fn memberships(groups: &str, user: &str) -> Vec<u32> {
    let lines = groups.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let own = lines.filter(|fields| fields.get(3).is_some_and(|members| members.split(',').any(|m| m == user)));
    own.filter_map(|fields| fields[2].parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const USERS: &str = "root:x:0:0::/root:/bin/sh\nfluent:x:990:991::/:/bin/false\n";
    const GROUPS: &str = "root:x:0:\nadm:x:4:syslog,fluent\nfluent:x:991:\nother:x:50:\n";

    #[test]
    fn a_user_brings_its_groups() {
        let got = find(Some("fluent"), None, USERS, GROUPS).unwrap();
        assert_eq!(got, Target { uid: Some(990), gid: Some(991), groups: vec![4, 991] });
        let got = find(Some("fluent"), Some("other"), USERS, GROUPS).unwrap();
        assert_eq!(got, Target { uid: Some(990), gid: Some(50), groups: vec![4, 50] });
    }

    #[test]
    fn numbers_need_no_entry_and_names_do() {
        assert_eq!(find(Some("1234"), Some("7"), USERS, GROUPS).unwrap().uid, Some(1234));
        assert!(find(Some("nobody"), None, USERS, GROUPS).unwrap_err().contains("nobody"));
        assert!(find(None, Some("nobody"), USERS, GROUPS).unwrap_err().contains("group"));
    }

    #[test]
    fn who_one_is_already_needs_no_change() {
        let own = getuid().as_raw().to_string();
        assert!(change(Some(&own), None).is_ok() || getgid().as_raw() != getuid().as_raw());
        assert!(change(None, None).is_ok());
    }
}
