#include "lib/transfer/parts.h"

#include "lib/core/text.h"

namespace ctriage::transfer {

std::string volume_name(std::string_view bundle, std::size_t index, bool single) {
  if (single) return std::string(bundle);
  std::string digits = std::to_string(index);
  constexpr std::size_t kDigits = 3;
  if (digits.size() < kDigits) digits.insert(0, kDigits - digits.size(), '0');
  return std::string(bundle) + "." + digits;
}

std::string stem_of(std::string_view bundle) {
  return std::string(bundle.substr(0, bundle.rfind(".ctriage.tar")));
}

Note manifest_note(std::string_view bundle, const Digest& manifest) {
  return {stem_of(bundle) + ".manifest.sha256", to_hex(manifest) + "  manifest.json\n"};
}

Note complete_note(std::string_view bundle, std::span<const Item> volumes) {
  Note note{stem_of(bundle) + ".COMPLETE", ""};
  for (const Item& volume : volumes) {
    if (volume.sha256) note.text += to_hex(*volume.sha256) + "  " + volume.name + "\n";
  }
  return note;
}

Item to_item(Note note) {
  Sha256 hash;
  hash.update(note.text);
  Item item;
  item.name = std::move(note.name);
  item.size_bytes = note.text.size();
  item.sha256 = hash.digest();
  item.open = [text = std::move(note.text)]() -> Result<std::unique_ptr<ByteSource>> {
    return std::unique_ptr<ByteSource>(std::make_unique<MemorySource>(std::string_view(text)));
  };
  return item;
}

}  // namespace ctriage::transfer
