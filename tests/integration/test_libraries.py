"""Mapped libraries: where each is from, and the bytes of those that the image does not have, once each."""
import os
import subprocess
import tempfile

import lab
from lab import Box, BoxCase, ctriage

LOADER = "/lib64/ld-linux-x86-64.so.2"
LIBC = "/lib/x86_64-linux-gnu/libc.so.6"
# Waits; with a file name it has that file mapped as code in memory that no name leads to.
APP = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>
int main(int argc, char **argv) {
  static char block[1 << 20];
  if (argc > 1) {
    int in = open(argv[1], O_RDONLY), out = memfd_create("hidden", 0);
    long size = read(in, block, sizeof block);
    if (write(out, block, size) != size || mmap(0, size, PROT_READ | PROT_EXEC, MAP_PRIVATE, out, 0) == MAP_FAILED) return 1;
    close(in); close(out);
  }
  for (;;) pause();
}
"""


def setUpModule():
    lab.binary()
    lab.need_root()
    lab.need("unshare", "pivot_root", "gcc", "zstd")


def compiled(*options, source):
    with tempfile.TemporaryDirectory() as directory:
        with open(f"{directory}/x.c", "w", encoding="ascii") as file:
            file.write(source)
        subprocess.run(["gcc", "-w", "-o", f"{directory}/x", *options, f"{directory}/x.c"], check=True)
        with open(f"{directory}/x", "rb") as file:
            return file.read()


class Libraries(BoxCase):
    NAMES = ("upper", "gone", "shm", "memory", "same", "image")

    @classmethod
    def setUpClass(cls):
        cls.library = {name: compiled("-shared", "-fPIC", source=f"const char of_{name}[] = \"{name}\"; int f_{name}(void) {{ return 1; }}")
                       for name in cls.NAMES}
        cls.app = compiled(source=APP)
        files = {f"/opt/{name}.so": data for name, data in cls.library.items()}
        files["/opt/app"] = cls.app
        for path in (LOADER, LIBC):
            with open(path, "rb") as file:
                files[path] = file.read()
        cls.box = Box("""
