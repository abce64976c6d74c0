"""What an intruder with rights in the container does so that we look elsewhere: each came out of an attack on ctriage."""
import hashlib
import os
import shutil
import subprocess
import time
import unittest

import fuse
import lab
from lab import Box, BoxCase, ctriage


def setUpModule():
    lab.binary()
    lab.need_root()
    lab.need("unshare", "pivot_root", "nsenter")


class Configured(BoxCase):
    """What the node's configuration would load into us."""

    def test_a_module_of_openssl_s_configuration_is_not_loaded(self):
        lab.need("gcc", "openssl")
        at = self.temp()
        source = f'#include <fcntl.h>\n__attribute__((constructor)) static void mark(void) {{ open("{at}/loaded", O_CREAT, 0600); }}\n'
        subprocess.run(["gcc", "-shared", "-fPIC", "-x", "c", "-", "-o", at + "/mark.so"], input=source, text=True, check=True)
        with open(at + "/openssl.cnf", "w", encoding="ascii") as file:
            file.write(f"openssl_conf = all\n[all]\nproviders = some\n[some]\nmark = one\n[one]\nmodule = {at}/mark.so\nactivate = 1\n")
        env = {"OPENSSL_CONF": at + "/openssl.cnf"}
        subprocess.run(["openssl", "list", "-providers"], env={**os.environ, **env}, capture_output=True, check=False)
        self.assertTrue(os.path.exists(at + "/loaded"), "openssl itself does not take it: the test shows nothing")
        os.unlink(at + "/loaded")
        bundle = at + "/some.ctriage.tar"
        with open(bundle, "wb") as file:
            file.write(b"no bundle, but sent as one")
        key = subprocess.run(["age-keygen"], capture_output=True, text=True, check=True).stdout.split("public key: ")[1].split()[0]
        box = Box()
        self.addCleanup(box.stop)
        self.expect(ctriage("collect", f"pid:{box.pid}", "-o", at, "--encrypt-to", key, env=env), 0)
        self.expect(ctriage("export", bundle, "https://localhost:1/in", "--retry-for", "0s", env=env), 1, 2)
        self.assertFalse(os.path.exists(at + "/loaded"))


