#!/usr/bin/env bash
# temporal-server.sh VERSION: makes bin/temporal-server, a Temporal server of that VERSION for a
# PostgreSQL store, and bin/temporal-sql-tool, which makes its schema.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

version=$1
installed=bin/tools/temporal-server@$version

if [[ ! -x $installed/server || ! -x $installed/sql ]]; then
  echo "bin/temporal-server: building the Temporal server $version; the first time this takes about 5 minutes"
  GOBIN=$PWD/$installed go install "go.temporal.io/server/cmd/server@$version" "go.temporal.io/server/cmd/tools/sql@$version"
fi
ln -sfn "${installed#bin/}/server" bin/temporal-server
ln -sfn "${installed#bin/}/sql" bin/temporal-sql-tool
