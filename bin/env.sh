# shellcheck shell=sh
# Source this: it puts the toolchain that bin/setup unpacked on PATH, where the machine's own is absent or too old.
_linx_toolchain="${XDG_CACHE_HOME:-$HOME/.cache}/linx/toolchain/usr/bin"
if [ -x "$_linx_toolchain/elixir" ]; then
  case ":$PATH:" in
  *":$_linx_toolchain:"*) ;;
  *) PATH="$_linx_toolchain:$PATH" ;;
  esac
  export PATH
fi
# Debian keeps ip, nft and sysctl where not every user's PATH looks.
case ":$PATH:" in
*:/usr/sbin:*) ;;
*) export PATH="$PATH:/usr/sbin:/sbin" ;;
esac
# Elixir warns under a latin1 locale; C.UTF-8 is in every glibc and in musl.
case "${LC_ALL:-${LC_CTYPE:-${LANG:-}}}" in
*[Uu][Tt][Ff]*) ;;
*) export LC_ALL=C.UTF-8 ;;
esac
unset _linx_toolchain
