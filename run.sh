#!/usr/bin/env bash
# Everything one does with this repository, on Debian 12, as root or with sudo: see usage below.
set -euo pipefail
cd "$(dirname "$0")"
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin # Debian's own tools before anyone else's
export LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive CLICOLOR_FORCE=0

usage() {
  cat <<'END'
usage: ./run.sh COMMAND
  setup             install what building and running needs (apt)
  build             build/release/ctriage
  demo              play a small intrusion in a throw-away container, collect it, show what was found
  test              everything: unit and integration tests, sanitizers, fuzz corpora, format, tidy
  bench [NAME...]   measure against the peers of DESIGN.md
  fuzz [SECONDS]    run each fuzz target that long (60)
  package [ARCH...] dist/: self-contained program, .deb and tarball of each architecture (amd64 arm64), image, kubectl
                    plugin; then their tests
  install [PREFIX]  put ctriage, its manual pages and completions, and kubectl-ctriage below PREFIX (/usr/local)
END
}

build_packages=(g++ cmake ninja-build ccache pkg-config libarchive-dev nlohmann-json3-dev libcurl4-openssl-dev libssl-dev
  libfmt-dev libcli11-dev libzstd-dev libsqlite3-dev libprotozero-dev libre2-dev libyaml-dev libvectorscan-dev
  libyara-dev)
demo_packages=(busybox-static iproute2 python3 util-linux)
test_packages=(age openssh-client libgtest-dev libgmock-dev clang-format clang-tidy containerd runc docker.io podman conmon python3-grpcio python3-yaml zstd
  tar xz-utils bzip2 jq attr libcap2-bin procps util-linux-extra gcc gdb lldb elfutils python3-drgn fuse-overlayfs uidmap sleuthkit yara
  shellcheck openssh-server vsftpd nginx-light openssl rsync samba smbclient libhiredis0.14 libmemcached11 libmemcachedutil2 libpcre2-posix3)
fuzz_packages=(clang-16 libclang-rt-16-dev libgtest-dev libgmock-dev)
package_packages=(libssh2-1-dev libc-ares-dev libjansson-dev libmagic-dev liblz4-dev libacl1-dev dpkg-dev ca-certificates)
package_test_packages=(binutils zsh fish groff)
arm64_packages=(g++-aarch64-linux-gnu qemu-user)
bench_packages=(age openssl zstd tar gcc gdb ripgrep curl openssh-server openssh-client vsftpd nginx-light rsync)

say() { printf '%s\n' "$*" >&2; }
die() { say "run.sh: $*"; exit 1; }
as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"
  elif command -v sudo >/dev/null; then sudo env DEBIAN_FRONTEND=noninteractive "$@"
  else die "needs root or sudo for: $*"
  fi
}

# install_packages NAME...: asks dpkg first, so that a second run costs nothing and needs no network.
install_packages() {
  local missing=() name
  for name in "$@"; do
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$name" 2>/dev/null)" = installed ] || missing+=("$name")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  say "installing ${missing[*]}"
  mkdir -p build/logs
  local apt=(apt-get -q -y -o DPkg::Lock::Timeout=120)
  # Debian starts servers when they are installed; the tests run their own. invoke-rc.d(8): 101 forbids it.
  local policy=/usr/sbin/policy-rc.d ours=''
  if [ ! -e "$policy" ]; then
    ours=1
    as_root sh -c "printf '#!/bin/sh\\nexit 101\\n' >$policy && chmod 755 $policy"
  fi
  { as_root "${apt[@]}" update && as_root "${apt[@]}" install --no-install-recommends "${missing[@]}"; } \
    >build/logs/setup.log 2>&1 || {
    [ -z "$ours" ] || as_root rm -f "$policy"
    tail -n 30 build/logs/setup.log >&2
    die "apt-get failed: build/logs/setup.log"
  }
  [ -z "$ours" ] || as_root rm -f "$policy"
}

# unpack_package NAME: into build/NAME, for one that cannot be installed beside another: ProFTPD and vsftpd, Debian's kubectl and others'.
unpack_package() {
  local name=$1
  [ ! -d "build/$name/usr" ] || return 0
  mkdir -p "build/$name"
  (cd "build/$name" && { apt-get -q download "$name" || { as_root apt-get -q update && apt-get -q download "$name"; }; } &&
    dpkg-deb -x "$name"_*.deb . && rm -f "$name"_*.deb) >"build/logs/$name.log" 2>&1 || die "no $name: build/logs/$name.log"
}

