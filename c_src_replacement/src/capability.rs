//! The capability sets of the child: the records received at the checkpoint, and their application
//! before the exec.
//!
//! The sets are applied after the change of ids, which needs the capabilities that they take away.
//! Until then a model of capset(2) stands in for the kernel, so that a later record is checked
//! against the result of the earlier ones.

use rustix::io::Errno;
use rustix::thread::{
    self, CapabilitySet, CapabilitySets, capability_is_in_bounding_set,
    remove_capability_from_bounding_set,
};

use crate::stage::{Fault, Stage};

/// The effective, permitted and inheritable set; bits as in linux/capability.h.
type Sets = [u64; 3];

/// The capability records that the parked child has received.
#[derive(Debug, Default)]
pub struct Orders {
    sets: Option<Sets>,
    ambient: Option<u64>,
    /// The capabilities removed from the bounding set.
    dropped: u64,
}

impl Orders {
    pub fn is_empty(&self) -> bool {
        self.sets.is_none() && self.ambient.is_none()
    }

    /// Stores the sets, which may only shrink from record to record.
    pub fn take_sets(&mut self, wanted: Sets) -> Result<(), Fault> {
        let now = match self.sets {
            Some(sets) => sets,
            None => current().map_err(Stage::CapSetThread.errno())?,
        };
        let bounding = bounding().map_err(Stage::CapSetThread.errno())?;
        if !is_permitted(now, wanted, bounding) {
            return Err(Stage::CapSetThread.fault(libc::EPERM));
        }
        let [_, permitted, inheritable] = wanted;
        self.sets = Some(wanted);
        // capabilities(7): an ambient capability is lost with its permitted or inheritable one.
        self.ambient = self.ambient.map(|mask| mask & permitted & inheritable);
        Ok(())
    }

    /// Removes the capabilities of `mask` from the bounding set.
    pub fn drop_bounding(&mut self, mask: u64) -> Result<(), Fault> {
        drop_bounding(mask)?;
        self.dropped |= mask;
        Ok(())
    }

    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    pub fn take_ambient(&mut self, mask: u64) {
        self.ambient = Some(mask);
    }

    /// Applies the stored sets to this process.
    pub fn apply(&self) -> Result<(), Fault> {
        let stage = Stage::CapSetThread;
        match self.sets {
            Some(sets) => set(sets).map_err(stage.errno())?,
            // Inheritable capabilities that the session did not ask for widen the sets of a program
            // with file capabilities (CVE-2022-24769). An ambient one has to be inheritable.
            None => {
                let [effective, permitted, inheritable] = current().map_err(stage.errno())?;
                let asked = inheritable & self.ambient.unwrap_or(0);
                if asked != inheritable {
                    set([effective, permitted, asked]).map_err(stage.errno())?;
                }
            }
        }
        if let Some(mask) = self.ambient {
            let stage = Stage::CapSetAmbient;
            thread::clear_ambient_capability_set().map_err(stage.errno())?;
            for bit in bits(mask) {
                thread::configure_capability_in_ambient_set(bit, true).map_err(stage.errno())?;
            }
        }
        Ok(())
    }
}

/// Whether capset(2) allows the change (security/commoncap.c, cap_capset).
fn is_permitted(now: Sets, wanted: Sets, bounding: u64) -> bool {
    let within = |set: u64, limit: u64| set & !limit == 0;
    let [effective, permitted, inheritable] = now;
    let [new_effective, new_permitted, new_inheritable] = wanted;
    let may_inherit_more = effective & CapabilitySet::SETPCAP.bits() != 0;
    within(new_permitted, permitted)
        && within(new_effective, new_permitted)
        && (may_inherit_more || within(new_inheritable, inheritable | permitted))
        && within(new_inheritable, inheritable | bounding)
}

fn current() -> Result<Sets, Errno> {
    let sets = thread::capabilities(None)?;
    Ok([
        sets.effective.bits(),
        sets.permitted.bits(),
        sets.inheritable.bits(),
    ])
}

fn set([effective, permitted, inheritable]: Sets) -> Result<(), Errno> {
    let sets = CapabilitySets {
        effective: CapabilitySet::from_bits_retain(effective),
        permitted: CapabilitySet::from_bits_retain(permitted),
        inheritable: CapabilitySet::from_bits_retain(inheritable),
    };
    thread::set_capabilities(None, sets)
}

fn bits(mask: u64) -> impl Iterator<Item = CapabilitySet> {
    (0..64)
        .filter(move |bit| mask & (1 << bit) != 0)
        .map(|bit| CapabilitySet::from_bits_retain(1 << bit))
}

/// The bounding set. EINVAL for a number means that the kernel has no capability from that number
/// on.
fn bounding() -> Result<u64, Errno> {
    let mut set = 0;
    for bit in bits(u64::MAX) {
        match capability_is_in_bounding_set(bit) {
            Ok(true) => set |= bit.bits(),
            Ok(false) => {}
            Err(Errno::INVAL) => break,
            Err(errno) => return Err(errno),
        }
    }
    Ok(set)
}

/// Removes the capabilities of `mask` from the bounding set at once: a record that came earlier but
/// is applied later may drop CAP_SETPCAP, which this call needs.
pub fn drop_bounding(mask: u64) -> Result<(), Fault> {
    for bit in bits(mask) {
        remove_capability_from_bounding_set(bit).map_err(Stage::CapDropBounding.errno())?;
    }
    Ok(())
}

/// Empties every set but the bounding one; the ambient set is emptied with the permitted one.
pub fn drop_all() -> Result<(), Errno> {
    set([0; 3])
}

/// Whether this process may read and write the `/proc` files of a process that is not dumpable.
pub fn sees_hidden_processes() -> bool {
    let needed = CapabilitySet::SYS_PTRACE | CapabilitySet::DAC_OVERRIDE;
    thread::capabilities(None).is_ok_and(|sets| sets.effective.contains(needed))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADMIN: u64 = CapabilitySet::SYS_ADMIN.bits();
    const PCAP: u64 = CapabilitySet::SETPCAP.bits();

    #[test]
    fn sets_only_shrink() {
        let full = [ADMIN | PCAP, ADMIN | PCAP, 0];
        assert!(is_permitted(full, [ADMIN, ADMIN, ADMIN], ADMIN));
        assert!(!is_permitted(
            [0, ADMIN, 0],
            [ADMIN, ADMIN | PCAP, 0],
            u64::MAX
        ));
        assert!(!is_permitted([0; 3], [ADMIN, ADMIN, 0], u64::MAX));
        assert!(!is_permitted(full, [ADMIN, PCAP, 0], u64::MAX));
    }

    #[test]
    fn what_is_inherited_comes_from_permitted_or_with_setpcap_from_the_bounding_set() {
        assert!(is_permitted([0, ADMIN, 0], [0, ADMIN, ADMIN], ADMIN));
        assert!(!is_permitted([0, ADMIN, 0], [0, ADMIN, PCAP], u64::MAX));
        assert!(is_permitted([PCAP, PCAP, 0], [0, 0, ADMIN], ADMIN));
        assert!(!is_permitted([PCAP, PCAP, 0], [0, 0, ADMIN], PCAP));
        assert!(is_permitted([0, 0, ADMIN], [0, 0, ADMIN], 0));
    }
}
