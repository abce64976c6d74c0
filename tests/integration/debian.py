"""Images of Debian for tests, made of the packages that are installed here: their files, their part of dpkg's database. And a
distroless one: a static program, no shell, no package manager."""
import glob
import os
import re
import shutil
import subprocess
import tarfile

from lab import BUILD_DIR, image_archive

NEEDED = ("apt", "bash", "mawk", "python3", "procps")  # beside what is essential
ENVIRON = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
# A package of our own in a repository on the image's disk: a program, a library, a script, a cron file, a module of Python
# and a system account, as servers bring them.
CONTROL = """Package: greeter
Version: 1.2-3
Architecture: amd64
Maintainer: nobody <nobody@example.org>
Description: greets
"""
POSTINST = """#!/bin/sh
set -e
grep -q ^greeter: /etc/passwd || useradd --system --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin greeter
"""
# What one does with a container of Debian in its first minute.
USED = r"""
set -e
apt-get -q update && apt-get -q -y install greeter
greeter; greeter-sh
printf 'def f(): return 1\n' > /srv/handler.py; cd /srv; python3 -c 'import handler, json, http.client; handler.f()'
echo one > /var/log/app.log; mv /var/log/app.log /var/log/app.log.1; gzip /var/log/app.log.1; echo two > /var/log/app.log
echo $$ > /run/app.pid; echo x > /tmp/app.lock; mkdir -p /var/lib/app/data; echo state > /var/lib/app/data/db
cat /etc/shadow > /dev/null; ls -lR /etc > /dev/null; bash -lc 'id; ps ax' > /dev/null
(cd /srv && exec python3 -m http.server --bind 127.0.0.1 8137 > /var/log/http.log 2>&1) &
(cd /srv && exec /opt/busybox httpd -f -p 127.0.0.1:8138) &
sleep 1
echo used for a while; echo ready > /tmp/ready
exec sleep 1000000
"""


def need_debian(case):
    if not os.path.exists("/var/lib/dpkg/status") or not shutil.which("dpkg-deb"):
        raise case.SkipTest("needs Debian's packages")


def stanzas():
    """Package name to (stanza, dependencies)."""
    found = {}
    with open("/var/lib/dpkg/status", encoding="utf-8") as file:
        for stanza in file.read().split("\n\n"):
            fields = dict(re.findall(r"^([A-Za-z-]+): (.*)$", stanza, re.M))
            if fields.get("Status", "").startswith("install ok "):  # another install may be under way here
                stanza = re.sub(r"^Status: .*$", "Status: install ok installed", stanza, flags=re.M)
                needs = ", ".join(fields.get(key, "") for key in ("Depends", "Pre-Depends"))
                found[fields["Package"]] = (stanza, [re.split(r"[ :(|]", word.strip())[0] for word in re.split(r"[,|]", needs) if word.strip()],
                                            fields.get("Essential") == "yes")
    return found


