#include "lib/views/credentials.h"

#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <utility>

#include "lib/views/claims.h"

namespace ctriage::views {
namespace {

constexpr std::size_t kMaxFilesOpened = 20'000;
constexpr std::uint64_t kMaxKeyFileBytes = 1 << 20;  // no larger file is taken for a key
// Roles and ids, which are no secrets; of what ends in FILE or CREDENTIALS the path.
constexpr std::array<std::string_view, 9> kIdentities{"AWS_ROLE_ARN",
                                                      "AWS_WEB_IDENTITY_TOKEN_FILE",
                                                      "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
                                                      "AZURE_CLIENT_ID",
                                                      "AZURE_TENANT_ID",
                                                      "AZURE_FEDERATED_TOKEN_FILE",
                                                      "GOOGLE_APPLICATION_CREDENTIALS",
                                                      "GOOGLE_CLOUD_PROJECT",
                                                      "VAULT_ROLE"};
struct Place {
  std::string_view ending;
  CredentialKind kind;
};
constexpr std::array<Place, 16> kPlaces{
    {{"/.docker/config.json", CredentialKind::registry},
     {"/.dockercfg", CredentialKind::registry},
     {"/containers/auth.json", CredentialKind::registry},
     {"/.kube/config", CredentialKind::kubeconfig},
     {"/.aws/credentials", CredentialKind::file},
     {"/.azure/accessTokens.json", CredentialKind::file},
     {"/gcloud/application_default_credentials.json", CredentialKind::file},
     {"/.git-credentials", CredentialKind::file},
     {"/.netrc", CredentialKind::file},
     {"/.pgpass", CredentialKind::file},
     {"/.my.cnf", CredentialKind::file},
     {"/.npmrc", CredentialKind::file},
     {"/.pypirc", CredentialKind::file},
     {"/.ssh/id_rsa", CredentialKind::key},
     {"/.ssh/id_ecdsa", CredentialKind::key},
     {"/.ssh/id_ed25519", CredentialKind::key}}};
constexpr std::array<std::string_view, 7> kHomeDirectories{"",     ".docker", ".config/containers", ".kube",
                                                           ".aws", ".ssh",    ".config/gcloud"};

struct Reader {
  std::int32_t pid = 0;
  std::uint32_t uid = 0;
  std::vector<std::uint32_t> gids;
};

class FindCredentials {
 public:
  FindCredentials(Snapshot& snapshot, const CredentialOptions& options, Task& task)
      : snapshot_(snapshot), options_(options), task_(task) {}

  Result<FoundCredentials> find() {
    std::vector<Container> containers;
    const Emit<Container> keep = [&](Container&& container) -> Status {
      if (options_.container.empty() || options_.container == container.id)
        containers.push_back(std::move(container));
      return Done{};
    };
    if (auto listed = snapshot_.list_containers(keep, task_); !listed) return std::move(listed).error();
    for (const Container& container : containers) {
      if (auto looked = look_at(container); !looked) return std::move(looked).error();
    }
    const Emit<Posture> posture = [&](Posture&& seen) -> Status {
      if (options_.container.empty() || options_.container == seen.container) add_mounted(seen);
      return Done{};
    };
    if (auto listed = snapshot_.list_postures(posture, task_); !listed) return std::move(listed).error();
    if (left_out_)
      task_.gaps.add({Impact::lost,
                      "rotate",
                      "",
                      {Errc::limit, "over " + std::to_string(kMaxCredentials) + ": the rest is left out"}});
    return FoundCredentials{std::move(found_), search_};
  }

 private:
  void add(Credential&& credential) {
    if (options_.pid && credential.readers_known &&
        std::ranges::find(credential.pids, *options_.pid) == credential.pids.end())
      return;
    left_out_ = left_out_ || found_.size() >= kMaxCredentials;
    if (!left_out_) found_.push_back(std::move(credential));
  }

