"""sweep on real containerd pods: three replicas of which one is not like the others, another pod with the same program, indicators."""
import hashlib
import os

import lab
from engines import wait_until
from lab import Case, Containerd, ctriage

NS = f"sweep-{os.getpid()}"
MARK = "evil-marker-in-the-environment"
# busybox with two bytes more, called by the name of an applet.
INTRUDED = ("echo only-here > /dev/shm/note; mkdir /tmp/.x && cp /bin/busybox /tmp/.x/sleep && echo x >> /tmp/.x/sleep && "
            f"exec env SIGN={MARK} /tmp/.x/sleep 1000000")
REPLICAS = ("web-7d9f8c6b5-x2x4q", "web-7d9f8c6b5-b2b4b", "web-7d9f8c6b5-c2c4c")


NOTE = ("sha256", hashlib.sha256(b"only-here\n").hexdigest())  # of a file that nobody has open


def setUpModule():
    lab.binary()
    lab.need_root()
    lab.need("containerd", "runc", "ctr")


class Sweep(Case):
    @classmethod
    def setUpClass(cls):
        cls.lab = Containerd()
        cls.addClassCleanup(cls.lab.stop)
        cls.lab.add_images({"/etc/of-the-app": b"x\n"})
        cls.pods = {name: cls.lab.run_pod(NS, name, "app", INTRUDED if name == REPLICAS[1] else "exec sleep 1000000")
                    for name in REPLICAS}
        cls.pods["till"] = cls.lab.run_pod(NS, "till", "app", INTRUDED)
        with open("/bin/busybox", "rb") as file:
            cls.sha256 = hashlib.sha256(file.read() + b"x\n").hexdigest()
        wait_until(lambda: b"/tmp/.x" in ctriage("show", f"{NS}/till", "--ps").out, "the program")

    def sweep(self, *options, status=0):
        """The targets of our namespace, name to containers."""
        document = self.expect(ctriage("sweep", "--json", *options), status).json()
        ours = {t["target"].split("/")[1]: t["containers"] for t in document["targets"] if t["target"].startswith(NS + "/")}
        return document, ours

    def test_ranked(self):
        document, ours = self.sweep()
        self.assertEqual(set(ours), {*REPLICAS, "till"})
        rules = {name: {f["rule"] for c in containers for f in c["findings"]} for name, containers in ours.items()}
        for name in (REPLICAS[1], "till"):
            self.assertIn("CT-EXEC-003", rules[name])
        for name in (REPLICAS[0], REPLICAS[2]):
            self.assertNotIn("CT-EXEC-003", rules[name])
        order = [t["target"].split("/")[1] for t in document["targets"] if t["target"].startswith(NS + "/")]
        self.assertEqual(set(order[:2]), {REPLICAS[1], "till"})

    def test_what_they_share(self):
        document, _ = self.sweep()
        shared = [s for s in document["shared"] if s["value"] == self.sha256]
        self.assertEqual(len(shared), 1, document["shared"])
        self.assertEqual(shared[0]["places"], [f"{NS}/till/app as /tmp/.x/sleep", f"{NS}/{REPLICAS[1]}/app as /tmp/.x/sleep"])

    def test_the_odd_replica(self):
        document, _ = self.sweep()
        ours = [f for f in document["replicas"] if NS in f["what"]]
        self.assertEqual([(f["rule"], f["container"]) for f in ours], [("CT-REPLICA-001", self.pods[REPLICAS[1]].container_id)])
        self.assertIn(self.sha256, ours[0]["what"])
        # By label this one is swept alone: of one none is odd.
        alone = self.expect(ctriage("sweep", "--json", "-l", f"app={REPLICAS[1]}"), 0).json()
        self.assertEqual(alone["replicas"], [])

    def test_indicators(self):
        path = os.path.join(self.temp(), "iocs")
        with open(path, "w", encoding="ascii") as file:
            file.write(f"type,value,context\nsha256,{self.sha256},x\npath,/tmp/.x/sleep,\nstring,{MARK},\nip,203.0.113.99,\n"
                       f"SHA256,{NOTE[1]},\n")
        document, ours = self.sweep("-f", path)
        self.assertEqual(document["indicators"], 5)
        for name, containers in ours.items():
            kinds = {(m["kind"], m["indicator"]) for c in containers for m in c["matches"]}
            there = {("sha256", self.sha256), ("path", "/tmp/.x/sleep"), ("text", MARK), NOTE} if name in (REPLICAS[1], "till") else set()
            self.assertEqual(kinds, there, name)
        self.expect(ctriage("sweep", "-f", path, "--fail-on", "critical"), 4)
        text = self.expect(ctriage("sweep", "-f", path), 0).out.decode()
        self.assertRegex(text, rf"(?m)^!! {NS}/till/app ")
        self.assertRegex(text, rf"IOC  {MARK}  memory at 0x[0-9a-f]+ of \[stack\], pid \d+")
        with open(path, "w", encoding="ascii") as file:
            file.write("/tmp/x\nsha256,xyz,\n")
        self.assertIn(b"line 2: xyz", self.expect(ctriage("sweep", "-f", path), 1).err)

    def test_bundles(self):
        out = self.temp()
        for name in (REPLICAS[1], "till"):
            self.assertIn(ctriage("collect", f"{NS}/{name}", "-o", out, "--memory", "none").status, (0, 3))
        paths = sorted(os.path.join(out, name) for name in os.listdir(out))
        document = self.expect(ctriage("sweep", "--json", *paths), 0).json()
        self.assertEqual(len(document["targets"]), 2)
        self.assertEqual([s["value"] for s in document["shared"]], [self.sha256])


if __name__ == "__main__":
    lab.unittest.main()
