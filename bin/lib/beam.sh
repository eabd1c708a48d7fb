# shellcheck shell=bash
# Source this after debian.sh: the archive packages of Elixir and OTP, and the libraries they are linked with.

beam_packages=(erlang-base erlang-crypto erlang-dev erlang-xmerl erlang-eunit erlang-mnesia erlang-asn1
  erlang-public-key erlang-runtime-tools erlang-ssl erlang-ssh erlang-inets erlang-parsetools erlang-tools
  erlang-syntax-tools erlang-dialyzer erlang-common-test elixir libc6 libgcc-s1 libstdc++6 libatomic1 libsctp1
  libsystemd0 libtinfo6 zlib1g libssl3t64 libzstd1 libcap2)

# unpack_beam PREFIX: takes PREFIX's place when it is whole.
unpack_beam() {
  local prefix=$1 new=$1.new file
  unpack_from_testing "$prefix" usr/lib/erlang "${beam_packages[@]}"
  grep -rlI '/usr/lib/erlang' "$new/usr/lib/erlang/bin" "$new"/usr/lib/erlang/erts-*/bin | while read -r file; do
    sed -i "s|/usr/lib/erlang|$prefix/usr/lib/erlang|g" "$file"
  done
  rm -rf "$prefix"
  mv "$new" "$prefix"
}

# portable_erts PREFIX: makes the Erlang that was unpacked into PREFIX one whose releases run for another user and on
# another machine. A program names its dynamic linker by an absolute path, and `mix release` copies erts-*/bin: that
# folder gets a script for each program, which starts it on the libc in the folder `libc` beside it. VMs on this machine
# take the programs as they were unpacked, from erts-*/here. Every file is replaced by rename(2), since a VM may be
# starting meanwhile.
portable_erts() (
  prefix=$1
  exec 9>"$prefix.lock"
  flock 9
  if erts_is_portable "$prefix"; then exit; fi
  own_libc "$prefix"
  erts=$(find "$prefix/usr/lib/erlang" -maxdepth 1 -name 'erts-*' | head -n 1)
  scripts=("$prefix/usr/lib/erlang/bin/erl" "$erts/bin/erl")
  bindir="BINDIR=\"\$ROOTDIR/$(basename "$erts")/bin\""
  grep -qxF "$bindir" "${scripts[@]}" || grep -qxF "${bindir%bin\"}here\"" "${scripts[@]}" ||
    die "${scripts[0]} does not say ${bindir#BINDIR=}"

  if ! [ -d "$erts/here" ]; then
    rm -rf "$erts/here.new"
    cp -al "$erts/bin" "$erts/here.new"
    rm -rf "$erts/here.new/libc"
    mv "$erts/here.new" "$erts/here"
  fi
  scripts+=("$erts/here/erl")

  rm -rf "$erts/libc.new" "$erts/bin/libc"
  mkdir "$erts/libc.new"
  find "$prefix/usr/lib/$triplet" -maxdepth 1 -name '*.so*' -exec cp -al -t "$erts/libc.new" {} +
  for file in "$erts"/here/*; do
    [ "$(od -An -tx1 -N4 "$file" | tr -d ' ')" = 7f454c46 ] || continue
    name=$(basename "$file")
    # An RPATH counts before --library-path, and what it names may be there, of another version.
    cp "$file" "$erts/libc.new/$name"
    "${patchelf[@]}" --remove-rpath "$erts/libc.new/$name"
    programs+=("$name")
  done
  mv "$erts/libc.new" "$erts/bin/libc"

  sed -i "s|^${bindir%bin\"}bin\"\$|${bindir%bin\"}here\"|" "${scripts[@]}"
  rm -rf "$erts/scripts.new"
  mkdir "$erts/scripts.new"
  ln -s ../bin/libc "$erts/scripts.new/libc"
  for name in "${programs[@]}"; do
    cat >"$erts/scripts.new/$name" <<END
#!/bin/sh
# The program of this name on the libc beside it.
libc=\${0%/*}/libc
exec "\$libc/$loader" --library-path "\$libc" --argv0 "\$0" "\$libc/$name" "\$@"
END
    chmod 755 "$erts/scripts.new/$name"
  done
  # As a release starts it. If it does not start, the programs stay in bin, and releases run on this machine.
  BINDIR=$erts/scripts.new ROOTDIR=$prefix/usr/lib/erlang EMU=beam PROGNAME=erl \
    "$erts/scripts.new/erlexec" -noshell -eval 'halt().' || die "the VM does not start on the libc beside it"
  for name in "${programs[@]}"; do mv "$erts/scripts.new/$name" "$erts/bin/$name"; done
  rm -rf "$erts/scripts.new"
  touch "$prefix/portable"
)

erts_is_portable() { [ -e "$1/portable" ]; }
