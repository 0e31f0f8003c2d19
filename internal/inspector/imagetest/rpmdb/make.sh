#!/usr/bin/env bash
# Makes the RPM database of this folder with the tools of Debian's package rpm, which knows this format alone: two packages,
# one of them with an epoch, and a key. It was made with rpm 4.18.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export GNUPGHOME=$work/gpg SOURCE_DATE_EPOCH=1700000000
mkdir -m 700 "$GNUPGHOME"
gpg -q --batch --passphrase '' --quick-generate-key 'Pratique Test <test@example.com>' rsa2048 sign never
gpg -q --armor --export test@example.com >"$work/key"

spec() { # name, version, epoch
  cat <<SPEC
Name: $1
Version: $2
Release: 3.el9
${3:+Epoch: $3}
Summary: a package of a test
License: MIT
Vendor: Red Hat, Inc.
BuildArch: noarch
%description
Nothing.
%files
SPEC
}
for package in "bash 5.1.8" "openssl-libs 3.0.7 1"; do
  read -r name version epoch <<<"$package"
  spec "$name" "$version" "${epoch:-}" >"$work/$name.spec"
  rpmbuild --quiet -bb --define "_topdir $work/build" --define "_build_id_links none" "$work/$name.spec"
done
root=$work/root
rpm=(rpm --root "$root" --dbpath /var/lib/rpm)
mkdir -p "$root"
"${rpm[@]}" --initdb
"${rpm[@]}" --import "$work/key"
"${rpm[@]}" -i --nodeps --noscripts --justdb --nosignature "$work"/build/RPMS/noarch/*.rpm
"${rpm[@]}" -qa | sort
gzip -9nc "$root/var/lib/rpm/rpmdb.sqlite" >"$here/rpmdb.sqlite.gz"
