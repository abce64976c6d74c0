"""drift: each thing an intruder did is named by its rule, and nothing else is."""
import os
import time

import lab
from checkpoints import Unpacked
from lab import Box, Bundle, Case, ctriage

ABOVE_INFO = ("low", "medium", "high", "critical")


def setUpModule():
    lab.binary()
    lab.need_root()
    lab.need("unshare", "nsenter", "pivot_root", "zstd", "gcc", "xz")


def named(document):
    """(rule, path) of what is above info."""
    return sorted((f["rule"], f.get("path", "")) for f in document["findings"] if f["severity"] in ABOVE_INFO)


class DriftCase(Case):
    def box(self, *arguments, **options):
        made = Box(*arguments, **options)
        self.addCleanup(made.stop)
        return made

    def drift(self, source, *options, statuses=(0,)):
        document = self.expect(ctriage("drift", source, "--json", *options), *statuses).json()
        self.assertEqual(document["schema"], "ctriage.drift/1")
        counts = document["changes"]
        self.assertEqual(counts["changes"], counts["named"] + counts["explained"] + counts["other"])
        self.assertEqual(counts["explained"], sum(each["changes"] for each in document["explained"]))
        return document


class Intrusion(DriftCase):
    # The same-size change of /etc/passwd has its old time; README and motd are data.
    EXPECTED = [("CT-EXEC-001", "/tmp/.cache/kworker"), ("CT-EXEC-002", "/memfd:kthreadd"),
                ("CT-EXEC-003", "/tmp/implant"), ("CT-EXEC-009", "/memfd:kthreadd"),
                ("CT-EXEC-009", "/tmp/.cache/kworker"), ("CT-FILE-001", "/usr/local/bin/.httpd"),
                ("CT-FILE-002", "/tmp/implant"), ("CT-FILE-002", "/usr/local/bin/backup"),
                ("CT-FILE-005", "/usr/local/bin/.httpd"), ("CT-MEM-001", ""), ("CT-MEM-001", ""),
                ("CT-PERS-006", "/etc/passwd")]

    def played(self):
        return self.box(lab.intrusion() + "while :; do sleep 1000; done", wait_for="intrusion played",
                        files={"/opt/implant": lab.build_implant(lab.BUILD_DIR)})

    def test_live_and_bundle(self):
        box = self.played()
        live = self.drift(f"pid:{box.pid}")
        self.assertEqual(named(live), self.EXPECTED)
        self.assertEqual([f["id"] for f in live["findings"]], [f"F{n}" for n in range(1, len(live["findings"]) + 1)])
        again = self.drift(f"pid:{box.pid}")
        self.assertEqual([f["key"] for f in live["findings"]], [f["key"] for f in again["findings"]])

        self.expect(ctriage("drift", f"pid:{box.pid}", "--fail-on", "high"), 4)
        shown = self.expect(ctriage("show", f"pid:{box.pid}", live["findings"][0]["id"]), 0).out.decode()
        self.assertIn(live["findings"][0]["rule"], shown)

        out = self.temp()
        self.expect(ctriage("collect", f"pid:{box.pid}", "-o", out), 0)
        path = self.one_bundle(out)
        bundled = self.drift(path)
        self.assertEqual(named(bundled), self.EXPECTED)
        with Bundle(path) as bundle:
            recorded = bundle.records("findings.jsonl")
        self.assertEqual([f["key"] for f in bundled["findings"]][:len(recorded)], [f["key"] for f in recorded])
        self.assertEqual([f["id"] for f in bundled["findings"]], [f"F{n}" for n in range(1, len(bundled["findings"]) + 1)])

    def test_known_good_and_suppressed(self):
        box = self.played()
        findings = self.drift(f"pid:{box.pid}")["findings"]
        folder = self.temp()
        hashes = os.path.join(folder, "hashes")
        with open(hashes, "w") as file:
            file.write(lab.sha256_file(f"{box.root}/tmp/implant") + "  implant\n")
        known = self.drift(f"pid:{box.pid}", "--known-good", hashes)
        kept = sum(each["findings"] for each in known["kept_back"])
        self.assertGreater(kept, 0)
        self.assertEqual(len(known["findings"]) + kept, len(findings))
        self.assertNotIn("/tmp/implant", [f.get("path") for f in known["findings"] if f["rule"] == "CT-FILE-002"])
        rules = self.temp()
        with open(os.path.join(rules, "own.json"), "w") as file:
            file.write('{"version": 1, "suppress": [{"rule": "CT-FILE-001", "where": {"path": "/usr/local/bin/.httpd"}, '
                       '"reason": "ours", "until": "2099-01-01"}, {"rule": "CT-FILE-005", "where": {"path": '
                       '"/usr/local/bin/.httpd"}, "reason": "was ours", "until": "2001-01-01"}]}')
        document = self.drift(f"pid:{box.pid}", "--rules", rules)
        self.assertEqual(document["kept_back"], [
            {"rule": "CT-FILE-001", "reason": "ours", "until": "2099-01-01", "expired": False, "findings": 1},
            {"rule": "CT-FILE-005", "reason": "was ours", "until": "2001-01-01", "expired": True, "findings": 1}])
        self.assertNotIn("CT-FILE-001", [f["rule"] for f in document["findings"]])
        screen = self.expect(ctriage("drift", f"pid:{box.pid}", "--rules", rules), 0).out.decode()
        self.assertIn("-- 1 finding kept back: CT-FILE-001, ours, until 2099-01-01", screen)
        self.assertIn("-- 1 finding no longer kept back: CT-FILE-005, was ours, until 2001-01-01", screen)
        with open(hashes, "w") as file:
            file.write("nonsense\n")
        self.assertIn(b"line 1", self.expect(ctriage("drift", f"pid:{box.pid}", "--known-good", hashes), 1).err)

    def test_screen(self):
        box = self.played()
        text = self.expect(ctriage("drift", f"pid:{box.pid}"), 0).out.decode()
        lines = text.splitlines()
        head = next(n for n, line in enumerate(lines) if line.startswith("ID  SEV"))
        self.assertEqual(lines[head + 1].split()[1], "CRIT")
        self.assertIn("LISTEN 127.0.0.1:4444", text)
        self.assertIn("-- 2 critical, 5 high, 5 medium", text)
        self.assertIn(f"next      ctriage show pid:{box.pid} F", text)
        self.assertEqual(self.expect(ctriage("findings", f"pid:{box.pid}"), 0).out.decode().splitlines()[head], lines[head])


