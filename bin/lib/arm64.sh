# shellcheck shell=bash
# Source this after debian.sh and beam.sh: how bin/cross and bin/test-arm64 build for aarch64. What lies on this machine
# stays as it is: the build is in _build/aarch64, as the test environment's.

triple=aarch64-unknown-linux-gnu
cc=aarch64-linux-gnu-gcc
build=$PWD/_build/aarch64

step() { printf '\n== %s\n' "$*"; }

# Debian's cross compiler (installed, as root) and Rust's standard library for the target (rustup).
prepare_target() {
  if ! command -v $cc >/dev/null; then
    can_apt || die "$cc is needed: install gcc-aarch64-linux-gnu and libc6-dev-arm64-cross"
    apt_install gcc-aarch64-linux-gnu libc6-dev-arm64-cross
  fi
  if ! [ -d "$(rustc --print target-libdir --target $triple)" ]; then
    command -v rustup >/dev/null || die "Rust's standard library for $triple is needed, and there is no rustup to add it"
    say "adding Rust's standard library for $triple"
    rustup target add $triple
  fi
}

# for_target COMMAND...: as a Nerves build sets it, but for the names of the variables.
for_target() { MIX_ENV=test MIX_BUILD_PATH=$build CARGO_BUILD_TARGET=$triple CC=$cc "$@"; }

build_for_target() {
  MIX_ENV=test mix compile
  # Elixir's part is the same for every processor.
  rm -rf "$build/lib"
  mkdir -p "$build"
  cp -a _build/test/lib "$build/"
  rm -rf "$build/lib/linx/priv"
  for_target mix compile
  # ELF's e_machine: 183 is EM_AARCH64.
  local part
  for part in linx_nif.so linx_process; do
    [ "$(od -An -tu2 -j18 -N2 "$build/lib/linx/priv/$part" | tr -d ' ')" = 183 ] ||
      die "$part is not for aarch64"
  done
}
