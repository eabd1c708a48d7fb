//! The descendants of this process, found in a procfs and held by descriptors.
//!
//! The pids of a procfs are those of the pid namespace that it was mounted for, which may differ
//! from the agent's: a VM in a pid namespace may see the host's /proc. So a process is held by its
//! directory there, which pidfd_send_signal(2) accepts and whose files stay its own when the pid is
//! reused.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::fs::{Dir, Mode, OFlags, fstatfs, open, openat};
use rustix::io::Errno;

use crate::clone::last_errno;
use crate::kill;

/// A procfs that shows this process.
#[derive(Debug)]
pub struct Tree {
    root: OwnedFd,
    /// The kernel lists the children of a thread (CONFIG_PROC_CHILDREN).
    lists_children: bool,
    /// The pid of this process there.
    own: u32,
    /// The index, in a line `NSpid`, of the pid in the agent's pid namespace.
    depth: usize,
}

/// A process of the tree.
#[derive(Debug)]
pub struct Member {
    number: u32,
    directory: OwnedFd,
    depth: usize,
    /// The pid in the agent's pid namespace, once it was read.
    pid: OnceCell<i32>,
}

/// The processes of a tree found so far.
#[derive(Debug, Default)]
pub struct Members {
    list: Vec<Member>,
    /// The index of the last process with a pid.
    place: HashMap<u32, usize>,
}

impl Members {
    pub fn len(&self) -> usize {
        self.list.len()
    }

    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Member> {
        self.list.iter()
    }

    /// Adds the processes of `others`.
    pub fn merge(&mut self, others: Members) {
        for member in others.list {
            if !self.holds(member.number) {
                self.push(member);
            }
        }
    }

    /// Whether one of them runs.
    pub fn has_living(&self) -> bool {
        self.list.iter().any(|member| member.live_pid().is_some())
    }

    fn push(&mut self, member: Member) {
        self.place.insert(member.number, self.list.len());
        self.list.push(member);
    }

    /// Whether the process that has the pid `number` now is a member.
    fn holds(&self, number: u32) -> bool {
        let place = self.place.get(&number);
        place.is_some_and(|&at| self.list[at].exists())
    }
}

