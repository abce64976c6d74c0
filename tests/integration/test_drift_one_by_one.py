"""drift of what an intruder may do, one by one, in CRI pods: programs replaced while they run, memory, volumes, preloaded
libraries, tools in an image that has none, the layers in the engine's store, files of the node."""
import os
import shutil
import subprocess
import tempfile
import time

import debian
import each_engine
import lab
from engines import wait_until
from lab import Case, ctriage
from test_drift_engines import named

IMAGE, BARE = "localhost/debian:1", "localhost/bare:1"
APP = "#include <unistd.h>\nint main(void) { for (;;) sleep(1000); }\n"
LIBRARY = "int of_the_intruder(void) { return 1; }\n"
DOES = r"""
cp /bin/sleep /opt/own; /opt/own 100001 & sleep 0.3; cp /bin/true /opt/new; mv /opt/new /opt/own
/opt/tool loop 4611 > /dev/null & sleep 0.3; cp /bin/true /tmp/n; mv /tmp/n /opt/tool
/implant memfd 4612 > /dev/null &
python3 /data/job.py &
LD_PRELOAD=/opt/x.so sleep 100002 &
echo /opt/x.so > /etc/ld.so.preload; sleep 100003 & sleep 0.3; rm /etc/ld.so.preload; echo /opt/y.so > /etc/ld.so.preload
: > /srv/.wh.readme
cp /bin/sleep /usr/bin/sleeper; chmod 4755 /usr/bin/sleeper
printf 'sleep 100004\n' > /tmp/gone; cd /tmp; sh gone & sleep 0.3; rm /tmp/gone
cd /srv; sh job 100005 & sleep 0.3; cd /
echo '* * * * * root /x' > /node/cron.d/job
echo ready > /tmp/ready; exec sleep 1000000
"""


def setUpModule():
    lab.binary()
    lab.need_root()
    lab.need("containerd", "runc", "ctr", "gcc", "dpkg-deb", "tar")
    debian.need_debian(lab.unittest)


def built(base, name, source, *flags):
    path = os.path.join(base, name)
    subprocess.run(["gcc", "-x", "c", "-", "-o", path, *flags], input=source.encode(), check=True)
    with open(path, "rb") as file:
        return file.read()


