"""What people and scripts read of checkpoints, word for word: tests/golden/checkpoint, written anew with CTRIAGE_UPDATE_GOLDEN=1."""
import os
import re

import lab
from lab import Case, ctriage

HERE = os.path.dirname(os.path.abspath(__file__))
DATA = os.path.join(HERE, "..", "..", "testdata", "checkpoint")
GOLDEN = os.path.join(HERE, "..", "golden", "checkpoint")
CRIO, PODMAN = "./crio.tar.xz", "./victim-podman.tar.zst"
CASES = {
    "show.txt": ("show", CRIO),
    "show-sections.txt": ("show", CRIO, "--ps", "--files", "--sockets", "--mounts", "--maps", "--security"),
    "show.json": ("show", CRIO, "--json"),
    "ls.txt": ("ls", CRIO + ":/"),
    "ls.json": ("ls", CRIO + ":/tmp", "--json"),
    "list.txt": ("list", "."),
    "list.json": ("list", ".", "--json"),
    "diff.txt": ("diff", CRIO, PODMAN),
    "diff.json": ("diff", CRIO, PODMAN, "--json"),
    "search.txt": ("search", CRIO, "text:/tmp/implant"),
    "dump.txt": ("dump", CRIO, "--pid", "1", "-o", "OUT/core"),
    "extract.txt": ("extract", CRIO, "-o", "OUT/objects"),
    "extract.json": ("extract", CRIO, "-o", "OUT/objects", "--json"),
}


def setUpModule():
    lab.binary()


class Golden(Case):
    def test_words(self):
        """In each only the time that it took and the directory that it wrote to are its own."""
        for name, arguments in CASES.items():
            with self.subTest(name):
                out = self.temp()
                run = self.expect(ctriage(*[a.replace("OUT", out) for a in arguments], cwd=DATA), 0, 3)
                text = run.out.decode().replace(out, "OUT")
                text = re.sub(r'"took_ns":\d+', '"took_ns":0', text)
                text = re.sub(r'"at":"[^"]*"', '"at":"NOW"', text)  # of gaps
                text = re.sub(r"\b\d+\.\d+ s\b", "N s", text)
                # Programs of filters are long: their first lines will do.
                text = re.sub(r"(?m)(?<=^)( {6}\d{2,}: .*\n)+", "      ...\n", text)
                text = re.sub(r'("listing":\["[^\]]*?"),"10: [^\]]*\]', r'\1,"..."]', text)
                path = os.path.join(GOLDEN, name)
                if os.environ.get("CTRIAGE_UPDATE_GOLDEN"):
                    os.makedirs(GOLDEN, exist_ok=True)
                    with open(path, "w", encoding="utf-8") as file:
                        file.write(text)
                with open(path, encoding="utf-8") as file:
                    self.assertEqual(text, file.read())