  Status look_at(const Container& container) {
    const std::string& id = container.id;
    ++search_.containers;
    readers_.clear();
    looked_.clear();
    std::map<std::pair<std::string, std::string>, Credential> variables;  // by name, and what may be told
    const auto variable = [&](const Bytes& text, std::optional<std::int32_t> pid) {
      ++search_.variables;
      const auto equals = text.raw.find('=');
      if (equals == std::string::npos || equals > 256) return;
      const std::string name = text.raw.substr(0, equals);
      const bool identity = std::ranges::find(kIdentities, name) != kIdentities.end();
      if (!identity && !options_.is_secret_name(name)) return;
      const std::string told = identity ? text.raw.substr(equals + 1, 256) : "";
      if (variables.size() >= kMaxCredentials) return;
      Credential& found = variables[{name, told}];
      found.kind = identity ? CredentialKind::identity : CredentialKind::environment;
      found.container = id;
      found.name = Bytes(name);
      found.detail = Bytes(told);
      if (pid) found.pids.push_back(*pid);
    };
    bool any_process = false;
    const Emit<Process> process = [&](Process&& seen) -> Status {
      any_process = true;
      ++search_.processes;
      for (const Bytes& text : seen.environ) variable(text, seen.pid);
      Reader reader;
      reader.pid = seen.pid;
      constexpr std::size_t kEffective = 1;
      if (seen.credentials.uids.size() > kEffective) reader.uid = seen.credentials.uids[kEffective];
      reader.gids = seen.credentials.groups;
      if (seen.credentials.gids.size() > kEffective) reader.gids.push_back(seen.credentials.gids[kEffective]);
      readers_.push_back(std::move(reader));
      return Done{};
    };
    if (auto listed = snapshot_.list_processes(id, process, task_); !listed) return listed;
    for (const Bytes& text : container.environ) variable(text, std::nullopt);
    for (auto& [key, found] : variables) {
      found.readers_known = any_process;
      if (found.kind == CredentialKind::environment && found.pids.empty())
        found.detail = Bytes(std::string("of the specification: no process of now has it"));
      add(std::move(found));
    }
    const Emit<FileChange> change = [&](FileChange&& seen) -> Status {
      search_.changed_files += seen.after && seen.after->type == FileType::regular;
      if (seen.after) return look_into(id, seen.path, *seen.after, "upper");
      return Done{};
    };
    if (auto listed = snapshot_.list_changes(id, change, task_); !listed) return listed;
    const Emit<TreeFile> tree = [&](TreeFile&& seen) {
      search_.tree_files += seen.file.type == FileType::regular;
      return look_into(id, seen.path, seen.file, "merged");
    };
    if (auto listed = snapshot_.list_trees(id, tree, task_); !listed) return listed;
    if (auto listed = look_into_homes(id); !listed) return listed;
    return look_for_metadata(id);
  }

  Status look_into_homes(const std::string& id) {
    std::vector<std::string> homes{"/root"};
    FileKey key;
    key.container = id;
    key.path = "/home";
    const Emit<FileEntry> home = [&](FileEntry&& entry) -> Status {
      constexpr std::size_t kMaxHomes = 256;
      if (entry.file.type == FileType::directory && homes.size() < kMaxHomes) homes.push_back(entry.path.raw);
      return Done{};
    };
    if (auto listed = list_there(key, home); !listed) return listed;
    for (const std::string& directory : homes) {
      for (const std::string_view below : kHomeDirectories) {
        key.path = directory + (below.empty() ? "" : "/") + std::string(below);
        const Emit<FileEntry> file = [&](FileEntry&& entry) {
          return look_into(id, entry.path, entry.file, "merged");
        };
        bool is_there = false;
        if (auto listed = list_there(key, file, &is_there); !listed) return listed;
        search_.homes += below.empty() && is_there;
      }
    }
    return Done{};
  }
  Status list_there(const FileKey& key, const Emit<FileEntry>& emit, bool* is_there = nullptr) {
    auto listed = snapshot_.list_files(key, emit, task_);
    if (is_there != nullptr) *is_there = bool(listed);
    if (listed || listed.error().code == Errc::not_found) return Done{};
    if (auto go_on = task_.check(); !go_on) return go_on;
    if (!homes_told_)
      task_.gaps.add({Impact::note, "rotate", key.path,
                      std::move(listed).error().within("homes of the image are not looked into")});
    homes_told_ = true;
    return Done{};
  }

