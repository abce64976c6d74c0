"""Memory in collect: whose is taken and in which order, what stock tools find in it, limits, ends that come early."""
import glob
import json
import os
import shutil
import subprocess
import tempfile
import time

import lab
from lab import Box, Bundle, Case, ctriage
from test_dump import ALWAYS, MARK, build, gdb

LISTING = "containers/{}/memory/{}.pages.jsonl"
CORE = "containers/{}/memory/{}.core.zst"


def setUpModule():
    lab.binary()
    lab.need_root()
    lab.need("unshare", "nsenter", "pivot_root", "zstd", "gcc", "gdb")


class MemoryCase(Case):
    @classmethod
    def setUpClass(cls):
        cls.build_directory = tempfile.mkdtemp(prefix="ctriage-test-")
        cls.addClassCleanup(shutil.rmtree, cls.build_directory)
        cls.program = build(cls.build_directory, "-static")
        with open(cls.program, "rb") as file:
            cls.program_bytes = file.read()

    def box(self, *arguments, **options):
        made = Box(*arguments, **options)
        self.addCleanup(made.stop)
        time.sleep(0.5)  # what was started last is running its program by then
        return made

    def collect(self, box, *options, statuses=(0,), out=None, **more):
        out = out or self.temp()
        run = self.expect(ctriage("collect", f"pid:{box.pid}", "-o", out, *options, **more), *statuses)
        bundle = Bundle(self.one_bundle(out))
        self.addCleanup(bundle.close)
        self.expect(ctriage("verify", bundle.path), 0)
        (self.container,) = bundle.containers()
        return run, bundle

    def processes(self, bundle):
        """pid to name, of those that can have memory."""
        return {p["pid"]: p for p in bundle.records(f"containers/{self.container}/processes.jsonl")}

    @staticmethod
    def cores(bundle):
        """pids in the order in which their cores begin."""
        seen = []
        for name in bundle.order:
            if "/memory/" in name and ".core" in name:
                pid = int(name.split("/memory/")[1].split(".")[0])
                if pid not in seen:
                    seen.append(pid)
        return seen

    @staticmethod
    def manifest(bundle):
        return {s["path"]: s for s in bundle.json("manifest.json")["streams"]}

    def core(self, bundle, pid):
        """As FORMAT.md says that it is had."""
        path = os.path.join(self.temp(), "core")
        with open(path, "wb") as file:
            tar = subprocess.Popen(["tar", "xOf", bundle.path, "--wildcards", CORE.format(self.container, pid) + "*"],
                                   stdout=subprocess.PIPE)
            subprocess.run(["zstd", "-dcq"], stdin=tar.stdout, stdout=file, check=True)
            tar.stdout.close()
            self.assertEqual(tar.wait(), 0)
        return path


