"""collect of several targets, and of containers that have ended, on real containerd pods: words, -l, --all-pods."""
import io
import json
import os
import signal
import subprocess
import tarfile
import time

import lab
from engines import wait_until
from lab import Bundle, Case, Containerd, ctriage

NS = f"several-{os.getpid()}"
# Whoever comes first stays: the second container of the pod leaves something and ends with an error.
SCRIPT = ("echo line of $$; dd if=/dev/urandom of=/tmp/blob bs=64k count=4 2>/dev/null; mkdir /shared/first 2>/dev/null && exec sleep 1000000; "
          "echo left > /root/left; ln -s /etc/passwd /root/link; rm /etc/of-the-app; exit 7")


def setUpModule():
    lab.binary()
    lab.need_root()
    lab.need("containerd", "runc", "ctr", "zstd")


class Pods(Case):
    @classmethod
    def setUpClass(cls):
        cls.lab = Containerd()
        cls.addClassCleanup(cls.lab.stop)
        cls.lab.add_images({"/etc/of-the-app": b"x\n"})
        cls.pods = {}
        for name in ("web", "till"):
            cls.pods[name] = cls.pod_with_an_ended_one(name)
        cls.pods["plain"] = cls.lab.run_pod(NS, "plain", "app", "exec sleep 1000000")
        wait_until(lambda: len([r for r in cls.rows() if r["state"] == "exited"]) == 2, "the end of the second containers")

    @classmethod
    def pod_with_an_ended_one(cls, name):
        shared = os.path.join(cls.lab.base, f"shared-{name}")
        os.mkdir(shared)
        return cls.lab.run_pod(NS, name, "app", SCRIPT, mounts=[("/shared", shared, False)], more=["side"])

    @classmethod
    def rows(cls):
        rows = ctriage("list", "--json").json()["containers"]
        return [r for r in rows if (r.get("pod") or {}).get("namespace") == NS and not r.get("sandbox")]

    def bundles(self, out):
        """Pod name to the path of its bundle; every one is whole."""
        found = {}
        for name in os.listdir(out):
            path = os.path.join(out, name)
            self.assertTrue(name.endswith(".ctriage.tar"), name)
            self.expect(ctriage("verify", path), 0)
            with Bundle(path) as bundle:
                found[bundle.json("pod/pod.json")["name"]] = path
        return found


