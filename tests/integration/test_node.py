"""What of the node matters to a container that may have reached it. This file is also a program: it plays a node with mount
and pid namespaces of its own, where cron and /proc can be tampered with without hurting the real one."""
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time

import lab
from lab import Box, Bundle, Case, ctriage


def setUpModule():
    lab.binary()
    lab.need_root()
    lab.need("unshare", "pivot_root", "zstd")


class Node(Case):
    @classmethod
    def setUpClass(cls):
        cls.out = lab.tempfile.mkdtemp(prefix="ctriage-test-", dir="/dev/shm")
        cls.addClassCleanup(lab.shutil.rmtree, cls.out, ignore_errors=True)
        process = subprocess.run(["unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child=KILL",
                                  "/usr/bin/python3", __file__], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                 env={**os.environ, **lab.SANITIZER, "TMPDIR": cls.out}, timeout=120, check=False)
        if process.returncode != 0:
            raise AssertionError(process.stderr.decode(errors="replace")[-3000:])
        cls.found = json.loads(process.stdout)

    def test_status(self):
        self.assertEqual(self.found["status"], 0, self.found["said"])
        self.assertEqual(self.found["verified"], 0)

    def test_new_cron_job_with_its_bytes(self):
        facts = {f["path"]: f for f in self.found["newer"]}
        job = facts["/etc/cron.d/evil"]
        self.assertEqual((job["kind"], job["group"], job["newer"]), ("file", "cron", True))
        self.assertEqual(self.found["streams"][job["stream"]], "* * * * * root /tmp/x\n")
        self.assertEqual(job["file"]["sha256"], lab.hashlib.sha256(b"* * * * * root /tmp/x\n").hexdigest())
        self.assertNotIn("/etc/cron.d/old", facts)

    def test_settings_of_the_kernel(self):
        settings = {f["path"]: f["value"] for f in self.found["newer"] if f["kind"] == "setting"}
        with open("/proc/sys/kernel/core_pattern", encoding="ascii") as file:
            self.assertEqual(settings["/proc/sys/kernel/core_pattern"], file.read().rstrip("\n"))

    def test_hidden_process(self):
        hidden = [f for f in self.found["newer"] if f["kind"] == "hidden_process"]
        self.assertEqual([f["path"] for f in hidden], [f"/proc/{self.found['hidden']}"])
        self.assertTrue(hidden[0]["value"].startswith("tmpfs "), hidden)

    def test_findings(self):
        """The box has all capabilities: that is how it may have done it. Live and from the bundle the same."""
        keys = []
        for source, document in self.found["drift"].items():
            with self.subTest(source):
                found = {f["path"]: f for f in document["findings"] if f["artifact"] == "node_fact"}
                job = found["/etc/cron.d/evil"]
                self.assertEqual((job["rule"], job["severity"]), ("CT-NODE-004", "low"))
                self.assertRegex(job["what"], "changed since the pod began; .* (is privileged|has CAP_)")
                hidden = found[f"/proc/{self.found['hidden']}"]
                self.assertEqual((hidden["rule"], hidden["severity"]), ("CT-NODE-007", "high"))
                self.assertNotIn("/etc/cron.d/old", found)
                keys.append((job["key"], hidden["key"]))
        self.assertEqual(keys[0], keys[1])

    def test_kernel_log(self):
        if not os.path.exists("/dev/kmsg"):
            self.skipTest("no /dev/kmsg here")
        self.assertRegex(self.found["kmsg"], r"^\d+,\d+,\d+,")

    def test_runtime_configuration(self):
        stem = f"node/config/dockerd-{self.found['engine']}"
        self.assertIn("--config-file=", self.found["streams"][stem + ".cmdline"])
        self.assertEqual(self.found["streams"][stem + ".daemon.json"], '{"debug": true}\n')
        self.assertFalse([name for name in self.found["streams"] if "kubelet-" in name])