class Taken(MemoryCase):
    def intruded(self, resident_mib=8):
        """A box with the target of test_dump as a program of the UpperDir; its pid and marks."""
        box = self.box("cp /opt/target /tmp/target; mkdir /tmp/files; sleep 100000 & /tmp/target /tmp/files "
                       f"{resident_mib} 1 > /tmp/said 2>&1 & while ! grep -q ready /tmp/said; do sleep 0.1; done; echo all-run; "
                       "while :; do sleep 1000; done", files={"/opt/target": self.program_bytes}, wait_for="all-run")
        with open(box.root + "/tmp/said", encoding="ascii") as said:
            places = {name: int(address, 16) for name, address in (line.split() for line in said if line != "ready\n")}
        (pid,) = [p for p in box.pids() if os.readlink(f"/proc/{p}/exe") == "/tmp/target"]
        return box, pid, places

    def test_marks_of_a_program_that_is_not_in_the_image(self):
        box, pid, places = self.intruded()
        members = box.pids()
        watch = lab.Untouched([box.upper, *box.lowers], members)
        run, bundle = self.collect(box, "--json")
        self.assertEqual(watch.changed(), [])
        self.assertEqual(watch.grown(), [])
        processes = self.processes(bundle)
        cores = self.cores(bundle)
        self.assertEqual(set(cores), set(processes))
        self.assertEqual(cores[0], pid, "the suspicious one comes first")
        first_other = min(bundle.order.index(name) for name in bundle.order if f"/memory/{cores[1]}.core" in name)
        own = max(bundle.order.index(name) for name in bundle.order if f"/memory/{pid}." in name)
        upper = min(bundle.order.index(name) for name in bundle.order if "/upper.tar" in name)
        node = max(bundle.order.index(name) for name in bundle.order if name.startswith("node/"))
        self.assertLess(own, upper)
        self.assertLess(node, first_other)

        core = self.core(bundle, pid)
        names = [name for name in ALWAYS if name in places]
        self.assertEqual(len(names), len(ALWAYS))
        shown = gdb(core, self.program, *[f"x/s {places[name]:#x}" for name in names], "info threads")
        for name in names:
            self.assertIn(f'"{MARK}-{name}"', shown)
        for tid in os.listdir(f"/proc/{pid}/task"):
            self.assertRegex(shown, rf"\n[ *] \d +LWP {tid} .* in pause \(\)")
        ranges = bundle.records(LISTING.format(self.container, pid))
        self.assertEqual({r["pid"] for r in ranges}, {pid})
        with open(core, "rb") as file:
            for r in (r for r in ranges if r["state"] == "data"):
                file.seek(r["core_offset_bytes"])
                with open(f"/proc/{pid}/mem", "rb") as memory:
                    if int(r["start"], 16) == places["area"]:
                        memory.seek(places["area"])
                        size = int(r["end"], 16) - int(r["start"], 16)
                        self.assertEqual(file.read(size), memory.read(size))

        streams = self.manifest(bundle)
        for one in cores:
            for path in (CORE, LISTING):
                self.assertEqual(streams[path.format(self.container, one)]["status"], "collected")
        told = [c for c in bundle.records("custody.jsonl") if c["action"] == "memory"]
        self.assertEqual([c["pid"] for c in told], cores)
        self.assertIn("not in the image (upper)", told[0]["why"])
        self.assertEqual(told[0]["start_ticks"], processes[pid]["start_ticks"])
        self.assertEqual({(c["frozen"], c["frozen_ns"]) for c in told}, {("no", 0)})  # a box is no container of an engine
        counts = run.json()["counts"]
        self.assertEqual((counts["memory_processes"], counts["memory_left_out"]), (len(cores), 0))
        self.assertEqual(counts["memory_bytes"], sum(c["data_bytes"] for c in told))
        self.assertGreater(counts["memory_bytes"], 8 << 20)
        summary = bundle.bytes("SUMMARY.txt").decode()
        self.assertRegex(summary, r"\n2 memory +\S+ s +\S+ MiB of 1 suspicious process, 0 ms frozen\n")
        self.assertRegex(summary, rf"\n6 memory +\S+ s +\S+ KiB of {len(cores) - 1} other processes, 0 ms frozen\n")
        for command in (("show", bundle.path), ("diff", bundle.path), ("show", bundle.path, "--pid", str(pid), "--maps")):
            self.expect(ctriage(*command), 0, 3)

    def test_none_and_all(self):
        box, pid, _ = self.intruded()
        run, bundle = self.collect(box, "--memory", "none", "--json")
        self.assertEqual([name for name in bundle.streams if "/memory/" in name], [])
        self.assertFalse([name for name in run.json()["counts"] if name.startswith("memory")])
        notes = {g["artifact"]: g for g in bundle.records("gaps.jsonl") if "--memory none" in g["reason"]}
        self.assertEqual(set(notes), {"memory.suspicious_memory", "memory.other_memory"})
        self.assertEqual({g["impact"] for g in notes.values()}, {"note"})
        self.assertEqual(bundle.json("bundle.json")["options"]["memory"], "none")
        _, bundle = self.collect(box, "--memory", "all", "--compress", "none", "--only", "memory")
        self.assertEqual(set(self.cores(bundle)), set(self.processes(bundle)))
        stream = f"containers/{self.container}/memory/{pid}.core"
        self.assertTrue(bundle.bytes(stream).startswith(b"\x7fELF"))

    def test_entered_and_their_children_come_first(self):
        box = self.box("sleep 111111 & while :; do sleep 1000; done")
        visitor = box.enter("/bin/sh", "-c", "sleep 222222 & wait")  # nsenter(1) stays and is one of them
        self.addCleanup(lambda: (visitor.kill(), visitor.wait()))
        time.sleep(0.5)
        _, bundle = self.collect(box)
        name = {pid: " ".join(p["argv"]) for pid, p in self.processes(bundle).items()}
        order = [name[pid] for pid in self.cores(bundle)]
        self.assertTrue(all("222222" in command for command in order[:3]), order)
        self.assertFalse([command for command in order[3:] if "222222" in command], order)
        why = [c["why"] for c in bundle.records("custody.jsonl") if c["action"] == "memory"]
        self.assertEqual(set(why[:3]) - {"came from outside"}, {"runs a program of the node"})
        self.assertEqual(set(why[3:]), {"one of the others"})

    def test_shared_memory_is_in_one_core(self):
        box = self.box("cp /opt/target /tmp/target; echo all-run; while :; do sleep 1000; done", wait_for="all-run",
                       files={"/opt/target": self.program_bytes})
        play = ("import mmap, os, time\nm = mmap.mmap(-1, 1 << 20)\nm.write(b'together' * 100000)\nfor _ in range(3):\n"
                "  if os.fork() == 0:\n    bytes(m[0:800000]); time.sleep(1000)\nprint('ready', flush=True); time.sleep(1000)")
        # A program of the node in the box's namespaces, but for the files.
        visitor = subprocess.Popen(["nsenter", "-t", str(box.pid), "-p", "-u", "-n", "-i", "/usr/bin/python3", "-c", play],
                                   stdout=subprocess.PIPE)
        self.addCleanup(lambda: (visitor.kill(), visitor.wait(), visitor.stdout.close()))
        self.assertEqual(visitor.stdout.readline(), b"ready\n")
        time.sleep(0.5)
        _, bundle = self.collect(box)
        shares = {}
        for pid, process in self.processes(bundle).items():
            if "python" in process["exe"]["path"]:
                shares[pid] = {r.get("shared_with") for r in bundle.records(LISTING.format(self.container, pid))} - {None}
        self.assertEqual(len(shares), 4, shares)
        (owner,) = set().union(*shares.values())
        self.assertEqual(shares.pop(owner), set())
        with open(self.core(bundle, owner), "rb") as core:
            self.assertIn(b"together" * 100000, core.read())


