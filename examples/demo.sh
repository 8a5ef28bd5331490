#!/usr/bin/env bash
# A provider fails, calls go on: a story in four acts, with two providers that
# are scripted, nginx with demo.conf, and curl.
#
#   examples/demo.sh           plays it, and fails if it does not come out
#   examples/demo.sh --keep    leaves all of it running, to try with curl
#
# Needs nginx, perl and curl, and the module (make). It uses free ports of
# 127.0.0.1 and a directory of its own, and stops what it has started.
#
# MODULE         the module (build/ngx_http_resilience_module.so)
# NGINX_BINARY   nginx to run (nginx)

set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
export MODULE=${MODULE:-$root/build/ngx_http_resilience_module.so}
export NGINX_BINARY=${NGINX_BINARY:-nginx}
export PATH=$PATH:/usr/sbin:/sbin

for tool in "$NGINX_BINARY" perl curl; do
    command -v "$tool" >/dev/null || { echo "no $tool here" >&2; exit 1; }
done

if [ ! -f "$MODULE" ]; then
    echo "$MODULE is not there: run \"make\" first" >&2
    exit 1
fi

exec perl -I "$root/t/lib" "$root/examples/demo.pl" "$@"
