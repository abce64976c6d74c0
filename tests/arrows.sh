#!/bin/sh
# Which file may include which, and who may talk to the system (DESIGN.md, "Architecture"). Prints each offending line.
# Usage: arrows.sh ROOT
cd "${1:?usage: arrows.sh ROOT}" || exit 1

complain() { # what is wrong; the offending lines on stdin
  lines=$(cat)
  [ -z "$lines" ] || printf '%s:\n%s\n' "$1" "$lines"
}

sources() { find "$@" \( -name '*.h' -o -name '*.cpp' \) 2>/dev/null | sort; }
includes() { # FILE:LINE:#include "..." of the folders given
  files=$(sources "$@")
  [ -z "$files" ] || grep -nE '^[[:space:]]*#[[:space:]]*include' /dev/null $files
}

[ -n "$(sources lib)" ] || { echo "no sources below $1/lib"; exit 1; }

check() {
  includes lib/core | grep -E '"(lib|cmd)/' | grep -vE '"lib/core/' | complain 'lib/core knows nothing else'
  includes lib/model | grep -E '"(lib|cmd)/' | grep -vE '"lib/(core|model)/' | complain 'lib/model knows lib/core only'
  includes lib/compare | grep -E '"(lib|cmd)/' | grep -vE '"lib/(core|model|compare)/' | complain 'lib/compare sees the model only'
  includes lib/report | grep -E '"(lib|cmd)/' | grep -vE '"lib/(core|model|report)/' | complain 'lib/report sees the model only'
  includes lib | grep -E '"(cmd|tests)/|lib/report/' | grep -v '^lib/report/' | complain 'nothing in lib/ knows cmd, tests or lib/report'
  includes lib cmd | grep -E '"[^"]*\.cpp"' | complain 'a source file is not included'
  includes lib cmd | grep -E '"\.\.?/' | complain 'includes are written from the root of the project'
  includes lib cmd | grep -E 'json\.hpp' | grep -vE '^[^:]*_json\.cpp:' | complain 'json.hpp only in *_json.cpp'
  includes lib cmd | grep -E '"([^"]*/)?sys_(gate|attempt)\.h"' | grep -vE '^lib/core/sys_[a-z]+\.(cpp|h):' |
    complain 'the gate belongs to sys'

  # Modules may use each other, never in a circle.
  includes lib | sed -nE 's|^lib/([a-z_]+)/[^"]*"lib/([a-z_]+)/.*|\1 \2|p' | awk '$1 != $2' | sort -u |
    tsort 2>&1 >/dev/null | sed 's/^tsort: *//' | complain 'modules that use each other in a circle'

  # What only lib/core/sys_*.cpp may do. Comments do not count.
  system_files=$(sources lib cmd | grep -vE '^lib/core/sys(_[a-z]+)?\.(cpp|h)$|^lib/core/gate/')
  calls='open|openat|openat2|creat|close|read|write|pread|pwrite|stat|fstat|lstat|fstatat|statx|readlink|readlinkat|opendir'
  calls="$calls|fork|vfork|waitpid|kill|execve|execv|execvp|mount|umount2|socket|socketpair|pipe|pipe2|poll|ppoll|syscall"
  calls="$calls|ioctl|fcntl|prctl|mmap|unlink|rename|mkdir|fsync|fdatasync|ftruncate|sigaction|signal|getenv|secure_getenv"
  calls="$calls|geteuid|getuid|getpid|isatty|clock_gettime|gettimeofday|time|sleep|usleep|nanosleep|_exit"
  names='fopen|freopen|popen|std::system|std::getenv|std::remove|std::rename|std::ifstream|std::ofstream|std::fstream'
  names="$names|std::filesystem::[a-z_]+|system_clock|steady_clock|high_resolution_clock|sleep_for|sleep_until"
  grep -nE "(^|[^A-Za-z0-9_>:])::($calls)\(|(^|[^A-Za-z0-9_:])($names)($|[^A-Za-z0-9_])" /dev/null $system_files |
    grep -vE '^[^:]*:[0-9]+:[[:space:]]*//' | complain 'system calls and clocks live in lib/core/sys.h'
}

offenders=$(check)
[ -z "$offenders" ] && exit 0
printf '%s\n' "$offenders"
exit 1
