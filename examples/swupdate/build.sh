#!/bin/sh
# build.sh NAME.edgead CERTIFICATE KEY OUT.swu: a signed bundle as a payload of SWUpdate, in the form
# that Debian's swupdate reads (signed with CMS). CONF and STAGE name files of the device.
set -eu
if [ $# -ne 4 ]; then
  echo "usage: $0 NAME.edgead CERTIFICATE.pem KEY.pem OUT.swu" >&2
  exit 1
fi
bundle=${1%/} certificate=$2 key=$3 out=$4
here=$(dirname "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
CONF=${CONF:-/etc/edgead/update.conf}
STAGE=${STAGE:-/var/lib/edgead/stage}
hash_of() { sha256sum "$1" | cut -d' ' -f1; }

tar -C "$(dirname "$bundle")" --sort=name --owner=0 --group=0 -cf "$work/bundle.tar" \
  "$(basename "$bundle")"
sed -e "s|@CONF@|$CONF|" -e "s|@STAGE@|$STAGE|" "$here/install.sh" > "$work/install.sh"
sed -e "s|@VERSION@|${VERSION:-1.0}|" -e "s|@STAGE@|$STAGE|" \
  -e "s|@BUNDLE_SHA256@|$(hash_of "$work/bundle.tar")|" \
  -e "s|@SCRIPT_SHA256@|$(hash_of "$work/install.sh")|" \
  "$here/sw-description.in" > "$work/sw-description"
openssl cms -sign -binary -nosmimecap -outform DER -in "$work/sw-description" \
  -out "$work/sw-description.sig" -signer "$certificate" -inkey "$key"
(cd "$work" && printf '%s\n' sw-description sw-description.sig bundle.tar install.sh |
  cpio --quiet -o -H crc) > "$out"