# logged NAME COMMAND...: long output goes to build/logs/NAME.log; what failed is shown.
logged() {
  local name=$1 began=$SECONDS
  shift
  mkdir -p build/logs
  if "$@" >"build/logs/$name.log" 2>&1; then
    say "$(printf '%-12s ok      %4d s' "$name" $((SECONDS - began)))"
  else
    say "$(printf '%-12s FAILED  %4d s   build/logs/%s.log' "$name" $((SECONDS - began)) "$name")"
    grep -E -A12 'error:|FAILED|warning:' "build/logs/$name.log" | tail -n 80 >&2 || tail -n 40 "build/logs/$name.log" >&2
    return 1
  fi
}

cmd_setup() { install_packages "${build_packages[@]}" "${demo_packages[@]}"; }

build_preset() { # PRESET [TARGET...]
  local preset=$1
  shift
  cmake --preset "$preset" && cmake --build --preset "$preset" ${1:+--target "$@"}
}

cmd_build() {
  install_packages "${build_packages[@]}"
  logged build build_preset release || return 1
  # The binary sits in cmd/ of the build tree; the README and the tests know it by this name.
  [ -e build/release/ctriage ] || ln -s cmd/ctriage build/release/ctriage
  [ -x build/release/ctriage ] || die "no build/release/ctriage"
}