impl Tree {
    /// Opens `/proc`, if it is a procfs that shows this process; else a detached procfs, which
    /// needs privileges.
    pub fn open() -> Result<Self, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let there = open(c"/proc", flags, Mode::empty()).and_then(Self::from_root);
        match there {
            Err(errno) => detached_procfs()
                .and_then(Self::from_root)
                .map_err(|own| if own == Errno::NOSYS { errno } else { own }),
            there => there,
        }
    }

    fn from_root(root: OwnedFd) -> Result<Self, Errno> {
        if fstatfs(&root)?.f_type != libc::PROC_SUPER_MAGIC {
            return Err(Errno::NODEV);
        }
        let status = read(root.as_fd(), "self/status")?;
        let numbers = field(&status, "NSpid:").ok_or(Errno::NODEV)?;
        let depth = numbers.split_ascii_whitespace().count();
        let own = field(&status, "Pid:").and_then(|text| text.trim().parse().ok());
        let lists_children = read(root.as_fd(), "thread-self/children").is_ok();
        Ok(Self {
            own: own.ok_or(Errno::NODEV)?,
            depth: depth.checked_sub(1).ok_or(Errno::NODEV)?,
            root,
            lists_children,
        })
    }

    /// Adds the missing processes of the tree to `members`. `seen` is called with each process
    /// before its children are read, also with earlier members.
    pub fn extend(&self, members: &mut Members, mut seen: impl FnMut(&Member)) {
        let parents = if self.lists_children {
            Vec::new()
        } else {
            self.all_parents()
        };
        let mut at = 0;
        self.add(members, self.children(self.own, None, &parents));
        while let Some(member) = members.list.get(at) {
            seen(member);
            let children = self.children(member.number, Some(member.directory.as_fd()), &parents);
            self.add(members, children);
            at += 1;
        }
    }

    /// The children that this procfs lists but does not show (`hidepid=` of proc(5)), by their pids
    /// in the agent's pid namespace: processes of another user, and processes that are not
    /// dumpable. Empty for a procfs of another pid namespace.
    pub fn hidden_children(&self) -> Vec<i32> {
        if self.depth != 0 || !self.lists_children {
            return Vec::new();
        }
        let listed = read(self.root.as_fd(), "thread-self/children")
            .map(|list| numbers(&list))
            .unwrap_or_default();
        let hidden = listed
            .into_iter()
            .filter(|child| self.parent_of(*child).is_none());
        hidden.filter_map(|child| child.try_into().ok()).collect()
    }

    /// Adds the process with the pid `number` to `members` if `parent`, which may be hidden, is its
    /// parent.
    pub fn add_child_of(&self, members: &mut Members, number: i32, parent: i32) {
        let (Ok(number), Ok(parent)) = (number.try_into(), parent.try_into()) else {
            return;
        };
        if self.depth == 0 && self.parent_of(number) == Some(parent) {
            self.add(members, vec![number]);
        }
    }

    /// The processes of the session (setsid(2)) of `leader`, a child that is not reaped, so that
    /// the number is not another session's. Empty for a procfs of another pid namespace.
    pub fn session(&self, leader: i32) -> Members {
        let mut members = Members::default();
        let Some(leader) = u32::try_from(leader).ok().filter(|_| self.depth == 0) else {
            return members;
        };
        let found = self.numbers().into_iter().filter(|&number| {
            number != leader && session_of(self.root.as_fd(), &number.to_string()) == Some(leader)
        });
        for number in found {
            // The number may be another process's by now.
            let member = self.member(number);
            let member = member.filter(|member| member.session() == Some(leader));
            if let Some(member) = member {
                members.push(member);
            }
        }
        members
    }

    fn add(&self, members: &mut Members, numbers: Vec<u32>) {
        for number in numbers {
            if members.holds(number) {
                continue;
            }
            if let Some(member) = self.member(number) {
                members.push(member);
            }
        }
    }

    fn member(&self, number: u32) -> Option<Member> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = openat(&self.root, number.to_string(), flags, Mode::empty()).ok()?;
        Some(Member {
            number,
            directory,
            depth: self.depth,
            pid: OnceCell::new(),
        })
    }

    /// Every process.
    fn numbers(&self) -> Vec<u32> {
        let Ok(entries) = Dir::read_from(&self.root) else {
            return Vec::new();
        };
        entries
            .filter_map(|entry| entry.ok()?.file_name().to_str().ok()?.parse().ok())
            .collect()
    }

    /// The children of all threads of a process. A pid that is reused between list and open is
    /// noticed: the opened process must have this parent.
    fn children(
        &self,
        number: u32,
        directory: Option<BorrowedFd<'_>>,
        parents: &[(u32, u32)],
    ) -> Vec<u32> {
        let listed = if self.lists_children {
            match directory {
                Some(directory) => listed_children(directory),
                None => read(self.root.as_fd(), "thread-self/children")
                    .map(|list| numbers(&list))
                    .unwrap_or_default(),
            }
        } else {
            let of_parent = parents.iter().filter(|(_, parent)| *parent == number);
            of_parent.map(|(child, _)| *child).collect()
        };
        listed
            .into_iter()
            .filter(|child| {
                self.parent_of(*child)
                    .is_some_and(|parent| parent == number)
            })
            .collect()
    }

    fn parent_of(&self, number: u32) -> Option<u32> {
        let status = read(self.root.as_fd(), &format!("{number}/status")).ok()?;
        field(&status, "PPid:")?.trim().parse().ok()
    }

    /// Every process with its parent.
    fn all_parents(&self) -> Vec<(u32, u32)> {
        self.numbers()
            .into_iter()
            .filter_map(|number| Some((number, self.parent_of(number)?)))
            .collect()
    }
}

impl Member {
    pub fn signal(&self, number: i32) -> Result<(), Errno> {
        kill::signal(self.directory.as_fd(), number)
    }

    /// The pid in the agent's pid namespace; None if the process is gone. Read once: later there
    /// may be no free descriptor for it.
    pub fn pid(&self) -> Option<i32> {
        if let Some(pid) = self.pid.get() {
            return Some(*pid);
        }
        let status = read(self.directory.as_fd(), "status").ok()?;
        let pid = self.pid_in(&status)?;
        Some(*self.pid.get_or_init(|| pid))
    }

    fn pid_in(&self, status: &str) -> Option<i32> {
        let numbers = field(status, "NSpid:")?;
        numbers
            .split_ascii_whitespace()
            .nth(self.depth)?
            .parse()
            .ok()
    }

    /// As `pid`, but None for a zombie.
    pub fn live_pid(&self) -> Option<i32> {
        let status = read(self.directory.as_fd(), "status").ok()?;
        let state = field(&status, "State:")?.trim_start();
        if state.starts_with(['Z', 'X']) {
            return None;
        }
        self.pid_in(&status)
    }