class Evasion(BoxCase):
    def box(self, script):
        box = Box("echo evil > /root/implant; echo box-is-up; sleep 5000", wait_for="box-is-up")
        self.addCleanup(box.stop)
        box.run(script)
        return box

    def program(self, bundle, path):
        found = [p for p in self.records(bundle, "processes") if p["exe"]["path"].startswith(path)]
        self.assertEqual(len(found), 1, [p["exe"]["path"] for p in self.records(bundle, "processes")])
        return found[0]

    def rules_for(self, bundle, pid):
        return {finding["rule"] for finding in bundle.records("findings.jsonl") if finding.get("pid") == pid}

    def test_a_mount_over_the_root_hides_no_layer(self):
        _, bundle = self.collect(self.box("mount -t tmpfs x /"), 3)
        changes = {change["path"]: change["kind"] for change in self.records(bundle, "changes")}
        self.assertEqual(changes.get("/root/implant"), "added")
        for process in self.records(bundle, "processes"):
            self.assertEqual(process["exe"]["origin"], "image", process["exe"])

    def test_an_overlay_over_the_root_leads_nowhere_else(self):
        box = self.box("mount -t tmpfs x /var; mkdir -p /var/tmp /var/cache; "
                       "mount -t overlay -o lowerdir=/etc,upperdir=/var/tmp,workdir=/var/cache o /")
        _, bundle = self.collect(box, 3)
        changes = {change["path"]: change["kind"] for change in self.records(bundle, "changes")}
        self.assertEqual(changes.get("/root/implant"), "added")
        layers = [layer["path"] for layer in self.records(bundle, "layers")]
        self.assertEqual(layers[-1], box.upper)

    def test_a_root_of_its_own_leads_to_no_directory_of_the_node(self):
        node = self.temp()
        os.makedirs(node + "/upper/innocent")
        box = Box(f"""echo evil > /root/implant; mkdir -p {node}; mount -t tmpfs t {node}
                  mkdir -p {node}/upper {node}/work {node}/m
                  mount -t overlay o -o lowerdir=/,upperdir={node}/upper,workdir={node}/work {node}/m
                  mount --move /proc {node}/m/proc; cd {node}/m; pivot_root . mnt
                  exec chroot . /bin/busybox sh -c 'busybox umount -l /mnt; echo box-is-up; exec busybox sleep 5000'""",
                  wait_for="box-is-up")
        self.addCleanup(box.stop)
        _, bundle = self.collect(box, 3)
        gaps = [gap for gap in bundle.records("gaps.jsonl") if gap["artifact"] == "container.layers"]
        self.assertEqual([gap["impact"] for gap in gaps], ["lost"])
        self.assertIn("is not the UpperDir of this overlay", gaps[0]["reason"])
        self.assertNotIn(f"containers/{self.container}/changes.jsonl", bundle.streams)

    def test_a_program_of_the_node_from_inside(self):
        node = self.temp()
        shutil.copy("/bin/busybox", node + "/busybox")
        directory = os.open(node, os.O_PATH | os.O_DIRECTORY)
        self.addCleanup(os.close, directory)
        box = Box(f"exec -a busybox /proc/self/fd/{directory}/busybox sleep 5000", pass_fds=(directory,))
        self.addCleanup(box.stop)
        _, bundle = self.collect(box)
        process = self.program(bundle, node)
        self.assertEqual(process["exe"]["origin"], "host")
        self.assertIn("CT-EXEC-006", self.rules_for(bundle, process["pid"]))
        self.assertIn(f"containers/{self.container}/executables/{process['exe']['sha256']}.zst", bundle.streams)

    def test_attributes_of_one_file_cost_the_others_nothing(self):
        box = self.box("cp /bin/busybox /root/suid; chmod 4755 /root/suid; echo a > /root/a; echo z > /root/z")
        value = bytes(range(256)) * 256
        for number in range(140):
            os.setxattr(box.root + "/root/a", f"trusted.{number:x}", value)
        _, bundle = self.collect(box, 3)
        changes = {change["path"]: change for change in self.records(bundle, "changes")}
        self.assertLessEqual({"/root/a", "/root/suid", "/root/z"}, set(changes))
        attributes = {x["name"]: x for x in changes["/root/a"]["after"]["xattrs"]}
        self.assertEqual(len([name for name in attributes if name.startswith("trusted.") and "overlay" not in name]), 140)
        self.assertIn(hashlib.sha256(value).hexdigest(), attributes["trusted.8b"]["left_out"])
        self.assertIn("CT-FILE-001", {finding["rule"] for finding in bundle.records("findings.jsonl")})
        self.assertTrue([g for g in bundle.records("gaps.jsonl") if g["artifact"] == "overlay.xattrs" and g["impact"] == "lost"])

    def test_arguments_of_one_process_cost_the_others_nothing(self):
        box = self.box("ulimit -s unlimited; x=$(head -c 120000 /dev/zero | tr '\\0' '\\001'); "
                       "set -- " + '"$x" ' * 30 + "; sh -c 'while :; do sleep 5000; done' sh \"$@\" >/dev/null 2>&1 & sleep 1; "
                       "cp /bin/busybox /tmp/zz; exec -a busybox /tmp/zz sleep 4000 >/dev/null 2>&1 &")
        time.sleep(0.5)
        _, bundle = self.collect(box, 3)
        self.assertLessEqual(box.pids(), {process["pid"] for process in self.records(bundle, "processes")})
        self.assertIn("CT-EXEC-003", self.rules_for(bundle, self.program(bundle, "/tmp/zz")["pid"]))
        self.assertTrue([g for g in bundle.records("gaps.jsonl") if g["artifact"] == "record" and g["impact"] == "lost"])

    def test_a_second_name_does_not_save_a_deleted_program(self):
        box = self.box("mkdir /tmp/x; cp /bin/busybox /tmp/x/; ln /tmp/x/busybox /tmp/kept; "
                       "/tmp/x/busybox sleep 5000 >/dev/null 2>&1 & sleep 1; rm /tmp/x/busybox")
        _, bundle = self.collect(box)
        process = self.program(bundle, "/tmp/x")
        self.assertEqual(process["exe"]["origin"], "deleted")
        self.assertIn("CT-EXEC-001", self.rules_for(bundle, process["pid"]))

    def test_a_mount_over_a_program_does_not_hide_it(self):
        box = self.box("mkdir /tmp/over; cp /bin/busybox /tmp/over/; echo >> /tmp/over/busybox; "
                       "/tmp/over/busybox sleep 5000 >/dev/null 2>&1 & sleep 1; mount --bind /bin/busybox /tmp/over/busybox")
        _, bundle = self.collect(box)
        process = self.program(bundle, "/tmp/over")
        self.assertEqual(process["exe"]["origin"], "upper")
        self.assertIn("CT-EXEC-003", self.rules_for(bundle, process["pid"]))

    def test_a_mount_namespace_of_its_own(self):
        box = self.box("unshare -m sh -c 'mount -t tmpfs x /opt; cp /bin/busybox /opt/; exec /opt/busybox sleep 5000' "
                       ">/dev/null 2>&1 & sleep 1")
        _, bundle = self.collect(box, 3)
        (lost,) = [g for g in bundle.records("gaps.jsonl") if g["impact"] == "lost"]
        self.assertIn("in a mount namespace of its own", lost["reason"])
        process = self.program(bundle, "/opt/busybox")
        self.assertEqual(process["exe"]["origin"], "tmpfs")
        self.assertIn("CT-EXEC-003", self.rules_for(bundle, process["pid"]))

    def test_a_program_of_terabytes_is_found_without_being_read(self):
        box = self.box("mkdir /root/h; cp /bin/busybox /root/h; truncate -s 4398046511104 /root/h/busybox; "
                       "/root/h/busybox sleep 5000 >/dev/null 2>&1 & sleep 1")
        _, bundle = self.collect(box, 3)
        process = self.program(bundle, "/root/h/busybox")
        self.assertEqual(process["exe"]["origin"], "upper")
        self.assertNotIn("sha256", process["exe"])
        self.assertIn("CT-EXEC-003", self.rules_for(bundle, process["pid"]))
        (lost,) = [g for g in bundle.records("gaps.jsonl") if g["impact"] == "lost"]
        self.assertIn("holes are not read", lost["reason"])

    def test_a_program_of_the_image_bound_elsewhere_is_still_the_image(self):
        box = self.box("mkdir /tmp/same; touch /tmp/same/busybox; mount --bind /bin/busybox /tmp/same/busybox; "
                       "/tmp/same/busybox sleep 5000 >/dev/null 2>&1 & sleep 1")
        _, bundle = self.collect(box)
        self.assertEqual(self.program(bundle, "/tmp/same")["exe"]["origin"], "image")

    def test_a_file_system_whose_server_falls_silent_stops_nobody(self):
        if not os.path.exists("/dev/fuse"):
            raise unittest.SkipTest("needs /dev/fuse")
        box = self.box("mkdir /srv; mount -t tmpfs x /srv; mkdir /srv/fuse; mount -t tmpfs x /opt")
        server = fuse.Fuse(box.pid, "/srv/fuse", "busybox", "/bin/busybox")
        self.addCleanup(server.close)
        box.run("cd /srv/fuse; /srv/fuse/busybox sleep 5000 < /srv/fuse/busybox >/dev/null 2>&1 & "
                "cp /bin/busybox /opt/sleep; /opt/sleep 5000 >/dev/null 2>&1 & sleep 1; umount -l /opt")
        server.fall_silent()
        began = time.monotonic()
        _, bundle = self.collect(box, 3)
        self.assertLess(time.monotonic() - began, 30)
        process = self.program(bundle, "/srv/fuse")
        self.assertEqual(process["exe"]["origin"], "volume")
        self.assertIsNone(process["exe"].get("sha256"))
        lost = [g for g in bundle.records("gaps.jsonl") if g["impact"] == "lost"]
        self.assertEqual([(g["artifact"], g["code"]) for g in lost], [("proc.exe", "outside"), ("proc.exe", "not_found"),
                                                                        ("container.volumes", "outside")], lost)
        self.assertEqual(lost[2]["origin"], "/srv/fuse")
        self.assertIn("fuse.ctriage at /srv/fuse", lost[0]["reason"])
        # Where a file of a mount that is gone comes from no table tells; it is in memory, so its bytes are taken.
        self.assertIn("a mount that is gone", lost[1]["reason"])
        hidden = self.program(bundle, "/sleep")
        self.assertEqual(hidden["exe"]["sha256"], lab.sha256_file("/bin/busybox"))

    def test_short_lived_processes_cost_the_others_nothing(self):
        box = self.box("for i in 1 2 3 4 5 6; do (while :; do sleep 0.05; done) >/dev/null 2>&1 & done; "
                       "nc -l -p 4567 >/dev/null 2>&1 & sleep 1")
        steady = {pid for pid in box.pids()}
        time.sleep(0.5)
        steady &= box.pids()
        for _ in range(3):
            _, bundle = self.collect(box, 0, 3)
            for stream in ("processes", "threads", "descriptors", "mappings"):
                seen = {record["pid"] for record in self.records(bundle, stream)}
                self.assertEqual(steady - seen, set(), stream)
            listening = [s for s in self.records(bundle, "sockets") if s["state"] == "LISTEN" and s["local"].endswith(":4567")]
            self.assertTrue(listening)
            self.assertTrue(listening[0]["pids"])
