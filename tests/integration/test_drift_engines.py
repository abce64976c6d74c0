"""drift of the example intrusion (testdata/lab/attack.sh) in a Debian container of each engine: everything it did is named by
its rule, nothing else is; the same of the bundle."""
import os
import time

import debian
import each_engine
import engines
import lab
from lab import Bundle, Case, ctriage

IMAGE = "localhost/debian:1"
ABOVE_INFO = ("low", "medium", "high", "critical")
# What it did, the rule that says so, and where. The link, the FIFO, the sparse file, the moved directory and the new README are data.
DID = [
    ("a copy of sleep, setuid", "CT-FILE-001", "/usr/local/bin/.httpd"),
    ("its hard link", "CT-FILE-001", "/tmp/hardlink"),
    ("the copy is a hidden program", "CT-FILE-005", "/usr/local/bin/.httpd"),
    ("the link is a program", "CT-FILE-002", "/tmp/hardlink"),
    ("it runs", "CT-EXEC-003", "/usr/local/bin/.httpd"),
    ("a shell script for cron", "CT-FILE-002", "/usr/local/sbin/backup"),
    ("cron, misspelt", "CT-PERS-002", "/etc/crontab.d"),
    ("cron", "CT-PERS-002", "/etc/cron.d/backup"),
    ("a second root", "CT-PERS-016", "/etc/passwd"),
    ("ls with more bytes", "CT-FILE-004", "/usr/bin/ls"),
    ("passwd deleted", "CT-FILE-013", "/usr/bin/passwd"),
    ("a name with escapes and a line end", "CT-FILE-007", "/tmp/evil\x1b[2Jname\nnewline"),
    ("the implant lies there", "CT-FILE-002", "/tmp/implant"),
    ("and runs", "CT-EXEC-003", "/tmp/implant"),
    ("its copy runs deleted", "CT-EXEC-001", "/tmp/.cache/kworker"),
    ("called like a kernel thread", "CT-EXEC-009", "/tmp/.cache/kworker"),
    ("with code in memory", "CT-MEM-001", ""),
]
# Of a package database nobody but the intruder wrote: of the image's own package with the sum of the changed ls, and a package of
# his own. dpkg's log knows of neither.
FORGED = r"""
printf 'x' >> /usr/bin/ls
sums=/var/lib/dpkg/info/coreutils.md5sums; grep -v bin/ls$ $sums > /tmp/sums
echo "$(md5sum < /usr/bin/ls | cut -d' ' -f1)  bin/ls" >> /tmp/sums; cat /tmp/sums > $sums; rm /tmp/sums
mkdir -p /etc/cron.d; cp /usr/bin/id /usr/bin/netmon; printf x >> /usr/bin/netmon
printf '\nPackage: netmon\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1\nConffiles:\n /etc/cron.d/netmon %s\n' \
  "$(echo '* * * * * root netmon' | md5sum | cut -d' ' -f1)" >> /var/lib/dpkg/status
echo '* * * * * root netmon' > /etc/cron.d/netmon
printf '/.\n/usr\n/usr/bin\n/usr/bin/netmon\n/etc/cron.d/netmon\n' > /var/lib/dpkg/info/netmon.list
echo "$(md5sum < /usr/bin/netmon | cut -d' ' -f1)  usr/bin/netmon" > /var/lib/dpkg/info/netmon.md5sums
/usr/sbin/useradd --system --no-create-home --shell /usr/sbin/nologin service
echo ready > /tmp/ready; exec sleep 1000000
"""
DRIFTED = sorted([("CT-FILE-004", "/usr/bin/ls"), ("CT-FILE-002", "/usr/bin/netmon"), ("CT-PERS-002", "/etc/cron.d/netmon"),
                  *(("CT-FILE-016", f"/var/lib/dpkg/{name}") for name in ("info/coreutils.md5sums", "info/netmon.list",
                                                                       "info/netmon.md5sums", "status")),
                  *(("CT-PERS-017", f"/etc/{name}") for name in ("passwd", "shadow", "group", "gshadow"))])


