#!/bin/sh
# SWUpdate runs this as `install.sh preinst` and `install.sh postinst`. When the archive is unpacked,
# edgead takes the bundle over or refuses it, and its exit code is SWUpdate's answer to the server.
set -eu
stage="@STAGE@"
case "$1" in
  preinst) rm -rf "$stage" && mkdir -p "$stage" ;;
  postinst)
    . "@CONF@" # SLOTS, KEYS, and what else the device wants: EDGEAD, OPTIONS
    code=0
    # shellcheck disable=SC2086
    "${EDGEAD:-edgead}" update --from "$stage"/*.edgead --slots "$SLOTS" --trust "$KEYS" \
      ${OPTIONS:-} || code=$?
    rm -rf "$stage"
    exit "$code"
    ;;
esac
