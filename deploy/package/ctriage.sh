#!/bin/sh
# Starts the ctriage beside it, or says why it cannot be started here: a file on a file system that is mounted noexec is
# refused by the kernel before a line of it runs. Nothing is copied or mounted without being asked.
here=$(cd "$(dirname "$0")" && pwd)
"$here/ctriage" --version >/dev/null 2>&1 && exec "$here/ctriage" "$@"
where=$(df -P "$here" 2>/dev/null | sed -n '2s/.* //p')
# proc_pid_mounts(5): the last mount at a place is the one that is seen; its fourth field holds the options.
options=$(while read -r _ at _ with _; do [ "$at" = "$where" ] && echo "$with"; done </proc/self/mounts | sed -n '$p')
case ,$options, in
  *,noexec,*)
    echo "ctriage: $here is on $where, which is mounted noexec: no program there can be started." >&2
    echo "Put it where programs may run, in memory so that no disk is written:" >&2
    echo "  mkdir -p /run/ctriage && mount -t tmpfs -o mode=0700,size=64m ctriage /run/ctriage && cp '$here/ctriage' /run/ctriage/" >&2
    echo "  /run/ctriage/ctriage list" >&2
    echo "or run it as a pod: deploy/README.md" >&2
    ;;
  *) "$here/ctriage" --version >/dev/null || echo "ctriage: $here/ctriage cannot be started on this $(uname -m) machine" >&2 ;;
esac
exit 1
