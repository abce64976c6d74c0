// What a file is by its bytes. The oracles are readelf(1), strip(1) and the compiler of this machine.
#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <memory>
#include <regex>
#include <set>
#include <string>

#include "lib/elf/content.h"
#include "lib/elf/elf_file.h"
#include "tests/temp_dir.h"

namespace ctriage::elf {
namespace {

using namespace std::literals;

std::string run(const std::string& command) {
  std::unique_ptr<FILE, int (*)(FILE*)> pipe(::popen((command + " 2>/dev/null").c_str(), "r"), ::pclose);
  std::string all;
  std::array<char, 4096> block{};
  while (const std::size_t got = std::fread(block.data(), 1, block.size(), pipe.get()))
    all.append(block.data(), got);
  return all;
}

std::string slurp(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

Content told(std::string_view text, std::string_view name = {}) {
  return parse_content(bytes_of(text), name);
}

std::set<std::string> all_of(const std::string& text, const char* pattern) {
  std::set<std::string> found;
  const std::regex expression(pattern);
  for (std::sregex_iterator at(text.begin(), text.end(), expression), end; at != end; ++at)
    found.insert((*at)[1]);
  return found;
}

// readelf(1) agrees on machine, needed libraries, soname, build-id, interpreter and symbols.
void expect_as_readelf(const std::string& path) {
  SCOPED_TRACE(path);
  const std::string raw = slurp(path);
  ASSERT_FALSE(raw.empty());
  const Content content = told(raw);
  const std::string dynamic = run("readelf -dW " + path);
  std::set<std::string> needed;
  for (const Bytes& name : content.needed) needed.insert(name.raw);
  EXPECT_EQ(needed, all_of(dynamic, R"(Shared library: \[([^\]]*)\])"));
  const auto soname = all_of(dynamic, R"(Library soname: \[([^\]]*)\])");
  EXPECT_EQ(content.soname.raw, soname.empty() ? "" : *soname.begin());
  const auto build_id = all_of(run("readelf -nW " + path), R"(Build ID: ([0-9a-f]+))");
  EXPECT_EQ(content.build_id.value_or(""), build_id.empty() ? "" : *build_id.begin());
  const auto interpreter =
      all_of(run("readelf -lW " + path), R"(Requesting program interpreter: ([^\]]*)\])");
  EXPECT_EQ(content.interpreter.raw, interpreter.empty() ? "" : *interpreter.begin());
  EXPECT_EQ(content.stripped, run("readelf -SW " + path).find(" SYMTAB ") == std::string::npos);
  EXPECT_FALSE(content.packed);

  // In order the same is told.
  MemorySource source(raw);
  const auto in_order = read_content(source);
  ASSERT_TRUE(in_order);
  EXPECT_EQ(in_order->kind, content.kind);
  EXPECT_EQ(in_order->needed, content.needed);
  EXPECT_EQ(in_order->build_id, content.build_id);
  EXPECT_EQ(in_order->stripped, content.stripped);
}

class Compiled : public testing::Test {
 protected:
  void SetUp() override {
    dir_.write("a.c", "int main(void) { return 0; }\n");
    dir_.write("lib.c", "int answer(void) { return 42; }\n");
    dir_.write("module.c",
               "__attribute__((section(\".modinfo\"), used)) static const char info[] = \"license=GPL\";\n"
               "int init_module(void) { return 0; }\n");
  }
  std::string build(const std::string& name, const std::string& how, const char* source = "a.c") {
    run("gcc " + how + " -o " + (dir_ / name) + " " + (dir_ / source));
    return dir_ / name;
  }
  TempDir dir_;
};

TEST_F(Compiled, Programs) {
  const struct {
    const char* name;
    const char* how;
    ContentKind kind;
    const char* linkage;
  } cases[] = {{"pie", "-fPIE -pie", ContentKind::elf_program, "pie"},
               {"dynamic", "-no-pie", ContentKind::elf_program, "dynamic"},
               {"static", "-static -no-pie", ContentKind::elf_program, "static"},
               {"static-pie", "-static-pie", ContentKind::elf_program, "static-pie"},
               {"stripped", "-s", ContentKind::elf_program, "pie"},
               {"library.so", "-shared -fPIC -Wl,-soname,libanswer.so.1", ContentKind::elf_library, ""},
               {"plugin.so", "-shared -fPIC", ContentKind::elf_library, ""}};
  for (const auto& c : cases) {
    const std::string path = build(c.name, c.how, std::string_view(c.linkage).empty() ? "lib.c" : "a.c");
    expect_as_readelf(path);
    const Content content = told(slurp(path));
    EXPECT_EQ(content.kind, c.kind) << c.name;
    EXPECT_EQ(content.linkage, c.linkage) << c.name;
    EXPECT_TRUE(content.runnable);
  }
}

TEST_F(Compiled, ObjectsAndModules) {
  EXPECT_EQ(told(slurp(build("a.o", "-c"))).kind, ContentKind::elf_object);
  EXPECT_FALSE(told(slurp(dir_ / "a.o")).runnable);
  EXPECT_EQ(told(slurp(build("a.ko", "-c", "module.c"))).kind, ContentKind::elf_module);
}

TEST_F(Compiled, RunPaths) {
  const std::string raw = slurp(build("paths", "-Wl,-rpath,/opt/a:$ORIGIN/b -Wl,--enable-new-dtags"));
  MemoryBytes bytes(bytes_of(raw));
  const auto file = read_elf(bytes);
  ASSERT_TRUE(file);
  ASSERT_EQ(file->runpath.size(), 2U);
  EXPECT_EQ(file->runpath[0].raw, "/opt/a");
  EXPECT_TRUE(file->rpath.empty());
}

// Without sections and with bytes like random ones where code should be: what UPX leaves, its mark changed.
TEST_F(Compiled, Packed) {
  std::string raw = slurp(build("static", "-static -no-pie"));
  EXPECT_FALSE(told(raw).packed);
  raw.replace(0x28, 8, 8, '\0');  // e_shoff
  EXPECT_FALSE(told(raw).packed) << "no sections, but code";
  std::uint32_t state = 1;
  for (std::size_t at = 0x1000; at < raw.size(); ++at) {
    state = state * 1664525 + 1013904223;
    raw[at] = static_cast<char>(state >> 24);
  }
  EXPECT_TRUE(told(raw).packed);
  std::string marked = slurp(dir_ / "static");
  marked.replace(0x300, 4, "UPX!");
  EXPECT_TRUE(told(marked).packed);
}

TEST_F(Compiled, EveryPrefixAndEveryDamage) {
  const std::string raw = slurp(build("small", "-nostdlib -static -Wl,--build-id -Wl,-e,main -s"));
  ASSERT_GT(raw.size(), 500U);
  for (std::size_t size = 0; size < raw.size(); size += size < 2'048 ? 1 : 61) {
    const Content content = told(raw.substr(0, size));
    EXPECT_EQ(content.kind, size == 0    ? ContentKind::empty
                            : size >= 64 ? ContentKind::elf_program
                                         : ContentKind::data)
        << size;
  }
  for (std::size_t at = 0; at < 1'024; ++at) {
    for (const char value : {'\0', '\x7f', '\xff'}) {
      std::string damaged = raw;
      damaged[at] = value;
      EXPECT_NE(told(damaged).kind, ContentKind::unknown);
    }
  }
}

TEST(Content, OfThisMachine) {
  for (const char* path : {"/bin/busybox", "/bin/ls", "/usr/bin/readelf", "/lib/x86_64-linux-gnu/libc.so.6",
                           "/lib64/ld-linux-x86-64.so.2", "/usr/bin/python3", "/usr/bin/git"})
    if (std::ifstream(path)) expect_as_readelf(path);
  EXPECT_EQ(told(slurp("/bin/ls")).kind, ContentKind::elf_program);
}

TEST(Content, LibraryWithInterpreter) {
  const std::string raw = slurp("/lib/x86_64-linux-gnu/libc.so.6");
  if (raw.empty()) GTEST_SKIP() << "another machine";
  EXPECT_EQ(told(raw).kind, ContentKind::elf_library);
}

TEST(Content, Kinds) {
  const std::string pyc311 = "\xa7\x0d\r\n"s + std::string(12, '\0') + "\xe3"s;
  const std::string pyc27 =
      "\x03\xf3\r\n\x01\x02\x03\x04"
      "c"s;
  std::string pe(0x90, '\0');
  pe.replace(0, 2, "MZ");
  pe[0x3c] = '\x80';
  const std::string dos = pe;
  pe.replace(0x80, 4, "PE\0\0"sv);
  const auto zip = [](std::string_view name, std::string_view data) {
    std::string entry("PK\x03\x04\x14\0\0\0\0\0\0\0\0\0\0\0\0\0"sv);
    for (int i = 0; i < 2; ++i) entry += {static_cast<char>(data.size()), '\0', '\0', '\0'};
    entry += {static_cast<char>(name.size()), '\0', '\0', '\0'};
    return entry.append(name).append(data);
  };
  const struct {
    const char* what;
    std::string bytes;
    const char* name;
    ContentKind kind;
    bool runnable;
  } cases[] = {
      {"nothing", "", "", ContentKind::empty, false},
      {"text", "hello\n", "", ContentKind::data, false},
      {"script", "#!/bin/sh\n", "", ContentKind::script, true},
      {"#! and nothing", "#!\nfoo", "", ContentKind::data, false},
      {"jar", zip("META-INF/", "") + zip("META-INF/MANIFEST.MF", "x"), "", ContentKind::java_archive, true},
      {"jar of one class", zip("a/B.class", "x"), "", ContentKind::java_archive, true},
      {"zip", zip("a.txt", "x") + zip("b.txt", "y"), "", ContentKind::data, false},
      {"class", "\xca\xfe\xba\xbe\0\0\0\x34"s, "", ContentKind::java_class, true},
      {"fat Mach-O", "\xca\xfe\xba\xbe\0\0\0\x02"s, "", ContentKind::data, false},
      {"python 3.11", pyc311, "", ContentKind::python_bytecode, true},
      {"python 2.7", pyc27, "", ContentKind::python_bytecode, true},
      {"PE", pe, "", ContentKind::pe, true},
      {"DOS program", dos, "", ContentKind::data, false},
      {"wasm", "\0asm\1\0\0\0"s, "", ContentKind::wasm, true},
      {"compressed module",
       "\xfd"
       "7zXZ\0"s,
       "x.ko.xz", ContentKind::elf_module, true},
      {"compressed something",
       "\xfd"
       "7zXZ\0"s,
       "x.xz", ContentKind::data, false},
      {"ELF without header",
       "\x7f"
       "ELF\2\1\1"s +
           std::string(9, '\0'),
       "", ContentKind::data, false},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.what);
    const Content content = told(c.bytes, c.name);
    EXPECT_EQ(content.kind, c.kind);
    EXPECT_EQ(content.runnable, c.runnable);
    for (std::size_t size = 0; size < c.bytes.size(); ++size) (void)told(c.bytes.substr(0, size), c.name);
  }
}

TEST(Content, Scripts) {
  const struct {
    const char* line;
    const char* interpreter;
    const char* argument;
    const char* program;
  } cases[] = {{"#!/bin/sh\n", "/bin/sh", "", "/bin/sh"},
               {"#! /bin/sh -e -u \r\nx", "/bin/sh", "-e -u", "/bin/sh"},
               {"#!/usr/bin/env python3\n", "/usr/bin/env", "python3", "python3"},
               {"#!/usr/bin/env -S LANG=C python3 -u\n", "/usr/bin/env", "-S LANG=C python3 -u", "python3"},
               {"#!/usr/bin/env -i -u HOME perl", "/usr/bin/env", "-i -u HOME perl", "perl"},
               {"#!/usr/bin/env", "/usr/bin/env", "", ""}};
  for (const auto& c : cases) {
    const Content content = told(c.line);
    EXPECT_EQ(content.interpreter.raw, c.interpreter);
    EXPECT_EQ(content.interpreter_argument.raw, c.argument);
    EXPECT_EQ(program_of_script(content).raw, c.program) << c.line;
  }
}

// The header of 32 bits and the other byte order, as a MIPS program has it.
TEST(Content, BigEndian32) {
  std::string raw(
      "\x7f"
      "ELF\1\2\1"s +
      std::string(9, '\0'));
  raw += "\0\2\0\x08\0\0\0\1\0\x40\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x34\0\x20\0\0\0\0\0\0\0\0"s;
  const Content content = told(raw + std::string(12, '\0'));
  EXPECT_EQ(content.kind, ContentKind::elf_program);
  EXPECT_EQ(content.machine, "mips");
  EXPECT_EQ(content.linkage, "static");
}

}  // namespace
}  // namespace ctriage::elf
