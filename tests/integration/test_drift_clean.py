"""drift of containers that nobody broke into, each engine's: nothing above info."""
import subprocess

import debian
import each_engine
import engines
import lab
from lab import Case, ctriage
from test_drift_engines import named

BUSYBOX = ("mkdir -p /www /var/spool/cron/crontabs; echo hi > /www/index.html; httpd -f -p 127.0.0.1:8139 -h /www & "
           "crond -f & echo line > /var/log/messages; gzip /var/log/messages; echo $$ > /run.pid; vi -c ':q!' /www/index.html < /dev/null; "
           "wget -q -O /tmp/page http://127.0.0.1:8139/ ; sh -c 'ls | wc -l'; echo ready > /tmp/ready; exec sleep 1000000")
APP = r"""
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
int main(void) {  // what a server of one static program leaves: a pid file, state, a socket it listens on
  mkdir("/run", 0755); mkdir("/var", 0755); mkdir("/var/lib", 0755); mkdir("/var/lib/app", 0755);
  const char *names[] = {"/run/app.pid", "/var/lib/app/state", "/tmp/ready"};
  for (int i = 0; i < 3; i++) { int fd = open(names[i], O_WRONLY | O_CREAT, 0644); if (write(fd, "1\n", 2) != 2) return 1; }
  for (;;) sleep(1000);
}
"""


def setUpModule():
    lab.binary()
    lab.need_root()
    lab.need("gcc", "zstd", "dpkg-deb", "tar")
    debian.need_debian(lab.unittest)


class Clean:
    @classmethod
    def setUpClass(cls):
        cls.engine = engine = cls.kind()
        cls.addClassCleanup(engine.stop)
        engine.load(debian.archive(engine.base, "localhost/debian:1", {"/srv/readme": b"x\n"}))
        source = f"{engine.base}/bare.c"
        with open(source, "w", encoding="ascii") as file:
            file.write(APP)
        subprocess.run(["gcc", "-static", "-o", f"{engine.base}/bare", source], check=True)
        with open(f"{engine.base}/bare", "rb") as file:
            engine.load(debian.distroless(engine.base, "localhost/bare:1", file.read()))
        if engine.kind == "cri":
            engine.engine.add_images({"/etc/of-the-app": b"x\n"})
        app = engines.IMAGE if engine.kind != "cri" else "localhost/app:1"
        cls.running = {"debian": engine.start("debian", "localhost/debian:1", ["/bin/bash", "-ec", debian.USED]),
                       "busybox": engine.start("busybox", app, ["/bin/sh", "-c", BUSYBOX]),
                       "distroless": engine.start("bare", "localhost/bare:1", ["/app"])}
        for each in cls.running.values():
            each.wait_for("/tmp/ready")

    def quiet(self, what, *arguments):
        document = self.expect(ctriage("drift", *arguments, "--json"), 0).json()
        self.assertEqual(named(document), [], what)
        return document

    def test_live_and_bundle(self):
        for name, running in self.running.items():
            with self.subTest(name):
                live = self.quiet(name, running.target)
                self.assertGreater(live["changes"]["changes"], 2)
                out = self.temp()
                self.expect(ctriage("collect", running.target, "-o", out, "--memory", "none"), 0, 3)
                self.quiet(f"{name}, bundle", self.one_bundle(out))
        # A package was installed, and nothing of it needs a look: program, script, library, its file for cron.
        live = self.quiet("debian", self.running["debian"].target)
        reasons = {each["reason"]: each["changes"] for each in live["explained"]}
        self.assertEqual(reasons["installed by dpkg"], 5, reasons)
        self.assertIn("/var/lib/dpkg/status", [f["path"] for f in live["findings"] if f["rule"] == "CT-FILE-015"])

    def test_ended(self):
        name, image = f"ends-{self.engine.kind}", "localhost/debian:1"
        running = self.engine.start(name, image, ["/bin/bash", "-ec", debian.USED.replace("8137", "8141").replace("8138", "8142")])
        running.wait_for("/tmp/ready")
        self.engine.stop_container(running)
        self.quiet("ended", running.target)


class CriTest(Clean, Case):
    kind = each_engine.Cri


class PodmanTest(Clean, Case):
    kind = each_engine.Podman


class DockerTest(Clean, Case):
    kind = each_engine.Docker


if __name__ == "__main__":
    lab.unittest.main()
