# shellcheck shell=bash
# Source this after debian.sh and beam.sh: how bin/cross and bin/test-machine build for another processor. What lies on this
# machine stays as it is: the build is in _build/TARGET, as the test environment's.

# available COMMAND...: what it cannot have, by `die` or because a command fails, is missing here: status 69.
available() {
  local status
  attempted "$@"
  if [ "$status" != 0 ]; then
    say "nothing runs for $target here" >&2
    exit "$unavailable"
  fi
}

step() { printf '\n== %s\n' "$*"; }

# choose_target aarch64|armv7|riscv64: sets what the functions below and the caller go by.
#
#   triple, cc, cross_packages   Rust's target, Debian's cross compiler and its packages
#   architecture_of_target       Debian's name of the architecture
#   emulator, machine, class     QEMU's name of the processor; e_machine and EI_CLASS of its programs (elf(5))
choose_target() {
  target=$1
  case $target in
  aarch64) triple=aarch64-unknown-linux-gnu gnu=aarch64-linux-gnu architecture_of_target=arm64 emulator=aarch64 machine=183 class=2 ;;
  armv7) triple=armv7-unknown-linux-gnueabihf gnu=arm-linux-gnueabihf architecture_of_target=armhf emulator=arm machine=40 class=1 ;;
  riscv64) triple=riscv64gc-unknown-linux-gnu gnu=riscv64-linux-gnu architecture_of_target=riscv64 emulator=riscv64 machine=243 class=2 ;;
  *) die "no target is called $target; there are aarch64, armv7 and riscv64" ;;
  esac
  cc=$gnu-gcc
  cross_packages=("gcc-$gnu" "libc6-dev-$architecture_of_target-cross")
  build=$PWD/_build/$target
}

# Debian's cross compiler (installed, as root) and Rust's standard library for the target (rustup).
prepare_target() {
  if ! command -v "$cc" >/dev/null; then
    can_apt || die "$cc is needed: install ${cross_packages[*]}"
    apt_install "${cross_packages[@]}"
  fi
  if ! [ -d "$(rustc --print target-libdir --target "$triple")" ]; then
    command -v rustup >/dev/null || die "Rust's standard library for $triple is needed, and there is no rustup to add it"
    say "adding Rust's standard library for $triple"
    rustup target add "$triple"
  fi
}

# for_target COMMAND...: as a Nerves build sets it, but for the names of the variables.
for_target() { MIX_ENV=test MIX_BUILD_PATH=$build CARGO_BUILD_TARGET=$triple CC=$cc "$@"; }

# With LINX_ARCHIVES, a folder that bin/precompile filled, its archive for the target takes the place of a build.
build_for_target() {
  local part archive
  MIX_ENV=test mix compile
  # Elixir's part is the same for every processor.
  rm -rf "$build/lib"
  mkdir -p "$build"
  cp -a _build/test/lib "$build/"
  rm -rf "$build/lib/linx/priv"
  if [ -n "${LINX_ARCHIVES-}" ]; then
    archive=$(find "$LINX_ARCHIVES" -name "linx-*-$triple.tar.gz" | sort | tail -n 1)
    [ -n "$archive" ] || die "no archive for $triple is in $LINX_ARCHIVES"
    say "taking $archive"
    tar --extract --gzip --directory "$build/lib/linx" --no-same-owner --file "$archive" priv/linx_nif.so priv/linx_process
  else
    for_target mix compile
  fi
  for part in linx_nif.so linx_process; do
    [ "$(od -An -tu2 -j18 -N2 "$build/lib/linx/priv/$part" | tr -d ' ')" = "$machine" ] ||
      die "$part is not for $target"
  done
}
