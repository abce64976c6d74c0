"""diff of two sources: a container before and after known changes, two containers, checkpoints. What is told is
compared with what Python makes of the records and of the cores."""
import hashlib
import json
import os
import re
import shutil
import subprocess
import tarfile
import time

import lab
from lab import Box, Bundle, Case, ctriage

DATA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "testdata", "checkpoint")
HERE = os.path.dirname(os.path.abspath(__file__))
PAGE = 4096


def setUpModule():
    lab.binary()
    lab.need("xz", "tar", "zstd")


def forms(document):
    """Each difference as mark, kind, pid and what it is about."""
    return sorted((d["change"], d["kind"], d.get("pid"), d["what"].split("\0")[0]) for d in document["differences"])


def pages_of(bundle, container, pid):
    """Address of each page in the core to its SHA-256."""
    name = f"containers/{container}/memory/{pid}"
    core = bundle.bytes(name + ".core.zst")
    found = {}
    for record in bundle.records(name + ".pages.jsonl"):
        if record["state"] != "data" or "core_offset_bytes" not in record:
            continue
        start, end = int(record["start"], 16), int(record["end"], 16)
        for address in range(start, end, PAGE):
            at = record["core_offset_bytes"] + address - start
            found[address] = hashlib.sha256(core[at:at + PAGE]).digest()
    return found


