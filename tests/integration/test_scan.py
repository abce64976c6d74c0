"""scan --yara on a live container, its bundle and a checkpoint. The oracle is yara itself over the same bytes."""
import json
import os
import shutil
import subprocess
import tempfile

import lab
from lab import Box, Case, ctriage

DATA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "testdata", "checkpoint")
RULES = """
rule mark : test { meta: severity = "critical" author = "us" strings: $m = "yara-mark-here" condition: $m }
rule program { strings: $libc = "libc" ascii $name = /[a-z]+\\.so\\.[0-9]/ condition: uint32(0) == 0x464c457f and any of them }
"""
# Each place has the mark without its being in anybody's arguments.
SCRIPT = """
m=yara-mark; m=$m-here
mkdir -p /tmp/shm; echo "first line" > /tmp/changed; echo "$m" >> /tmp/changed
echo "$m" > /dev/shm/in-tmpfs
echo "0123456789$m" > /tmp/gone; exec 9< /tmp/gone; rm /tmp/gone
cp /bin/busybox /tmp/busybox; echo "$m" >> /tmp/busybox; /tmp/busybox sleep 100000 &
echo ready; while :; do sleep 1000; done
"""


def setUpModule():
    lab.binary()
    lab.need_root()
    lab.need("unshare", "pivot_root", "yara")


