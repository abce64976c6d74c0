"""Targets by label, `list --size`, and what is told of a pod's container that has ended, on real containerd pods."""
import os

import lab
from lab import Case, Containerd, ctriage
from engines import wait_until

NS = f"targets-{os.getpid()}"
# Whoever comes first stays: the second container of the pod ends with an error.
SCRIPT = "dd if=/dev/zero of=/tmp/blob bs=1M count=3 2>/dev/null; mkdir /shared/first 2>/dev/null && exec sleep 1000000; exit 7"


def setUpModule():
    lab.binary()
    lab.need_root()
    lab.need("containerd", "runc", "ctr")


class Targets(Case):
    @classmethod
    def setUpClass(cls):
        cls.lab = Containerd()
        cls.addClassCleanup(cls.lab.stop)
        cls.lab.add_images({"/etc/of-the-app": b"x\n"})
        for name in ("web", "till"):
            shared = os.path.join(cls.lab.base, f"shared-{name}")
            os.mkdir(shared)
            cls.lab.run_pod(NS, name, "app", SCRIPT, mounts=[("/shared", shared, False)], more=[("side", 2)])
        wait_until(lambda: len([r for r in cls.rows() if r["state"] == "exited"]) == 2, "the end of the second containers")

    @classmethod
    def rows(cls, *options):
        rows = ctriage("list", "--json", *options).json()["containers"]
        return [r for r in rows if (r.get("pod") or {}).get("namespace") == NS and not r.get("sandbox")]

    def test_list_by_label(self):
        names = {(r["pod"]["name"], r["name"]) for r in self.rows("-l", "app=web")}  # the label is the pod's
        self.assertEqual(names, {("web", "app"), ("web", "side")})
        names = {(r["pod"]["name"], r["name"]) for r in self.rows("-l", "io.kubernetes.container.name=app")}
        self.assertEqual(names, {("web", "app"), ("till", "app")})
        self.assertEqual(self.rows("-l", "app=web", "-l", "app=till"), [])
        self.assertIn(b"not key=value", self.expect(ctriage("list", "-l", "web"), 1).err)

    def test_size(self):
        for row in self.rows("--size"):
            upper = row.get("upper_bytes")
            if row["state"] == "exited":
                self.assertEqual(row["attempt"], 2)  # of the record: its sandbox does not say it
                self.assertIsNone(upper)
            else:
                self.assertTrue(3 << 20 <= upper < 4 << 20, upper)

    def test_source_by_label(self):
        run = self.expect(ctriage("show", "-n", NS, "-l", "app=web", "--json"), 3)
        self.assertEqual({c["name"] for c in run.json()["containers"] if not c["sandbox"]}, {"app"})
        # Several: one after the other. Only what has the label: neither the sandbox nor the one that has ended.
        run = self.expect(ctriage("show", "-n", NS, "-l", "io.kubernetes.container.name=app", "--json"), 0)
        shown = [lab.json.loads(line) for line in run.out.splitlines()]
        self.assertEqual([d["source"]["target"] for d in shown], [f"{NS}/till", f"{NS}/web"])
        self.assertEqual([[c["name"] for c in d["containers"]] for d in shown], [["app"], ["app"]])
        self.expect(ctriage("show"), 2)

    def test_an_ended_sibling(self):
        """It is missing from the pod, and not from the one container that was asked for."""
        run = self.expect(ctriage("diff", f"{NS}/web", "--json"), 3)
        self.assertIn("side", str([g for g in run.json()["gaps"] if g["impact"] == "lost"]))
        for arguments in ((f"{NS}/web/app",), (f"{NS}/web", "-c", "app")):
            run = self.expect(ctriage("diff", *arguments, "--json"), 0)
            self.assertEqual([g for g in run.json()["gaps"] if g["impact"] == "lost"], [])