class Changed(Case):
    """One container, collected, changed, collected again."""

    @classmethod
    def setUpClass(cls):
        lab.need_root()
        lab.need("unshare", "pivot_root", "gcc")
        os.makedirs(lab.BUILD_DIR, exist_ok=True)
        program = os.path.join(lab.BUILD_DIR, "changing_page")
        subprocess.run(["gcc", "-O1", "-static", "-o", program, os.path.join(HERE, "changing_page.c")], check=True)
        with open(program, "rb") as file:
            cls.box = Box("/opt/page & while :; do sleep 1000000; done", wait_for="changing page is up", files={"/opt/page": file.read()})
        cls.addClassCleanup(cls.box.stop)
        cls.dir = lab.tempfile.mkdtemp(prefix="ctriage-test-")
        cls.addClassCleanup(shutil.rmtree, cls.dir, ignore_errors=True)
        cls.target = f"pid:{cls.box.pid}"
        time.sleep(0.5)  # until the shell waits
        cls.before = cls.collect("before")
        inner = int(cls.box.run("pidof page").split()[0])
        cls.page = inner
        cls.box.run(f"kill -USR1 {inner}; rm /etc/hosts; echo other > /etc/motd; cp /bin/busybox /tmp/busybox-new; "
                    "setsid sh -c 'exec /tmp/busybox-new sleep 1000000 <&- >/dev/null 2>&1' & sleep 1")
        cls.new = int(cls.box.run("pidof busybox-new").split()[0])
        cls.after = cls.collect("after")

    @classmethod
    def collect(cls, name):
        out = os.path.join(cls.dir, name)
        os.mkdir(out)
        run = ctriage("collect", cls.target, "-o", out, "--json")
        assert run.status in (0, 3), str(run)
        return os.path.join(out, next(n for n in os.listdir(out) if n.endswith(".tar")))

    def expected(self):
        page, base = self.page, 0x10000000
        found = {("added", "process", self.new, "/tmp/busybox-new"), ("changed", "process", page, "/opt/page"),
                 ("changed", "mapping", page, ""), ("added", "mapping", page, ""),
                 ("added", "socket", None, "tcp 127.0.0.1:4711 > 0.0.0.0:0"),
                 ("gone", "file", None, "/etc/hosts"), ("changed", "file", None, "/etc/motd"),
                 ("added", "file", None, "/tmp/busybox-new"), ("added", "file", None, "/tmp/changed")}
        return found, base

    def check_lists(self, document):
        got = [d for d in document["differences"] if d["kind"] != "memory"]
        expected, base = self.expected()
        seen = {(d["change"], d["kind"], d.get("pid"), d["what"].split("\0")[0]) for d in got if d["kind"] != "descriptor"}
        self.assertEqual(seen, expected, json.dumps(got, indent=1))
        descriptors = [d for d in got if d["kind"] == "descriptor"]
        self.assertEqual([(d["change"], d["pid"]) for d in descriptors], [("added", self.page)] * 2)
        self.assertTrue(descriptors[0]["what"].endswith(" tcp 127.0.0.1:4711 > 0.0.0.0:0"), descriptors)
        self.assertTrue(descriptors[1]["what"].endswith(" /etc/group"), descriptors)
        by = {(d["kind"], d["change"], d.get("address")): d for d in got}
        fields = {f["field"]: (f.get("before"), f.get("after")) for f in by[("mapping", "changed", hex(base))]["differs"]}
        self.assertEqual(fields, {"size": (str(16 * PAGE), str(10 * PAGE))})
        after = {f["field"]: f["after"] for f in by[("mapping", "added", hex(base + 10 * PAGE))]["differs"]}
        self.assertEqual((after["protection"], after["size"]), ("rwxp", str(PAGE)))
        process = next(d for d in got if d["kind"] == "process" and d["change"] == "changed")
        self.assertEqual(process["differs"], [{"field": "cwd", "before": "/", "after": "/tmp"}])
        motd = next(d for d in got if d["what"] == "/etc/motd")
        self.assertEqual({f["field"] for f in motd["differs"]} & {"sha256", "size", "mode", "owner"}, {"sha256", "size"})
        digest = next(f for f in motd["differs"] if f["field"] == "sha256")
        self.assertEqual((digest["before"], digest["after"]), tuple(hashlib.sha256(t).hexdigest() for t in (b"welcome\n", b"other\n")))
        self.assertEqual([c.get("warning") for c in document["containers"]], [None])

    def test_bundle_and_bundle(self):
        document = self.expect(ctriage("diff", self.before, self.after, "--json"), 0, 3).json()
        self.assertEqual(document["schema"], "ctriage.comparison/1")
        self.check_lists(document)
        # Page contents, as the cores have them.
        expected = {}
        with Bundle(self.before) as one, Bundle(self.after) as other:
            (container,) = one.containers()
            processes = [{p["container_pid"]: p["pid"] for p in bundle.records(f"containers/{container}/processes.jsonl")} for bundle in (one, other)]
            maps = other.records(f"containers/{container}/mappings.jsonl")
            both = 0
            for inner in set(processes[0]) & set(processes[1]):
                pages = [pages_of(bundle, container, pids[inner]) for bundle, pids in zip((one, other), processes)]
                for address in sorted(set(pages[0]) & set(pages[1])):
                    both += 1
                    start = next(int(m["start"], 16) for m in maps
                                 if m["pid"] == processes[1][inner] and int(m["start"], 16) <= address < int(m["end"], 16))
                    its = expected.setdefault((inner, start), [0, 0, 0])
                    its[0] += 1
                    if pages[0][address] != pages[1][address]:
                        its[1] += 1
                        its[2] = its[2] or address
        expected = {(pid, hex(first), compared, different) for (pid, _), (compared, different, first) in expected.items() if different}
        got = {(d["pid"], d["address"], d["pages_compared"], d["pages_different"]) for d in document["differences"] if d["kind"] == "memory"}
        self.assertEqual(got, expected)
        self.assertIn((self.page, hex(0x10000000 + 5 * PAGE), 10, 1), got)
        memory = next(c for c in document["compared"] if c["kind"] == "memory")
        self.assertEqual(memory["before"] - memory["gone"], both)

    def test_bundle_and_live(self):
        """The same is told of the container that runs, and of its memory where it is asked for."""
        document = self.expect(ctriage("diff", self.before, self.target, "--json"), 0, 3).json()
        self.check_lists(document)
        memory = next(c for c in document["compared"] if c["kind"] == "memory")
        self.assertFalse(memory["compared"])
        self.assertIn("B is live", memory["why"])
        document = self.expect(ctriage("diff", self.before, self.target, "--memory", "--json"), 0, 3).json()
        self.assertEqual({d["kind"] for d in document["differences"]}, {"memory"})
        self.assertIn((self.page, hex(0x10000000 + 5 * PAGE), 10, 1),
                      {(d["pid"], d["address"], d["pages_compared"], d["pages_different"]) for d in document["differences"]})
        same = self.expect(ctriage("diff", self.after, self.target, "--json"), 0, 3).json()
        self.assertEqual(forms(same), [])

    def test_live_and_live(self):
        """Two live targets at once: each is read in a process of its own."""
        run = self.expect(ctriage("diff", self.target, self.target, "--memory", "--ps", "--changes", "--json"), 0, 3)
        self.assertEqual([d for d in run.json()["differences"] if d["kind"] != "memory"], [])
        with Box("exec sleep 1000000") as other:
            document = self.expect(ctriage("diff", self.target, f"pid:{other.pid}", "--json"), 0, 3).json()
            self.assertIn("not one container", document["containers"][0]["warning"])
            show = [self.expect(ctriage("show", t, "--ps", "--json"), 0, 3).json()["processes"] for t in (self.target, f"pid:{other.pid}")]
            inner = [{p["container_pid"] for p in processes} for processes in show]
            got = {change: {d["pid"] for d in document["differences"] if d["kind"] == "process" and d["change"] == change} for change in ("gone", "added", "changed")}
            self.assertEqual(got["gone"], inner[0] - inner[1])
            self.assertEqual(got["added"], inner[1] - inner[0])

    def test_text(self):
        out = self.expect(ctriage("diff", self.before, self.after), 0, 3).out.decode()
        for line in (rf"^- file +/etc/hosts +mode 0644", rf"^\+ process +{self.new} +/tmp/busybox-new sleep 1000000", rf"^~ process +{self.page} +/opt/page +cwd / -> /tmp$",
                     r"^\+ socket +tcp 127.0.0.1:4711 > 0.0.0.0:0 +LISTEN", rf"^~ memory +{self.page} .* 1 of 10 pages differ, the first at 0x10005000$"):
            self.assertRegex(out, re.compile(line, re.M))
        one = self.expect(ctriage("diff", self.before, self.after, "--pid", str(self.page), "--ps"), 0, 3).out.decode()
        self.assertEqual(len(re.findall(r"^[-+~?] ", one, re.M)), 1, one)


