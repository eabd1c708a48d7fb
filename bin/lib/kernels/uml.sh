# shellcheck shell=bash
# User-Mode Linux, an ordinary program from Debian testing. bin/test-kernel sources this.

# The machine's own kernel lacks these, or lacks them in cgroup v2.
uml_tags=(cgroup_controllers dummy vlan ipvlan bridge_vlan bond geneve)
uml_required=(root clone3 userns netns nsfs cgroup2 tty "${uml_tags[@]}")

uml=$cache/user-mode-linux

# Leaves the kernel in the cache, or exits with a message.
uml_prepare() {
  [ -x "$uml/usr/bin/linux.uml" ] && return
  [ "$(uname -m)" = x86_64 ] || die "User-Mode Linux is built for x86_64 only"
  command -v dpkg >/dev/null || die "User-Mode Linux comes from Debian's archive; this is another distribution"
  say "fetching User-Mode Linux from Debian testing"
  unpack_from_testing "$uml" usr/bin user-mode-linux libc6
  rm -rf "$uml"
  mv "$uml.new" "$uml"
}

# The folder that holds a folder of modules for each kernel version.
uml_modules() { printf '%s' "$uml/usr/lib/uml/modules"; }

# uml_boot INIT FOLDER: becomes the kernel, with INIT as pid 1, until it powers off. FOLDER is writable on both sides, as
# /mnt in there; the rest of the machine's files are read-only.
uml_boot() {
  # seccomp=on catches system calls without ptrace, which is eight times faster. Its own remarks go to a file.
  TMPDIR=$(memory_folder) exec timeout --kill-after=5 "$seconds" "$uml/usr/bin/linux.uml" \
    mem=2G seccomp=on root=/dev/root rootfstype=hostfs rootflags=/ ro uml_dir="$2" umid=linx \
    init="$1" con=null con0=fd:0,fd:1 loglevel=1 LINX_SHARE="hostfs:$2" </dev/null 2>"$2/log"
}

# The kernel's memory is a sparse file: in /dev/shm if that is large enough.
memory_folder() {
  local free
  free=$(df --output=avail -k /dev/shm 2>/dev/null | tail -n 1)
  if [ "${free:-0}" -gt 2200000 ]; then printf /dev/shm; else printf '%s' "$cache"; fi
}