class Several(Pods):
    def test_words(self):
        """One bundle each; one that is not there stops nobody and is 1; the same pod twice is taken once."""
        out = self.temp()
        run = self.expect(ctriage("collect", f"{NS}/web", f"{NS}/nothing", f"{NS}/plain", f"{NS}/we", "-o", out, "--json"), 1)
        document = run.json()
        self.assertEqual(document["schema"], "ctriage.collect_many/1")
        self.assertEqual([b["target"] for b in document["bundles"]], [f"{NS}/web", f"{NS}/nothing", f"{NS}/plain", f"{NS}/web"])
        self.assertEqual([b["exit_status"] for b in document["bundles"]], [0, 1, 0, 0])
        self.assertIn("no such pod", document["bundles"][1]["error"])
        self.assertIn("again", document["bundles"][3]["error"])
        self.assertEqual((document["exit_status"], document["complete"]), (1, False))
        found = self.bundles(out)
        self.assertEqual(set(found), {"web", "plain"})
        for entry in document["bundles"][0::2]:
            bundle = entry["bundle"]
            self.assertEqual(os.path.getsize(bundle["path"]), bundle["size_bytes"])
            self.expect(ctriage("verify", bundle["path"], "--digest", bundle["manifest_sha256"]), 0)
        self.assertEqual(document["size_bytes"], sum(os.path.getsize(p) for p in found.values()))

    def test_labels(self):
        """Those that have the label, each with the document of one alone inside; a label of one pod is that pod."""
        out = self.temp()
        run = self.expect(ctriage("collect", "-n", NS, "-l", "io.kubernetes.pod.namespace=" + NS, "-o", out), 0)
        text = run.out.decode()
        for part in ("3 targets", "3 of 3 targets are held", "1 of 3 ", "3 of 3 ", "3 have a bundle, 3 complete", "NOT ENCRYPTED"):
            self.assertIn(part, text)
        found = self.bundles(out)
        self.assertEqual(set(found), {"web", "till", "plain"})
        for path in found.values():
            self.assertIn(path, text)
        out = self.temp()
        run = self.expect(ctriage("collect", "-l", "app=plain", "-n", NS, "-o", out, "--json"), 0)
        self.assertEqual(run.json()["schema"], "ctriage.collect/1")
        self.assertIn("no such pod", self.expect(ctriage("collect", "-n", NS, "-l", "app=none", "-o", out), 1).err.decode())

    def test_all_pods(self):
        """Without memory, and without what has ended."""
        out = self.temp()
        run = self.expect(ctriage("collect", "--all-pods", "-n", NS, "-o", out, "--json", "--only", "state,memory"), 0)
        self.assertEqual(len(run.json()["bundles"]), 3)
        for entry in run.json()["bundles"]:
            self.assertNotIn("memory_processes", entry["bundle"]["counts"])
        out = self.temp()
        run = self.expect(ctriage("collect", "--all-pods", "-n", NS, "-o", out, "--json", "--only", "state,memory", "--memory", "all"), 0)
        self.assertTrue(all(entry["bundle"]["counts"]["memory_processes"] for entry in run.json()["bundles"]))

    def test_plan(self):
        run = self.expect(ctriage("collect", f"{NS}/web", f"{NS}/plain", "--plan", "--json"), 0)
        self.assertEqual(run.json()["schema"], "ctriage.plan_many/1")
        self.assertEqual([p["target"] for p in run.json()["plans"]], [f"{NS}/web", f"{NS}/plain"])
        text = self.expect(ctriage("collect", f"{NS}/web", f"{NS}/plain", "--plan"), 0).out.decode()
        self.assertIn("2 targets", text)

    def test_usage(self):
        out = self.temp()
        for words, said in (([f"{NS}/web", f"{NS}/plain", "-o", "-"], "one bundle"), (["--all-pods", "-o", "-"], "one bundle"),
                            (["-n", NS, "-l", "io.kubernetes.container.name=app", "-o", "-"], "one bundle"),
                            (["--all-pods", "x", "-o", out], "--all-pods"), (["a", "b", "--wait", "1s", "-o", out], "--wait"), ([], "target")):
            with self.subTest(words):
                process = lab.start("collect", *words)
                run = self.expect(lab.finish(process), 2)
                self.assertIn(said, run.err.decode())
        self.expect(ctriage("collect", f"{NS}/web", f"{NS}/plain", "-o", out + "/nowhere"), 1)
        self.assertEqual(os.listdir(out), [])

    def test_quiet_and_verbose(self):
        out = self.temp()
        words = ("collect", f"{NS}/web", f"{NS}/plain", "-o", out, "--only", "state")
        self.assertEqual(self.expect(ctriage(*words, "-q", "--json"), 0).err, b"")
        self.assertIn(b"sealed, digest", self.expect(ctriage(*words, "-v"), 0).out)  # each one's own screen
        self.assertNotIn(b"sealed, digest", self.expect(ctriage(*words), 0).out)
        self.assertEqual(len(os.listdir(out)), 6)  # names that were taken have a number

    def test_shared_size(self):
        """What the first may take leaves room for those that come after."""
        out = self.temp()
        large = os.path.join(self.temp(), "large")
        with open(large, "wb") as file:
            file.write(os.urandom(5 << 20))
        run = self.expect(ctriage("collect", f"{NS}/web", f"{NS}/till", "-o", out, "--max-bytes", "6M", "--json", "--attach", large), 3)
        sizes = [os.path.getsize(os.path.join(out, name)) for name in os.listdir(out)]
        self.assertEqual((len(sizes), sum(sizes) <= 6 << 20), (2, True), sizes)
        for entry in run.json()["bundles"]:
            self.assertTrue(entry["bundle"]["counts"]["changes"], entry)
            self.assertIn("large", str(entry["bundle"]["gaps"]))

    def test_deadline(self):
        """It is for all of them: who comes late has gaps, and all end in time."""
        out = self.temp()
        began = time.monotonic()
        run = self.expect(ctriage("collect", f"{NS}/web", f"{NS}/till", "-o", out, "--deadline", "1s", "--json"), 0, 3)
        self.assertLess(time.monotonic() - began, 60)
        for entry in run.json()["bundles"]:
            self.assertTrue(entry.get("bundle") or entry.get("error"))

    def test_held_while_another_is_taken(self):
        """The second pod is deleted while the first is taken; what it had is in its bundle all the same."""
        gone = self.lab.run_pod(NS, "gone", "app", "echo secret > /root/secret; cp /bin/busybox /tmp/sleep; exec /tmp/sleep 1000000")
        wait_until(lambda: os.path.exists(f"{gone.upper}/tmp/sleep"), "the pod's files")
        time.sleep(0.5)
        out = self.temp()
        process = lab.start("collect", f"{NS}/web", f"{NS}/gone", "-o", out, "--json", "--memory", "none")
        held = b""
        while b"held " not in held:
            line = process.stderr.readline()
            self.assertTrue(line, held)
            held += line
        # Both hold. The first waits for us: its turn has come, and it cannot go on without its supervisor's pipe.
        self.lab.remove_pod(gone.sandbox)
        run = lab.finish(process)
        self.expect(run, 0, 3)
        entry = run.json()["bundles"][1]
        with Bundle(entry["bundle"]["path"]) as bundle:
            layer = bundle.layer("app")
            self.assertEqual(layer["root/secret"][1], lab.hashlib.sha256(b"secret\n").hexdigest())
            self.assertIn("tmp/sleep", layer)

    def test_signal(self):
        """The one that is taken is sealed, those after it are not begun, and nobody is left over."""
        for number in (signal.SIGTERM, signal.SIGINT):
            with self.subTest(number):
                out = self.temp()
                process = lab.start("collect", f"{NS}/web", f"{NS}/till", f"{NS}/plain", "-o", out, "--json", start_new_session=True)
                while b"held " not in process.stderr.readline():
                    pass
                os.killpg(process.pid, number)  # as a terminal and timeout(1) do
                run = self.expect(lab.finish(process, 60), 0, 3)
                for name in os.listdir(out):  # stopped before its first byte, one is not sealed
                    self.expect(ctriage("verify", os.path.join(out, name)), 3 if name.endswith(".part") else 0)
                if run.status == 3:
                    self.assertFalse(run.json()["complete"])
                    self.assertEqual(len(run.json()["bundles"]), 3)
                with self.assertRaises(ProcessLookupError):
                    os.killpg(process.pid, 0)

    def test_killed(self):
        """Its children end with the supervisor."""
        process = lab.start("collect", f"{NS}/web", f"{NS}/till", "-o", self.temp(), start_new_session=True, stdout=subprocess.DEVNULL)
        time.sleep(0.5)
        process.kill()
        process.communicate(timeout=60)

        def nobody():
            try:
                os.killpg(process.pid, 0)
            except ProcessLookupError:
                return True
            return False
        wait_until(nobody, "the end of the children")

    def test_views(self):
        """By labels, and several words."""
        label = ("-n", NS, "-l", "io.kubernetes.container.name=app")
        run = self.expect(ctriage("show", *label, "--format", "jsonl"), 0, 3)
        ids = {json.loads(line)["id"] for line in run.out.splitlines() if b'"ctriage.container/1"' in line}
        self.assertLessEqual({pod.container_id for pod in self.pods.values()}, ids)
        run = self.expect(ctriage("diff", *label, "-c", "app", "--format", "jsonl"), 0)
        changed = {json.loads(line)["container"] for line in run.out.splitlines() if b'"ctriage.file_change/1"' in line}
        self.assertLessEqual({self.pods["web"].container_id, self.pods["till"].container_id}, changed)
        run = self.expect(ctriage("search", *label, "-c", "app", "1000000", "--format", "jsonl"), 0, 3)
        found = {json.loads(line)["container"] for line in run.out.splitlines() if b'"ctriage.match/1"' in line}
        self.assertEqual(found, {pod.container_id for pod in self.pods.values()})
        run = self.expect(ctriage("strings", f"{NS}/web/app", f"{NS}/plain/app", "-m", "6", "--format", "jsonl"), 0, 3)
        self.assertEqual(run.out.count(b'"ctriage.search_summary/1"'), 2)
        self.expect(ctriage("show", f"{NS}/web/app", f"{NS}/nothing"), 1)
        self.expect(ctriage("diff"), 2)
        self.expect(ctriage("strings"), 2)