class Limits(MemoryCase):
    def test_each_and_all_together(self):
        """Programs of the image: as many as fit, the smallest first; the others are named with the option that takes them."""
        play = "".join(f"/opt/target /tmp {mib} 1 > /tmp/said{mib} & while ! grep -q ready /tmp/said{mib}; do sleep 0.1; done; "
                       for mib in (2, 5, 9, 30))
        box = self.box(play + "echo all-run; while :; do sleep 1000; done", files={"/opt/target": self.program_bytes},
                       wait_for="all-run", size="256m")
        run, bundle = self.collect(box, "--memory-each", "20M", "--memory-max", "12M", "--json")
        processes = self.processes(bundle)
        sizes = {int(p["argv"][2]): pid for pid, p in processes.items() if p["exe"]["path"] == "/opt/target"}
        self.assertEqual(set(sizes), {2, 5, 9, 30})
        self.assertEqual(set(processes) - set(self.cores(bundle)), {sizes[9], sizes[30]})
        notes = {g["origin"]: g["reason"] for g in bundle.records("gaps.jsonl") if g["artifact"] == "memory.process"}
        self.assertEqual(set(notes), {f"pid {sizes[9]} /opt/target", f"pid {sizes[30]} /opt/target"})
        self.assertIn("--memory-max 12 MiB", notes[f"pid {sizes[9]} /opt/target"])
        self.assertIn("--memory-each 20 MiB", notes[f"pid {sizes[30]} /opt/target"])
        for reason in notes.values():
            self.assertIn("--memory all", reason)
        streams = self.manifest(bundle)
        for pid in (sizes[9], sizes[30]):
            self.assertEqual(streams[CORE.format(self.container, pid)]["status"], "not_collected")
        self.assertEqual(run.json()["counts"]["memory_left_out"], 2)
        self.assertIn(b"left out  memory of pid ", run.err)
        self.assertIn(b"; 2 left out by plan", run.err)
        run = self.expect(ctriage("collect", f"pid:{box.pid}", "--plan", "--json", "--memory-max", "12M"), 0)
        (step,) = [s for s in run.json()["steps"] if s["name"] == "other_memory"]
        self.assertEqual(step["size_bytes"], 12 << 20)

    def test_usage(self):
        out = self.temp()
        for options in (["--memory", "some"], ["--memory-each", "much"], ["--memory-max", "-1"], ["--file-pages", "x"],
                        ["--memory", "all", "--memory-each", "1G"], ["--memory", "none", "--memory-max", "1G"]):
            with self.subTest(options):
                run = self.expect(ctriage("collect", f"pid:{os.getpid()}", "-o", out, *options), 2)
                self.assertIn(options[-2].encode(), run.err)
                self.assertEqual(os.listdir(out), [])

    def test_a_large_process_leaves_the_room_to_the_rest(self):
        """Random memory of a suspicious program, more than the bundle may have: the UpperDir is there all the same."""
        box = self.box("cp /opt/target /tmp/target; mkdir /tmp/files /root/data; dd if=/dev/urandom of=/root/data/a bs=1M count=8 2>/dev/null; "
                       "/tmp/target /tmp/files 40 1 > /tmp/said & while ! grep -q ready /tmp/said; do sleep 0.1; done; echo all-run; "
                       "while :; do sleep 1000; done", files={"/opt/target": self.program_bytes}, wait_for="all-run", size="256m")
        _, bundle = self.collect(box, "--max-bytes", "28M", "--skip", "node", statuses=(3,))
        self.assertIn("root/data/a", bundle.layer(self.container))
        (lost,) = [g for g in bundle.records("gaps.jsonl") if g["artifact"] == "memory.process" and g["code"] == "limit"]
        self.assertEqual(lost["impact"], "lost")
        pid = int(lost["origin"].split()[1])
        stream = self.manifest(bundle)[CORE.format(self.container, pid)]
        self.assertEqual(stream["status"], "partial")
        self.assertIn("no more room for memory", stream["why"])