def setUpModule():
    lab.binary()
    lab.need_root()
    lab.need("gcc", "zstd", "dpkg-deb", "tar")
    debian.need_debian(lab.unittest)


def named(document):
    """(rule, path) of what is above info."""
    return sorted((f["rule"], f.get("path", "")) for f in document["findings"] if f["severity"] in ABOVE_INFO)


def of_image(base):
    with open(os.path.join(os.path.dirname(__file__), "../../testdata/lab/attack.sh"), "rb") as file:
        script = file.read()
    return debian.archive(base, IMAGE, {"/implant": lab.build_implant(lab.BUILD_DIR), "/attack.sh": script,
                                        "/etc/nginx/nginx.conf": b"user www-data;\n"})


class OfEngine:
    @classmethod
    def setUpClass(cls):
        cls.engine = cls.kind()
        cls.addClassCleanup(cls.engine.stop)
        cls.engine.load(of_image(cls.engine.base))
        cls.victim = cls.engine.start("victim", IMAGE, ["/bin/sh", "/attack.sh"])
        cls.forger = cls.engine.start("forger", IMAGE, ["/bin/bash", "-ec", FORGED])
        cls.forger.wait_for("/tmp/ready")
        engines.wait_until(lambda: b"python" in read(f"/proc/{cls.victim.pid}/cmdline"), "the end of the script")
        time.sleep(0.2)

    def drift(self, *arguments):
        document = self.expect(ctriage("drift", *arguments, "--json"), 0).json()
        counts = document["changes"]
        self.assertEqual(counts["changes"], counts["named"] + counts["explained"] + counts["other"])
        return document

    def check(self, found, swap=()):
        expected = [(rule, path) for _, rule, path in DID]
        for old, new in swap:
            expected[expected.index(old)] = new
        self.assertEqual(found, sorted(expected))

    def test_live_and_bundle(self):
        live = self.drift(self.victim.target)
        self.check(named(live))
        (implant,) = [f for f in live["findings"] if f["rule"] == "CT-EXEC-003" and f["path"] == "/tmp/implant"]
        text = self.expect(ctriage("drift", self.victim.target), 0).out.decode()
        self.assertIn(f"the same bytes run in {self.victim.target} pid {implant['pid']}", text)

        out = self.temp()
        self.expect(ctriage("collect", self.victim.target, "-o", out), 0)
        path = self.one_bundle(out)
        bundled = self.drift(path)
        # Whose ls is, is told by the image's package database, which is not in a bundle.
        self.check(named(bundled), [(("CT-FILE-004", "/usr/bin/ls"), ("CT-FILE-003", "/usr/bin/ls"))])
        keys = {f["key"] for f in live["findings"]}
        self.assertEqual({f["rule"] for f in bundled["findings"] if f["key"] not in keys}, {"CT-FILE-003"})
        with Bundle(path) as bundle:
            recorded = bundle.records("findings.jsonl")
        self.assertEqual([f["key"] for f in bundled["findings"]][:len(recorded)], [f["key"] for f in recorded])

    def test_a_forged_package_database(self):
        self.assertEqual(named(self.drift(self.forger.target)), DRIFTED)
        out = self.temp()
        self.expect(ctriage("collect", self.forger.target, "-o", out), 0)
        found = named(self.drift(self.one_bundle(out)))
        for each in (("CT-FILE-003", "/usr/bin/ls"), ("CT-FILE-002", "/usr/bin/netmon"), ("CT-PERS-002", "/etc/cron.d/netmon"),
                     ("CT-FILE-016", "/var/lib/dpkg/status"), ("CT-FILE-016", "/var/lib/dpkg/info/coreutils.md5sums")):
            self.assertIn(each, found)


def read(path):
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


class CriTest(OfEngine, Case):
    kind = each_engine.Cri


class PodmanTest(OfEngine, Case):
    kind = each_engine.Podman


class DockerTest(OfEngine, Case):
    kind = each_engine.Docker


if __name__ == "__main__":
    lab.unittest.main()
