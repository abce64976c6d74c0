"""The image run on a real containerd as the manifests in deploy/ say. CTRIAGE is the static program."""
import glob
import json
import os
import subprocess
import time

import lab
from cri_pod import exit_code, run_spec
from lab import Bundle, Case, Containerd, Run, ctriage
from s3_stub import REGION, S3
from test_deploy import fleet, fleet_environment, make_image, manifest, pod_spec, some_nodes, the_views

NS = f"deploy-{os.getpid()}"


def setUpModule():
    lab.binary()


class OnContainerd(Case):
    """A real containerd with an intruder's pod; the image runs beside it as the manifests say."""

    @classmethod
    def setUpClass(cls):
        lab.need_root()
        lab.need("containerd", "runc", "ctr", "gcc", "age", "age-keygen", "openssl")
        cls.lab = Containerd()
        cls.addClassCleanup(cls.lab.stop)
        cls.lab.add_images({"/opt/implant": lab.build_implant(lab.BUILD_DIR)})
        cls.web = cls.lab.run_pod(NS, "web", "app", lab.intrusion(lab.free_port()) + "while :; do sleep 1000; done")
        cls.web.wait_for_log("intrusion played")
        cls.s3 = S3()
        cls.addClassCleanup(cls.s3.stop)

    def image(self):
        """Its reference by digest, as a manifest has it. The only certificate in it is that of our object storage."""
        if not hasattr(type(self), "reference"):
            path = os.path.join(self.temp(), "ctriage.oci.tar")
            made = make_image(path, "--binary", f"amd64={lab.binary()}", "--certificates", self.s3.ca)
            self.assertEqual(made.returncode, 0, made.stderr)
            self.assertLess(os.path.getsize(path), 40_000_000)
            name = "registry.example/ctriage"
            subprocess.run(["ctr", "-a", self.lab.socket, "-n", "k8s.io", "images", "import", "--digests", "--base-name", name, path], check=True,
                           stdout=subprocess.DEVNULL)
            type(self).reference = f"{name}@{made.stdout.strip()}"
        return self.reference

    def start(self, spec, volumes=None, environment=None, pod="ctriage"):
        """The containers' ids and logs; `spec` as a manifest has it, but for the image."""
        for container in spec["containers"]:
            container["image"] = self.image()
        volumes = volumes or {}
        sandbox, started, _ = run_spec(self.lab.socket, NS, pod, spec, self.lab.logs, volumes, environment or {})
        self.lab.pods.append(sandbox)
        self.addCleanup(lambda: sandbox in self.lab.pods and self.lab.remove_pod(sandbox))
        return started

    def ended(self, started, name):
        """Status, standard output and error of a container, as the kubelet would log them."""
        container, log = started[name]
        for _ in range(1200):
            status = exit_code(self.lab.socket, container)
            if status is not None:
                break
            time.sleep(0.1)
        out = {"stdout": "", "stderr": ""}
        with open(log, encoding="utf-8") as file:
            for line in file:
                _, stream, tag, text = line.rstrip("\n").split(" ", 3)
                out[stream] += text + ("\n" if tag == "F" else "")
        self.assertIsNotNone(status, out)
        return status, out["stdout"], out["stderr"]

    def inside(self, container, *arguments):
        """kubectl exec."""
        command = ["ctr", "-a", self.lab.socket, "-n", "k8s.io", "task", "exec", "--exec-id", f"e{os.urandom(4).hex()}", container,
                   "ctriage", *arguments]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=300, check=False)
        return Run(list(arguments), done, done.stdout, done.stderr)

    def test_the_pod(self):
        spec = pod_spec(manifest("pod.yaml"))
        (container, _), = self.start(spec).values()
        run = self.expect(self.inside(container, "list", "--json"), 0, 3)
        mine = {r["pod"]["name"]: r for r in run.json()["containers"] if (r.get("pod") or {}).get("namespace") == NS and not r["sandbox"]}
        self.assertEqual((mine["web"]["id"], mine["web"]["init_pid"]), (self.web.container_id, self.web.pid))
        self.assertEqual(mine["ctriage"]["mark"], "ourselves")
        self.assertEqual(run.json()["node"], os.uname().nodename)
        run = self.expect(self.inside(container, "drift", f"{NS}/web", "--json"), 0, 3)
        self.assertLessEqual({"CT-EXEC-001", "CT-EXEC-002", "CT-FILE-001"}, {f["rule"] for f in run.json()["findings"]})
        self.assertEqual([g for g in run.json()["gaps"] if g["impact"] == "lost"], [])
        untouched = lab.Untouched([self.web.upper, *self.web.lowers], self.web.pids())
        run = self.expect(self.inside(container, "collect", f"{NS}/web", "-o", "-", "--case", "IR-41"), 0)
        self.assertEqual((untouched.changed(), untouched.grown()), ([], []))
        path = os.path.join(self.temp(), "web.ctriage.tar")
        with open(path, "wb") as file:
            file.write(run.out)
        self.expect(ctriage("verify", path), 0)
        with Bundle(path) as bundle:
            self.assertEqual({p["pid"] for p in bundle.records("containers/app/processes.jsonl")}, self.web.pids())
            self.assertIn("usr/local/bin/.httpd", bundle.layer("app"))
            self.assertEqual([g for g in bundle.records("gaps.jsonl") if g["impact"] == "lost"], [])
            self.assertEqual(bundle.json("bundle.json")["source"]["node"], os.uname().nodename)
            # The node's network namespace is ours: what is missing of its flows is the kernel's doing.
            self.assertNotIn("network namespace: what the node tracks", str(bundle.records("gaps.jsonl")))
        # Nothing of the node can be written through /host.
        with open(f"/proc/{self.pid_of(container)}/mountinfo", encoding="utf-8") as file:
            (host,) = [line.split() for line in file if line.split()[4] == "/host"]
        self.assertIn("ro", host[5].split(","))
        # Told to end, it ends by itself.
        began = time.monotonic()
        os.kill(self.pid_of(container), lab.signal.SIGTERM)
        for _ in range(100):
            if exit_code(self.lab.socket, container) is not None:
                break
            time.sleep(0.1)
        self.assertLess(time.monotonic() - began, 5)

    def pid_of(self, container):
        with open(f"{self.lab.base}/state/io.containerd.runtime.v2.task/k8s.io/{container}/init.pid", encoding="ascii") as file:
            return int(file.read())

    def test_without_host_pid(self):
        """Where that is not granted: through /host, and nothing has to be typed for it."""
        spec = pod_spec(manifest("pod.yaml"))
        spec["hostPID"] = False
        (container, _), = self.start(spec, pod="own-pid").values()
        run = self.expect(self.inside(container, "list", "--json"), 0, 3)
        self.assertIn(self.web.container_id, {r["id"] for r in run.json()["containers"]})
        run = self.expect(self.inside(container, "drift", f"{NS}/web", "--json"), 0, 3)
        self.assertLessEqual({"CT-EXEC-001", "CT-EXEC-002", "CT-FILE-001"}, {f["rule"] for f in run.json()["findings"]})

    def test_without_the_rights(self):
        """What is missing, and the command line that has it."""
        spec = pod_spec(manifest("pod.yaml"))
        (container,) = spec["containers"]
        spec["hostPID"], container["volumeMounts"] = False, []
        container["securityContext"] = {}
        (plain, _), = self.start(spec, pod="plain").values()
        for arguments, statuses in ((["list"], [3]), (["diff", f"{NS}/web"], [1]), (["drift", f"{NS}/web"], [1])):
            with self.subTest(arguments):
                run = self.expect(self.inside(plain, *arguments), *statuses)
                self.assertRegex((run.out + run.err).decode(), r"kubectl debug node/NODE -it --image=IMAGE\s+--profile=sysadmin")

    def test_the_job(self):
        evidence = self.temp()
        spec = pod_spec(manifest("job.yaml"))
        (container,) = spec["containers"]
        container["args"] = [f"{NS}/web" if word == "NAMESPACE/POD" else word for word in container["args"]]
        status, out, err = self.ended(self.start(spec, {"evidence": evidence}, pod="job"), "ctriage")
        self.assertEqual(status, 0, out + err)
        path = self.one_bundle(evidence)
        self.assertTrue(os.path.basename(path).startswith(f"CASE_{os.uname().nodename}_web_"), path)
        self.expect(ctriage("verify", path), 0)

    def test_the_fleet(self):
        """The Job, then the CronJob; its lines into the tables."""
        evidence, login = self.temp(), self.temp()
        key, recipient = lab.age_key(login)
        with open(os.path.join(login, "credentials"), "w", encoding="ascii", opener=lambda p, f: os.open(p, f, 0o400)) as file:
            file.write("[default]\n" + "".join(f"{name.lower()} = {value}\n" for name, value in self.s3.keys().items()))
        environment = fleet_environment()
        environment.update(CASE="IR-41", CTRIAGE_RECIPIENTS=recipient, DESTINATION="s3://bucket/IR-41", AWS_REGION=REGION,
                           AWS_ENDPOINT_URL_S3=f"https://localhost:{self.s3.port}")
        job, export = (pod_spec(one) for one in fleet(some_nodes())[:2])
        for container in job["containers"]:
            container["args"] += ["-n", NS]  # others may have containers on this machine
        started = self.start(job, {"evidence": evidence}, environment, pod="fleet")
        lines = []
        for name in ("collect", "sweep"):
            status, out, err = self.ended(started, name)
            self.assertIn(status, (0, 3), out + err)
            (line,) = out.splitlines()
            lines.append(line)
        collected = json.loads(lines[0])
        self.assertEqual([(b["target"], b["bundle"]["encrypted_to"]) for b in collected["bundles"]], [(f"{NS}/web", [recipient])])
        self.assertIn("where ctriage itself runs", str(collected["left_out"]))
        for count in (1, 0):  # a second run has nothing to send
            status, out, err = self.ended(self.start(export, {"evidence": evidence, "login": login}, environment, pod="export"), "export")
            self.assertEqual(status, 0, out + err)
            (line,) = out.splitlines()
            (place,) = json.loads(line)["destinations"]
            self.assertEqual((place["complete"], place["proof"], place["volumes"] - place["volumes_before"]), (True, "hash", count))
            lines.append(line)
        path = self.one_bundle(evidence, ".age")
        (there,) = glob.glob(glob.escape(self.s3.inbox) + "/IR-41%*.ctriage.tar.age")
        self.assertEqual(lab.sha256_file(there), lab.sha256_file(path))
        self.expect(ctriage("verify", "--identity", key, there), 0)
        rows = the_views().rows(lines)
        self.assertEqual([(r["target"], r["path"]) for r in rows["bundle"]], [(f"{NS}/web", "/evidence/" + os.path.basename(path))])
        self.assertEqual([r["complete"] for r in rows["sent"]], [True, True])
        self.assertIn(f"{NS}/web", {r["target"] for r in rows["finding"]})