class Pods(Case):
    """Containers of a pod by name, and a pod's replica."""

    @classmethod
    def setUpClass(cls):
        lab.need_root()
        lab.need("containerd", "runc", "ctr")
        cls.ns = f"diff-{os.getpid()}"
        cls.lab = lab.Containerd()
        cls.addClassCleanup(cls.lab.stop)
        cls.lab.add_images({"/etc/of-the-app": b"x\n"})
        for name in ("web-1", "web-2", "web-3"):
            cls.lab.run_pod(cls.ns, name, "app", "exec sleep 1000000", more=["side"])

    def diff(self, *arguments):
        return self.expect(ctriage("diff", *arguments, "--json"), 0).json()

    def test_replicas(self):
        document = self.diff(f"{self.ns}/web-1", f"{self.ns}/web-2")
        named = {c["name"] for c in document["containers"] if "not one container" in c["warning"] and "of one image" in c["warning"]}
        self.assertEqual(named & {"app", "side"}, {"app", "side"})
        self.assertEqual([d for d in document["differences"] if d["kind"] in ("process", "mapping", "descriptor", "file", "layer")], [])
        ids = [{c["name"]: c["id"] for c in self.expect(ctriage("show", f"{self.ns}/{n}", "--json"), 0).json()["containers"]} for n in ("web-1", "web-2")]
        self.assertEqual({(c["name"], c["before"], c["after"]) for c in document["containers"] if c["name"] in ("app", "side")},
                         {(name, ids[0][name], ids[1][name]) for name in ("app", "side")})
        self.assertEqual({c["container"] for c in self.diff(f"{self.ns}/web-1", f"{self.ns}/web-2", "-c", "side")["compared"]}, {"side"})

    def test_bundle_and_live(self):
        """A change in one container is told of that one, and nothing of the other or of the sandbox."""
        out = self.temp()
        self.expect(ctriage("collect", f"{self.ns}/web-3", "-o", out), 0)
        bundle = self.one_bundle(out)
        self.assertEqual(self.diff(bundle, f"{self.ns}/web-3")["differences"], [])
        app = next(c for c in self.expect(ctriage("show", f"{self.ns}/web-3", "--json"), 0).json()["containers"] if c["name"] == "app")
        subprocess.run(["nsenter", "-t", str(app["init_pid"]), "-m", "-r", "/bin/sh", "-c", "echo evil > /etc/of-the-app; rm /bin/ls"],
                       check=True, env={"PATH": "/bin:/usr/bin"})
        document = self.diff(bundle, f"{self.ns}/web-3")
        self.assertEqual([(d["container"], d["kind"], d["change"], d["what"]) for d in document["differences"]],
                         [(app["id"], "file", "gone", "/bin/ls"), (app["id"], "file", "changed", "/etc/of-the-app")])
        self.assertEqual([c.get("warning") for c in document["containers"]], [None] * 3)
        self.assertEqual([d["what"] for d in document["differences"] if d.get("unsure")], [])
        self.assertEqual({c["kind"] for c in document["compared"] if not c["compared"] or c["why"]}, {"memory"})