cp /opt/upper.so /tmp/upper.so; cp /opt/gone.so /tmp/gone.so; cp /opt/shm.so /dev/shm/shm.so; cp /opt/app /tmp/evil
chmod 700 /opt/same.so; chmod 755 /opt/same.so
LD_PRELOAD=/tmp/upper.so /opt/app & LD_PRELOAD=/tmp/upper.so /opt/app & LD_PRELOAD=/tmp/gone.so /opt/app &
LD_PRELOAD=/dev/shm/shm.so /opt/app & LD_PRELOAD=/opt/same.so:/opt/image.so /opt/app & /opt/app /opt/memory.so &
LD_PRELOAD=/opt/image.so /tmp/evil &
sleep 2; rm /tmp/gone.so; echo mapped; while :; do sleep 1000; done""", files=files, wait_for="mapped")
        cls.addClassCleanup(cls.box.stop)

    def setUp(self):
        self.run_, self.bundle = self.collect(self.box, 0)

    def mapped(self):
        """Path to origin and SHA-256 of what has one."""
        found = {}
        for mapping in self.records(self.bundle, "mappings"):
            if "origin" in mapping:
                found.setdefault(lab.path_of(mapping).decode(), set()).add((mapping["origin"], mapping.get("sha256")))
        return found

    def sha(self, name):
        return lab.hashlib.sha256(self.library[name]).hexdigest()

    def test_all(self):
        wanted = {"/tmp/upper.so": ("upper", self.sha("upper")), "/tmp/gone.so (deleted)": ("deleted", self.sha("gone")),
                  "/dev/shm/shm.so": ("tmpfs", self.sha("shm")), "/memfd:hidden (deleted)": ("memfd", self.sha("memory")),
                  "/opt/same.so": ("image", None), "/opt/image.so": ("image", None), LIBC: ("image", None), LOADER: ("image", None)}
        mapped = self.mapped()
        for path, answer in wanted.items():
            with self.subTest(path):
                self.assertEqual(mapped.pop(path), {answer})
        self.assertEqual(mapped, {})

        # Foreign ones, the program that is not the image's, and all that it has mapped, each once.
        prefix = f"containers/{self.container}/executables/"
        taken = {s[len(prefix):].removesuffix(".zst"): s for s in self.bundle.streams if s.startswith(prefix)}
        names = {self.sha(name): name for name in ("upper", "gone", "shm", "memory", "image")}
        names |= {lab.sha256_file(LIBC): "libc", lab.sha256_file(LOADER): "loader", lab.hashlib.sha256(self.app).hexdigest(): "evil"}
        self.assertEqual({names.get(digest, digest) for digest in taken}, set(names.values()))
        for digest, stream in taken.items():
            self.assertEqual(lab.hashlib.sha256(self.bundle.bytes(stream)).hexdigest(), digest)
        self.assertEqual(self.run_.json()["counts"]["libraries"], 7)

        found = {(f["rule"], f["path"]) for f in self.bundle.records("findings.jsonl") if f["rule"].startswith("CT-LIB")}
        self.assertEqual(found, {("CT-LIB-001", "/tmp/gone.so (deleted)"), ("CT-LIB-001", "/memfd:hidden (deleted)"),
                                 ("CT-LIB-002", "/tmp/upper.so"), ("CT-LIB-002", "/dev/shm/shm.so")})
        rules = [f["rule"] for f in self.bundle.records("findings.jsonl")]
        self.assertEqual(rules.count("CT-LIB-002"), 2, "each file once, however many have it mapped")
        self.assertEqual([g for g in self.bundle.records("gaps.jsonl") if g["impact"] == "lost"], [])
        self.expect(ctriage("verify", self.bundle.path), 0)

    def test_live_view(self):
        shown = self.expect(ctriage("show", f"pid:{self.box.pid}", "--json"), 0).json()
        rules = {f["rule"] for f in shown["findings"]}
        self.assertLessEqual({"CT-LIB-001", "CT-LIB-002"}, rules)

    def test_left_out(self):
        out = self.temp()
        run = self.expect(ctriage("collect", f"pid:{self.box.pid}", "-o", out, "--skip", "libraries", "--json"), 0)
        self.assertNotIn("libraries", run.json()["counts"])
        with lab.Bundle(self.one_bundle(out)) as bundle:
            (container,) = bundle.containers()
            names = [s for s in bundle.streams if "/executables/" in s]
            self.assertEqual(names, [f"containers/{container}/executables/{lab.hashlib.sha256(self.app).hexdigest()}.zst"])


class ManyMembers(BoxCase):
    def test_memory_of_who_has_one(self):
        """Who has mapped what the image has not is suspicious: its memory is taken with the first."""
        library = compiled("-shared", "-fPIC", source="int f(void) { return 1; }")
        with open(LOADER, "rb") as loader, open(LIBC, "rb") as libc:
            files = {"/opt/x.so": library, "/opt/app": compiled(source=APP), LOADER: loader.read(), LIBC: libc.read()}
        box = Box("cp /opt/x.so /tmp/x.so; LD_PRELOAD=/tmp/x.so /opt/app & sleep 1; echo mapped; exec sleep 1000000",
                  files=files, wait_for="mapped")
        self.addCleanup(box.stop)
        _, bundle = self.collect(box, 0)
        (who,) = [p["pid"] for p in self.records(bundle, "processes") if p["exe"]["path"] == "/opt/app"]
        why = {r["pid"]: r["why"] for r in bundle.records("custody.jsonl") if r["action"] == "memory"}
        self.assertEqual(why[who], "has mapped a library that is not in the image")

    def test_names_like_shared_memory(self):
        """The kernel calls shared memory /SYSV... and /dev/zero; so may an intruder his library."""
        names = ("/SYSV1.so", "/SYSV0000abcd", "/dev/zero.so")
        with open(LOADER, "rb") as loader, open(LIBC, "rb") as libc:
            files = {"/opt/x.so": compiled("-shared", "-fPIC", source="int f(void) { return 1; }"), "/opt/app": compiled(source=APP),
                     LOADER: loader.read(), LIBC: libc.read()}
        box = Box("".join(f"cp /opt/x.so {name}; LD_PRELOAD={name} /opt/app & " for name in names) + "sleep 1; echo mapped; exec sleep 1000000",
                  files=files, wait_for="mapped")
        self.addCleanup(box.stop)
        _, bundle = self.collect(box, 0)
        seen = {lab.path_of(m).decode() for m in self.records(bundle, "mappings") if "origin" in m and "x" in m["protection"]}
        for name in names:
            self.assertIn(name, seen)


if __name__ == "__main__":
    lab.unittest.main()
