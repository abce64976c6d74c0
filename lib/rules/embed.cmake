# cmake -DOUTPUT=file.cpp "-DFILES=a.json;b.json" -P embed.cmake: the files as arrays of bytes. Bytes and not a literal,
# so that nothing in a rule can end the literal; names without their folder, so that no path of this machine is built in.
set(arrays "")
set(table "")
set(number 0)
foreach(file IN LISTS FILES)
  get_filename_component(name "${file}" NAME)
  file(READ "${file}" hex HEX)
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "'\\\\x\\1'," bytes "${hex}")
  string(APPEND arrays "constexpr char kFile${number}[] = {${bytes}'\\0'};\n")
  string(APPEND table "    EmbeddedFile{\"${name}\", {kFile${number}, sizeof kFile${number} - 1}},\n")
  math(EXPR number "${number} + 1")
endforeach()
file(WRITE "${OUTPUT}" "#include <array>\n\n#include \"lib/rules/embedded.h\"\n\nnamespace ctriage::rules {\nnamespace {\n
${arrays}
constexpr std::array kFiles{\n${table}};\n
}  // namespace\n
std::span<const EmbeddedFile> embedded_files() { return kFiles; }\n
}  // namespace ctriage::rules\n")
