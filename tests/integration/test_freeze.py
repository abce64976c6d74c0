"""Freeze: a core of one moment, and a target that always runs again."""
import glob
import json
import os
import random
import shutil
import signal
import struct
import subprocess
import tempfile
import threading
import time

import lab
from lab import Bundle, Case, Containerd, ctriage

NS = f"freeze-{os.getpid()}"
PAGE = 4096
MIB = 64  # that the changing program has


def setUpModule():
    lab.binary()
    lab.need_root()
    lab.need("containerd", "runc", "ctr", "gcc")


def read(path):
    with open(path, encoding="ascii") as file:
        return file.read()


def write(path, text):
    with open(path, "w", encoding="ascii") as file:
        file.write(text)


def state_of(pid):
    return read(f"/proc/{pid}/stat").rpartition(")")[2].split()[0]


def cgroup_of(pid, v2=False):
    """The directory of its cgroup: of the freezer of v1, or of v2."""
    for line in read(f"/proc/{pid}/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if v2 if controllers == "" else not v2 and "freezer" in controllers.split(","):
            return mountpoint("cgroup2" if v2 else "cgroup") + path
    return None


def mountpoint(fstype):
    for line in read("/proc/self/mounts").splitlines():
        words = line.split()
        if words[2] == fstype and (fstype == "cgroup2" or "freezer" in words[3].split(",")):
            return words[1]
    return None


class Switch:
    """The freezer of a cgroup, whichever version it is."""

    def __init__(self, pid):
        self.v1 = cgroup_of(pid)
        self.v2 = cgroup_of(pid, v2=True)
        if self.v1 is None or self.v1.endswith("/freezer/"):
            self.v1 = None

    def frozen(self):
        if self.v1:
            return read(self.v1 + "/freezer.state").strip() != "THAWED"
        return "frozen 1" in read(self.v2 + "/cgroup.events") or read(self.v2 + "/cgroup.freeze").strip() == "1"

    def set(self, frozen):
        if self.v1:
            write(self.v1 + "/freezer.state", "FROZEN" if frozen else "THAWED")
        else:
            write(self.v2 + "/cgroup.freeze", "1" if frozen else "0")


def child_of(pid, name):
    for _ in range(100):
        for child in read(f"/proc/{pid}/task/{pid}/children").split():
            if read(f"/proc/{child}/comm").strip() == name:
                return int(child)
        time.sleep(0.1)
    raise AssertionError(f"{name} does not run")


class FreezeCase(Case):
    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.mkdtemp(prefix="ctriage-test-")
        cls.addClassCleanup(shutil.rmtree, cls.directory)
        cls.program = os.path.join(cls.directory, "changing")
        source = os.path.join(os.path.dirname(__file__), "changing.c")
        subprocess.run(["gcc", "-O1", "-static", "-o", cls.program, source], check=True)

    def numbers(self, core, ranges):
        """What stands in each page of the largest stretch of data."""
        largest = max((r for r in ranges if r["state"] == "data"), key=lambda r: int(r["end"], 16) - int(r["start"], 16))
        size = int(largest["end"], 16) - int(largest["start"], 16)
        self.assertGreaterEqual(size, MIB << 20)
        with open(core, "rb") as file:
            file.seek(largest["core_offset_bytes"])
            data = file.read(size)
        return [n for n in (struct.unpack_from("<Q", data, at)[0] for at in range(0, size, PAGE)) if n]

    def consistent(self, numbers):
        falls = sum(1 for a, b in zip(numbers, numbers[1:]) if a != b)
        return max(numbers) - min(numbers) <= 1 and numbers == sorted(numbers, reverse=True) and falls <= 1

    def runs(self, pid):
        """It goes on within a second."""
        end = time.monotonic() + 1
        while time.monotonic() < end:
            if state_of(pid) == "R":
                before = read(f"/proc/{pid}/stat").rpartition(")")[2].split()[11]
                time.sleep(0.05)
                if read(f"/proc/{pid}/stat").rpartition(")")[2].split()[11] != before:
                    return True
            time.sleep(0.01)
        return False

    def dump(self, *arguments, statuses=(0,), **options):
        core = os.path.join(self.temp(), "core")
        run = self.expect(ctriage("dump", *arguments, "-o", core, "--json", **options), *statuses)
        with open(core + ".pages.jsonl", encoding="ascii") as file:
            return run.json(), core, [json.loads(line) for line in file]

    def gaps(self, result, artifact="memory.freeze"):
        return [g for g in result["gaps"] if g["artifact"] == artifact]


class InPod(FreezeCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.lab = Containerd()
        cls.addClassCleanup(cls.lab.stop)
        with open(cls.program, "rb") as file:
            cls.lab.add_images({"/opt/changing": file.read()})
        cls.pod = cls.lab.run_pod(NS, "busy", "app", f"/opt/changing {MIB} & while :; do sleep 1000; done")
        cls.pid = child_of(cls.pod.pid, "changing")
        cls.pod.wait_for_log("changing")
        cls.switch = Switch(cls.pid)

    def setUp(self):
        self.addCleanup(self.switch.set, False)

    def target(self):
        return (f"{NS}/busy", "--pid", str(self.pid))

    def test_one_moment(self):
        result, core, ranges = self.dump(*self.target(), "--freeze", "cgroup")
        (process,) = result["processes"]
        self.assertTrue(process["frozen"], result)
        self.assertGreater(process["frozen_ns"], 0)
        self.assertEqual(self.gaps(result), [])
        self.assertEqual({r["frozen"] for r in ranges}, {True})
        numbers = self.numbers(core, ranges)
        self.assertTrue(self.consistent(numbers), sorted(set(numbers)))
        self.assertFalse(self.switch.frozen())
        self.assertTrue(self.runs(self.pid))

    def test_auto(self):
        """A small process is frozen without a word from us, for 250 ms at most, however busy this machine is."""
        for _ in range(5):
            result, _, ranges = self.dump(f"{NS}/busy", "--pid", str(self.pod.pid))
            self.assertLessEqual(result["processes"][0]["frozen_ns"], 250_000_000)
            self.assertEqual({r["frozen"] for r in ranges}, {result["processes"][0]["frozen"]})
            if result["processes"][0]["frozen"]:
                break
        else:
            self.fail("never frozen")

    def test_who_came_from_outside_goes_on(self):
        entered = subprocess.Popen(["nsenter", "-t", str(self.pod.pid), "-m", "-p", "/bin/sleep", "1000"])
        self.addCleanup(lambda: (entered.kill(), entered.wait()))
        time.sleep(0.5)
        pid = int(read(f"/proc/{entered.pid}/task/{entered.pid}/children").split()[0])
        self.addCleanup(os.kill, pid, signal.SIGKILL)
        result, _, ranges = self.dump(f"{NS}/busy", "--pid", str(pid), "--freeze", "cgroup")
        self.assertEqual({r["frozen"] for r in ranges}, {False})
        self.assertIn("not in that of the container", json.dumps(self.gaps(result)))

    def test_none_is_none(self):
        result, core, ranges = self.dump(*self.target(), "--freeze", "none")
        self.assertEqual((result["processes"][0]["frozen"], result["processes"][0]["frozen_ns"]), (False, 0))
        self.assertEqual({r["frozen"] for r in ranges}, {False})
        self.assertFalse(self.consistent(self.numbers(core, ranges)), "the test does not see what it is for")

    def test_killed_in_the_middle(self):
        seen = 0
        for _ in range(25):
            run = lab.start("dump", *self.target(), "--freeze", "cgroup", "-o", os.path.join(self.temp(), "core"))
            end = time.monotonic() + 20
            while not self.switch.frozen() and run.poll() is None and time.monotonic() < end:
                time.sleep(0.0005)
            seen += self.switch.frozen()
            time.sleep(random.uniform(0, 0.02))
            run.send_signal(signal.SIGKILL)
            lab.finish(run)
            self.assertTrue(self.runs(self.pid), "it does not run a second after the end of ctriage")
            self.assertFalse(self.switch.frozen())
        self.assertGreater(seen, 10, "hardly ever frozen when ctriage was ended")

    def test_stopped_ourselves(self):
        """Whoever stops ctriage does not stop the target: the watchdog lets it go at the ceiling."""
        core = os.path.join(self.temp(), "core")
        run = lab.start("dump", *self.target(), "--freeze", "cgroup", "--freeze-max", "1s", "-o", core, "--json")
        while not self.switch.frozen() and run.poll() is None:
            time.sleep(0.0005)
        run.send_signal(signal.SIGSTOP)
        self.addCleanup(run.kill)
        stopped_in_time = self.switch.frozen()
        time.sleep(1.3)
        self.assertFalse(self.switch.frozen())
        self.assertTrue(self.runs(self.pid))
        run.send_signal(signal.SIGCONT)
        done = self.expect(lab.finish(run), 0, 3)
        if stopped_in_time:
            self.assertRegex(json.dumps(self.gaps(done.json())), "time was over|did not stop")
            self.assertFalse(done.json()["processes"][0]["frozen"])

    def test_found_frozen(self):
        self.switch.set(True)
        result, _, ranges = self.dump(*self.target(), "--freeze", "cgroup")
        self.assertTrue(self.switch.frozen(), "who froze it may have wanted that")
        self.assertEqual((result["processes"][0]["frozen"], result["processes"][0]["frozen_ns"]), (True, 0))
        self.assertEqual({r["frozen"] for r in ranges}, {True})

    def test_thawed_by_another(self):
        stop = threading.Event()

        def thaw():
            while not stop.is_set():
                self.switch.set(False)

        thread = threading.Thread(target=thaw)
        thread.start()
        try:
            result, _, ranges = self.dump(*self.target(), "--freeze", "cgroup")
        finally:
            stop.set()
            thread.join()
        self.assertFalse(result["processes"][0]["frozen"])
        self.assertEqual([g["impact"] for g in self.gaps(result)], ["degraded"])
        self.assertEqual({r["frozen"] for r in ranges}, {False})

    def test_never_with_us_inside(self):
        """Who is in the target's cgroup is not stopped by it: a shell of the responder's, say."""
        groups = [path for path in glob.glob(f"/sys/fs/cgroup/*/kubepods/besteffort/pod{self.pod.uid}/{self.pod.container_id}") +
                  glob.glob(f"/sys/fs/cgroup/kubepods/besteffort/pod{self.pod.uid}/{self.pod.container_id}") if "memory" not in path]
        join = "".join(f"echo $$ > {path}/cgroup.procs; " for path in groups)
        result, _, ranges = self.dump(*self.target(), "--freeze", "cgroup", prefix=("sh", "-c", join + 'exec "$@"', "sh"))
        self.assertIn("is ctriage or started it", json.dumps(self.gaps(result)))
        self.assertEqual({r["frozen"] for r in ranges}, {False})

    def test_named_like_a_runtime(self):
        run = self.lab.exec_in(self.pod, "shim", "/bin/sh", "-c",
                               "cp /bin/busybox /tmp/containerd-shim-x; exec -a sleep /tmp/containerd-shim-x 1000")
        self.addCleanup(lambda: (run.kill(), run.communicate()))
        self.addCleanup(lambda: [os.kill(pid, signal.SIGKILL) for pid in self.pod.pids() if "containerd-shim" in read(f"/proc/{pid}/comm")])
        for _ in range(100):
            if any("containerd-shim" in read(f"/proc/{pid}/comm") for pid in self.pod.pids()):
                break
            time.sleep(0.1)
        result, _, _ = self.dump(*self.target())
        (gap,) = self.gaps(result)
        self.assertEqual(gap["impact"], "note")
        self.assertIn("by its name", gap["reason"])

    def test_collect(self):
        out = self.temp()
        run = self.expect(ctriage("collect", f"{NS}/busy", "-o", out, "--only", "memory", "--freeze", "cgroup"), 0)
        with Bundle(self.one_bundle(out)) as bundle:
            took = [c for c in bundle.records("custody.jsonl") if c["action"] == "memory"]
            ranges = bundle.records(f"containers/app/memory/{self.pid}.pages.jsonl")
        self.assertGreater(len(took), 0)
        for entry in took:
            self.assertEqual(entry["frozen"], "yes", entry)
            self.assertGreater(entry["frozen_ns"], 0)
        self.assertEqual({r["frozen"] for r in ranges}, {True})
        self.assertNotIn(b", 0 ms frozen", run.out)
        self.assertFalse(self.switch.frozen())
        self.assertTrue(self.runs(self.pid))


class InVersion2(FreezeCase):
    """The same with the freezer of cgroup v2, into which the pod is moved where the node has both."""

    def test_one_moment(self):
        with Containerd() as engine, open(self.program, "rb") as file:
            engine.add_images({"/opt/changing": file.read()})
            pod = engine.run_pod(NS, "second", "app", f"/opt/changing {MIB} & while :; do sleep 1000; done")
            pid = child_of(pod.pid, "changing")
            pod.wait_for_log("changing")
            if cgroup_of(pid) is not None:
                group = f"{mountpoint('cgroup2')}/kubepods/besteffort/pod{pod.uid}/{pod.container_id}"
                os.makedirs(group, exist_ok=True)
                for member in pod.pids():
                    write(group + "/cgroup.procs", str(member))
                    write(mountpoint("cgroup") + "/cgroup.procs", str(member))
            switch = Switch(pid)
            self.assertIsNone(switch.v1)
            result, core, ranges = self.dump(f"{NS}/second", "--pid", str(pid), "--freeze", "cgroup")
            self.assertTrue(result["processes"][0]["frozen"], result)
            self.assertTrue(self.consistent(self.numbers(core, ranges)))
            self.assertFalse(switch.frozen())
            self.assertTrue(self.runs(pid))


class Stop(FreezeCase):
    def start(self):
        process = subprocess.Popen([self.program, str(MIB)], stdout=subprocess.PIPE)
        self.addCleanup(lambda: (process.kill(), process.communicate()))
        process.stdout.readline()
        return process.pid

    def test_no_container(self):
        """The default leaves what is in no container alone, and says so."""
        result, _, ranges = self.dump(f"pid:{self.start()}")
        (gap,) = self.gaps(result)
        self.assertEqual(gap["impact"], "note")
        self.assertIn("in no container", gap["reason"])
        self.assertEqual({r["frozen"] for r in ranges}, {False})

    def test_stop(self):
        pid = self.start()
        result, core, ranges = self.dump(f"pid:{pid}", "--freeze", "stop")
        self.assertTrue(result["processes"][0]["frozen"], result)
        self.assertTrue(self.consistent(self.numbers(core, ranges)))
        self.assertTrue(self.runs(pid))

    def test_stopped_before(self):
        pid = self.start()
        os.kill(pid, signal.SIGSTOP)
        while state_of(pid) != "T":
            time.sleep(0.01)
        result, _, ranges = self.dump(f"pid:{pid}", "--freeze", "stop")
        self.assertEqual((result["processes"][0]["frozen"], result["processes"][0]["frozen_ns"]), (True, 0))
        self.assertEqual(state_of(pid), "T")

    def test_what_started_us(self):
        """Neither ctriage's shell nor what started that."""
        result, _, _ = self.dump(f"pid:{os.getpid()}", "--freeze", "stop")
        self.assertIn("is ctriage or started it", json.dumps(self.gaps(result)))
        self.assertEqual(result["processes"][0]["frozen_ns"], 0)

    def test_killed(self):
        pid = self.start()
        for _ in range(10):
            run = lab.start("dump", f"pid:{pid}", "--freeze", "stop", "-o", os.path.join(self.temp(), "core"))
            while state_of(pid) != "T" and run.poll() is None:
                time.sleep(0.0005)
            run.send_signal(signal.SIGKILL)
            lab.finish(run)
            self.assertTrue(self.runs(pid))

    def test_arguments(self):
        for options, said in ((("--freeze-max", "0s"), "--freeze-max"), (("--freeze", "none", "--freeze-max", "2s"), "nothing is stopped"),
                              (("--freeze", "ice"), "--freeze")):
            run = self.expect(ctriage("dump", "pid:1", "-o", os.path.join(self.temp(), "core"), *options), 2)
            self.assertIn(said.encode(), run.err)