cmd_demo() {
  cmd_setup
  cmd_build
  local out=build/demo
  rm -rf "$out"
  mkdir -p "$out"
  say "starting a throw-away container and an intruder in it"
  # The container lives as long as our end of the pipe: it is gone whatever happens to us.
  coproc BOX { exec ${SUDO[@]+"${SUDO[@]}"} /usr/bin/python3 tests/integration/box.py --build-dir build/demo-tools; }
  local box=$BOX_PID word pid='' status=0
  read -r word pid <&"${BOX[0]}" || true
  [ "${word:-}" = pid ] || die "the container did not start (needs root and overlayfs)"
  demo_step() { printf '\n$ ctriage %s\n' "$*"; ${SUDO[@]+"${SUDO[@]}"} build/release/ctriage "$@"; }
  demo_step collect "pid:$pid" -o "$out" || status=$?
  say "(exit $status)"
  [ "$status" = 0 ] || [ "$status" = 3 ] || die "collect failed"
  local end=${BOX[1]}
  exec {end}>&- # the container ends here; what follows needs only the bundle
  wait "$box" || true
  ${SUDO[@]+"${SUDO[@]}"} chown -R "$(id -u):$(id -g)" "$out"
  local bundle
  bundle=$(ls "$out"/*.ctriage.tar)
  demo_step verify "$bundle"
  demo_step show "$bundle"
  demo_step diff "$bundle"
}

# Steps that are one case each; the tests' own cases are counted from ctest's JUnit files.
passed=0 failed=0
step() { if logged "$@"; then passed=$((passed + 1)); else failed=$((failed + 1)); return 1; fi; }

cmd_test() {
  cmd_setup
  install_packages "${test_packages[@]}"
  mkdir -p build/logs
  unpack_package proftpd-core
  unpack_package kubernetes-client
  rm -f build/logs/*.xml
  local reports=()
  step format check_format || true
  step shell shellcheck deploy/kubectl-ctriage || true
  if step asan-build build_preset asan; then
    reports+=(build/logs/asan.xml)
    # The tests wait more than they compute.
    nice /usr/bin/python3 tests/tidy.py build/asan >build/logs/tidy-run.log 2>&1 &
    local tidy=$!
    logged asan-test run_ctest asan || true # its failures are in the report
    mapfile -t threaded < <(ctest --test-dir build/asan -N -L threads | sed -n 's/^ *Test *#[0-9]*: //p')
    if [ ${#threaded[@]} -gt 0 ] && step tsan-build build_tsan "${threaded[@]}"; then
      reports+=(build/logs/tsan.xml)
      logged tsan-test run_ctest tsan -R "^($(IFS='|' && echo "${threaded[*]}"))\$" || true
    fi
    step tidy end_of "$tidy" build/logs/tidy-run.log || true
  fi
  # One line of sums; everything that failed or was skipped, with its reason, above it.
  /usr/bin/python3 tests/summary.py --passed "$passed" --failed "$failed" ${reports[@]+"${reports[@]}"}
}

end_of() { # PID LOG
  local status=0
  wait "$1" || status=$?
  cat "$2"
  return "$status"
}

check_format() {
  find lib cmd tests \( -name '*.h' -o -name '*.cpp' \) -print0 | xargs -0 -r clang-format --dry-run -Werror
}
run_ctest() { # PRESET [CTEST-OPTION...]
  local preset=$1
  shift
  ${SUDO[@]+"${SUDO[@]}"} ctest --preset "$preset" "$@" -j "$(nproc)" --no-tests=error --output-junit "$PWD/build/logs/$preset.xml" \
    --test-output-size-passed 8000000 --test-output-size-failed 8000000
}
build_tsan() { cmake --preset tsan && cmake --build --preset tsan --target "$@"; }

cmd_fuzz() {
  local seconds=${1:-60} target module failed=0
  cmd_setup
  install_packages "${fuzz_packages[@]}"
  local targets=()
  for target in tests/fuzz/*_fuzz.cpp; do targets+=("$(basename "$target" .cpp)"); done
  logged fuzz-build build_preset fuzz "${targets[@]}" || return 1
  while IFS= read -r target; do
    module=$(basename "$target" _fuzz)
    mkdir -p "build/fuzz-corpus/$module" "build/fuzz-crashes/$module"
    logged "fuzz-$module" "$target" -max_total_time="$seconds" -rss_limit_mb=1024 -timeout=10 -print_final_stats=1 \
      -artifact_prefix="build/fuzz-crashes/$module/" "build/fuzz-corpus/$module" "tests/fuzz/corpus/$module" ||
      failed=$((failed + 1))
  done < <(find build/fuzz -name '*_fuzz' -type f -perm -u+x | sort)
  [ "$failed" = 0 ] || die "$failed fuzz targets found something: build/fuzz-crashes/"
}

cmd_bench() {
  cmd_setup
  install_packages "${bench_packages[@]}"
  cmd_build
  ${SUDO[@]+"${SUDO[@]}"} /usr/bin/python3 bench/run.py --ctriage build/release/ctriage "$@"
}

cmd_install() {
  local prefix=${1:-/usr/local}
  cmd_build
  logged pages cmake --build --preset release --target pages || return 1
  as_root cmake --install build/release --prefix "$prefix" >build/logs/install.log || die "not installed: build/logs/install.log"
  say "installed $prefix/bin/ctriage"
}

# build_static ARCH: build/static/ctriage or build/static-arm64/ctriage, which needs nothing of the machine it runs on.
build_static() {
  local arch=$1 preset=static
  [ "$arch" = amd64 ] || preset=static-$arch
  [ build/static-libraries/"$arch"/lib/libcurl.a -nt deploy/package/libraries.sh ] || deploy/package/libraries.sh "$arch"
  build_preset "$preset" pages
}

cmd_package() {
  local arch preset version epoch tree image=()
  [ $# -gt 0 ] || set -- amd64 arm64
  cmd_setup
  install_packages "${package_packages[@]}"
  case " $* " in *\ arm64\ *) install_packages "${arm64_packages[@]}" ;; esac
  # Every time in a package is that of the commit: two builds of it are equal byte for byte.
  epoch=$(git log -1 --format=%ct 2>/dev/null || echo 0)
  export SOURCE_DATE_EPOCH=$epoch
  version=$(sed -n 's/^project(ctriage VERSION \([0-9.]*\).*/\1/p' CMakeLists.txt)
  rm -rf dist build/package
  mkdir -p dist
  for arch in "$@"; do
    preset=static
    [ "$arch" = amd64 ] || preset=static-$arch
    logged "$preset" build_static "$arch" || return 1
    logged "deb-$arch" cpack --config "build/$preset/CPackConfig.cmake" -B build/package || return 1
    mv build/package/*.deb dist/
    cp "build/$preset/ctriage" "dist/ctriage-$arch"
    tree=build/package/ctriage-$version-linux-$arch
    logged "tree-$arch" cmake --install "build/$preset" --prefix "$tree" || return 1
    cp deploy/package/ctriage.sh "$tree/bin/"
    cp README.md "$tree/"
    tar -C build/package --sort=name --mtime="@$epoch" --owner=0 --group=0 --numeric-owner -cf - "${tree##*/}" |
      gzip -9n >"dist/${tree##*/}.tar.gz"
    image+=(--binary "$arch=build/$preset/ctriage")
  done
  /usr/bin/python3 deploy/package/image.py -o "dist/ctriage-$version.oci.tar" "${image[@]}" \
    --certificates /etc/ssl/certs/ca-certificates.crt >dist/image-digest
  cp deploy/kubectl-ctriage dist/
  (cd dist && sha256sum -- * >../build/package/SHA256SUMS && mv ../build/package/SHA256SUMS .)
  ls -l dist >&2
  case " $* " in *\ amd64\ *) ;; *) return 0 ;; esac
  install_packages "${test_packages[@]}" "${package_test_packages[@]}"
  logged package-test ${SUDO[@]+"${SUDO[@]}"} /usr/bin/python3 tests/integration/run.py --ctriage build/static/ctriage --tests tests/package
}

SUDO=()
[ "$(id -u)" = 0 ] || SUDO=(sudo)
command=${1:-help}
[ $# -eq 0 ] || shift
case $command in
  setup | build | demo | test | bench | fuzz | package | install) "cmd_$command" "$@" ;;
  help | -h | --help) usage ;;
  *) usage >&2; exit 2 ;;
esac
