"""selftest: what it says is so, with all rights and with none."""
import glob
import os
import pwd
import shutil
import subprocess

import lab
from lab import Case, ctriage

NAMES = ["rights", "openat2", "clone", "landlock", "node", "procfs", "sandbox", "yama", "pagemap", "memory", "conntrack", "freezer"]


def setUpModule():
    lab.binary()
    lab.need_root()
    lab.need("setpriv")


class Selftest(Case):
    def checks(self, run):
        document = self.expect(run, 0).json()
        self.assertEqual(document["schema"], "ctriage.selftest/1")
        self.assertEqual([c["name"] for c in document["checks"]], NAMES)
        for check in document["checks"]:
            self.assertEqual("without" in check and check["without"] != "", check["ability"] != "works", check)
        return {c["name"]: c for c in document["checks"]}

    def test_with_all_rights(self):
        checks = self.checks(ctriage("selftest", "--json"))
        for name in ("openat2", "clone", "memory"):
            self.assertEqual(checks[name]["ability"], "works", checks[name])
        self.assertIn("PROT_NONE", checks["memory"]["found"])
        with open("/proc/self/status", encoding="ascii") as status:
            (capabilities,) = [int(line.split()[1], 16) for line in status if line.startswith("CapEff")]
        missing = [name for bit, name in ((2, "CAP_DAC_READ_SEARCH"), (3, "CAP_FOWNER"), (12, "CAP_NET_ADMIN"), (19, "CAP_SYS_PTRACE"),
                                          (21, "CAP_SYS_ADMIN"), (34, "CAP_SYSLOG")) if not capabilities >> bit & 1]
        for name in missing:
            self.assertIn(name, checks["rights"]["found"])
        self.assertEqual(checks["rights"]["ability"], "limited" if missing else "works")
        with open("/proc/self/mounts", encoding="utf-8") as mounts:
            for line in mounts:
                _, point, kind, options = line.split()[:4]
                if kind == "cgroup2" or kind == "cgroup" and "freezer" in options.split(","):
                    self.assertIn(f"at {point}", checks["freezer"]["found"])
                    self.assertNotIn(f"at {point} (", checks["freezer"]["found"], "it could not be tried")
        self.assertEqual(checks["freezer"]["ability"], "works")
        text = self.expect(ctriage("selftest"), 0).out.decode()
        self.assertEqual([line.split()[0] for line in text.splitlines() if line[:1] != " "], NAMES)

    def test_with_none(self):
        user = pwd.getpwnam("nobody")
        directory = self.temp()
        os.chmod(directory, 0o755)
        program = os.path.join(directory, "ctriage")  # the build tree may be closed to others
        shutil.copy(lab.binary(), program)
        prefix = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all",
                  "--no-new-privs"]
        checks = self.checks(ctriage("selftest", "--json", prefix=prefix, program=program, cwd=directory))
        self.assertEqual(checks["rights"]["ability"], "missing")
        self.assertIn("CAP_SYS_PTRACE", checks["rights"]["found"])
        self.assertEqual(checks["clone"]["ability"], "missing")
        self.assertIn("Operation not permitted", checks["clone"]["found"])
        self.assertEqual(checks["procfs"]["ability"], "limited")
        self.assertEqual(checks["openat2"]["ability"], "works")

    def test_nothing_is_left(self):
        groups = glob.glob("/sys/fs/cgroup/**/ctriage-selftest-*", recursive=True)
        before = subprocess.run(["cat", "/proc/self/mounts"], stdout=subprocess.PIPE, check=True).stdout
        self.expect(ctriage("selftest"), 0)
        self.assertEqual(subprocess.run(["cat", "/proc/self/mounts"], stdout=subprocess.PIPE, check=True).stdout, before)
        self.assertEqual(glob.glob("/sys/fs/cgroup/**/ctriage-selftest-*", recursive=True), groups)
