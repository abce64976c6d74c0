"""dump: what it writes is opened by gdb, elfutils and drgn, holds every byte that it should, and the target does not notice."""
import array
import glob
import hashlib
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time

import lab
from fuse import Fuse
from lab import Case, ctriage

PAGE = 4096
MARK = "ctriage_mark"
ALWAYS = ("heap", "anonymous", "protnone", "writeonly", "sharedanonymous", "memfd", "sysv", "deleted", "copied", "beforeguard",
          "afterguard", "userfault")


def setUpModule():
    lab.binary()
    lab.need_root()
    lab.need("gcc", "gdb", "lldb")


def build(directory, *flags):
    path = os.path.join(directory, "target")
    source = os.path.join(os.path.dirname(__file__), "memory_target.c")
    subprocess.run(["gcc", "-O2", "-g", "-pthread", *flags, "-o", path, source], check=True)
    return path


def in_its_own_namespaces(case, play):
    """A Python program that says "ready", in a mount and a pid namespace of its own: its pid."""
    parent = subprocess.Popen(["unshare", "-mpf", "--kill-child", "--propagation", "private", sys.executable, "-c", play],
                              stdout=subprocess.PIPE)
    case.addCleanup(parent.stdout.close)
    case.addCleanup(parent.wait)
    case.addCleanup(parent.kill)
    case.assertEqual(parent.stdout.readline(), b"ready\n")
    time.sleep(0.2)
    with open(f"/proc/{parent.pid}/task/{parent.pid}/children") as children:
        return int(children.read().split()[0])


