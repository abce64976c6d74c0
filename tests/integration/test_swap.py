"""Memory that lies in swap, on a real swap file: read where there is room for it, told where it is left."""
import json
import os
import subprocess
import sys
import time
import unittest

import lab
from lab import Case, ctriage

MIB = 1 << 20
PLAY = """
import mmap, sys, time
kept = mmap.mmap(-1, %(kept)d, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
kept.write(b"k" * %(kept)d)
out = mmap.mmap(-1, %(out)d, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
word = "-".join(["ctriage", "in", "swap"]).encode()
for at in range(0, %(out)d, 4096):
    out[at:at + len(word)] = word
out.madvise(21)  # MADV_PAGEOUT
print("ready", flush=True)
time.sleep(1000000)
"""
WORD = "text:ctriage-in-swap"
FEW = 100  # the interpreter itself has the word, too


def setUpModule():
    lab.binary()
    lab.need_root()
    lab.need("mkswap", "swapon", "swapoff")


class Swap(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.file = f"/var/tmp/ctriage-swap-{os.getpid()}"
        with open(cls.file, "wb") as file:
            os.fchmod(file.fileno(), 0o600)
            for _ in range(128):
                file.write(bytes(MIB))
        subprocess.run(["mkswap", cls.file], check=True, stdout=subprocess.DEVNULL)
        run = subprocess.run(["swapon", cls.file], stderr=subprocess.PIPE, check=False)
        if run.returncode != 0:
            os.unlink(cls.file)
            raise unittest.SkipTest("needs swapon: " + run.stderr.decode(errors="replace").strip())

    @classmethod
    def tearDownClass(cls):
        subprocess.run(["swapoff", cls.file], check=True)
        os.unlink(cls.file)
        super().tearDownClass()

    def target(self, kept=MIB, out=8 * MIB, cgroup=None):
        enter = (lambda: open(f"{cgroup}/cgroup.procs", "w").write("0")) if cgroup else None
        process = subprocess.Popen([sys.executable, "-c", PLAY % {"kept": kept, "out": out}], stdout=subprocess.PIPE, preexec_fn=enter)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        self.assertEqual(process.stdout.readline(), b"ready\n")
        for _ in range(100):
            if self.swapped(process.pid) >= out * 9 // 10:
                break
            time.sleep(0.1)
        self.assertGreaterEqual(self.swapped(process.pid), out * 9 // 10)
        return process.pid

    @staticmethod
    def swapped(pid):
        with open(f"/proc/{pid}/status", encoding="utf-8") as status:
            return next(int(line.split()[1]) << 10 for line in status if line.startswith("VmSwap"))

    def search(self, pid, *options):
        run = self.expect(ctriage("search", f"pid:{pid}", WORD, "--format", "jsonl", *options), 0)
        lines = [json.loads(line) for line in run.out.splitlines()]
        return [r for r in lines if r["schema"] == "ctriage.match/1"], lines

    def test_what_there_is_room_for_is_found(self):
        pid = self.target()
        matches, lines = self.search(pid, "--swap", "none")
        self.assertLess(len(matches), FEW)
        self.assertFalse(lines[-1]["complete"])
        self.assertTrue(any("in swap" in r.get("reason", "") for r in lines), lines)
        self.assertGreater(self.swapped(pid), 7 * MIB)
        self.assertGreaterEqual(len(self.search(pid)[0]), 2048)

    def test_a_core_has_it(self):
        pid = self.target()
        directory = self.temp()
        for option, state in (("none", "swapped"), ("auto", "data")):
            core = f"{directory}/{option}.core"
            self.expect(ctriage("dump", f"pid:{pid}", "-o", core, "--swap", option, "--freeze", "none"), 0)
            with open(core + ".pages.jsonl", encoding="utf-8") as file:
                ranges = [json.loads(line) for line in file]
            in_swap = sum(int(r["end"], 16) - int(r["start"], 16) for r in ranges if r["state"] == "swapped")
            with open(core, "rb") as file:
                words = file.read().count(b"ctriage-in-swap")
            if state == "swapped":
                self.assertGreater(in_swap, 7 * MIB)
                self.assertLess(words, FEW)
            else:
                self.assertLess(in_swap, MIB)
                self.assertGreaterEqual(words, 2048)

    def test_a_container_near_its_limit_is_left_alone(self):
        cgroup = f"/sys/fs/cgroup/memory/ctriage-swap-{os.getpid()}"
        limit = "memory.limit_in_bytes"
        if not os.path.isdir("/sys/fs/cgroup/memory"):
            cgroup, limit = f"/sys/fs/cgroup/ctriage-swap-{os.getpid()}", "memory.max"
        os.mkdir(cgroup)
        self.addCleanup(os.rmdir, cgroup)
        if not os.path.exists(f"{cgroup}/{limit}"):
            self.skipTest("needs the memory controller of cgroups")
        with open(f"{cgroup}/{limit}", "w", encoding="ascii") as file:
            file.write(str(64 * MIB))
        pid = self.target(kept=40 * MIB, out=8 * MIB, cgroup=cgroup)  # 48 of 64 MiB, and the interpreter's own
        matches, lines = self.search(pid)
        self.assertLess(len(matches), FEW)
        reasons = [r["reason"] for r in lines if r["schema"] == "ctriage.gap/1"]
        self.assertTrue(any(os.path.basename(cgroup) in r and "--swap all" in r for r in reasons), reasons)
        self.assertGreater(self.swapped(pid), 7 * MIB)
        self.assertGreaterEqual(len(self.search(pid, "--swap", "all")[0]), 2048)