class Unmodified(DriftCase):
    def test_busybox(self):
        box = self.box("mkdir -p /var/log /tmp/c; sh -c 'sleep 3333 & wait' & echo x > /var/log/app.log; "
                       "echo 7 > /tmp/app.pid; while :; do sleep 1000; done")
        time.sleep(1)
        document = self.drift(f"pid:{box.pid}")
        self.assertEqual(named(document), [])
        reasons = {each["reason"]: each["changes"] for each in document["explained"]}
        self.assertEqual(reasons["log"], 1)
        self.assertEqual(reasons["pid file or lock"], 1)
        listed = self.expect(ctriage("drift", f"pid:{box.pid}", "--explained"), 0).out.decode()
        self.assertIn("explained  /var/log/app.log  log", listed)


class Patched(DriftCase):
    """Pages of code that are written to through /proc/PID/mem become private copies, as ptrace(2) makes them."""

    def setUp(self):
        self.sleeper = self.box("sleep 7777 & while :; do sleep 1000; done")
        time.sleep(0.5)
        for pid in self.sleeper.pids():
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                if file.read().startswith(b"sleep\x007777"):
                    self.pid = pid
        with open(f"/proc/{self.pid}/maps", encoding="ascii") as file:
            code = next(line.split() for line in file if " r-xp " in line and line.rstrip().endswith("/bin/busybox"))
        start, end = (int(word, 16) for word in code[0].split("-"))
        self.address = end - 0x1800  # far from what runs
        self.offset = int(code[2], 16) + self.address - start

    def poke(self, data, at=0):
        with open(f"/proc/{self.pid}/mem", "r+b", buffering=0) as memory:
            memory.seek(self.address + at)
            was = memory.read(len(data) or 4)
            memory.seek(self.address + at)
            memory.write(data or was)
        return was

    def code_findings(self):
        document = self.drift(f"pid:{self.sleeper.pid}")
        return [f for f in document["findings"] if f["rule"] in ("CT-MEM-004", "CT-MEM-005")]

    def test_a_patch(self):
        self.assertEqual(self.code_findings(), [])
        was = self.poke(b"")  # a copy that is as the file
        self.assertEqual(self.code_findings(), [])
        patch = bytes(byte ^ 0xff for byte in was)
        self.poke(patch)
        (finding,) = self.code_findings()
        self.assertEqual((finding["rule"], finding["severity"], finding["pid"], finding["path"]),
                         ("CT-MEM-004", "high", self.pid, "/bin/busybox"))
        self.assertIn(f"4 bytes differ, processes: 1): the first at {self.offset:#x} of the file: "
                      f"{was.hex()} there, {patch.hex()} in memory", finding["what"])
        self.poke(was)
        self.assertEqual(self.code_findings(), [])

    def test_a_breakpoint(self):
        at = next(n for n in range(64) if self.poke(b"", n)[:1] != b"\xcc")
        self.poke(b"\xcc", at)
        (finding,) = self.code_findings()
        self.assertEqual((finding["rule"], finding["severity"]), ("CT-MEM-005", "info"))