  Status look_into(const std::string& id, const Bytes& path, const FileState& file, const char* layer) {
    if (file.type != FileType::regular || !looked_.insert(path.raw).second) return Done{};
    const auto place =
        std::ranges::find_if(kPlaces, [&](const Place& one) { return path.raw.ends_with(one.ending); });
    const bool may_be_key = file.size_bytes > 0 && file.size_bytes <= kMaxKeyFileBytes;
    if (place == kPlaces.end() && !may_be_key) return Done{};
    if (++opened_ > kMaxFilesOpened) {
      if (opened_ == kMaxFilesOpened + 1)
        task_.gaps.add(
            {Impact::lost,
             "rotate",
             path.raw,
             {Errc::limit, "over " + std::to_string(kMaxFilesOpened) + " files: the rest is not read"}});
      if (place == kPlaces.end()) return Done{};
    }
    FileKey key;
    key.container = id;
    key.path = path.raw;
    key.layer = layer;
    key.follow = false;
    auto text = opened_ > kMaxFilesOpened ? Result<std::string>(Error{Errc::limit, "not read"}) : read(key);
    if (!text) {
      if (auto go_on = task_.check(); !go_on) return go_on;
      task_.gaps.add({place == kPlaces.end() ? Impact::degraded : Impact::lost, "rotate", path.raw,
                      std::move(text).error().within("whether it is a credential")});
      if (place == kPlaces.end()) return Done{};
    }
    const bool is_key = text && has_private_key(*text);
    if (place == kPlaces.end() && !is_key) return Done{};
    Credential found;
    found.kind = is_key && place == kPlaces.end() ? CredentialKind::key : place->kind;
    found.container = id;
    found.name = path;
    if (text && found.kind == CredentialKind::registry)
      found.detail = Bytes(parse_registries(*text).value_or("in no known form"));
    if (text && found.kind == CredentialKind::kubeconfig) found.detail = Bytes(find_servers(*text));
    if (is_key) found.detail = Bytes(std::string("private key"));
    for (const Reader& reader : readers_) {
      const bool group = std::ranges::find(reader.gids, file.gid) != reader.gids.end();
      const std::uint32_t bit = reader.uid == file.uid ? 0400U : group ? 0040U : 0004U;
      if (reader.uid == 0 || (file.mode & bit) != 0) found.pids.push_back(reader.pid);
    }
    found.readers_known = !readers_.empty();
    add(std::move(found));
    return Done{};
  }

  Result<std::string> read(const FileKey& key) {
    auto opened = snapshot_.open_file(key, task_);
    if (!opened) return std::move(opened).error();
    if (!opened->bytes) return Error{Errc::unsupported, "not a regular file any more"};
    ++search_.files_read;
    std::string text(kMaxFileLooked, '\0');
    std::size_t size = 0;
    while (size < text.size()) {
      auto got = opened->bytes->read(std::as_writable_bytes(std::span(text)).subspan(size));
      if (!got) return std::move(got).error();
      if (*got == 0) break;
      size += *got;
    }
    text.resize(size);
    return text;
  }

  Status look_for_metadata(const std::string& id) {
    Credential found;
    found.kind = CredentialKind::metadata;
    found.container = id;
    found.name = Bytes(std::string("169.254.169.254"));
    bool seen_any = false;
    const Emit<Socket> socket = [&](Socket&& seen) -> Status {
      if (!seen.remote.raw.starts_with("169.254.169.254:")) return Done{};
      seen_any = true;
      found.pids.insert(found.pids.end(), seen.pids.begin(), seen.pids.end());
      return Done{};
    };
    if (auto listed = snapshot_.list_sockets(id, socket, task_); !listed) return listed;
    found.detail = Bytes(std::string(
        seen_any ? "a connection to it is there: rotate the node's role"
                 : "not known whether it can be reached: no connection is there now, and nobody tried"));
    add(std::move(found));
    return Done{};
  }

  void add_mounted(const Posture& posture) {
    for (const Grant& grant : posture.grants) {
      if (grant.kind != GrantKind::secret) continue;
      Credential found;
      found.kind = CredentialKind::secret;
      found.container = posture.container;
      found.name = grant.destination;
      found.detail = Bytes("from " + grant.source.raw);
      ++search_.mounted;
      add(std::move(found));
    }
    for (const TokenClaims& token : posture.tokens) {
      Credential found;
      found.kind = CredentialKind::token;
      found.container = posture.container;
      found.name = token.path;
      ++search_.mounted;
      if (const auto claims = parse_claims(token.claims.view())) {
        found.detail = Bytes(claims->subject + " for " + claims->audience);
        found.expires_at = claims->expires_at;
      }
      add(std::move(found));
    }
  }

  Snapshot& snapshot_;
  const CredentialOptions& options_;
  Task& task_;
  std::vector<Reader> readers_;
  std::set<std::string> looked_;
  std::size_t opened_ = 0;
  bool homes_told_ = false;
  bool left_out_ = false;
  CredentialSearch search_;
  std::vector<Credential> found_;
};

}  // namespace

Result<FoundCredentials> find_credentials(Snapshot& snapshot, const CredentialOptions& options, Task& task) {
  return FindCredentials(snapshot, options, task).find();
}

}  // namespace ctriage::views
