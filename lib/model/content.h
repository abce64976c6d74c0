#pragma once
// What a file is by its bytes, and what is known of it besides: its package, the OS tool it is.
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/core/values.h"
#include "lib/model/fields.h"

namespace ctriage {

enum class ContentKind : std::uint8_t {
  unknown,
  empty,
  elf_program,
  elf_library,
  elf_module,
  elf_object,
  elf_core,
  script,
  java_archive,
  java_class,
  python_bytecode,
  pe,
  wasm,
  data,
};
constexpr auto enum_names(ContentKind) {
  return std::array<std::string_view, 14>{
      "unknown", "empty",        "elf_program", "elf_library",     "elf_module", "elf_object", "elf_core",
      "script",  "java_archive", "java_class",  "python_bytecode", "pe",         "wasm",       "data"};
}

struct Content {  // told from the bytes, whatever name and mode say
  ContentKind kind = ContentKind::unknown;
  bool runnable = false;
  std::string machine;
  std::string linkage;
  Bytes interpreter;
  Bytes interpreter_argument;
  std::vector<Bytes> needed;
  Bytes soname;
  std::optional<std::string> build_id;
  bool stripped = false;
  bool packed = false;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("kind", self.kind,
      "elf_program, elf_library, elf_module (of the kernel), elf_object, elf_core, script (#!), "
      "java_archive, "
      "java_class, python_bytecode, pe, wasm; data: none of these; unknown: not looked at");
    v("runnable", self.runnable, "the kernel, a loader or a machine of its own would run it");
    v("machine", self.machine, "of ELF: x86_64, aarch64, ...");
    v("linkage", self.linkage, "of an ELF program: static, static-pie, dynamic, pie");
    v("interpreter", self.interpreter, "of a dynamic program its loader, of a script what #! names");
    v("interpreter_argument", self.interpreter_argument, "of a script, what stands behind the interpreter");
    v("needed", self.needed, "shared libraries an ELF file asks for, DT_NEEDED");
    v("soname", self.soname, "DT_SONAME of a library");
    v("build_id", self.build_id, "NT_GNU_BUILD_ID, hexadecimal");
    v("stripped", self.stripped, "an ELF file without symbol table");
    v("packed", self.packed, "an ELF file whose code is unpacked as it runs: UPX, or bytes that look random");
  }
};

struct PackageOwner {  // the package that put a file into the image
  std::string manager;
  std::string name;
  std::string version;
  std::string digest;
  std::optional<bool> fits;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("manager", self.manager, "dpkg, apk, rpm");
    v("name", self.name, "of the package");
    v("version", self.version, "of the package");
    v("digest", self.digest, "algorithm:hexadecimal of the file as the package has it; empty: not recorded");
    v("fits", self.fits, "the bytes are the package's; absent: not compared");
  }
};

struct ImageFacts {  // what an image has that decides how something in its container is to be read
  std::string container;
  Bytes name;
  Bytes digest;
  Bytes distribution;
  bool shell = false;
  std::vector<std::string> package_managers;
  bool distroless = false;
  std::string package_database;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("container", self.container, "container id");
    v("name", self.name, "as the engine recorded it");
    v("digest", self.digest, "as the engine recorded it");
    v("distribution", self.distribution, "ID and VERSION_ID of the image's os-release");
    v("shell", self.shell, "the image has a shell");
    v("package_managers", self.package_managers, "programs of the image that install packages");
    v("distroless", self.distroless, "the image has no shell, or no package manager and no OS tools");
    v("package_database", self.package_database, "dpkg, apk, rpm; empty: none, or none that could be read");
  }
};

}  // namespace ctriage
