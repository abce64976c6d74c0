// The first byte chooses: one of the records, or an archive with all that is looked at in it.
#include <cstddef>
#include <cstdint>

#include "lib/source/image/source.h"
#include "tests/checkpoint_testing.h"

namespace {

using namespace ctriage;
using namespace ctriage::source;

void look_at(std::string archive) {
  CheckpointTestTask test;
  auto store =
      CheckpointStore::open_tar(std::make_unique<MemoryBytes>(std::move(archive)), "fuzz.tar", test.task);
  if (!store) return;
  const auto has = has_images(**store, test.task);
  if (!has || !*has) return;
  auto image = ImageSnapshot::open(*std::move(store), test.task);
  if (!image) return;
  (void)(*image)
      ->list_containers(
          [&](Container&& one) {
            const auto any = [](auto&&) { return Status(Done{}); };
            (void)(*image)->list_layers(one.id, any, test.task).has_value();
            (void)(*image)->list_files({one.id, "merged", "/etc"}, any, test.task).has_value();
            (void)(*image)->list_files({one.id, "1", "/"}, any, test.task).has_value();
            (void)(*image)->open_file({one.id, "merged", "/bin/sh"}, test.task).has_value();
            (void)(*image)->verify(one.id, test.task).has_value();
            return Status(Done{});
          },
          test.task)
      .has_value();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string text(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0] % 4) {
    case 0:
      (void)parse_image_index(text).has_value();
      break;
    case 1:
      (void)parse_saved_images(text).has_value();
      break;
    case 2:
      (void)parse_config(text).has_value();
      break;
    default:
      look_at(text);
  }
  return 0;
}
