# shellcheck shell=bash
# Debian's amd64 kernels on an emulated machine: `stable` is trixie's 6.12, the oldest long-term kernel that is tested, and
# `testing` the newest. bin/test-kernel sources this. No image is built: the machine's root is this machine's own, shared by 9p and
# read-only, and the initial RAM disk holds the modules for that and a shell.
#
# KVM is not used: a hypervisor may offer it to a guest without running ordinary kernels in it. The processors take turns on one
# thread: side by side, QEMU 7.2 lets one of them run the int3 of a static branch after the other has patched it, and the kernel
# dies (the first write to cpu.max does that).

qemu_tags=(flowtable nft_queue nft_bridge psi "${uml_tags[@]}")
qemu_required=(root clone3 userns netns nfnetlink nsfs nftables cgroup2 tty "${qemu_tags[@]}")
stable_tags=("${qemu_tags[@]}") stable_required=("${qemu_required[@]}")
testing_tags=("${qemu_tags[@]}") testing_required=("${qemu_required[@]}")

# What the machine needs before it can see any file: virtio's 9p.
qemu_boot_modules=(virtio_pci 9pnet_virtio 9p)

stable_prepare() { qemu_prepare trixie; }
testing_prepare() { qemu_prepare testing; }
stable_modules() { printf '%s' "$cache/kernel-trixie/modules"; }
testing_modules() { printf '%s' "$cache/kernel-testing/modules"; }
stable_boot() { qemu_boot trixie "$@"; }
testing_boot() { qemu_boot testing "$@"; }

# qemu_prepare SUITE: leaves vmlinuz, modules/ and initrd in the cache.
qemu_prepare() {
  local suite=$1 home=$cache/kernel-$1
  [ "$(uname -m)" = x86_64 ] || die "these kernels are amd64's; bin/test-machine boots other processors'"
  command -v qemu-system-x86_64 >/dev/null || apt_install qemu-system-x86
  command -v busybox >/dev/null || apt_install busybox-static
  [ -e "$home/initrd" ] && return
  command -v dpkg >/dev/null || die "the kernel comes from Debian's archive; this is another distribution"
  say "fetching the kernel of Debian $suite"
  local new=$home.new version packages
  rm -rf "$new"
  mkdir -p "$new/modules"
  # By itself: the status of a substitution among arguments is lost.
  packages=$(qemu_packages)
  # shellcheck disable=SC2086
  fetch_from_testing "$new/root" $packages
  version=$(ls "$new/root/usr/lib/modules" 2>/dev/null || ls "$new/root/lib/modules")
  mv "$(find "$new/root" -path "*/lib/modules/$version")" "$new/modules/$version"
  mv "$(find "$new" -name 'vmlinuz*' -type f | head -n 1)" "$new/vmlinuz"
  rm -rf "$new/root"
  mkdir -p "$new/base/lib"
  ln -s "$new/modules" "$new/base/lib/modules"
  depmod --basedir "$new/base" "$version" 2>/dev/null
  qemu_initrd "$new" "$version"
  rm -rf "$new/base" "$home"
  mv "$new" "$home"
}

# The packages that hold the kernel that linux-image-amd64 names: one in stable, an image and its modules in testing.
qemu_packages() {
  local image
  open_testing
  image=$(apt-cache "${apt_options[@]}" depends linux-image-amd64 | awk '/Depends: linux-image-/ {print $2}')
  [ -n "$image" ] || die "Debian $suite has no linux-image-amd64 to name a kernel"
  if apt-cache "${apt_options[@]}" show "${image/image/modules}" >/dev/null 2>&1; then
    printf '%s ' "${image/image/binary}" "${image/image/modules}"
    if apt-cache "${apt_options[@]}" show "${image/image/base}" >/dev/null 2>&1; then printf '%s' "${image/image/base}"; fi
  else
    printf '%s' "$image"
  fi
}

# qemu_initrd FOLDER VERSION: a shell, the modules of the root, and the step to it.
qemu_initrd() {
  local folder=$1 version=$2 root=$1/initial module file n=0
  mkdir -p "$root"/{bin,modules,root,proc,dev}
  cp "$(command -v busybox)" "$root/bin/busybox"
  # In the order of their dependences.
  for module in "${qemu_boot_modules[@]}"; do
    modprobe -d "$folder/base" -S "$version" --show-depends "$module" | awk '/^insmod/ {print $2}'
  done | awk '!seen[$0]++' | while read -r file; do
    n=$((n + 1))
    module=$root/modules/$(printf '%02d' "$n")-$(basename "$file")
    cp "$file" "$module"
    case $module in *.xz) xz -d "$module" ;; *.zst) zstd -q --rm -d "$module" ;; *.gz) gunzip "$module" ;; esac
  done
  cat >"$root/init" <<'END'
#!/bin/busybox sh
export PATH=/bin
busybox mount -t proc proc /proc
busybox mount -t devtmpfs devtmpfs /dev
for module in /modules/*; do busybox insmod "$module"; done
share=trans=virtio,version=9p2000.L,msize=512000,cache=loose
busybox mount -t 9p -o "ro,$share" root /root || exec busybox sh
busybox mount --move /dev /root/dev
busybox umount /proc
exec busybox switch_root /root "$linx_init" </root/dev/console >/root/dev/console 2>&1
END
  chmod +x "$root/init"
  (cd "$root" && find . -print0 | busybox cpio -0 -o -H newc -R 0:0 2>/dev/null) >"$folder/initrd"
  rm -rf "$root"
}

# qemu_boot SUITE INIT FOLDER, as uml_boot.
qemu_boot() {
  local home=$cache/kernel-$1 init=$2 folder=$3
  exec timeout --kill-after=5 "$seconds" qemu-system-x86_64 -accel tcg,thread=single -cpu max -smp 2 -m 4G -nic none \
    -display none -serial stdio -monitor none -no-reboot -kernel "$home/vmlinuz" -initrd "$home/initrd" \
    -fsdev local,id=root,path=/,security_model=none,readonly=on,multidevs=remap \
    -device virtio-9p-pci,fsdev=root,mount_tag=root \
    -fsdev "local,id=share,path=$folder,security_model=none" -device virtio-9p-pci,fsdev=share,mount_tag=share \
    -append "console=ttyS0 quiet loglevel=1 panic=-1 psi=1 linx_init=$init LINX_SHARE=9p:share" \
    </dev/null 2>"$folder/log" > >(sed -u 's|\r$||')
}