class Scan(Case):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="ctriage-test-")
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        cls.rules = os.path.join(cls.folder, "rules.yar")
        with open(cls.rules, "w") as file:
            file.write(RULES)
        cls.box = Box(SCRIPT, wait_for="ready")
        cls.addClassCleanup(cls.box.stop)
        cls.live = f"pid:{cls.box.pid}"
        ctriage("collect", cls.live, "-o", cls.folder)
        cls.bundle = os.path.join(cls.folder, next(n for n in os.listdir(cls.folder) if n.endswith(".tar")))

    def scan(self, source, *more, statuses=(0,)):
        return self.expect(ctriage("scan", "--yara", self.rules, source, *more, "--json"), *statuses).json()

    def marks(self, document):
        return [m for m in document["matches"] if m["rule"] == "mark"]

    def test_every_place_of_a_live_container(self):
        document = self.scan(self.live, "--all")
        marks = self.marks(document)
        places = {(m["kind"], m["path"]): m for m in marks}
        self.assertIn(("layer", "/tmp/changed"), places)
        self.assertIn(("layer", "/tmp/busybox"), places)
        self.assertIn(("program", "/tmp/busybox"), places)
        self.assertIn(("ghost", "/tmp/gone"), places)
        changed = places["layer", "/tmp/changed"]
        self.assertEqual((changed["severity"], changed["tags"], changed["offset_bytes"]), ("critical", ["test"], 11))
        self.assertEqual(changed["strings"], [{"id": "$m", "offset_bytes": 11, "size_bytes": 14, "bytes": "yara-mark-here"}])
        self.assertEqual(places["ghost", "/tmp/gone"]["offset_bytes"], 10)
        self.assertTrue([m for m in marks if m["kind"] == "memory" and m["pid"] == self.box.pid and "address" in m])
        self.assertEqual(document["summary"]["matches"], len(document["matches"]))
        self.assertEqual(document["summary"]["patterns"], 2)
        if os.path.ismount(f"/proc/{self.box.pid}/root/dev/shm"):
            self.assertIn(("tmpfs", "/dev/shm/in-tmpfs"), places)

    def test_the_address_is_where_it_is(self):
        match = next(m for m in self.marks(self.scan(self.live, "--all")) if m["kind"] == "memory")
        with open(f"/proc/{match['pid']}/mem", "rb", buffering=0) as memory:
            memory.seek(int(match["strings"][0]["address"], 16))
            self.assertEqual(memory.read(14), b"yara-mark-here")

    def test_one_process_alone(self):
        document = self.scan(self.live)
        self.assertLessEqual({m["kind"] for m in document["matches"]}, {"memory", "program"})

    def test_a_bundle_has_the_same(self):
        places = {(m["kind"], m["path"]) for m in self.marks(self.scan(self.bundle))}
        self.assertIn(("layer", "/tmp/changed"), places)
        self.assertIn(("layer", "/tmp/busybox"), places)
        self.assertTrue([kind for kind, path in places if kind == "program"])
        self.assertTrue([kind for kind, path in places if kind == "memory"])

    def test_yara_says_the_same_of_a_file(self):
        document = self.scan(self.live, "--all")
        for path in ("/tmp/busybox", "/tmp/changed"):
            copy = os.path.join(self.folder, "copy")
            with open(copy, "wb") as file:
                subprocess.run([lab.binary(), "cat", f"{self.live}:{path}"], stdout=file, check=True)
            told = subprocess.run(["yara", "-s", self.rules, copy], capture_output=True, check=True, text=True).stdout
            theirs, rule = {}, None
            for line in told.splitlines():
                if line.startswith("0x"):
                    theirs[rule].append(int(line.split(":")[0], 16))
                else:
                    rule = line.split()[0]
                    theirs[rule] = []
            ours = {m["rule"]: m for m in document["matches"] if (m["kind"], m["path"]) == ("layer", path)}
            self.assertEqual(set(ours), set(theirs))
            for rule, offsets in theirs.items():
                self.assertEqual(ours[rule]["string_count"], len(offsets))
                self.assertLessEqual({s["offset_bytes"] for s in ours[rule]["strings"]}, set(offsets))

    def test_a_checkpoint(self):
        with open(self.rules + ".two.yar", "w") as file:
            file.write('rule implant { strings: $a = "implant" fullword condition: $a }')
        run = ctriage("scan", "--yara", self.rules + ".two.yar", os.path.join(DATA, "victim-podman.tar.zst"), "--json")
        kinds = {m["kind"] for m in self.expect(run, 0).json()["matches"]}
        self.assertLessEqual({"memory", "layer"}, kinds)

    def test_text_and_statuses(self):
        run = self.expect(ctriage("scan", "--yara", self.rules, self.live, "--all"), 0)
        self.assertIn(b"CRIT mark  ", run.out)
        self.assertIn(b"/tmp/changed", run.out)
        self.expect(ctriage("scan", "--yara", self.rules, self.live, "--fail-on", "high"), 4)
        self.expect(ctriage("scan", "--yara", self.rules, self.live, "--object-timeout", "soon"), 2)
        self.expect(ctriage("scan", self.live), 2)
        lines = self.expect(ctriage("scan", "--yara", self.rules, self.bundle, "--format", "jsonl"), 0).out.splitlines()
        self.assertEqual(json.loads(lines[-1])["schema"], "ctriage.search_summary/1")

    def test_mistakes_in_rules(self):
        bad = os.path.join(self.folder, "bad.yar")
        compiled = os.path.join(self.folder, "compiled.yarc")
        with open(bad, "w") as file:
            file.write("rule a { condition: true }\nrule b {\n condition: $x }\n")
        run = self.expect(ctriage("scan", "--yara", bad, self.live), 1)
        self.assertIn(f"{bad}:3: undefined string".encode(), run.err)
        subprocess.run(["yarac", self.rules, compiled], check=True)
        self.assertIn(b"compiled by yarac", self.expect(ctriage("scan", "--yara", compiled, self.live), 1).err)

    def test_directories_of_rules(self):
        """A ConfigMap's volume has each file once; what a link to a directory leads to is not left out in silence."""
        rules = os.path.join(self.folder, "configmap")
        os.makedirs(os.path.join(rules, "..2026_11_23"))
        shutil.copy(self.rules, os.path.join(rules, "..2026_11_23", "mark.yar"))
        os.symlink("..2026_11_23", os.path.join(rules, "..data"))
        os.symlink("..data/mark.yar", os.path.join(rules, "mark.yar"))
        once = self.expect(ctriage("scan", "--yara", rules, self.bundle, "--json"), 0).json()
        self.assertEqual(len(once["matches"]), len(self.scan(self.bundle)["matches"]))
        os.symlink("/", os.path.join(rules, "more"))
        self.assertIn(b"more: leads to a directory", self.expect(ctriage("scan", "--yara", rules, self.bundle), 1).err)

    def test_what_no_scanner_here_answers(self):
        asking = os.path.join(self.folder, "asking.yar")
        with open(asking, "w", encoding="ascii") as file:
            file.write('rule x { strings: $m = "yara-mark-here" condition: $m and filetype == "EXE" }\n')
        document = self.expect(ctriage("scan", "--yara", asking, self.bundle, "--json"), 0).json()
        self.assertIn("asks for filetype or owner", str(document["gaps"]))
        self.assertNotIn("asks for filetype", str(self.scan(self.bundle)["gaps"]))

    def test_what_takes_too_long_is_lost(self):
        slow = os.path.join(self.folder, "slow.yar")
        with open(slow, "w") as file:
            file.write('rule slow { condition: filename == "changed" and for all i in (1..900000000) : '
                       "( for all j in (1..900000000) : ( uint8(0) == 0 or i + j > 0 ) ) }")
        document = self.expect(ctriage("scan", "--yara", slow, self.bundle, "--object-timeout", "1s", "--json"), 3).json()
        lost = [g["origin"] for g in document["gaps"] if g["impact"] == "lost"]
        self.assertEqual(lost, ["/tmp/changed"])
        self.assertFalse(document["summary"]["complete"])
