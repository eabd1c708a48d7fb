# shellcheck shell=bash
# Source this: what bin/setup, bin/cross and bin/test-kernel do with Debian's archive. The caller sets `cache`, the folder
# that everything fetched lies in, and may set `architecture`, Debian's name of the one to fetch for, and `suite`, the
# suite to fetch from (testing).

program=$(basename "$0")
say() { printf '%s: %s\n' "$program" "$*"; }
die() { printf '%s: %s\n' "$program" "$*" >&2; exit 1; }

# attempted COMMAND...: sets `status` to the command's, in a subshell that ends with the first command that fails. As a
# condition or before `||`, bash passes that one over, and half an unpacked folder would take its place.
attempted() {
  set +e
  (set -e; "$@")
  status=$?
  set -e
}

# Installing takes root. Unpacking into the cache takes apt's and dpkg's programs alone.
can_apt() { command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; }
can_unpack() { command -v apt-get >/dev/null && command -v dpkg >/dev/null && [ -n "$(debian_mirror)" ]; }

apt_install() {
  say "installing: $*"
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null 2>&1 && return
  apt-get update -qq >/dev/null || die "apt-get update failed; the missing packages are: $*"
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null ||
    die "apt-get install failed for: $*"
}

# The first URI that the machine's own apt sources give for Debian's main archive (not security, not a third party).
debian_mirror() {
  {
    cat /etc/apt/sources.list.d/*.sources 2>/dev/null | awk '/^URIs:/ {print $2}'
    cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null |
      awk '/^deb / {for (i = 2; i <= NF; i++) if ($i ~ /^(https?|mirror|file):/) {print $i; break}}'
  } | awk '/\/debian\/?$/ && !found {print; found = 1}' || true
}

# An apt of our own: its lists, its cache and its one source live under $1, so the system's configuration stays as it is.
private_apt() {
  local dir=$1 uri=$2
  mkdir -p "$dir"/{sources,lists/partial,cache/archives/partial} 2>/dev/null ||
    die "cannot write to $cache: set XDG_CACHE_HOME to a folder that can be written"
  cat >"$dir/sources/debian.sources" <<END
Types: deb
URIs: $uri
Suites: ${suite:-testing}
Components: main
Architectures: $architecture
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
END
  # What container images hook on to apt cleans the system's cache, which is not the one used here.
  echo '#clear APT::Update::Post-Invoke;' >"$dir/apt.conf"
  apt_options=(-c "$dir/apt.conf" -o Dir::Etc::SourceList=/dev/null -o Dir::Etc::SourceParts="$dir/sources"
    -o Dir::Etc::Preferences=/dev/null -o Dir::Etc::PreferencesParts=/dev/null
    -o APT::Architecture="$architecture" -o APT::Architectures="$architecture" -o Dir::State::Lists="$dir/lists" -o Dir::Cache="$dir/cache" -o APT::Sandbox::User=root)
}

# open_testing: from here on apt_options are those of an apt that knows $architecture's testing suite, or that which
# `suite` names, and no more.
open_testing() {
  local uri name
  architecture=${architecture:-$(dpkg --print-architecture)}
  name=$architecture
  if [ "${suite:-testing}" != testing ]; then name=$suite-$architecture; fi
  if [ "${opened-}" = "$name" ]; then return; fi
  uri=$(debian_mirror)
  [ -n "$uri" ] || die "no Debian archive in apt's sources, so nothing can be had from its testing suite"
  [ -r /usr/share/keyrings/debian-archive-keyring.gpg ] || apt_install debian-archive-keyring
  apt_state=$cache/apt-$name
  rm -rf "$apt_state/sources"
  private_apt "$apt_state" "$uri"
  # Without the mode an index that cannot be fetched is a warning.
  apt-get "${apt_options[@]}" -o APT::Update::Error-Mode=any update -qq >/dev/null || die "cannot read Debian's ${suite:-testing} suite at the machine's mirror"
  opened=$name
}

# with_dependencies PACKAGE...: their names and those of all that they depend on, as if nothing were installed.
with_dependencies() {
  open_testing
  apt-get "${apt_options[@]}" -o Dir::State::status=/dev/null --no-install-recommends --simulate install "$@" |
    awk '/^Inst / {print $2}'
}

# fetch_from_testing FOLDER PACKAGE...: the packages of Debian testing, unpacked into FOLDER, which is made anew. The
# names of the package files are listed in FOLDER/packages.
fetch_from_testing() {
  local folder=$1 debs deb
  shift
  open_testing
  debs=$apt_state/debs
  rm -rf "$debs" "$folder"
  mkdir -p "$debs" "$folder"
  (cd "$debs" && apt-get "${apt_options[@]}" download -qq "$@" >/dev/null) ||
    die "a package could not be fetched from Debian ${suite:-testing} (of: $*)"
  for deb in "$debs"/*.deb; do dpkg -x "$deb" "$folder"; done
  (cd "$debs" && ls) >"$folder/packages"
  rm -rf "$debs"
}

# unpack_from_testing PREFIX SUBFOLDER PACKAGE...: the same into PREFIX.new, with the programs under SUBFOLDER made to
# run on the libc among the packages, not on the machine's. The caller renames PREFIX.new to PREFIX, which is the path
# written into them.
unpack_from_testing() {
  local prefix=$1 subfolder=$2
  shift 2
  if ! find_patchelf "$cache/toolchain"; then
    if [ "${architecture:-$(dpkg --print-architecture)}" = "$(dpkg --print-architecture)" ]; then
      set -- "$@" patchelf libstdc++6 libgcc-s1
    else
      can_apt || die "patchelf is needed: install it"
      apt_install patchelf
    fi
  fi
  fetch_from_testing "$prefix.new" "$@"
  relocate "$prefix" "$subfolder"
}

# find_patchelf PREFIX: sets the array `patchelf` to one that runs on this machine. The one on PATH may have been unpacked for
# another libc; the one in PREFIX runs on the loader and the libc that were unpacked with it.
find_patchelf() {
  local loader program
  for program in patchelf /usr/bin/patchelf; do
    patchelf=("$program")
    if "${patchelf[@]}" --version >/dev/null 2>&1; then return; fi
  done
  for loader in "$1"/usr/lib/*/ld-linux*; do
    patchelf=("$loader" --library-path "$(dirname "$loader")" "$1/usr/bin/patchelf")
    if "${patchelf[@]}" --version >/dev/null 2>&1; then return; fi
  done
  return 1
}

# own_libc PREFIX: sets triplet and loader, the folder and the dynamic linker of the libc under PREFIX, and patchelf, the
# command: one that was unpacked with the rest runs on the libc it came with.
own_libc() {
  local prefix=$1
  triplet=$(basename "$(dirname "$(find "$prefix/usr/lib" -maxdepth 2 -name 'libc.so.6' | head -n 1)")")
  loader=$(basename "$(find "$prefix/usr/lib/$triplet" -maxdepth 1 -name 'ld-linux*' | head -n 1)")
  find_patchelf "$prefix" || find_patchelf "$cache/toolchain" ||
    die "patchelf does not run, so nothing can be made to run on its own libc"
}

# An RPATH, not a RUNPATH: libraries that a NIF loads must be found through it as well.
relocate() {
  local prefix=$1 subfolder=$2 triplet loader file patchelf
  own_libc "$prefix.new"
  # Not the program that does it, which would be changed while it runs.
  find "$prefix.new/$subfolder" -type f -perm -u+x ! -name patchelf | while read -r file; do
    if "${patchelf[@]}" --print-interpreter "$file" >/dev/null 2>&1; then
      "${patchelf[@]}" --set-interpreter "$prefix/usr/lib/$triplet/$loader" --force-rpath \
        --set-rpath "$prefix/usr/lib/$triplet" "$file"
    fi
  done
}