class Ends(MemoryCase):
    def test_kill_in_the_middle_of_a_core(self):
        play = ("cp /opt/target /tmp/target; mkdir /tmp/files; /tmp/target /tmp/files 300 1 > /tmp/said & "
                "while ! grep -q ready /tmp/said; do sleep 0.1; done; echo all-run; while :; do sleep 1000; done")
        box = self.box(play, files={"/opt/target": self.program_bytes}, wait_for="all-run")
        (pid,) = [p for p in box.pids() if os.readlink(f"/proc/{p}/exe") == "/tmp/target"]
        watch = lab.Untouched([], box.pids())
        out = self.temp()
        process = lab.start("collect", f"pid:{box.pid}", "-o", out, "--compress", "none")
        self.addCleanup(lambda: process.poll() is None and process.kill())
        for _ in range(3000):
            parts = glob.glob(out + "/*.part")
            if parts and os.stat(parts[0]).st_size > 40 << 20:
                break
            self.assertIsNone(process.poll())
            time.sleep(0.01)
        process.kill()
        lab.finish(process)
        part = self.one_bundle(out, ".part")
        salvage = self.expect(ctriage("verify", "--salvage", "--json", part), 3).json()
        (core,) = [s for s in salvage["salvage"] if s["stream"].endswith(f"/memory/{pid}.core")]
        self.assertGreater(core["size_bytes"], 20 << 20)
        self.assertLess(core["size_bytes"], 300 << 20)
        self.assertFalse(core["whole"])
        self.expect(ctriage("show", part), 0, 3)
        self.assertEqual(watch.grown(), [])
        with open(f"/proc/{pid}/status", encoding="ascii") as status:
            self.assertRegex(status.read(), r"State:\s+S")

    def test_a_process_that_ends_before_its_turn(self):
        box = self.box("sleep 333333 & while :; do sleep 1000; done")
        time.sleep(0.3)
        out = self.temp()
        # The pipe is full after 64 KiB and nobody reads it: nothing goes on before the process has ended.
        process = lab.start("collect", f"pid:{box.pid}", "-o", "-", "--skip", "node")
        self.addCleanup(lambda: process.poll() is None and process.kill())
        (pid,) = [p for p in box.pids() if open(f"/proc/{p}/cmdline", "rb").read() == b"sleep\x00333333\x00"]
        time.sleep(3)
        os.kill(pid, 9)
        path = out + "/piped.ctriage.tar"
        with open(path, "wb") as file:
            shutil.copyfileobj(process.stdout, file)
        process.stdout.close()
        err = process.stderr.read()
        process.stderr.close()
        self.assertIn(process.wait(60), (0, 3), err)
        self.expect(ctriage("verify", path), 0)
        with Bundle(path) as bundle:
            told = [g for g in bundle.records("gaps.jsonl") if g["artifact"] == "memory.process" and g["origin"].startswith(f"pid {pid} ")]
            if pid in self.cores(bundle):  # it was faster than we are
                self.assertEqual(told, [])
            else:
                self.assertEqual([g["impact"] for g in told], ["lost"])
