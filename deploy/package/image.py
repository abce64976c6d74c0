#!/usr/bin/python3
"""Writes ctriage's container image as an OCI archive, from scratch and without a container engine.

usage: image.py -o ctriage-VERSION.oci.tar --binary amd64=FILE [--binary arm64=FILE] [--certificates FILE]
The same input gives the same bytes; times are SOURCE_DATE_EPOCH, else 0. The last line is the digest for deploy/.

The archive is a tar of an image layout, https://github.com/opencontainers/image-spec/blob/v1.1.0/image-layout.md:
  oci-layout  index.json -> blobs: index of the platforms -> manifest of each -> config, one layer
"""
import argparse
import gzip
import hashlib
import io
import json
import os
import re
import struct
import sys
import tarfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
MACHINES = {"amd64": 62, "arm64": 183}  # e_machine, elf(5)
MAX_BYTES = 40_000_000  # of the archive: it is pulled to a node under attack
DESCRIPTION = "Container forensics: takes what will be gone in five minutes, without talking to the container"


def project_version():
    with open(os.path.join(HERE, "../../CMakeLists.txt"), encoding="ascii") as file:
        return re.search(r"^project\(ctriage VERSION (\S+)", file.read(), re.M).group(1)


def check_binary(arch, data):
    """There is no loader and no library in the image: a program that asks for one would not start."""
    if data[:6] != b"\x7fELF\2\1":
        sys.exit(f"image.py: {arch}: not a 64-bit little-endian ELF file")
    (machine,) = struct.unpack_from("<H", data, 18)
    if machine != MACHINES[arch]:
        sys.exit(f"image.py: {arch}: a program of another machine: e_machine {machine}")
    (table,) = struct.unpack_from("<Q", data, 32)
    size, count = struct.unpack_from("<HH", data, 54)
    kinds = {struct.unpack_from("<I", data, table + i * size)[0] for i in range(count)}
    if 3 in kinds:  # PT_INTERP
        sys.exit(f"image.py: {arch}: not static, the image has nothing else to run it with")


def tar_of(members, epoch):
    """A tar of (name, mode, bytes or None for a directory), in that order."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, mode, data in members:
            member = tarfile.TarInfo(name)
            member.mode, member.mtime = mode, epoch
            if data is None:
                member.type = tarfile.DIRTYPE
                tar.addfile(member)
            else:
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    return out.getvalue()


def layer_of(binary, certificates, epoch):
    members = [("tmp", 0o1777, None), ("usr", 0o755, None), ("usr/bin", 0o755, None), ("usr/bin/ctriage", 0o755, binary)]
    if certificates is not None:
        members += [("etc", 0o755, None), ("etc/ssl", 0o755, None), ("etc/ssl/certs", 0o755, None),
                    ("etc/ssl/certs/ca-certificates.crt", 0o644, certificates)]
    return tar_of(sorted(members), epoch)


class Layout:
    def __init__(self, epoch):
        self.epoch, self.blobs = epoch, {}

    def add(self, media_type, data, **more):
        """Its descriptor."""
        digest = hashlib.sha256(data).hexdigest()
        self.blobs[digest] = data
        return {"mediaType": f"application/vnd.oci.image.{media_type}", "digest": f"sha256:{digest}", "size": len(data), **more}

    def add_json(self, media_type, value, **more):
        return self.add(media_type, dumped(value), **more)

    def write(self, index, path):
        members = [("oci-layout", 0o644, dumped({"imageLayoutVersion": "1.0.0"})), ("index.json", 0o644, dumped(index)),
                   ("blobs", 0o755, None), ("blobs/sha256", 0o755, None)]
        members += [(f"blobs/sha256/{digest}", 0o644, self.blobs[digest]) for digest in sorted(self.blobs)]
        data = tar_of(members, self.epoch)
        if len(data) > MAX_BYTES:
            sys.exit(f"image.py: {len(data)} bytes, at most {MAX_BYTES} are allowed")
        with open(path + ".part", "wb") as file:
            file.write(data)
        os.rename(path + ".part", path)


def dumped(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def make_image(binaries, certificates, version, epoch, path):
    created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(epoch))
    about = {"org.opencontainers.image.title": "ctriage", "org.opencontainers.image.version": version,
             "org.opencontainers.image.description": DESCRIPTION, "org.opencontainers.image.created": created}
    layout, manifests = Layout(epoch), []
    for arch, binary in sorted(binaries.items()):
        layer = layer_of(binary, certificates, epoch)
        config = {"architecture": arch, "os": "linux", "created": created,
                  "config": {"Entrypoint": ["/usr/bin/ctriage"], "Env": ["PATH=/usr/bin"], "WorkingDir": "/", "Labels": about},
                  "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(layer).hexdigest()]},
                  "history": [{"created": created, "created_by": "deploy/package/image.py"}]}
        platform = {"architecture": arch, "os": "linux"}
        if arch == "arm64":
            platform["variant"] = config["variant"] = "v8"
        manifest = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "annotations": about,
                    "config": layout.add_json("config.v1+json", config),
                    "layers": [layout.add("layer.v1.tar+gzip", gzip.compress(layer, 9, mtime=0))]}
        manifests.append(layout.add_json("manifest.v1+json", manifest, platform=platform))
    image = layout.add_json("index.v1+json", {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
                                              "manifests": manifests, "annotations": about})
    # Podman and skopeo go by the first name, containerd by the second.
    image["annotations"] = {"org.opencontainers.image.ref.name": version, "io.containerd.image.name": f"localhost/ctriage:{version}"}
    layout.write({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [image]}, path)
    return image["digest"]


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("-o", "--output", required=True)
    parser.add_argument("--binary", action="append", required=True)
    parser.add_argument("--certificates")
    options = parser.parse_args()
    binaries = {}
    for word in options.binary:
        arch, _, path = word.partition("=")
        if arch not in MACHINES or arch in binaries or not path:
            parser.error(f"--binary {word}: ARCHITECTURE=FILE, each of {', '.join(MACHINES)} once")
        with open(path, "rb") as file:
            binaries[arch] = file.read()
        check_binary(arch, binaries[arch])
    certificates = None
    if options.certificates:
        with open(options.certificates, "rb") as file:
            certificates = file.read()
    epoch = int(os.environ.get("SOURCE_DATE_EPOCH", "0"))
    print(make_image(binaries, certificates, project_version(), epoch, options.output))


if __name__ == "__main__":
    main()
