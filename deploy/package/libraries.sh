#!/usr/bin/env bash
# libraries.sh ARCH: what a static program for amd64 or arm64 links and Debian has no archive of, built from Debian's own
# source packages into build/static-libraries/ARCH/lib: libfmt (Debian has the shared one only) and libcurl
# (Debian's archive wants Kerberos and LDAP, which it has no archives of) with FTP, HTTP and SFTP, and libarchive without
# libxml2, whose tables are larger than the program. Names are c-ares's work and iconv(3) nobody's: getaddrinfo(3) and
# iconv(3) load modules of the node's even into a static program.
# For arm64, Debian's packages of that architecture are unpacked into .../arm64/root first; nothing is installed.
set -euo pipefail
cd "$(dirname "$0")/../.."
arch=$1
top=$PWD prefix=$PWD/build/static-libraries/$arch
work=$prefix/work
foreign=(libc6-dev libarchive-dev nlohmann-json3-dev libssl-dev libcli11-dev libzstd-dev libsqlite3-dev libprotozero-dev
  libre2-dev libyaml-dev libvectorscan-dev libyara-dev libssh2-1-dev libc-ares-dev libjansson-dev libmagic-dev libfmt-dev libcurl4-openssl-dev)

# Debian's packages with settings and state of their own: what is installed here plays no part and stays as it is.
packages() {
  apt-get -q -y -o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts="$work/apt/sources" \
    -o Dir::State::lists="$work/apt/lists" -o Dir::State::status="$work/apt/status" \
    -o Dir::Cache::archives="$work/apt/archives" -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= \
    -o APT::Architecture="$arch" -o APT::Architectures="$arch" -o APT::Sandbox::User= "$@"
}

compile() { # DIR TARGET ARCHIVE OPTION...
  local from=$1 target=$2 archive=$3
  shift 3
  local options=(-DCMAKE_BUILD_TYPE=Release -DCMAKE_PROJECT_INCLUDE="$top/cmake/static.cmake" -DBUILD_SHARED_LIBS=OFF -DCMAKE_POSITION_INDEPENDENT_CODE=ON
    -DCMAKE_C_COMPILER_LAUNCHER=ccache -DCMAKE_CXX_COMPILER_LAUNCHER=ccache
    -DCMAKE_C_FLAGS="-ffile-prefix-map=$work=." -DCMAKE_CXX_FLAGS="-ffile-prefix-map=$work=.")
  [ "$arch" = amd64 ] || options+=(-DCMAKE_TOOLCHAIN_FILE="$top/cmake/$arch.cmake")
  cmake -G Ninja -S "$from" -B "$from/build" "${options[@]}" "$@"
  cmake --build "$from/build" --target "$target"
  cp "$from/build/$archive" "$prefix/lib/"
}

rm -rf "$prefix"
mkdir -p "$prefix/lib" "$work/apt/lists" "$work/apt/sources" "$work/apt/archives/partial"
: >"$work/apt/status"
sed -n '/^Types:/{s/.*/Types: deb deb-src/;p;d};p' /etc/apt/sources.list.d/debian.sources >"$work/apt/sources/debian.sources"
packages update
(cd "$work" && packages source fmtlib curl libarchive)
if [ "$arch" != amd64 ]; then
  packages --download-only --no-install-recommends install "${foreign[@]}"
  for package in "$work"/apt/archives/*.deb; do dpkg-deb -x "$package" "$prefix/root"; done
fi

compile "$(echo "$work"/fmtlib-*/)" fmt libfmt.a -DFMT_TEST=OFF -DFMT_DOC=OFF
without=()
for part in DICT FILE GOPHER IMAP LDAP LDAPS MQTT NTLM POP3 RTSP SMB SMTP TELNET TFTP ALTSVC COOKIES DOH HSTS NETRC \
  LIBCURL_OPTION OPENSSL_AUTO_LOAD_CONFIG; do
  without+=("-DCURL_DISABLE_$part=ON")
done
compile "$(echo "$work"/curl-*/)" libcurl lib/libcurl.a -DBUILD_CURL_EXE=OFF -DBUILD_TESTING=OFF -DENABLE_MANUAL=OFF -DENABLE_ARES=ON \
  -DCURL_USE_OPENSSL=ON -DCURL_USE_LIBSSH2=ON -DCURL_USE_LIBPSL=OFF -DUSE_LIBIDN2=OFF -DENABLE_UNIX_SOCKETS=OFF \
  -DCURL_CA_BUNDLE=none -DCURL_CA_PATH=none "${without[@]}"
without=()
for part in ACL CAT CNG CPIO EXPAT ICONV LIBB2 LIBXML2 LZO MBEDTLS NETTLE OPENSSL PCREPOSIX TAR TEST WERROR XATTR; do
  without+=("-DENABLE_$part=OFF")
done
compile "$(echo "$work"/libarchive-*/)" archive_static libarchive/libarchive.a "${without[@]}"
rm -rf "$work"
