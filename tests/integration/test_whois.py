"""whois: which container a pid, path, port, address, cgroup, hash belongs to, on a real containerd pod."""
import hashlib
import os
import time

import lab
from lab import Box, Case, ctriage


def setUpModule():
    lab.binary()
    lab.need_root()
    lab.need("containerd", "runc", "ctr", "unshare", "pivot_root")


class Whois(Case):
    @classmethod
    def setUpClass(cls):
        cls.containerd = lab.Containerd()
        cls.addClassCleanup(cls.containerd.stop)
        cls.containerd.add_images({"/etc/of-the-app": b"x\n"})
        cls.ns = f"whois-{os.getpid()}"
        cls.containerd.run_pod(cls.ns, "web", "app", "cp /bin/busybox /tmp/nc; /tmp/nc -l -p 4747 & exec sleep 7777")
        time.sleep(1)
        rows = ctriage("list", "--json").json()["containers"]
        cls.row = next(r for r in rows if (r.get("pod") or {}).get("namespace") == cls.ns and not r.get("sandbox"))
        cls.pid = cls.row["init_pid"]

    def whois(self, token, *statuses):
        run = self.expect(ctriage("whois", token, "--json"), *(statuses or (0,)))
        return [(m["as"], m["detail"]) for m in run.json()["matches"] if m["container"] == self.row["id"]], run

    def test_pid(self):
        ((kind, detail),), _ = self.whois(str(self.pid))
        self.assertEqual(kind, "pid")
        self.assertIn(f"pid {self.pid} /bin/busybox", detail)
        self.expect(ctriage("whois", str(os.getpid())), 1)

    def test_container(self):
        self.assertEqual([k for k, _ in self.whois(self.row["id"])[0]], ["container"])
        self.assertEqual([k for k, _ in self.whois(self.row["id"][:12])[0]], ["container"])

    def test_port(self):
        matches, _ = self.whois(":4747")
        self.assertTrue([d for k, d in matches if k == "port" and "LISTEN" in d], matches)
        self.expect(ctriage("whois", ":4746"), 1)

    def test_address(self):
        matches, _ = self.whois("127.0.0.1")
        self.assertTrue([d for k, d in matches if k == "address"], matches)
        self.assertEqual(self.whois("::ffff:127.0.0.1")[0], matches)
        self.expect(ctriage("whois", "192.0.2.77"), 1)

    def test_program(self):
        with open(f"/proc/{self.pid}/exe", "rb") as file:
            digest = hashlib.sha256(file.read()).hexdigest()
        matches, _ = self.whois(digest)
        self.assertIn("program", {k for k, _ in matches})
        self.assertIn("program", {k for k, _ in self.whois("sha256:" + digest)[0]})

    def test_path(self):
        with open(f"/proc/{self.pid}/mountinfo", encoding="ascii") as file:
            root = next(line for line in file if line.split()[4] == "/")
        upper = root.split("upperdir=")[1].split(",")[0]
        matches, _ = self.whois(upper + "/tmp/nc")
        self.assertIn(("path", "UpperDir, /tmp/nc"), matches)
        matches, _ = self.whois(self.row["bundle_dir"])
        self.assertIn("path", {k for k, _ in matches})
        self.expect(ctriage("whois", "/etc/hostname"), 1)

    def test_cgroup(self):
        with open(f"/proc/{self.pid}/cgroup", encoding="ascii") as file:
            path = next(line.rstrip("\n").split(":", 2)[2] for line in file if line.rstrip("\n").split(":", 2)[2] != "/")
        self.assertIn("cgroup", {k for k, _ in self.whois(path)[0]})

    def test_without_engine(self):
        box = Box()
        self.addCleanup(box.stop)
        run = self.expect(ctriage("whois", str(box.pid)), 0)
        self.assertIn(f"ctriage collect pid:{box.pid}".encode(), run.out)

    def test_text_is_printable(self):
        run = self.expect(ctriage("whois", "\x1b[2Jx"), 1)
        self.assertNotIn(b"\x1b", run.out + run.err)
        self.assertEqual(run.out, b"")

