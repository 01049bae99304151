#!/usr/bin/env bash
# Three devices, from a name to AWS credentials fetched with their own certificate, on this machine:
# no AWS account, no container. `make demo` builds what it needs and runs it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

umask 077 # a private key is among the files
temp=$(mktemp -d)
dev='' # process id of `starter dev`

finish() {
  local status=$?
  trap - EXIT
  trap '' INT TERM # a second Ctrl-C must not leave servers or a key behind
  if ((status != 0)) && [[ -s $temp/dev.log ]]; then
    printf '\nThe demo failed. The last lines of `bin/starter dev`:\n' >&2
    tail -n 30 "$temp/dev.log" >&2
  fi
  if [[ $dev ]]; then
    kill -INT "$dev" 2>/dev/null || true
    wait "$dev" || true
  fi
  rm -rf "$temp"
  exit "$status"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Everything is on loopback; a proxy has no business there.
export no_proxy="localhost,127.0.0.1${no_proxy:+,$no_proxy}"
export NO_PROXY=$no_proxy

heading() { printf '\n\033[1m%s\033[0m\n' "$*"; }
[[ -t 1 ]] || heading() { printf '\n== %s\n' "$*"; }

run() {
  printf '$ %s\n' "$*"
  "$@"
}

heading 'Temporal, a local AWS and a worker'
echo '$ bin/starter dev &'
set -m # a group of its own: Ctrl-C reaches it once, through finish
bin/starter dev >"$temp/dev.log" 2>&1 </dev/null &
dev=$!
set +m
for ((tries = 0; ; tries++)); do
  if grep -q '^Ready' "$temp/dev.log"; then break; fi
  if ! kill -0 "$dev" 2>/dev/null; then
    echo '`bin/starter dev` ended before it was ready.' >&2
    exit 1
  fi
  if ((tries == 600)); then
    echo '`bin/starter dev` is not ready after two minutes.' >&2
    exit 1
  fi
  sleep 0.2
done
grep '^Ready' "$temp/dev.log"
eval "$(grep '^export ' "$temp/dev.log")"

heading 'What the devices share: device fleet, thing type, role alias, policy'
run bin/starter fleet apply -f examples/fleet.yaml

heading 'Three devices'
for device in cam-01 cam-02 cam-03; do
  run bin/starter provision -f examples/fleet.yaml "$device"
done
run bin/starter status --fleet cameras

heading "The proof, with curl: cam-01's own key and certificate fetch AWS credentials"
bundle=$AWS_ENDPOINT_URL/edge-bucket/authorization-files/cameras/cam-01
for file in device.json device.pem.crt private.pem.key AmazonRootCA1.pem; do
  echo "\$ curl --aws-sigv4 … -O $bundle/$file"
  curl -sSf --max-time 20 --aws-sigv4 "aws:amz:$AWS_REGION:s3" --user "$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY" \
    -o "$temp/$file" "$bundle/$file"
done
url=$(sed -nE 's/.*"credentialsUrl": *"([^"]*)".*/\1/p' "$temp/device.json")
[[ $url ]] || { echo 'device.json names no credentialsUrl' >&2; exit 1; }

echo "\$ curl --cert device.pem.crt --key private.pem.key --cacert AmazonRootCA1.pem $url"
status=$(curl -sS --max-time 20 --cert "$temp/device.pem.crt" --key "$temp/private.pem.key" --cacert "$temp/AmazonRootCA1.pem" \
  -o "$temp/credentials.json" -w '%{http_code}' "$url")
echo "HTTP $status"
sed -E 's/("(secretAccessKey|sessionToken)": *")[^"]*/\1********/g' "$temp/credentials.json"
echo
[[ $status == 200 ]] || exit 1
for field in accessKeyId secretAccessKey sessionToken expiration; do
  grep -q "\"$field\": *\"[^\"]" "$temp/credentials.json" || { echo "the answer has no $field" >&2; exit 1; }
done

heading 'Done'
echo 'Every run is in the Temporal UI while the servers are up: http://127.0.0.1:8233/namespaces/default/workflows'
echo 'Now all is stopped again. `make dev` starts the same and leaves it running.'
