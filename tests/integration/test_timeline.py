"""timeline, hashes, iocs and rotate of a bundle: oracles are mactime, sha256sum and json."""
import csv
import glob
import io
import json
import os
import shutil
import subprocess
import tempfile

import lab
from lab import Box, BoxCase, ctriage

SCRIPT = r"""
mkdir -p /root/.ssh /root/.docker
printf -- '-----BEGIN OPENSSH PRIVATE KEY-----\nPLANTED\n-----END OPENSSH PRIVATE KEY-----\n' > /root/.ssh/id_ed25519
printf '{"auths":{"r.example":{"auth":"Ym9iOlBMQU5URURQQVNT"}}}' > /root/.docker/config.json
printf x > "/root/a|b
c"
touch -d '2001-01-01 00:00:00' /root/forged
cp /bin/busybox /tmp/implant
DB_PASSWORD=PLANTED sh -c 'while :; do sleep 1000; done' &
echo go
while :; do sleep 1000; done"""


def setUpModule():
    lab.binary()
    lab.need_root()
    lab.need("unshare", "pivot_root")


class OfABundle(BoxCase):
    def setUp(self):
        box = Box(SCRIPT, wait_for="go")
        self.addCleanup(box.stop)
        self.folder = tempfile.mkdtemp(prefix="ctriage-views-")
        self.addCleanup(shutil.rmtree, self.folder)
        run = subprocess.run([lab.binary(), "collect", f"pid:{box.pid}", "-o", self.folder, "--skip", "memory"],
                             capture_output=True)
        self.assertIn(run.returncode, (0, 3), run.stderr)
        self.bundle, = glob.glob(f"{self.folder}/*.tar")

    def out(self, *words):
        run = subprocess.run([lab.binary(), *words], capture_output=True)
        self.assertIn(run.returncode, (0, 3), run.stderr)
        return run.stdout.decode()

    def test_forms(self):
        lines = [json.loads(line) for line in self.out("timeline", self.bundle, "--as", "jsonl").splitlines()]
        events = [line for line in lines if line["schema"] == "ctriage.event/1"]
        self.assertLessEqual({line["schema"] for line in lines[len(events):]}, {"ctriage.gap/1"})
        self.assertEqual(events, sorted(events, key=lambda event: event["at"]))
        forged = [event for event in events if event.get("path") == "/root/forged"]
        self.assertEqual(forged[0]["at"], "2001-01-01T00:00:00.000000000Z")
        self.assertIn("born after it was modified", forged[0]["message"])
        self.assertTrue(any(event["kind"] == "process" for event in events))
        self.assertTrue(any(event["kind"] == "custody" for event in events))
        rows = list(csv.reader(io.StringIO(self.out("timeline", self.bundle, "--as", "csv"))))
        self.assertEqual({len(row) for row in rows}, {8})
        self.assertEqual(len(rows), len(events) + 1)
        for form in "timesketch", "ecs":
            lines = self.out("timeline", self.bundle, "--as", form).splitlines()
            self.assertEqual(len([json.loads(line) for line in lines]), len(events))

    def test_json_is_one_document(self):
        for view, name, kind in (("timeline", "events", "event"), ("hashes", "hashes", "hash"),
                                 ("iocs", "indicators", "indicator"), ("rotate", "credentials", "credential")):
            with self.subTest(view):
                document = json.loads(self.out(view, self.bundle, "--json"))
                self.assertEqual(document["schema"], f"ctriage.{view}/1")
                self.assertEqual(list(document)[-1], "gaps")
                lines = [json.loads(line) for line in self.out(view, self.bundle, "--format", "jsonl").splitlines()]
                items = [line for line in lines if line["schema"] == f"ctriage.{kind}/1"]
                for item in items:
                    del item["schema"]
                self.assertEqual(items, document[name])
                self.assertTrue(items or view == "iocs")
                gaps = [line for line in lines if line.get("schema") == "ctriage.gap/1"]
                self.assertEqual(lines[len(lines) - len(gaps):], gaps)
                self.assertEqual(len(gaps), len(document["gaps"]))

    def test_rotate_says_what_it_looked_at(self):
        looked = json.loads(self.out("rotate", self.bundle, "--json"))["looked_at"]
        self.assertGreater(looked["processes"], 0)
        self.assertGreater(looked["variables"], 0)
        self.assertGreater(looked["files_read"], 0)
        self.assertIn("-- ", self.out("rotate", self.bundle).splitlines()[-1])

    def test_mactime_reads_it(self):
        if not shutil.which("mactime"):
            self.skipTest("mactime of sleuthkit is not here")
        body = os.path.join(self.folder, "body")
        with open(body, "w") as file:
            file.write(self.out("timeline", self.bundle, "--as", "bodyfile"))
        lines = subprocess.run(["mactime", "-z", "UTC", "-d", "-b", body], capture_output=True, check=True).stdout.decode()
        forged = [line for line in lines.splitlines() if line.endswith('/root/forged"')]
        self.assertTrue(forged[0].startswith("Mon Jan 01 2001 00:00:00,0,ma"), forged)
        named = [line for line in lines.splitlines() if "a\\x7cb\\nc" in line]
        self.assertTrue(named)

    def test_sha256sum_checks_it(self):
        root = os.path.join(self.folder, "root")
        os.makedirs(f"{root}/tmp")
        lines = [line for line in self.out("hashes", self.bundle).splitlines() if line.endswith("  /tmp/implant")]
        self.assertEqual(len(lines), 1)
        with open(f"{root}/tmp/implant", "wb") as file:
            subprocess.run([lab.binary(), "cat", f"{self.bundle}:/tmp/implant"], stdout=file, check=True)
        checked = subprocess.run(["sha256sum", "-c"], input=lines[0].replace("  /", "  "), cwd=root, text=True,
                                 capture_output=True)
        self.assertEqual(checked.returncode, 0, checked.stderr)

    def test_iocs(self):
        once = self.out("iocs", self.bundle, "--all", "--as", "stix")
        self.assertEqual(once, self.out("iocs", self.bundle, "--all", "--as", "stix"))
        patterns = [item["pattern"] for item in json.loads(once)["objects"]]
        self.assertIn("[file:name = 'implant' AND file:parent_directory_ref.path = '/tmp']", patterns)
        misp = json.loads(self.out("iocs", self.bundle, "--all", "--as", "misp"))["Event"]["Attribute"]
        rows = list(csv.DictReader(io.StringIO(self.out("iocs", self.bundle, "--all"))))
        self.assertEqual([row["value"] for row in rows], [item["value"] for item in misp])

    def test_rotate_has_no_values(self):
        text = self.out("rotate", self.bundle)
        for wanted in "DB_PASSWORD", "/root/.ssh/id_ed25519", "r.example (bob)", "169.254.169.254":
            self.assertIn(wanted, text)
        for form in text, self.out("rotate", self.bundle, "--json"):
            for planted in "PLANTED", "Ym9iOlBMQU5URURQQVNT":
                self.assertNotIn(planted, form)
