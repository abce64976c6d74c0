#include "lib/transfer/parts.h"

#include "lib/bundle/volumes.h"

namespace ctriage::transfer {

Note manifest_note(std::string_view whole, const Digest& manifest) {
  return {bundle::stem_of(whole) + ".manifest.sha256", to_hex(manifest) + "  manifest.json\n"};
}

Note complete_note(std::string_view whole, std::span<const Item> volumes) {
  Note note{bundle::stem_of(whole) + ".COMPLETE", ""};
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
