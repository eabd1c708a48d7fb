# shellcheck shell=bash
# Source this after debian.sh and beam.sh: bin/test-arm64's part of cross.sh.

# shellcheck source=bin/lib/cross.sh
. "$(dirname "${BASH_SOURCE[0]}")/cross.sh"
choose_target aarch64