class OneByOne(Case):
    @classmethod
    def setUpClass(cls):
        cls.engine = engine = each_engine.Cri()
        cls.addClassCleanup(engine.stop)
        implant = lab.build_implant(lab.BUILD_DIR)
        library = built(engine.base, "x.so.built", LIBRARY, "-shared", "-fPIC")
        job = b"sleep $1 & cd /; wait\n"
        engine.load(debian.archive(engine.base, IMAGE, {"/implant": implant, "/opt/tool": implant, "/srv/readme": b"x\n", "/srv/job": job}))
        engine.load(debian.distroless(engine.base, BARE, built(engine.base, "bare", APP, "-static")))
        directory = tempfile.mkdtemp(prefix="ctriage-test-", dir="/var/tmp")  # a tmpfs would be named as such
        cls.addClassCleanup(shutil.rmtree, directory)
        cls.volume, cls.node = os.path.join(directory, "volume"), os.path.join(directory, "node")
        os.makedirs(cls.volume)
        os.makedirs(os.path.join(cls.node, "cron.d"))
        with open(os.path.join(cls.volume, "job.py"), "w", encoding="ascii") as file:
            file.write("import time\nwhile True: time.sleep(1000)\n")
        script = DOES.replace("/opt/x.so", "/opt/lib/x.so").replace("/opt/y.so", "/opt/lib/y.so")
        cls.pod = engine.start("many", IMAGE, ["/bin/bash", "-c", "until [ -e /opt/lib/x.so ]; do sleep 0.1; done\n" + script],
                               mounts=[(cls.volume, "/data"), (cls.node, "/node")])
        os.makedirs(cls.pod.root + "/opt/lib")
        with open(cls.pod.root + "/opt/lib/x.so.part", "wb") as file:
            file.write(library)
        os.rename(cls.pod.root + "/opt/lib/x.so.part", cls.pod.root + "/opt/lib/x.so")
        cls.pod.wait_for("/tmp/ready")
        time.sleep(0.5)

    def test_what_an_intruder_may_do(self):
        document = self.expect(ctriage("drift", self.pod.target, "--json"), 0).json()
        found = named(document)
        for what, rule, path in (
                ("a program of the UpperDir, replaced since", "CT-EXEC-001", "/opt/own"),
                ("what replaced it", "CT-FILE-002", "/opt/own"),
                ("a program of the image, replaced since", "CT-EXEC-001", "/opt/tool (deleted)"),
                ("what replaced it", "CT-FILE-003", "/opt/tool"),
                ("memfd", "CT-EXEC-002", "/memfd:kthreadd"),
                ("a script in a volume", "CT-EXEC-008", "/usr/bin/python3.11"),
                ("a library", "CT-FILE-002", "/opt/lib/x.so"),
                ("mapped", "CT-LIB-002", "/opt/lib/x.so"),
                ("by LD_PRELOAD", "CT-LIB-004", "/usr/bin/sleep"),
                ("ld.so.preload", "CT-PERS-001", "/etc/ld.so.preload"),
                ("a whiteout's name", "CT-FILE-008", "/srv/.wh.readme"),
                ("a setuid copy", "CT-FILE-001", "/usr/bin/sleeper"),
                ("a script that is gone, by a relative name", "CT-EXEC-007", "/usr/bin/dash")):
            with self.subTest(what):
                self.assertIn((rule, path), found)
        scripts = [f["what"] for f in document["findings"] if f["rule"] == "CT-EXEC-007"]
        self.assertNotIn("CT-EXEC-010", [rule for rule, _ in found])
        self.assertEqual(len(scripts), 1, scripts)  # not the one of the image that went elsewhere
        self.assertIn("/tmp/gone", scripts[0])

    def test_a_file_of_the_node(self):
        out = self.temp()
        self.expect(ctriage("collect", self.pod.target, "-o", out, "--memory", "none"), 0, 3)
        with lab.Bundle(self.one_bundle(out)) as bundle:
            paths = [lab.path_of(record).decode() for record in bundle.records("containers/app/volumes/node.jsonl")]
        self.assertTrue(any(path.endswith("cron.d/job") for path in paths), paths)

    def test_a_tool_in_a_bare_image(self):
        bare = self.engine.start("bare", BARE, ["/app"])
        with open("/bin/busybox", "rb") as source, open(bare.root + "/tmp/bb", "wb") as file:
            file.write(source.read() + b"x")
        os.chmod(bare.root + "/tmp/bb", 0o755)
        os.symlink("/tmp/bb", bare.root + "/tmp/sh")
        os.symlink("busybox", bare.root + "/tmp/wget")
        tool = self.engine.execute(bare, "tool", "/tmp/sh", "-c", "while :; do sleep 100006; done")
        self.addCleanup(lambda: (tool.kill(), tool.wait()))
        wait_until(lambda: b"100006" in ctriage("show", bare.target, "--ps").out, "the tool")
        found = named(self.expect(ctriage("drift", bare.target, "--json"), 0).json())
        for each in (("CT-EXEC-003", "/tmp/bb"), ("CT-EXEC-012", "/tmp/bb"), ("CT-FILE-002", "/tmp/bb"), ("CT-FILE-012", "/tmp/wget")):
            self.assertIn(each, found)

    def test_a_layer_in_the_store(self):
        pod = self.engine.start("store", IMAGE, ["/bin/sleep", "1000000"])
        self.expect(ctriage("image", "verify", pod.target), 0)
        path = os.path.join(pod.lowers[0], "srv/readme")
        with open(path, "rb") as file:
            before = file.read()
        try:
            with open(path, "wb") as file:
                file.write(b"changed behind the engine's back\n")
            told = self.expect(ctriage("image", "verify", pod.target), 1).out.decode()
            self.assertIn("/srv/readme", told)
        finally:
            with open(path, "wb") as file:
                file.write(before)

    def test_the_same_bytes_in_two_containers(self):
        other = self.engine.start("other", IMAGE, ["/bin/sh", "-c", "cp /implant /opt/own-name; exec /opt/own-name loop 4613"])
        wait_until(lambda: b"own-name" in ctriage("show", other.target, "--ps").out, "the program")
        swept = self.expect(ctriage("sweep", "--json"), 0, 3).json()
        shared = [each for each in swept["shared"] if any(other.target in place for place in each["places"])]
        sums = {each["value"] for each in shared}
        self.assertIn(lab.sha256_file(os.path.join(lab.BUILD_DIR, "implant")), sums)


if __name__ == "__main__":
    lab.unittest.main()