class Pod(Case):
    def test_configuration_of_a_real_containerd(self):
        lab.need("containerd", "runc", "ctr")
        containerd = lab.Containerd()
        self.addCleanup(containerd.stop)
        containerd.add_images({"/etc/of-the-app": b"x\n"})
        ns = f"node-{os.getpid()}"
        pod = containerd.run_pod(ns, "conf", "app", "exec sleep 7777")
        journal = self.journal(b"LPKSHHRH of this test")
        out = self.temp()
        self.expect(ctriage("collect", f"{ns}/conf", "-o", out), 0)
        with Bundle(self.one_bundle(out)) as bundle:
            stem = f"node/config/containerd-{containerd.daemon.pid}"
            with open(os.path.join(containerd.base, "config.toml"), "rb") as file:
                self.assertEqual(bundle.bytes(stem + ".config.toml"), file.read())
            self.assertIn(containerd.base.encode(), bundle.bytes(stem + ".cmdline"))
            lines = bundle.bytes(self.member(containerd.log.name)).splitlines()
            self.assertTrue(lines)
            names = (pod.container_id.encode(), pod.sandbox.encode(), pod.uid.encode())
            self.assertEqual([line for line in lines if not any(name in line for name in names)], [])
            self.assertEqual(bundle.bytes(self.member(journal)), b"LPKSHHRH of this test")

    def member(self, path):
        return "node/logs/" + path[1:].replace("/", "%2F") + ".zst"

    def journal(self, data):
        """A journal file of a machine that is not there, and an older one that no pod of ours can be in."""
        directory = f"/run/log/journal/ctriage-test-{os.getpid()}"
        missing = next(p for p in ("/run/log", "/run/log/journal", directory) if not os.path.exists(p))
        os.makedirs(directory)
        self.addCleanup(lab.shutil.rmtree, missing)
        for name in ("old.journal", "system.journal", "not-a-journal"):
            with open(os.path.join(directory, name), "wb") as file:
                file.write(data)
        os.utime(os.path.join(directory, "old.journal"), (1, 1))
        os.mkfifo(os.path.join(directory, "fifo.journal"))
        return os.path.join(directory, "system.journal")


def play():
    base = os.environ["TMPDIR"]
    run = lambda *words: subprocess.run(words, check=True, stdout=subprocess.DEVNULL)  # noqa: E731
    run("mount", "-t", "tmpfs", "cron", "/etc/cron.d")
    with open("/etc/cron.d/old", "w", encoding="ascii") as file:
        file.write("# before the pod\n")
    time.sleep(2)
    config = os.path.join(base, "daemon.json")
    with open(config, "w", encoding="ascii") as file:
        file.write('{"debug": true}\n')
    # A program called dockerd, run as root outside of any container: what it was told is what counts. Who only
    # calls himself so is not asked.
    shutil.copy("/bin/busybox", os.path.join(base, "dockerd"))
    engine = subprocess.Popen(["sh", "-c", "while :; do sleep 1000; done", f"--config-file={config}"],
                              executable=os.path.join(base, "dockerd"))
    subprocess.Popen(["/usr/bin/python3", "-c", "import time; open('/proc/self/comm', 'w').write('kubelet'); time.sleep(1000)"])
    hidden = subprocess.Popen(["sleep", "1000"])
    with Box(base=base, size="64m") as box:
        with open("/etc/cron.d/evil", "w", encoding="ascii") as file:
            file.write("* * * * * root /tmp/x\n")
        run("mount", "-t", "tmpfs", "cover", f"/proc/{hidden.pid}")
        out = tempfile.mkdtemp(dir=base)
        done = ctriage("collect", f"pid:{box.pid}", "-o", out)
        path = os.path.join(out, os.listdir(out)[0])
        with Bundle(path) as bundle:
            texts = {s: bundle.bytes(s).decode(errors="replace") for s in bundle.streams
                     if s.startswith(("node/newer/", "node/config/"))}
            kmsg = bundle.bytes("node/kmsg.zst").decode(errors="replace")[:200] if "node/kmsg.zst" in bundle.streams else ""
            json.dump({"status": done.status, "said": str(done), "newer": bundle.records("node/newer.jsonl"), "streams": texts,
                       "drift": {word: ctriage("drift", word, "--json").json() for word in (f"pid:{box.pid}", path)},
                       "kmsg": kmsg, "hidden": hidden.pid, "engine": engine.pid,
                       "verified": ctriage("verify", path).status}, sys.stdout)
        run("umount", f"/proc/{hidden.pid}")
    for process in (engine, hidden):
        process.kill()
        process.wait()
    return 0


if __name__ == "__main__":
    sys.exit(play())
