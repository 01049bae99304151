#!/usr/bin/env bash
# setup.sh TARGET: makes sure that Go and the packages that `make TARGET` needs (tools/debian-packages)
# are there. Installs missing packages where it may without asking; otherwise says what to do.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

target=$1

die() {
  printf '%s\n' "$@" >&2
  exit 1
}

check_go() {
  local wanted have
  wanted=$(sed -n 's/^go //p' go.mod)
  type -P go >/dev/null || die "Go is missing: install Go $wanted or newer (https://go.dev/dl) and put it on PATH."
  have=$(go env GOVERSION) || die "Go $wanted or newer is needed, and 'go env' fails: see above."
  have=${have#go}
  have=${have%% *}
  [[ $(printf '%s\n' "$wanted" "$have" | sort -V | head -n 1) == "$wanted" ]] ||
    die "Go $have is too old: go.mod asks for $wanted. Install it (https://go.dev/dl), or allow GOTOOLCHAIN=auto to fetch it."
}

is_debian() { type -P apt-get dpkg >/dev/null; }

# present: a command anywhere; a file only on Debian, for elsewhere it may have another place.
present() {
  case $1 in
  /*) [[ -e $1 ]] || ! is_debian ;;
  *) type -P "$1" >/dev/null ;;
  esac
}

missing_packages() {
  local package known_by targets
  while read -r package known_by targets; do
    [[ $package && $package != \#* && " $targets " == *" $target "* ]] || continue
    present "$known_by" || echo "$package"
  done <tools/debian-packages
}

# as_root runs a command as root without asking for a password; fails where that is impossible.
as_root() {
  if ((EUID == 0)); then
    "$@"
  else
    sudo -n "$@"
  fi
}

may_be_root() { ((EUID == 0)) || { type -P sudo >/dev/null && sudo -n true 2>/dev/null; }; }

check_go
mapfile -t missing < <(missing_packages)
((${#missing[@]})) || exit 0

is_debian || die "missing for 'make $target': ${missing[*]} (Debian's names). Install what provides them here, and try again."

by_hand="apt-get update && apt-get install --no-install-recommends ${missing[*]}"
((EUID == 0)) || by_hand="sudo sh -c '$by_hand'"
may_be_root || die "missing for 'make $target': ${missing[*]}. Install with:" "  $by_hand"

echo "installing for 'make $target': ${missing[*]}"
# Lists that cannot be refreshed may still be good enough: the installation decides.
as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq </dev/null || true
as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends "${missing[@]}" </dev/null >/dev/null ||
  die "could not install ${missing[*]}. By hand:" "  $by_hand"
mapfile -t missing < <(missing_packages)
((${#missing[@]} == 0)) || die "still missing after installation: ${missing[*]}"
