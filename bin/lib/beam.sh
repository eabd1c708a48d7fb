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