class Archive(DriftCase):
    def test_iocs_have_hashes_of_changed_files(self):
        archive = os.path.join(os.path.dirname(__file__), "..", "..", "testdata", "checkpoint", "victim-podman.tar.zst")
        rows = self.expect(ctriage("iocs", archive), 0, 3).out.decode().splitlines()
        implant = self.expect(ctriage("hashes", archive), 0, 3).out.decode().splitlines()
        digest = next(line.split()[0] for line in implant if line.endswith("  /tmp/implant"))
        self.assertTrue([row for row in rows if row.startswith(f"sha256,{digest},")], rows)
        self.assertNotIn("CT-MEM-006", [f["rule"] for f in self.drift(archive)["findings"]])


class OneByOne(DriftCase):
    def test_what_an_intruder_may_do(self):
        box = self.box("while :; do sleep 1000; done")
        box.run("""
printf '#!/bin/sh\\nsleep 5555\\n' > /dev/shm/job; sh /dev/shm/job > /dev/null 2>&1 &
printf '#!/bin/sh\\nsleep 5556\\n' > /tmp/gone.sh; sh /tmp/gone.sh > /dev/null 2>&1 & sleep 0.5; rm /tmp/gone.sh
echo /tmp/x.so > /etc/ld.so.preload
mkdir -p /etc/cron.d /root/.ssh
echo '* * * * * root /x' > /etc/cron.d/x
echo key > /root/.ssh/authorized_keys
: > /tmp/.wh.passwd
LD_PRELOAD=/tmp/x.so sleep 5557 > /dev/null 2>&1 &
""")
        time.sleep(0.5)
        self.addCleanup(box.stop)
        found = named(self.drift(f"pid:{box.pid}"))
        scripts = [rule for rule, path in found if rule == "CT-EXEC-007"]
        self.assertEqual(len(scripts), 2, found)
        for rule, path in (("CT-PERS-001", "/etc/ld.so.preload"), ("CT-PERS-002", "/etc/cron.d/x"),
                           ("CT-PERS-005", "/root/.ssh/authorized_keys"), ("CT-FILE-008", "/tmp/.wh.passwd")):
            self.assertIn((rule, path), found)
        self.assertIn("CT-LIB-004", [rule for rule, _ in found])

    def test_a_mask(self):
        box = self.box("while :; do sleep 1000; done", files={"/opt/implant": lab.build_implant(lab.BUILD_DIR)})
        process = box.enter("/bin/sh", "-c", "exec -a '[kworker/u8:1]' /opt/implant run 4777")
        self.addCleanup(lambda: (process.kill(), process.wait()))
        time.sleep(1)
        self.assertIn("CT-EXEC-009", [rule for rule, _ in named(self.drift(f"pid:{box.pid}"))])


class Checkpoint(Unpacked):
    def test_kinds(self):
        document = self.expect(ctriage("drift", self.plain, "--json"), 0, 3).json()
        rules = {f["rule"] for f in document["findings"]}
        self.assertLessEqual({"CT-EXEC-001", "CT-FILE-001", "CT-FILE-002", "CT-PERS-002", "CT-PERS-016"}, rules)
        uncovered = {c["facet"] for c in document["coverage"] if c["level"] == "none"}
        self.assertNotIn("processes", uncovered)