class Ended(Pods):
    def check_side(self, bundle, folder):
        """What the ended container left, by its own UpperDir, which nobody mounts any more."""
        container = bundle.json(f"containers/{folder}/container.json")
        self.assertEqual((container["state"], container["exit_code"], container["name"]), ("exited", 7, "side"))
        self.assertTrue(container["finished_at"])
        layer = bundle.layer(folder)
        upper = [path for path in self.uppers() if os.path.lexists(f"{path}/root/left")]
        self.assertTrue(upper)
        names = set()
        for top, directories, files in os.walk(upper[0]):
            names |= {os.path.relpath(os.path.join(top, name), upper[0]) for name in directories + files}
        names.remove("etc/of-the-app")
        names.add("etc/.wh.of-the-app")
        self.assertEqual({name.rstrip("/") for name in layer} - {"", "."}, names)
        self.assertEqual(layer["root/left"][1], lab.hashlib.sha256(b"left\n").hexdigest())
        self.assertEqual(layer["root/link"][0].linkname, "/etc/passwd")
        kinds = {lab.path_of(c).decode(): c["kind"] for c in bundle.records(f"containers/{folder}/changes.jsonl")}
        self.assertEqual((kinds["/root/left"], kinds["/etc/of-the-app"]), ("added", "deleted"))
        self.assertEqual(bundle.json(f"containers/{folder}/spec.json")["process"]["args"][0], "/bin/sh")
        self.assertIn("ExitCode", str(bundle.json(f"containers/{folder}/runtime/status")))
        (log,) = bundle.records(f"containers/{folder}/logs.jsonl")
        self.assertIn(b"line of", bundle.bytes(log["stream"]))
        self.assertTrue(log["path"].endswith("/side/0.log"))
        # Gone is not none.
        for name in ("processes", "threads", "sockets", "descriptors", "mappings", "mounts"):
            self.assertNotIn(f"containers/{folder}/{name}.jsonl", bundle.streams)
        self.assertIn("has ended", str([g for g in bundle.records("gaps.jsonl") if g["impact"] == "note"]))
        self.assertEqual([g for g in bundle.records("gaps.jsonl") if g["impact"] == "lost"], [])

    def uppers(self):
        """Of the snapshots of this containerd, newest last."""
        top = f"{self.lab.base}/root/io.containerd.snapshotter.v1.overlayfs/snapshots"
        return [f"{top}/{number}/fs" for number in sorted(os.listdir(top), key=int)]

    def test_in_a_pod(self):
        """The sibling that has ended is taken with the pod."""
        out = self.temp()
        run = self.expect(ctriage("collect", f"{NS}/web", "-o", out), 0)
        self.assertIn(b"1 container that has ended", run.out)
        with Bundle(self.one_bundle(out)) as bundle:
            self.assertLessEqual({"app", "side"}, set(bundle.containers()))
            self.check_side(bundle, "side")
            self.assertTrue(bundle.records("containers/app/processes.jsonl"))
            streams = {s["path"]: s for s in bundle.json("manifest.json")["streams"]}
            for name in ("processes", "sockets", "mounts"):
                told = streams[f"containers/side/{name}.jsonl"]
                self.assertEqual((told["status"], "has ended" in told["why"]), ("not_collected", True), told)
            path = bundle.path
        shown = self.expect(ctriage("show", path, "--json"), 0).json()
        self.assertEqual({c["name"]: c["state"] for c in shown["containers"] if not c["sandbox"]}, {"app": "running", "side": "exited"})

    def test_alone(self):
        out = self.temp()
        run = self.expect(ctriage("collect", f"{NS}/web/side", "-o", out, "--json"), 0)
        counts = run.json()["counts"]
        self.assertFalse({"processes", "sockets", "programs", "memory_processes"} & set(counts), counts)
        self.assertGreater(counts["changes"], 3)
        with Bundle(self.one_bundle(out)) as bundle:
            self.assertEqual(bundle.containers(), ["side"])
            self.check_side(bundle, "side")
            self.assertEqual(bundle.json("bundle.json")["source"]["kind"], "disk")
            path = bundle.path
        levels = {c["facet"]: c["level"] for c in self.expect(ctriage("show", path, "--json"), 0).json()["coverage"]}
        self.assertEqual((levels["changes"], levels["logs"], levels["processes"]), ("whole", "whole", "none"))
        text = self.expect(ctriage("collect", f"{NS}/web/side", "-o", self.temp()), 0).out.decode()
        self.assertIn("processes gone", text)
        self.assertNotIn("0 processes,", text.split("1 state")[1].split("\n")[0])
        self.expect(ctriage("diff", path), 0)

    def test_of_a_disk(self):
        """The same from the engine's directory, taken for a disk."""
        disk = self.temp()
        os.makedirs(disk + "/var/lib/containerd")
        subprocess.run(["mount", "--bind", f"{self.lab.base}/root", f"{disk}/var/lib/containerd"], check=True)
        self.addCleanup(subprocess.run, ["umount", f"{disk}/var/lib/containerd"], check=True)
        os.makedirs(disk + "/etc")
        with open(disk + "/etc/hostname", "w", encoding="ascii") as file:
            file.write("worker-3\n")
        shared = os.path.join(self.lab.base, "shared-web")
        run = self.expect(ctriage("collect", f"{NS}/web", "--root", disk, "-o", self.temp()), 3)
        self.assertIn(f"{shared} of the node, where this volume was: is not there any more".encode(), run.out)
        for name in ("web", "till"):
            os.makedirs(f"{disk}{self.lab.base}/shared-{name}/first")
        out = self.temp()
        self.expect(ctriage("collect", f"{NS}/web", "--root", disk, "-o", out), 0)
        with Bundle(self.one_bundle(out)) as bundle:
            self.assertIn("/shared/first", [lab.path_of(r).decode() for r in bundle.records("containers/app/volumes/shared.jsonl")])
            self.assertTrue(os.path.basename(bundle.path).startswith("worker-3_web_"), bundle.path)
            self.assertLessEqual({"app", "side"}, set(bundle.containers()))
            self.assertIn("tmp/blob", bundle.layer("app"))
            self.assertIn("root/left", bundle.layer("side"))
            source = bundle.json("bundle.json")["source"]
            self.assertEqual((source["kind"], source["node"]), ("disk", "worker-3"))
            # Nothing of the host that looks.
            self.assertFalse({"node/kernel", "node/kmsg.zst", "node/modules", "node/mounts"} & set(bundle.streams))
        several = self.temp()
        run = self.expect(ctriage("collect", "--all-pods", "-n", NS, "--root", disk, "-o", several, "--json"), 0)
        self.assertEqual(len(run.json()["bundles"]), 3)

    def test_the_shape_of_the_layer(self):
        """tar(1) reads it."""
        out = self.temp()
        self.expect(ctriage("collect", f"{NS}/web/side", "-o", out, "--compress", "none"), 0)
        with Bundle(self.one_bundle(out)) as bundle:
            with tarfile.open(fileobj=io.BytesIO(bundle.bytes("containers/side/upper.tar"))) as layer:
                self.assertIn("root/left", layer.getnames())
