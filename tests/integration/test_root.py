"""--root: the node from inside a pod that has its / at /host, and a disk that nothing runs on."""
import json
import os
import subprocess

import lab
from lab import Bundle, Case, Containerd, Run, ctriage

NS = f"root-{os.getpid()}"


def setUpModule():
    lab.binary()
    lab.need_root()
    lab.need("containerd", "runc", "ctr")


class FromAPod(Case):
    """A privileged pod with a pid namespace of its own and the host's root at /host, read-only. What it lacks of the
    host's libraries it takes from there."""

    @classmethod
    def setUpClass(cls):
        cls.lab = Containerd()
        cls.addClassCleanup(cls.lab.stop)
        cls.lab.add_images({"/etc/of-the-app": b"x\n"})
        cls.lab.run_pod(NS, "web", "app", "echo evil > /tmp/evil; exec sleep 1000000")
        cls.evidence = os.path.join(cls.lab.base, "evidence")
        os.mkdir(cls.evidence)
        cls.tool = cls.lab.run_pod(NS, "tool", "ctriage", "exec sleep 1000000", privileged=True,
                                   mounts=[("/host", "/", True), ("/evidence", cls.evidence, False)])

    def inside(self, *arguments):
        """ctriage in the pod, started through its runtime."""
        libraries = ":".join("/host" + path for path in ("/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu"))
        command = ["ctr", "-a", self.lab.socket, "-n", "k8s.io", "task", "exec", "--exec-id", f"e{os.urandom(4).hex()}",
                   self.tool.container_id, "/bin/env", "ASAN_OPTIONS=exitcode=99:detect_leaks=0",
                   "/host/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2", "--library-path", libraries, "/host" + lab.binary(), *arguments]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=300,
                              check=False)
        return Run(list(arguments), done, done.stdout, done.stderr)

    def mine(self, run):
        rows = run.json()["containers"]
        return {r["pod"]["name"]: r for r in rows if (r.get("pod") or {}).get("namespace") == NS and not r["sandbox"]}

    def test_list(self):
        """/host is found, and with --root it is the same."""
        theirs = self.mine(ctriage("list", "--json"))
        for arguments in ((), ("--root", "/host")):
            with self.subTest(arguments):
                run = self.expect(self.inside("list", "--json", *arguments), 0, 3)
                ours = self.mine(run)
                self.assertEqual(set(ours), set(theirs))
                for name, row in theirs.items():
                    self.assertEqual((ours[name]["id"], ours[name]["init_pid"]), (row["id"], row["init_pid"]))
                self.assertEqual(ours["web"]["runs"], ["image"])
                self.assertEqual((ours["tool"]["mark"], theirs["tool"]["mark"] == "ourselves"), ("ourselves", False))
                self.assertIn("as it is mounted there", str(run.json()["gaps"]))

    def test_views(self):
        run = self.expect(self.inside("diff", f"{NS}/web", "--json"), 0, 3)
        self.assertEqual([c["path"] for c in run.json()["changes"] if c["kind"] == "added"], ["/tmp/evil"])
        run = self.expect(self.inside("cat", f"{NS}/web:/tmp/evil"), 0, 3)
        self.assertEqual(run.out, b"evil\n")

    def test_collect(self):
        """Into the pod's own volume: its writable layer is refused."""
        self.assertIn(b"writable layer", self.expect(self.inside("collect", f"{NS}/web", "-o", "/tmp"), 1).err)
        run = self.expect(self.inside("collect", f"{NS}/web", "-o", "/evidence", "--json"), 0, 3)
        self.assertEqual(run.json()["counts"]["processes"], 2)  # the sandbox's, too
        path = os.path.join(self.evidence, os.path.basename(run.json()["path"]))
        self.expect(ctriage("verify", path, "--digest", run.json()["manifest_sha256"]), 0)
        with Bundle(path) as bundle:
            self.assertIn("tmp/evil", bundle.layer("app"))
            (process,) = bundle.records("containers/app/processes.jsonl")
            self.assertEqual((process["argv"], process["exe"]["origin"]), (["sleep", "1000000"], "image"))
            self.assertEqual([g for g in bundle.records("gaps.jsonl") if g["impact"] == "lost"], [])
        run = self.expect(self.inside("collect", "--all-pods", "-n", NS, "-o", "/evidence", "--json"), 0, 3)
        self.assertEqual([b["target"] for b in run.json()["bundles"]], [f"{NS}/web"])
        self.assertIn("where ctriage itself runs", str(run.json()["left_out"]))

    def test_never_ourselves_by_accident(self):
        run = self.expect(self.inside("diff", f"{NS}/to", "--json"), 1)
        self.assertIn(b"where ctriage itself runs", run.err)
        self.expect(self.inside("diff", f"{NS}/tool", "--json"), 0, 3)

    def test_a_disk(self):
        """The records of this containerd, its directory taken for a disk."""
        disk = self.temp()
        os.makedirs(disk + "/etc/containerd")
        with open(disk + "/etc/containerd/config.toml", "w", encoding="ascii") as file:
            file.write('root = "/root"\n')
        with open(disk + "/etc/hostname", "w", encoding="ascii") as file:
            file.write("worker-3\n")
        copied = f"{disk}/root/io.containerd.metadata.v1.bolt"
        os.makedirs(copied)
        subprocess.run(["cp", "-a", f"{self.lab.base}/root/io.containerd.metadata.v1.bolt/meta.db", copied], check=True)
        run = self.expect(ctriage("list", "--root", disk, "--json"), 0, 3)
        self.assertEqual(run.json()["node"], "worker-3")
        self.assertEqual(set(self.mine(run)), {"web", "tool"})
        self.assertEqual({r["state"] for r in self.mine(run).values()}, {"exited"})
        # The records alone: the container is known, that its layers are not there is said.
        self.assertIn(b"metadata.db", self.expect(ctriage("diff", f"{NS}/web", "--root", disk), 1).err)
        run = self.expect(ctriage("show", f"{NS}/web", "--root", disk, "--json"), 3)
        self.assertIn("metadata.db", str([g for g in run.json()["gaps"] if g["impact"] == "lost"]))
        self.assertIn("metadata.db", str(self.expect(ctriage("extract", f"{NS}/web", "--root", disk, "-o", self.temp(), "--json"),
                                                     3).json()["gaps"]))
        # What is left of it here is its record.
        out = self.temp()
        self.expect(ctriage("collect", f"{NS}/web", "--root", disk, "-o", out), 3)
        with Bundle(self.one_bundle(out)) as bundle:
            self.assertEqual(bundle.json("containers/app/spec.json")["process"]["args"][0], "/bin/sh")
            self.assertIn("metadata.db", str([g for g in bundle.records("gaps.jsonl") if g["impact"] == "lost"]))
        self.assertIn(b"/nowhere", self.expect(ctriage("list", "--root", disk + "/nowhere"), 1).err)


class WithoutTheNode(Case):
    def test_a_container_that_does_not_see_the_node(self):
        """Nothing found is not an answer there; what would work is said."""
        inside = ["unshare", "--pid", "--mount", "--fork", "--mount-proc", "--kill-child=KILL"]
        run = self.expect(ctriage("list", "--json", prefix=inside), 3)
        self.assertIn("/host", str([g for g in run.json()["gaps"] if g["impact"] == "lost"]))
        self.assertIn(b"--profile=sysadmin", self.expect(ctriage("diff", "some/pod", prefix=inside), 1).err)
        self.assertEqual(json.loads(run.out)["containers"], [])