class Target:
    """The program, and where its marks lie."""

    def __init__(self, case, program, resident_mib=8, reserved_gib=16, prefix=()):
        self.files = case.temp()
        self.process = subprocess.Popen([*prefix, program, self.files, str(resident_mib), str(reserved_gib)], stdout=subprocess.PIPE)
        case.addCleanup(self.end)
        self.places = {}
        for line in self.process.stdout:
            if line == b"ready\n":
                break
            name, address = line.split()
            self.places[name.decode()] = int(address, 16)
        else:
            raise AssertionError("the target ended early")
        self.pid = self.process.pid

    def end(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def costs(self):
        """Resident pages and page tables, as the kernel has them."""
        with open(f"/proc/{self.pid}/status") as status:
            return {line.split(":")[0]: line.split()[1] for line in status if line.startswith(("VmRSS", "VmPTE", "Rss", "VmSwap"))}

    def memory(self, address, size):
        with open(f"/proc/{self.pid}/mem", "rb") as memory:
            memory.seek(address)
            return memory.read(size)


def gdb(core, program, *commands):
    arguments = ["gdb", "-nx", "-batch", "-iex", "set auto-load no", program, core]
    for command in commands:
        arguments += ["-ex", command]
    return subprocess.run(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=True, timeout=120).stdout.decode(errors="replace")


def ranges_of(core):
    with open(core + ".pages.jsonl") as lines:
        return [json.loads(line) for line in lines]


def range_at(ranges, address):
    (found,) = [r for r in ranges if int(r["start"], 16) <= address < int(r["end"], 16)]
    return found


class Dump(Case):
    @classmethod
    def setUpClass(cls):
        cls.build_directory = tempfile.mkdtemp(prefix="ctriage-test-")
        cls.addClassCleanup(shutil.rmtree, cls.build_directory)
        cls.program = build(cls.build_directory)

    def dump(self, target, *options, statuses=(0,)):
        core = os.path.join(self.temp(), "a core")
        run = self.expect(ctriage("dump", f"pid:{target.pid}", "-o", core, "--json", *options), *statuses)
        (process,) = run.json()["processes"]
        self.assertEqual(process["core"], core)
        self.assertEqual(process["sha256"], lab.sha256_file(core))
        self.assertEqual(process["size_bytes"], os.path.getsize(core))
        self.assertEqual(os.stat(core).st_mode & 0o777, 0o600)
        return core, process, run

    def test_gdb_reads_marks_and_names_frames(self):
        target = Target(self, self.program)
        core, process, _ = self.dump(target)
        names = [name for name in ALWAYS if name in target.places]
        self.assertEqual(len(names), len(ALWAYS))
        shown = gdb(core, self.program, *[f"x/s {target.places[name]:#x}" for name in names], "print/x global_number",
                    "info threads", "thread apply all bt")
        for name in names:
            self.assertIn(f'"{MARK}-{name}"', shown)
        self.assertIn("0x5ca1ab1e", shown)
        self.assertEqual(shown.count("in inner_frame ()"), 3, shown)
        self.assertEqual(shown.count("in outer_frame ()"), 3, shown)
        self.assertEqual(shown.count("in worker_frame ("), 2, shown)
        self.assertEqual(shown.count("in main ("), 1, shown)
        self.assertIn(f"LWP {target.pid}", shown)
        self.assertEqual((process["threads"], process["threads_with_registers"]), (3, 3))
        # A page of the file that nobody changed: gdb has it from the file.
        self.assertIn(f'"{MARK}-named"', gdb(core, self.program, f"x/s {target.places['named']:#x}"))

    def test_all_registers_by_ptrace(self):
        program = os.path.join(self.build_directory, "spinner")
        subprocess.run(["gcc", "-O0", "-g", "-pthread", "-o", program, os.path.join(os.path.dirname(__file__), "spinner.c")], check=True)
        process = subprocess.Popen([program], stdout=subprocess.PIPE)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        self.assertEqual(process.stdout.readline(), b"ready\n")
        show = ["thread apply all bt", "thread apply all info registers r12 rbx rbp rsp rip r15 fs_base"]
        for freeze in ("none", "stop", "auto"):
            core, dumped, _ = self.dump(process, "--regs", "ptrace", "--freeze", freeze)
            self.assertEqual((dumped["threads"], dumped["threads_with_registers"]), (2, 2))
            self.assertGreater(dumped["stopped_ns"], 0)
            self.assertLess(dumped["stopped_ns"], 1_000_000_000)
            shown = gdb(core, program, *show)
            self.assertEqual(shown.count("in spin_here ("), 1, shown)
            self.assertEqual(shown.count("in wait_here ("), 1, shown)  # -O0: by the frame pointer
            self.assertEqual(shown.count("in main ("), 1, shown)
            self.assertEqual(len(re.findall(r"^r15 +0x1122334455667788", shown, re.M)), 1, shown)
            # What gdb itself reads by attaching, of the thread that waits.
            live = subprocess.run(["gdb", "-nx", "-batch", "-p", str(process.pid), "-ex", "thread 1", "-ex", show[1].split("all ", 1)[1]],
                                  stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True, timeout=120).stdout.decode()
            waiting = gdb(core, program, "thread 1", show[1].split("all ", 1)[1])
            registers = re.compile(r"^(r12|rbx|rbp|rsp|rip|r15|fs_base) +(0x[0-9a-f]+)", re.M)
            self.assertEqual(registers.findall(waiting), registers.findall(live))
            self.assertEqual(len(registers.findall(live)), 7, live)
        with open(f"/proc/{process.pid}/status", encoding="utf-8") as status:
            self.assertIn("TracerPid:\t0\n", status.read())

    def test_lldb_reads_marks_and_names_frames(self):
        target = Target(self, self.program)
        core, _, _ = self.dump(target)
        names = [name for name in ALWAYS if name in target.places]
        arguments = ["lldb", "--no-lldbinit", "--batch", "-o", f'target create --core "{core}" {self.program}', "-o", "thread backtrace all"]
        for name in names:
            arguments += ["-o", f"memory read --format s {target.places[name]:#x}"]
        run = subprocess.run(arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=True, timeout=120)
        shown = run.stdout.decode(errors="replace")
        for name in names:
            self.assertIn(f'"{MARK}-{name}"', shown)
        self.assertEqual(shown.count("`inner_frame"), 3, shown)
        self.assertEqual(shown.count("`worker_frame"), 2, shown)
        self.assertEqual(shown.count("`main(argc="), 1, shown)

    def test_the_line_that_is_printed_opens_it(self):
        target = Target(self, self.program)
        core, process, _ = self.dump(target)
        line = process["opens_with"]
        self.assertIn(f"/proc/{target.pid}/root", line)
        shown = subprocess.run(["sh", "-c", line + " -batch -ex bt"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=True, timeout=120)
        self.assertIn("middle_frame ()", shown.stdout.decode())

    def test_bytes_are_the_processs(self):
        target = Target(self, self.program)
        core, _, _ = self.dump(target)
        copy = os.path.join(self.temp(), "area")
        start, size = target.places["area"], 8 << 20
        gdb(core, self.program, f"dump binary memory {copy} {start:#x} {start + size:#x}")
        words, word = array.array("I"), 1
        for _ in range(size // 4):
            words.append(word)
            word = (word * 1664525 + 1013904223) & 0xffffffff
        self.assertEqual(lab.sha256_file(copy), hashlib.sha256(words.tobytes()).hexdigest())

    def test_states_of_ranges(self):
        target = Target(self, self.program)
        core, process, run = self.dump(target)
        ranges = ranges_of(core)
        at = {name: range_at(ranges, address) for name, address in target.places.items()}
        for name in ALWAYS + ("area", "global"):
            self.assertEqual(at[name]["state"], "data", name)
        self.assertEqual(at["named"]["state"], "file")
        self.assertEqual(at["sharedfile"]["state"], "file")
        self.assertIn("--file-pages all", at["sharedfile"]["reason"])
        if "guard" in at:
            self.assertEqual(at["guard"]["state"], "guard")
        self.assertEqual(at["missing"]["state"], "hole")
        self.assertEqual(range_at(ranges, target.places["area"] + (8 << 20))["state"], "zero")
        self.assertEqual(at["protnone"]["protection"], "---p")
        # Bytes that no page table of the process leads to are told, not made.
        self.assertEqual(at["untouched"]["state"], "hole")
        self.assertIn("may have bytes there", at["untouched"]["reason"])
        (gap,) = [g for g in run.json()["gaps"] if "not touched" in g["reason"]]
        self.assertEqual((gap["impact"], gap["reason"].split(" of ")[0]), ("degraded", "16 KiB"))
        self.assertEqual({r["state"] for r in ranges if r["path"].startswith(("[vvar", "[vsyscall"))}, {"device"})
        with open(core, "rb") as file:
            for name in ALWAYS:
                file.seek(at[name]["core_offset_bytes"] + target.places[name] - int(at[name]["start"], 16))
                self.assertTrue(file.read(100).startswith(f"{MARK}-{name}".encode() + b"\0"), name)
        # Every mapping that the kernel names, from its beginning to its end.
        told = {}
        for r in ranges:
            self.assertLess(int(r["start"], 16), int(r["end"], 16))
            told[int(r["start"], 16)] = int(r["end"], 16)
        with open(f"/proc/{target.pid}/maps") as maps:
            for line in maps:
                start, end = (int(a, 16) for a in line.split()[0].split("-"))
                while start < end:
                    start = told.pop(start)
                self.assertEqual(start, end, line)
        self.assertEqual(told, {})
        sums = {}
        for r in ranges:
            sums[r["state"]] = sums.get(r["state"], 0) + int(r["end"], 16) - int(r["start"], 16)
        self.assertEqual(process["data_bytes"], sums["data"])
        self.assertEqual(process["mapped_bytes"], sum(sums.values()))

    def test_file_pages(self):
        target = Target(self, self.program)
        core, _, _ = self.dump(target, "--file-pages", "all")
        ranges = ranges_of(core)
        for name in ("named", "sharedfile", "copied"):
            self.assertEqual(range_at(ranges, target.places[name])["state"], "data", name)
        self.assertIn(f'"{MARK}-sharedfile"', gdb(core, self.program, f"x/s {target.places['sharedfile']:#x}"))
        core, _, _ = self.dump(target, "--file-pages", "none", "--regs", "none")
        ranges = ranges_of(core)
        self.assertEqual(range_at(ranges, target.places["copied"])["state"], "file")
        self.assertEqual(range_at(ranges, target.places["heap"])["state"], "data")
        shown = gdb(core, self.program, f"x/s {target.places['heap']:#x}", "info threads")
        self.assertIn(f'"{MARK}-heap"', shown)
        self.assertIn(f"LWP {target.pid}", shown)

    def test_the_target_does_not_grow_and_a_reservation_costs_nothing(self):
        target = Target(self, self.program, resident_mib=80)
        before = target.costs()
        began = time.monotonic()
        core, process, _ = self.dump(target)
        took = time.monotonic() - began
        self.assertEqual(target.costs(), before)
        self.assertGreater(process["mapped_bytes"], 16 << 30)
        self.assertGreater(os.path.getsize(core), 80 << 20)
        self.assertLess(os.path.getsize(core), 90 << 20)
        self.assertLess(took, 20, "under a sanitizer, on a busy machine; bench/ has the time")
        self.assertEqual(target.process.poll(), None)

    def test_elfutils(self):
        lab.need("eu-stack", "eu-readelf")
        target = Target(self, self.program)
        core, _, _ = self.dump(target)
        stack = subprocess.run(["eu-stack", "--core", core, "--executable", self.program], stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, timeout=120).stdout.decode()
        self.assertEqual(stack.count("inner_frame"), 3, stack)
        notes = subprocess.run(["eu-readelf", "-n", core], stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=True)
        self.assertEqual(notes.stderr, b"")
        text = notes.stdout.decode()
        for note in ("PRPSINFO", "SIGINFO", "AUXV", "FILE"):
            self.assertIn(note, text)
        self.assertEqual(text.count("PRSTATUS"), 3)
        self.assertIn(self.program, text)

    def test_drgn(self):
        script = ("import sys, drgn\np = drgn.Program()\np.set_core_dump(sys.argv[1])\n"
                  "print(sorted(t.tid for t in p.threads()))\nprint(p.read(int(sys.argv[2]), 12))\n")
        if subprocess.run(["/usr/bin/python3", "-c", "import drgn"], stderr=subprocess.DEVNULL).returncode != 0:
            self.skipTest("needs python3-drgn")
        target = Target(self, self.program)
        core, _, _ = self.dump(target)
        shown = subprocess.run(["/usr/bin/python3", "-c", script, core, str(target.places["protnone"])], stdout=subprocess.PIPE, check=True)
        threads, mark = shown.stdout.decode().splitlines()
        self.assertEqual(json.loads(threads), sorted(int(t) for t in os.listdir(f"/proc/{target.pid}/task")))
        self.assertEqual(mark, repr(MARK.encode()))

    def test_a_file_server_that_never_answers(self):
        directory = self.temp()
        # In a mount namespace of its own, where the server's files are.
        target = Target(self, self.program, prefix=("unshare", "-m", "--propagation", "private"))
        try:
            server = Fuse(target.pid, directory, "program", self.program)
        except OSError as error:
            self.skipTest(str(error))
        mapper = subprocess.Popen(
            ["nsenter", "-t", str(target.pid), "-m", sys.executable, "-c",
             "import mmap, sys, time\nf = open(sys.argv[1], 'rb')\nm = mmap.mmap(f.fileno(), 0, mmap.MAP_PRIVATE, mmap.PROT_READ)\n"
             "m[0]\nprint('mapped', flush=True)\ntime.sleep(1000)", directory + "/program"], stdout=subprocess.PIPE)
        self.addCleanup(mapper.stdout.close)
        self.addCleanup(mapper.wait)
        self.addCleanup(mapper.kill)
        self.addCleanup(server.close)  # first: a process that ends waits for the server, too
        self.assertEqual(mapper.stdout.readline(), b"mapped\n")
        server.fall_silent()
        core = os.path.join(self.temp(), "core")
        run = self.expect(ctriage("dump", f"pid:{mapper.pid}", "-o", core, "--file-pages", "all", "--json", timeout=60), 0, 3)
        (process,) = run.json()["processes"]
        self.assertEqual(process["lost_bytes"], 0, str(run))
        of_server = [r for r in ranges_of(core) if r["path"].endswith("/program")]
        self.assertEqual(of_server[0]["state"], "data")  # the page that was there
        self.assertIn("hole", {r["state"] for r in of_server})

    def test_all_processes_share_what_they_share(self):
        play = ("import mmap, os, time\nm = mmap.mmap(-1, 1 << 20)\nm.write(b'together' * 1000)\n"
                "for _ in range(3):\n  if os.fork() == 0:\n    m[0:1]; m[4096:4097]; time.sleep(1000)\n"
                "print('ready', flush=True); time.sleep(1000)")
        first = in_its_own_namespaces(self, play)
        into = self.temp()
        run = self.expect(ctriage("dump", f"pid:{first}", "--all", "-o", into, "--json"), 0)
        processes = run.json()["processes"]
        ours = [p["pid"] for p in processes if "python" in p["exe"]]  # not unshare(1)
        self.assertEqual(len(ours), 4, str(run))
        self.assertEqual(sorted(os.listdir(into)), sorted(f"{p['pid']}.core{s}" for p in processes for s in ("", ".pages.jsonl")))
        owners = set()
        for process in processes:
            ranges = ranges_of(process["core"])
            owners |= {r["shared_with"] for r in ranges if r["state"] == "shared"}
        self.assertEqual(owners, {first})
        self.assertEqual(first, min(ours))
        with open(f"{into}/{first}.core", "rb") as core:
            self.assertIn(b"together" * 1000, core.read())

    def test_which_process(self):
        run = self.expect(ctriage("dump", "pid:1", "-o", self.temp() + "/none/core"), 1)
        self.assertIn(b"No such file", run.err)
        self.expect(ctriage("dump", "pid:1"), 2)
        run = self.expect(ctriage("dump", "pid:4194305", "-o", self.temp() + "/x"), 1)
        self.assertIn(b"no such process", run.err)
        target = Target(self, self.program)
        taken = self.temp() + "/taken"
        with open(taken, "w") as file:
            file.write("mine")
        run = self.expect(ctriage("dump", f"pid:{target.pid}", "-o", taken), 1)
        self.assertIn(b"exists", run.err)
        with open(taken) as file:
            self.assertEqual(file.read(), "mine")
        self.assertEqual(os.listdir(os.path.dirname(taken)), ["taken"])
        run = self.expect(ctriage("dump", f"pid:{target.pid}", "--pid", "1", "-o", taken + "2"), 1)
        self.assertIn(str(target.pid).encode(), run.err)
        run = self.expect(ctriage("dump", f"pid:{target.pid}", "-o", taken + "3"), 0)
        self.assertIn(b"gdb -nx", run.out)

    def test_a_signal_leaves_what_was_read(self):
        target = Target(self, self.program, resident_mib=1500)
        into = self.temp()
        process = lab.start("dump", f"pid:{target.pid}", "-o", into + "/core")
        deadline = time.monotonic() + 60
        while not glob.glob(into + "/core.part") or os.path.getsize(into + "/core.part") < 50 << 20:
            if process.poll() is not None or time.monotonic() > deadline:
                break
            time.sleep(0.005)
        process.send_signal(signal.SIGINT)
        run = lab.finish(process)
        if run.status == 0:
            self.skipTest("it was done before the signal came")
        self.expect(run, 3)
        self.assertIn(b"core.part", run.err)
        self.assertEqual(sorted(os.listdir(into)), ["core.pages.jsonl.part", "core.part"])
        with open(into + "/core.part", "rb") as core:
            self.assertEqual(struct.unpack("<4s12xH", core.read(18)), (b"\x7fELF", 4))
        self.assertIsNone(target.process.poll())
