"""drift of the example intrusion when the container has stopped (on the node, and of a disk that holds the engine's directory), and of
its checkpoints."""
import os
import subprocess

import debian
import each_engine
import lab
from checkpoints import DATA, Unpacked
from lab import Case, ctriage
from test_drift_engines import DID, IMAGE, named, of_image, read
from engines import wait_until

RUNNING = ("CT-EXEC", "CT-MEM")
# What a checkpoint without the image's layers can say: added or changed nobody knows; deleted programs, whose ls it is neither.
OF_CHECKPOINT = [(rule, path) for _, rule, path in DID if rule not in ("CT-FILE-004", "CT-FILE-013") and not rule.startswith(RUNNING)]


def setUpModule():
    lab.binary()
    lab.need_root()
    lab.need("gcc", "zstd", "xz", "dpkg-deb", "tar")
    debian.need_debian(lab.unittest)


class Stopped:
    @classmethod
    def setUpClass(cls):
        cls.engine = cls.kind()
        cls.addClassCleanup(cls.engine.stop)
        cls.engine.load(of_image(cls.engine.base))
        cls.victim = cls.engine.start("victim", IMAGE, ["/bin/sh", "/attack.sh"])
        wait_until(lambda: b"python" in read(f"/proc/{cls.victim.pid}/cmdline"), "the end of the script")
        cls.engine.start("neighbour", IMAGE, ["/bin/sleep", "1000000"])  # who runs leads to the engine's directory
        cls.engine.stop_container(cls.victim)

    def test_on_the_node_and_on_a_disk(self):
        expected = sorted((rule, path) for _, rule, path in DID if not rule.startswith(RUNNING))
        document = self.expect(ctriage("drift", self.victim.target, "--json"), 0).json()
        self.assertEqual(named(document), expected)
        self.assertIn("processes", [c["facet"] for c in document["coverage"] if c["level"] == "none"])
        disk = self.temp()
        where = os.path.join(disk, each_engine.DATA_DIRECTORY[self.engine.kind])
        os.makedirs(where)
        subprocess.run(["mount", "--rbind", self.engine.data, where], check=True)
        self.addCleanup(subprocess.run, ["umount", "-R", where], check=True)
        of_disk = self.expect(ctriage("drift", self.victim.target, "--root", disk, "--json"), 0).json()
        self.assertEqual(named(of_disk), expected)
        self.assertEqual([f["key"] for f in of_disk["findings"]], [f["key"] for f in document["findings"]])


class CriStopped(Stopped, Case):
    kind = each_engine.Cri


class PodmanStopped(Stopped, Case):
    kind = each_engine.Podman


class DockerStopped(Stopped, Case):
    kind = each_engine.Docker


class Checkpoint(Unpacked):
    def check(self, path):
        document = self.expect(ctriage("drift", path, "--json"), 0, 3).json()
        found = named(document)
        missing = [each for each in OF_CHECKPOINT if each not in found]
        self.assertEqual(missing, [])
        self.assertLessEqual({"CT-EXEC-001", "CT-EXEC-009", "CT-MEM-001"}, {rule for rule, _ in found})
        return found

    def test_podman(self):
        path = os.path.join(self.dir, "victim.tar")
        with open(path, "wb") as out:
            subprocess.run(["zstd", "-dcq", os.path.join(DATA, "victim-podman.tar.zst")], stdout=out, check=True)
        self.check(path)

    def test_cri_o(self):
        self.check(self.plain)


if __name__ == "__main__":
    lab.unittest.main()