    fn session(&self) -> Option<u32> {
        session_of(self.directory.as_fd(), ".")
    }

    fn exists(&self) -> bool {
        self.signal(0) != Err(Errno::SRCH)
    }
}

fn listed_children(process: BorrowedFd<'_>) -> Vec<u32> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(tasks) = openat(process, c"task", flags, Mode::empty()) else {
        return Vec::new();
    };
    let Ok(entries) = Dir::read_from(&tasks) else {
        return Vec::new();
    };
    let names = entries.filter_map(|entry| Some(entry.ok()?.file_name().to_str().ok()?.to_owned()));
    names
        .filter(|name| !name.starts_with('.'))
        .filter_map(|name| read(tasks.as_fd(), &format!("{name}/children")).ok())
        .flat_map(|list| numbers(&list))
        .collect()
}

/// The session of the process whose directory `name` is: field 6 of its `stat`, behind the name
/// that it chose for itself.
fn session_of(directory: BorrowedFd<'_>, name: &str) -> Option<u32> {
    let stat = read(directory, &format!("{name}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(") ")?;
    fields.split(' ').nth(3)?.parse().ok()
}

fn numbers(list: &str) -> Vec<u32> {
    let words = list.split_ascii_whitespace();
    words.filter_map(|word| word.parse().ok()).collect()
}

fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(name))
}

fn read(directory: BorrowedFd<'_>, name: &str) -> Result<String, Errno> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let mut file = File::from(openat(directory, name, flags, Mode::empty())?);
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)
        .map_err(|error| Errno::from_raw_os_error(error.raw_os_error().unwrap_or(libc::EIO)))?;
    // The process chooses its name in this file, so the text may be no UTF-8.
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Mounts a detached procfs of the agent's pid namespace with fsopen(2), fsconfig(2) and
/// fsmount(2).
fn detached_procfs() -> Result<OwnedFd, Errno> {
    const FSOPEN_CLOEXEC: libc::c_long = 1;
    const FSMOUNT_CLOEXEC: libc::c_long = 1;
    const FSCONFIG_CMD_CREATE: libc::c_long = 6;
    let context = call(
        libc::SYS_fsopen,
        [c"proc".as_ptr() as libc::c_long, FSOPEN_CLOEXEC, 0, 0, 0],
    )
    .map(owned)?;
    let fd = libc::c_long::from(context.as_raw_fd());
    call(libc::SYS_fsconfig, [fd, FSCONFIG_CMD_CREATE, 0, 0, 0])?;
    call(libc::SYS_fsmount, [fd, FSMOUNT_CLOEXEC, 0, 0, 0]).map(owned)
}

#[expect(unsafe_code, reason = "no crate that is used here wraps fsopen(2)")]
fn call(number: libc::c_long, arguments: [libc::c_long; 5]) -> Result<libc::c_long, Errno> {
    let [a, b, c, d, e] = arguments;
    // SAFETY: of the three calls above one takes a pointer, to a NUL terminated string that
    // outlives it; null pointers mean no key and no value.
    match unsafe { libc::syscall(number, a, b, c, d, e) } {
        -1 => Err(last_errno()),
        answer => Ok(answer),
    }
}

#[expect(unsafe_code, reason = "a descriptor number becomes owned")]
fn owned(fd: libc::c_long) -> OwnedFd {
    // SAFETY: the kernel has just made this descriptor for us and nobody else knows its number.
    unsafe { OwnedFd::from_raw_fd(fd as i32) }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn the_tree_holds_children_of_children() {
        let mut child = Command::new("sh")
            .args(["-c", "sleep 1000 & echo $!; wait"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut out = std::io::BufReader::new(child.stdout.take().unwrap());
        std::io::BufRead::read_line(&mut out, &mut line).unwrap();
        let grandchild: i32 = line.trim().parse().unwrap();
        let scanning = |mut tree: Tree| {
            tree.lists_children = false;
            tree
        };
        let listing = Tree::open().unwrap();
        for tree in [scanning(Tree::open().unwrap()), listing] {
            let mut members = Members::default();
            tree.extend(&mut members, |_| {});
            let pids: Vec<_> = members.iter().filter_map(Member::pid).collect();
            assert!(pids.contains(&grandchild), "{pids:?}");
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // SAFETY: a signal touches no memory; the process is ours and runs until this.
        #[expect(unsafe_code, reason = "kill(2)")]
        unsafe {
            libc::kill(grandchild, libc::SIGKILL)
        };
    }
}
