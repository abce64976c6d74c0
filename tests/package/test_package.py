"""The packages of `./run.sh package`: a program that needs nothing of the node and loads nothing of it. CTRIAGE is the static one."""
import glob
import gzip
import os
import shutil
import subprocess

import lab
from box import Box
from lab import Case, ctriage

TOP = os.path.abspath(os.path.join(os.path.dirname(__file__), "../.."))
DIST = os.path.join(TOP, "dist")
CHECKPOINT = os.path.join(TOP, "testdata/checkpoint/victim-podman.tar.zst")
# A library that tells by a file in its root that it was loaded.
MARK = '#include <fcntl.h>\n__attribute__((constructor)) static void mark(void) { open("/loaded", O_CREAT | O_WRONLY, 0600); }\n'


def setUpModule():
    lab.binary()
    lab.need_root()


def output(*command, **options):
    return subprocess.run(command, check=True, capture_output=True, text=True, **options).stdout


class Root(Case):
    """A root tree in which the program is, with /proc and nothing else unless a test puts it there."""

    def setUp(self):
        self.root = self.temp()
        os.mkdir(self.root + "/proc")
        os.mkdir(self.root + "/out")
        shutil.copy(lab.binary(), self.root + "/ctriage")

    def inside(self, *arguments, **options):
        script = 'mount --bind /proc "$0/proc" && exec chroot "$0" "$@"'
        return ctriage(*arguments, program="/ctriage",
                       prefix=("unshare", "--mount", "sh", "-c", script, self.root), **options)

    def libraries_of(self, program):
        for line in output("ldd", program).splitlines():
            path = next((word for word in line.split() if word.startswith("/")), None)
            if path:
                os.makedirs(os.path.dirname(self.root + path), exist_ok=True)
                shutil.copy(path, self.root + path)


class Itself(Case):
    def test_the_kernel_alone_loads_it(self):
        self.assertNotIn("INTERP", output("readelf", "-lW", lab.binary()))
        self.assertNotIn("NEEDED", output("readelf", "-dW", lab.binary()))


class Empty(Root):
    def test_it_runs_where_there_is_only_proc(self):
        self.expect(self.inside("--version"), 0)
        self.expect(self.inside("selftest"), 0, 3)
        self.expect(self.inside("list", "--json"), 0, 3)
        shutil.copy(CHECKPOINT, self.root + "/victim.tar.zst")
        here = self.expect(ctriage("show", CHECKPOINT, "--json"), 0, 3).json()
        there = self.expect(self.inside("show", "/victim.tar.zst", "--json"), 0, 3).json()
        self.assertEqual(len(there["processes"]), len(here["processes"]))
        self.assertGreater(len(there["processes"]), 0)

    def test_collect_and_verify(self):
        box = Box("echo evil > /root/implant; echo box-is-up; sleep 5000", wait_for="box-is-up")
        self.addCleanup(box.stop)
        self.expect(self.inside("collect", f"pid:{box.pid}", "-o", "/out"), 0, 3)
        bundle = self.one_bundle(self.root + "/out")
        self.expect(self.inside("verify", "/out/" + os.path.basename(bundle)), 0)
        with lab.Bundle(bundle) as opened:
            (container,) = opened.containers()
            paths = [change["path"] for change in opened.records(f"containers/{container}/changes.jsonl")]
            self.assertIn("/root/implant", paths)
            self.assertEqual(opened.json("bundle.json")["tool_sha256"], lab.sha256_file(lab.binary()))


class Hostile(Root):
    """A root whose owner has every program load his library."""

    def setUp(self):
        super().setUp()
        os.makedirs(self.root + "/etc")
        os.makedirs(self.root + "/bin")
        shutil.copy("/bin/true", self.root + "/bin/true")
        self.libraries_of("/bin/true")
        subprocess.run(["gcc", "-shared", "-fPIC", "-x", "c", "-", "-o", self.root + "/mark.so"], input=MARK, text=True, check=True)

    def loaded(self, program, **env):
        if os.path.exists(self.root + "/loaded"):
            os.unlink(self.root + "/loaded")
        subprocess.run(["chroot", self.root, program, "--version"], env={**os.environ, **env}, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL, check=True)
        return os.path.exists(self.root + "/loaded")

    def test_ld_preload(self):
        self.assertTrue(self.loaded("/bin/true", LD_PRELOAD="/mark.so"))
        self.assertFalse(self.loaded("/ctriage", LD_PRELOAD="/mark.so"))

    def test_ld_so_preload(self):
        with open(self.root + "/etc/ld.so.preload", "w", encoding="ascii") as file:
            file.write("/mark.so\n")
        self.assertTrue(self.loaded("/bin/true"))
        self.assertFalse(self.loaded("/ctriage"))