def make_root(root):
    """Files as dpkg lists them, and the accounts of a fresh system."""
    known = stanzas()
    wanted, queue = set(), [*NEEDED, *(name for name, each in known.items() if each[2])]
    while queue:
        name = queue.pop()
        if name in known and name not in wanted:
            wanted.add(name)
            queue += known[name][1]
    info = os.path.join(root, "var/lib/dpkg/info")
    os.makedirs(info)
    names = set()
    for name in sorted(wanted):
        for path in glob.glob(f"/var/lib/dpkg/info/{name}.*") + glob.glob(f"/var/lib/dpkg/info/{name}:amd64.*"):
            shutil.copy2(path, info)
            if path.endswith(".list"):
                with open(path, encoding="utf-8") as file:
                    names |= set(file.read().splitlines())
    names = {path for path in names if os.path.lexists(path) and not re.match("/usr/share/(doc|man|locale|info)/.|/proc/|/sys/|/dev/", path)}
    for link in ("bin", "sbin", "lib", "lib64"):  # /usr merged, as here
        os.symlink("usr/" + link, os.path.join(root, link))
        os.makedirs(os.path.join(root, "usr", link), exist_ok=True)
    listed = "\0".join(sorted({os.path.join(os.path.realpath(os.path.dirname(p)), os.path.basename(p))[1:] for p in names if p not in (
        "/.", "/bin", "/sbin", "/lib", "/lib64")} - {""}))
    packed = subprocess.run(["tar", "-C", "/", "--no-recursion", "--null", "-T", "-", "-cf", "-"], input=listed.encode(), check=True,
                            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
    subprocess.run(["tar", "-C", root, "-xpf", "-"], input=packed, check=True)
    with open(os.path.join(root, "var/lib/dpkg/status"), "w", encoding="utf-8") as file:
        file.write("".join(known[name][0].strip("\n") + "\n\n" for name in sorted(wanted)))
    for name in ("passwd", "group"):
        shutil.copy(f"/usr/share/base-passwd/{name}.master", os.path.join(root, "etc", name))
    for name, text in (("etc/shadow", "root:*:19000:0:99999:7:::\n"), ("etc/gshadow", "root:*::\n"), ("var/lib/dpkg/available", ""),
                       ("usr/share/doc/base-files/copyright", "GPL-2\n"),
                       ("etc/apt/sources.list", "deb [trusted=yes] file:/opt/repository ./\n")):
        os.makedirs(os.path.dirname(os.path.join(root, name)), exist_ok=True)
        with open(os.path.join(root, name), "w", encoding="ascii") as file:
            file.write(text)
    for path in glob.glob(os.path.join(root, "etc/apt/sources.list.d/*")):
        os.unlink(path)
    os.chmod(os.path.join(root, "etc/shadow"), 0o640)
    for path in ("tmp", "run", "proc", "sys", "dev", "root", "srv", "mnt", "opt", "var/log/apt", "var/cache/apt/archives/partial", "var/lib/apt/lists/partial",
                 "var/lib/dpkg/updates", "var/lib/dpkg/triggers", "var/lib/dpkg/alternatives", "var/tmp", "usr/local/bin", "usr/local/sbin",
                 "usr/local/lib", "usr/share/doc/base-files"):
        os.makedirs(os.path.join(root, path), exist_ok=True)
    os.chmod(os.path.join(root, "tmp"), 0o1777)
    subprocess.run(["chroot", root, "ldconfig"], check=True)
    return root


def make_package(into, work):
    """greeter_1.2-3_amd64.deb and the index of a repository."""
    tree = os.path.join(work, "greeter")
    for path in ("DEBIAN", "usr/bin", "usr/lib/greeter", "etc/cron.d", "usr/lib/python3/dist-packages"):
        os.makedirs(os.path.join(tree, path))
    source = os.path.join(work, "greeter.c")
    with open(source, "w", encoding="ascii") as file:
        file.write('#include <stdio.h>\nint main(void) { return puts("hello") < 0; }\nint greet(void) { return 1; }\n')
    subprocess.run(["gcc", "-o", f"{tree}/usr/bin/greeter", source], check=True)
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", f"{tree}/usr/lib/greeter/libgreet.so", source], check=True)
    for name, text, mode in (("DEBIAN/control", CONTROL, 0o644), ("DEBIAN/postinst", POSTINST, 0o755),
                             ("usr/bin/greeter-sh", "#!/bin/sh\necho hello\n", 0o755),
                             ("etc/cron.d/greeter", "# 1 1 * * * root /usr/bin/greeter\n", 0o644),
                             ("DEBIAN/conffiles", "/etc/cron.d/greeter\n", 0o644),
                             ("usr/lib/python3/dist-packages/greeter.py", "def f(): return 1\n", 0o644)):
        with open(os.path.join(tree, name), "w", encoding="ascii") as file:
            file.write(text)
        os.chmod(os.path.join(tree, name), mode)
    files = [os.path.relpath(os.path.join(where, name), tree) for where, _, names in os.walk(tree) for name in names]
    sums = subprocess.run(["md5sum", *sorted(p for p in files if not p.startswith(("DEBIAN", "etc")))], cwd=tree, check=True, stdout=subprocess.PIPE)
    with open(f"{tree}/DEBIAN/md5sums", "wb") as file:
        file.write(sums.stdout)
    subprocess.run(["find", tree, "-exec", "touch", "-h", "-d", "2026-01-02", "{}", "+"], check=True)
    os.makedirs(into)
    deb = "greeter_1.2-3_amd64.deb"
    subprocess.run(["dpkg-deb", "--root-owner-group", "-Zxz", "-b", tree, os.path.join(into, deb)], check=True, stdout=subprocess.DEVNULL)
    sha256 = subprocess.run(["sha256sum", os.path.join(into, deb)], check=True, stdout=subprocess.PIPE, text=True).stdout.split()[0]
    with open(os.path.join(into, "Packages"), "w", encoding="ascii") as file:
        file.write(CONTROL + f"Filename: ./{deb}\nSize: {os.path.getsize(os.path.join(into, deb))}\nSHA256: {sha256}\n\n")


def archive(base, tag, more):
    """A `docker save` archive of Debian; `more`: path to bytes, in a layer of their own. The tree is kept in the build
    directory: it is the same for all tests."""
    kept = os.path.join(BUILD_DIR, "debian.tar")
    if not os.path.exists(kept) or os.path.getmtime(kept) < max(os.path.getmtime("/var/lib/dpkg/status"), os.path.getmtime(__file__)):
        work = os.path.join(base, "debian-work")
        root = make_root(os.path.join(work, "root"))
        make_package(os.path.join(root, "opt/repository"), work)
        shutil.copy("/bin/busybox", os.path.join(root, "opt/busybox"))
        os.makedirs(BUILD_DIR, exist_ok=True)
        made = f"{kept}.{os.getpid()}"
        with tarfile.open(made, "w", format=tarfile.PAX_FORMAT) as tar:
            for name in sorted(os.listdir(root)):
                tar.add(os.path.join(root, name), arcname=name)
        os.rename(made, kept)
        shutil.rmtree(work)
    root, upper = os.path.join(base, "debian-root"), os.path.join(base, "debian-more")
    os.makedirs(root)
    subprocess.run(["tar", "-C", root, "-xpf", kept], check=True)
    put(upper, more)
    path = os.path.join(base, "debian-image.tar")
    image_archive(path, tag, [root, upper], ["/bin/sh"])
    shutil.rmtree(root)
    shutil.rmtree(upper)
    return path


def put(root, files):
    os.makedirs(root, exist_ok=True)
    for name, data in files.items():
        path = os.path.join(root, name.lstrip("/"))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(data)
        os.chmod(path, 0o755 if data[:4] == b"\x7fELF" or data[:2] == b"#!" else 0o644)


def distroless(base, tag, program):
    """/app and what images of this kind have: accounts, time zones, certificates, the package database of status.d."""
    root = os.path.join(base, "distroless-root")
    put(root, {"app": program, "etc/passwd": b"root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n",
               "etc/group": b"root:x:0:\nnonroot:x:65532:\n", "etc/os-release": b'ID=debian\nVERSION_ID="12"\n',
               "etc/ssl/certs/ca-certificates.crt": b"none\n", "usr/share/zoneinfo/UTC": b"TZif2\n",
               "var/lib/dpkg/status.d/tzdata": b"Package: tzdata\nVersion: 1\nArchitecture: all\n",
               "home/nonroot/.keep": b"", "tmp/.keep": b""})
    path = os.path.join(base, "distroless-image.tar")
    image_archive(path, tag, [root], ["/app"])
    shutil.rmtree(root)
    return path
