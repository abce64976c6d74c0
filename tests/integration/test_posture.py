"""What a pod may do, told from what runs: mounts by their true source, rights, tokens, who was let in."""
import base64
import os
import subprocess
import time

import lab
from lab import Bundle, Case, Containerd, ctriage


def setUpModule():
    lab.binary()
    lab.need_root()
    lab.need("containerd", "runc", "ctr", "zstd")


def part(text):
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


class Pod(Case):
    def test_mounts_tokens_and_execs(self):
        containerd = Containerd()
        self.addCleanup(containerd.stop)
        containerd.add_images({"/etc/of-the-app": b"x\n"})
        kubelet = os.path.join(containerd.base, "kubelet/pods/u/volumes")
        volumes = {name: os.path.join(kubelet, name) for name in
                   ("kubernetes.io~empty-dir/cache", "kubernetes.io~projected/kube-api-access-x")}
        for path in volumes.values():
            os.makedirs(path)
            subprocess.run(["mount", "-t", "tmpfs", "kubelet", path], check=True)
            self.addCleanup(subprocess.run, ["umount", path], check=False)
        claims = '{"sub":"system:serviceaccount:shop:web"}'
        signature = part("the signature that nobody may keep")
        token = os.path.join(volumes["kubernetes.io~projected/kube-api-access-x"], "token")
        with open(token, "w", encoding="ascii") as file:
            file.write(f"{part('{}')}.{part(claims)}.{signature}")
        disk = self.temp()
        ns = f"posture-{os.getpid()}"
        service = "/var/run/secrets/kubernetes.io/serviceaccount"
        pod = containerd.run_pod(ns, "rights", "app", "echo x > /cache/left; exec sleep 7777", mounts=(
            ("/host", disk, False), ("/cache", volumes["kubernetes.io~empty-dir/cache"], False),
            (service, volumes["kubernetes.io~projected/kube-api-access-x"], True)), privileged=True)
        entered = containerd.exec_in(pod, "by-kubectl", "/bin/sleep", "555555")
        self.addCleanup(lambda: (entered.kill(), entered.communicate()))
        for _ in range(100):
            if len(pod.pids()) > 1:
                break
            time.sleep(0.1)
        out = self.temp()
        self.expect(ctriage("collect", f"{ns}/rights", "-o", out), 0)
        with Bundle(self.one_bundle(out)) as bundle:
            found = bundle.json("pod/pod.json")
            everything = b"".join(bundle.bytes(s) for s in bundle.streams)
            tmpfs = [s for s in bundle.streams if "/tmpfs/" in s]
        self.assertEqual((found["schema"], found["namespace"], found["name"], found["uid"]),
                         ("ctriage.pod/1", ns, "rights", pod.uid))
        app = next(c for c in found["containers"] if c["container"] == pod.container_id)
        self.assertTrue(app["privileged"])
        self.assertTrue(app["host_network"])
        self.assertFalse(app["host_pid"])
        self.assertFalse(app["read_only_root"])
        self.assertEqual(app["seccomp"], 0)
        with open(f"/proc/{pod.pid}/status", encoding="utf-8") as file:
            effective = next(line.split()[1] for line in file if line.startswith("CapEff:"))
        self.assertEqual(int(app["capabilities"]["effective"], 16), int(effective, 16))
        grants = {g["destination"]: g for g in app["grants"]}
        self.assertEqual((grants["/host"]["kind"], grants["/host"]["writable"]), ("host_path", True))
        self.assertTrue(grants["/host"]["source"].endswith(disk), grants["/host"])
        self.assertEqual(grants["/cache"]["kind"], "empty_dir")
        # /var/run may be a link in the image: the mount table has the place itself.
        secret = next(g for g in app["grants"] if g["destination"].endswith("secrets/kubernetes.io/serviceaccount"))
        self.assertEqual((secret["kind"], secret["writable"]), ("secret", False))
        self.assertEqual([t["claims"] for t in app["tokens"]], [claims])
        self.assertEqual(app["tokens"][0]["sha256"], lab.sha256_file(token))
        self.assertNotIn(signature.encode(), everything)
        # The emptyDir of memory is gone with the pod, and taken; the secret is not.
        self.assertIn("containers/app/tmpfs/cache.tar.zst", tmpfs)
        self.assertEqual([s for s in tmpfs if "serviceaccount" in s], [])
        execs = [e for e in app["execs"] if e.get("id") == "by-kubectl"]
        self.assertEqual([e["running"] for e in execs], [True], app["execs"])
