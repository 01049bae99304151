#!/usr/bin/env bash
# temporal.sh VERSION: makes bin/temporal a Temporal CLI of at least VERSION: the one on PATH if it
# is new enough, else one that `go install` builds.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

wanted=$1
installed=bin/tools/temporal@$wanted/temporal

# version of a CLI. One from `go install` calls itself 0.0.0-DEV; its build information knows better.
version() {
  local v
  v=$("$1" --version 2>/dev/null | sed -nE 's/^temporal version v?([0-9][^ ]*).*/\1/p') || return
  if [[ $v == 0.0.0-* ]]; then
    v=$(go version -m "$1" 2>/dev/null | sed -nE 's/^\tmod\tgithub\.com\/temporalio\/cli\tv([0-9][^\t]*).*/\1/p')
  fi
  echo "$v"
}

# enough: is the CLI there, does it run, and is it new enough? A pre-release of VERSION is not.
enough() {
  [[ -x $1 ]] || return
  local v
  v=$(version "$1") && [[ $v ]] || return
  v=${v%%+*}
  [[ $v != "${wanted#v}"-* && $(printf '%s\n' "${wanted#v}" "$v" | sort -V | head -n 1) == "${wanted#v}" ]]
}

link() {
  mkdir -p bin
  ln -sfn "$1" bin/temporal
}

enough bin/temporal && exit

on_path=$(type -P temporal || true)
if [[ $on_path && ! $on_path -ef bin/temporal ]] && enough "$on_path"; then
  echo "bin/temporal: the Temporal CLI on PATH, $on_path ($(version "$on_path"))"
  link "$(cd "$(dirname "$on_path")" && pwd)/temporal"
  exit
fi

if ! enough "$installed"; then
  echo "bin/temporal: building the Temporal CLI $wanted; the first time this takes 5 to 9 minutes"
  GOBIN=$PWD/$(dirname "$installed") go install "github.com/temporalio/cli/cmd/temporal@$wanted"
fi
link "${installed#bin/}"
enough bin/temporal || { echo "bin/temporal was built but is not a Temporal CLI of at least $wanted" >&2; exit 1; }
