"""The twin of ctriage whose nth system call fails (tests/fault), for every n, through a collect of a small container.

Whatever happens, the status is right, nothing crashes or leaks, and what is on the disk verifies for what it has. Runs in
a pid namespace of its own, where the node's /proc is small: as a program, this file is what runs in there.
"""
import concurrent.futures
import contextlib
import ctypes
import glob
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

import lab
from lab import Box, Bundle, Case

# Statuses that a run may end with when one of its calls fails: usage (2) is never the answer, a crash even less.
ALLOWED = (0, 1, 3)


def setUpModule():
    if not os.access(os.environ.get("CTRIAGE_FAULTY", ""), os.X_OK):
        raise unittest.SkipTest("no ctriage_faulty: --faulty is not given")
    lab.binary()
    lab.need_root()
    lab.need("unshare", "pivot_root")


class EveryCall(Case):
    def sweep(self, *options):
        began = time.monotonic()
        process = subprocess.run(
            ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child=KILL", "/usr/bin/python3", __file__,
             *options], stdout=subprocess.PIPE, check=False, env={**os.environ, **lab.SANITIZER, "TMPDIR": self.temp("/dev/shm")})
        self.assertEqual(process.returncode, 0, process.stdout.decode(errors="replace"))
        result = json.loads(process.stdout)
        print(f"      {result['calls']} calls, each failed once: {result['statuses']}, {time.monotonic() - began:.0f} s")
        self.assertGreater(result["calls"], 100)
        self.assertEqual(result["problems"], [], f"{len(result['problems'])} of {result['calls']}")

    def test_each_call_fails_as_it_is_likely_to(self):
        self.sweep()


def one_run(nth, target, base, whole=None):
    """Fails call `nth` (0: none). Gives (status, calls made, problem or None); `whole` is what tally() gave for none."""
    out = tempfile.mkdtemp(prefix=f"run-{nth}-", dir=base)
    counts = os.path.join(base, f"count-{nth}")
    environ = {**os.environ, "CTRIAGE_FAULT_NTH": str(nth), "CTRIAGE_FAULT_COUNT_FILE": counts}
    try:
        try:
            run = subprocess.run([os.environ["CTRIAGE_FAULTY"], "collect", target, "-o", out], env=environ, timeout=60,
                                 stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
        except subprocess.TimeoutExpired:
            return None, 0, f"call {nth}: hangs"
        said = (run.stdout + run.stderr).decode(errors="backslashreplace")
        calls = descriptors = None
        if os.path.exists(counts):
            with open(counts, encoding="ascii") as file:
                numbers = dict(line.split() for line in file)
            calls, descriptors = int(numbers["calls"]), int(numbers["descriptors"])
        problem = check(run.returncode, said, descriptors, out, nth, whole)
        if nth == 0 and not problem:
            whole.update(tally(glob.glob(out + "/*")[0]))
        return run.returncode, calls or 0, problem and f"call {nth}: {problem}; status {run.returncode}\n{said[-1500:]}"
    finally:
        shutil.rmtree(out, ignore_errors=True)


def tally(path):
    """How many records of each kind a sealed bundle has. The box sleeps, so nothing of this varies: not how many processes,
    threads, mappings, descriptors, sockets and changes there are, and not what the rules find. Left out is what a run
    says of itself: gaps.jsonl and custody.jsonl."""
    with Bundle(path) as bundle:
        return {name: len(bundle.records(name)) for name in bundle.streams
                if name.endswith(".jsonl") and name not in ("gaps.jsonl", "custody.jsonl")}


def lost_gaps(path):
    with Bundle(path) as bundle:
        return [gap for gap in bundle.records("gaps.jsonl") if gap["impact"] == "lost"]


def check(status, said, descriptors, out, nth, whole):
    if status not in ALLOWED or (nth == 0 and status != 0):
        return "wrong status"
    if re.search(r"Sanitizer|runtime error:|terminate called", said):
        return "sanitizer"
    if status == 1 and "\n" not in said:
        return "says nothing"
    if descriptors:
        return f"{descriptors} descriptors left open"
    found = glob.glob(out + "/*")
    if status in (0, 3) and len(found) != 1:
        return f"there should be one file: {found}"
    for path in found:
        if os.stat(path).st_size == 0:
            continue
        verified = subprocess.run([os.environ["CTRIAGE"], "verify", path], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, check=False)
        sealed = not path.endswith(".part")
        if verified.returncode not in ((0,) if sealed else (0, 3)):
            return (f"verify {os.path.basename(path)} gives {verified.returncode}: "
                    f"{verified.stdout.decode(errors='backslashreplace')[-800:]}")
        # custody.jsonl and gaps.jsonl themselves can be what is lost: then the manifest says so, and verify.
        cut = b"PARTLY" in verified.stdout
        if status == 0:
            if not sealed or cut:
                return f"status 0 and not whole: {verified.stdout.decode(errors='backslashreplace')[-800:]}"
            if lost := lost_gaps(path):
                return f"status 0 and lost: {lost}"
            if nth and (now := tally(path)) != whole:
                return f"status 0 and fewer records: {now}, not {whole}"
        if status == 3 and sealed and not cut and "not sealed" not in said and not lost_gaps(path):
            return "status 3 and nothing is lost"
    return None


# Of the node, many files that are looked at one by one in the same way, or records that are read so.
COVERED = ("/etc/init.d", "/etc/pam.d", "/etc/systemd", "/usr/lib/systemd", "/usr/lib/udev", "/usr/sbin", "/usr/bin", "/dev/kmsg")


@contextlib.contextmanager
def small_node():
    """Covers what would only make the sweep long. In a mount namespace of our own, and without any program: /usr/bin is
    among it."""
    libc = ctypes.CDLL(None, use_errno=True)
    covered = []
    try:
        for path in COVERED:
            if os.path.isdir(path):
                error = libc.mount(b"cover", path.encode(), b"tmpfs", 0, None)
            elif os.path.exists(path):
                error = libc.mount(b"/dev/null", path.encode(), None, 4096, None)  # MS_BIND
            else:
                continue
            if error:
                raise OSError(ctypes.get_errno(), path)
            covered.append(path)
            if os.path.isdir(path):
                with open(path + "/one", "wb"):
                    pass
        yield
    finally:
        for path in reversed(covered):
            libc.umount2(path.encode(), 0)


def main():
    base = os.environ["TMPDIR"]
    problems, statuses = [], {}
    with Box("printf '#!/bin/sh\n' > /tmp/new; chmod 4755 /tmp/new; rm /etc/motd; echo x >> /etc/hosts; echo box-is-up; "
             "exec sleep 100000", size="8m", wait_for="box-is-up", base=base) as box, small_node():
        target = f"pid:{box.pid}"
        whole = {}
        _, calls, problem = one_run(0, target, base, whole)
        if problem:
            problems.append(problem)
        last = calls + calls // 20  # retries and scheduling move the count a little
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            for status, _, problem in pool.map(lambda nth: one_run(nth, target, base, whole), range(1, last + 1) if not problem else []):
                statuses[str(status)] = statuses.get(str(status), 0) + 1
                if problem:
                    problems.append(problem)
    json.dump({"calls": calls, "statuses": statuses, "problems": problems[:20]}, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
