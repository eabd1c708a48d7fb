# shellcheck shell=bash
# Source this after debian.sh: the targets of the package's archives, and how bin/precompile builds for each of them.

# triple | zig's target with the glibc floor | zig's CPU | the agent's triple | ELF's e_machine
# The agent of a glibc target is musl's, which is smaller, where rustup has a standard library for it.
targets=(
  "x86_64-unknown-linux-gnu|x86_64-linux-gnu.2.31||x86_64-unknown-linux-musl|62"
  "x86_64-unknown-linux-musl|x86_64-linux-musl||x86_64-unknown-linux-musl|62"
  "aarch64-unknown-linux-gnu|aarch64-linux-gnu.2.31||aarch64-unknown-linux-musl|183"
  "aarch64-unknown-linux-musl|aarch64-linux-musl||aarch64-unknown-linux-musl|183"
  "armv7-unknown-linux-gnueabihf|arm-linux-gnueabihf.2.31|generic+v7a+vfp3d16-neon|armv7-unknown-linux-gnueabihf|40"
  "riscv64gc-unknown-linux-gnu|riscv64-linux-gnu.2.31|generic_rv64+m+a+f+d+c|riscv64gc-unknown-linux-gnu|243"
)
glibc_floor=2.31
zig_version=0.17.1

# The C compiler and linker for all of them: its wheel on PyPI holds the compiler and each C library's symbols, so that
# the floor needs no old system. LINX_ZIG names another.
prepare_zig() {
  zig=${LINX_ZIG-$cache/zig-$zig_version/bin/python3 -m ziglang}
  if [ -z "${LINX_ZIG-}" ] && ! [ -x "$cache/zig-$zig_version/bin/python3" ]; then
    python3 -m venv "$cache/zig-$zig_version.new" || die "python3 with its venv module is needed to fetch zig"
    "$cache/zig-$zig_version.new/bin/pip" install --quiet "ziglang==$zig_version" || die "zig $zig_version cannot be had from PyPI; LINX_ZIG may name one"
    mv "$cache/zig-$zig_version.new" "$cache/zig-$zig_version"
  fi
  $zig version >/dev/null || die "zig does not run: $zig"
}

prepare_std() {
  local triple
  for triple in "$@"; do
    [ -d "$(rustc --print target-libdir --target "$triple")" ] && continue
    command -v rustup >/dev/null || die "Rust's standard library for $triple is needed, and there is no rustup to add it"
    say "adding Rust's standard library for $triple"
    rustup target add "$triple" || die "rustup has no standard library for $triple"
  done
}

# linker TARGET CPU: a program that calls zig as rustc calls cc. zig knows neither of the two options that are left out;
# libgcc_s is its own unwinder, linked in.
linker() {
  local program=$work/cc-$1
  cat >"$program" <<END
#!/usr/bin/env bash
arguments=()
for argument in "\$@"; do
  case \$argument in
  -Wl,--no-undefined-version | -Wl,--fix-cortex-a53-843419) ;;
  *) arguments+=("\$argument") ;;
  esac
done
exec $zig cc -target $1 ${2:+-mcpu=$2} -g0 "\${arguments[@]}"
END
  chmod +x "$program"
  echo "$program"
}

# cargo_for PART TRIPLE LINKER FLAGS ARGUMENTS...: paths of this machine are written out of what is built.
cargo_for() {
  local part=$1 triple=$2 linker=$3 flags=$4 variable
  shift 4
  variable=CARGO_TARGET_$(tr a-z- A-Z_ <<<"$triple")_LINKER
  env -u CARGO_BUILD_TARGET -u CC "$variable=$linker" \
    RUSTFLAGS="--remap-path-prefix=$PWD=/linx --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo $flags" \
    CARGO_INCREMENTAL=0 SOURCE_DATE_EPOCH="$epoch" ZIG_GLOBAL_CACHE_DIR="$work/zig" ZIG_LOCAL_CACHE_DIR="$work/zig" \
    cargo build --quiet --locked --target "$triple" --target-dir "$work/$part" "$@"
}

build_nif() {
  local triple=$1 flags=
  case $triple in *musl*) flags="-C target-feature=-crt-static" ;; esac
  cargo_for nif "$triple" "$(linker "$2" "$3")" "$flags" -p linx_nif --profile release
}

# With musl Rust's own linker takes the C library that is part of the target. glibc's archive is in Debian's cross packages.
build_agent() {
  local linker=rust-lld package= flags="-C linker-flavor=ld.lld -C link-self-contained=yes"
  case $1 in
  armv7-*-gnueabihf) linker=arm-linux-gnueabihf-gcc flags= package=libc6-dev-armhf-cross ;;
  riscv64gc-*-gnu) linker=riscv64-linux-gnu-gcc flags= package=libc6-dev-riscv64-cross ;;
  esac
  if [ -n "$package" ] && ! command -v $linker >/dev/null; then apt_install gcc-${linker%-gcc} $package; fi
  cargo_for agent "$1" "$linker" "$flags -C target-feature=+crt-static -C relocation-model=static" \
    -p linx_process --profile agent
}

# elf PART FILE: readelf's answer, whole. A file that it cannot read passes no check.
elf() {
  readelf --wide "$1" "$2" || die "readelf $1 cannot read $2"
}

# The newest symbol version of glibc that a library needs, or "-".
floor_of() {
  local versions floor
  versions=$(elf --version-info "$1") || return
  floor=$(grep -o 'GLIBC_[0-9.]*' <<<"$versions" | cut -d_ -f2 | sort -V | tail -n 1) || true
  echo "${floor:--}"
}

check_machine() {
  [ "$(od -An -tu2 -j18 -N2 "$1" | tr -d ' ')" = "$2" ] || die "$1 is for another machine than e_machine $2"
}

check_nif() {
  local library=$1 floor dynamic symbols needed
  floor=$(floor_of "$library") && dynamic=$(elf --dynamic "$library") && symbols=$(elf --dyn-syms "$library") || exit
  if [ "$floor" != - ] && [ "$(printf '%s\n%s\n' "$floor" "$glibc_floor" | sort -V | tail -n 1)" != "$glibc_floor" ]; then
    die "$library needs glibc $floor, and the floor is $glibc_floor"
  fi
  for needed in $(sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' <<<"$dynamic"); do
    case $needed in
    libc.so | libc.so.6 | libm.so.6 | libdl.so.2 | libpthread.so.0 | ld-linux*.so.*) ;;
    *) die "$library needs $needed, which not every system has" ;;
    esac
  done
  grep -q ' nif_init$' <<<"$symbols" || die "$library has no nif_init"
}

check_agent() {
  local headers dynamic
  headers=$(elf --program-headers "$1") && dynamic=$(elf --dynamic "$1") || exit
  if grep -q INTERP <<<"$headers" || grep -q NEEDED <<<"$dynamic"; then die "$1 is not static"; fi
}

# archive NAME LIBRARY AGENT: both files under priv/, with nothing of this machine in it.
archive() {
  local folder=$work/archive
  rm -rf "$folder"
  mkdir -p "$folder/priv"
  install -m 755 "$2" "$folder/priv/linx_nif.so"
  install -m 755 "$3" "$folder/priv/linx_process"
  tar --create --directory "$folder" --format ustar --sort name --owner 0 --group 0 --numeric-owner \
    --mtime "@$epoch" priv/linx_nif.so priv/linx_process | gzip --no-name --best >"$1"
}
