# shellcheck shell=bash
# Sourced first by the scripts of bin/. With -h or --help as its first argument a script prints the comment at its head
# and exits, before it changes anything.
case ${1-} in
-h | --help)
  sed -n '2,${ /^#/!q; s/^# \{0,1\}//p; }' "$0"
  exit 0
  ;;
esac