class Noexec(Case):
    def test_a_mount_without_programs_is_said(self):
        at = self.temp()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "noexec,size=128m", "ctriage-test", at], check=True)
        self.addCleanup(subprocess.run, ["umount", at], check=True)
        shutil.copy(lab.binary(), at + "/ctriage")
        starter = shutil.copy(os.path.join(TOP, "deploy/package/ctriage.sh"), at)
        refused = subprocess.run(["sh", starter, "list"], capture_output=True, text=True, check=False)
        self.assertEqual(refused.returncode, 1, refused)
        self.assertIn(f"{at} is on {at}, which is mounted noexec", refused.stderr)
        # The command lines it gives do work.
        lines = [line.strip() for line in refused.stderr.splitlines() if line.startswith("  ")]
        place = self.temp()
        self.addCleanup(subprocess.run, ["umount", place], check=False)
        for line in lines:
            subprocess.run(["sh", "-c", line.replace("/run/ctriage", place).replace(" list", " --version")], check=True)

    def test_elsewhere_it_is_started(self):
        at = self.temp()
        shutil.copy(lab.binary(), at + "/ctriage")
        starter = shutil.copy(os.path.join(TOP, "deploy/package/ctriage.sh"), at)
        self.assertEqual(output("sh", starter, "--version"), output(lab.binary(), "--version"))


class Debian(Case):
    def package(self):
        return self.one_bundle(DIST, "_amd64.deb")

    def test_it_is_installed_and_removed_in_a_fresh_root(self):
        root = self.temp()
        for name in ("/var/lib/dpkg/info", "/var/lib/dpkg/updates", "/var/lib/dpkg/triggers"):
            os.makedirs(root + name)
        for name in ("/var/lib/dpkg/status", "/var/lib/dpkg/available"):
            open(root + name, "w", encoding="ascii").close()
        dpkg = ["dpkg", "--root", root, "--force-script-chrootless"]
        subprocess.run([*dpkg, "-i", self.package()], check=True, capture_output=True)
        program = root + "/usr/bin/ctriage"
        self.assertEqual(lab.sha256_file(program), lab.sha256_file(lab.binary()))
        for name in ("share/man/man1/ctriage.1.gz", "share/man/man1/ctriage-collect.1.gz", "share/ctriage/rules/process.json",
                     "share/bash-completion/completions/ctriage", "share/zsh/vendor-completions/_ctriage",
                     "share/fish/vendor_completions.d/ctriage.fish"):
            self.assertTrue(os.path.isfile(f"{root}/usr/{name}"), name)
        subprocess.run([*dpkg, "-r", "ctriage"], check=True, capture_output=True)
        left = [os.path.join(at, name) for at, _, names in os.walk(root + "/usr") for name in names]
        self.assertEqual(left, [])

    def test_it_depends_on_nothing(self):
        self.assertEqual(output("dpkg-deb", "-f", self.package(), "Depends").strip(), "")

    def test_manual_pages_render_without_a_warning(self):
        into = self.temp()
        subprocess.run(["dpkg-deb", "-x", self.package(), into], check=True)
        pages = glob.glob(into + "/usr/share/man/man1/*.1.gz")
        commands = output(lab.binary(), "manual").split()
        self.assertEqual(sorted(os.path.basename(page)[:-5] for page in pages), sorted(commands))
        for page in pages:
            with gzip.open(page) as file:
                made = subprocess.run(["groff", "-man", "-Tutf8", "-ww", "-P-c"], input=file.read(), capture_output=True, check=True)
            self.assertEqual(made.stderr, b"", page)
        help_text = output(lab.binary(), "collect", "--help")
        page = gzip.open(into + "/usr/share/man/man1/ctriage-collect.1.gz").read().decode()
        for option in ("--deadline", "--max-bytes", "--wait", "--encrypt-to"):
            self.assertIn(option, help_text)
            self.assertIn(option.replace("-", "\\-"), page)

    def test_completions_are_what_each_shell_takes(self):
        for shell, check in (("bash", ["bash", "-n"]), ("zsh", ["zsh", "-n"]), ("fish", ["fish", "--no-execute"])):
            script = os.path.join(self.temp(), "completion")
            with open(script, "w", encoding="utf-8") as file:
                file.write(output(lab.binary(), "completion", shell))
            checked = subprocess.run([*check, script], capture_output=True, text=True, check=False)
            self.assertEqual((checked.returncode, checked.stderr), (0, ""), shell)


class Sums(Case):
    def test_stock_sha256sum_agrees(self):
        output("sha256sum", "--check", "--strict", "SHA256SUMS", cwd=DIST)
        named = {line.split(maxsplit=1)[1] for line in open(DIST + "/SHA256SUMS", encoding="ascii").read().splitlines()}
        self.assertEqual(named, set(os.listdir(DIST)) - {"SHA256SUMS"})