class Checkpoints(Case):
    def diff(self, one, other, *arguments):
        return self.expect(ctriage("diff", os.path.join(DATA, one), os.path.join(DATA, other), *arguments, "--json"), 0).json()

    def test_the_same_in_two_forms(self):
        """Page maps of CRIU 4.1 and 4.2; the second has no rootfs-diff: its files are not all deleted."""
        document = self.diff("victim-podman.tar.zst", "victim-criu41-style.tar.zst")
        self.assertEqual(document["differences"], [])
        by = {c["kind"]: c for c in document["compared"]}
        self.assertFalse(by["file"]["compared"])
        self.assertIn("B has none", by["file"]["why"])
        self.assertTrue(by["memory"]["compared"])
        with open(os.path.join(DATA, "victim-podman.tar.zst.facts.json"), encoding="utf-8") as file:
            facts = json.load(file)
        self.assertEqual(by["process"]["before"], len(facts["processes"]))

    def test_one_container_later(self):
        """CRI-O and Podman checkpoints of one container, minutes apart: a few pages, and what the engines call it."""
        document = self.diff("crio.tar.xz", "victim-podman.tar.zst")
        self.assertEqual([c.get("warning") for c in document["containers"]], [None])
        self.assertEqual({d["kind"] for d in document["differences"] if not d.get("unsure")}, {"container", "memory"})
        one, other = (self.expect(ctriage("show", os.path.join(DATA, n), "--all", "--json"), 0).json() for n in ("crio.tar.xz", "victim-podman.tar.zst"))
        for kind, list_name in (("process", "processes"), ("mapping", "mappings"), ("descriptor", "descriptors"), ("socket", "sockets"), ("mount", "mounts")):
            counts = next(c for c in document["compared"] if c["kind"] == kind)
            self.assertEqual((counts["before"], counts["after"]), (len(one[list_name]), len(other[list_name])))
        paths = [{c["path"] for c in self.expect(ctriage("diff", os.path.join(DATA, n), "--json"), 0, 3).json()["changes"]}
                 for n in ("crio.tar.xz", "victim-podman.tar.zst")]
        self.assertEqual({d["what"] for d in document["differences"] if d["kind"] == "file"}, paths[0] ^ paths[1])

    def test_other_bytes_of_one_size_and_time(self):
        trees = [self.temp(), self.temp()]
        for tree in trees:
            subprocess.run(["tar", "-xf", os.path.join(DATA, "crio.tar.xz"), "-C", tree], check=True)
        path = os.path.join(trees[1], "rootfs-diff.tar")
        with tarfile.open(path) as tar:
            member = next(m for m in tar if m.isreg() and 0 < m.size < PAGE)
        with open(path, "r+b") as file:
            file.seek(member.offset_data)
            byte = file.read(1)
            file.seek(member.offset_data)
            file.write(bytes([byte[0] ^ 1]))
        document = self.expect(ctriage("diff", *trees, "--json"), 0).json()
        self.assertEqual([(d["kind"], d["change"], d["what"]) for d in document["differences"]], [("file", "changed", "/" + member.name.lstrip("./"))])

    def test_two_containers(self):
        document = self.diff("shell-podman.tar.gz", "victim-podman.tar.zst")
        self.assertIn("not one container", document["containers"][0]["warning"])
        facts = []
        for name in ("shell-podman.tar.gz", "victim-podman.tar.zst"):
            with open(os.path.join(DATA, name + ".facts.json"), encoding="utf-8") as file:
                facts.append({int(p["pid"]) for p in json.load(file)["processes"]})
        of = {c: {d["pid"] for d in document["differences"] if d["kind"] == "process" and d["change"] == c} for c in ("gone", "added", "changed")}
        self.assertEqual(of, {"gone": facts[0] - facts[1], "added": facts[1] - facts[0], "changed": facts[0] & facts[1]})
        text = self.expect(ctriage("diff", os.path.join(DATA, "shell-podman.tar.gz"), os.path.join(DATA, "victim-podman.tar.zst")), 0).out.decode()
        self.assertIn("env SECRET (hidden) -> none", text)
        self.assertIn("WARNING", text)

    def test_usage(self):
        first = os.path.join(DATA, "crio.tar.xz")
        self.expect(ctriage("diff", first, first, first), 2)
        self.expect(ctriage("diff", first, "--memory"), 2)
        self.expect(ctriage("diff", first, first, "--fail-on", "high"), 2)
        run = self.expect(ctriage("diff", first, "./nothing-here"), 1)
        self.assertIn(b"nothing-here", run.err)
        lines = [json.loads(line) for line in self.expect(ctriage("diff", first, first, "--format", "jsonl"), 0).out.splitlines()]
        self.assertEqual([line["schema"] for line in lines[:3]], ["ctriage.source/1", "ctriage.source/1", "ctriage.compared_container/1"])
