#pragma once
// Every limit that input from evidence meets before it meets reserve, recursion or a decompressor. Going over
// one is Errc::limit: an answer, not a crash.
#include <cstddef>
#include <cstdint>

namespace ctriage {

constexpr std::size_t kMaxGapsPerKind = 1'000;  // written; the rest are counted
constexpr std::size_t kMaxProcTextBytes = 16
                                          << 20;    // one whole-file read of a /proc text (mountinfo, status)
constexpr std::size_t kMaxCmdlineBytes = 4 << 20;   // argv or environ of one process that we keep
constexpr std::size_t kMaxLineBytes = 1 << 20;      // one line of a /proc table
constexpr std::size_t kMaxJsonBytes = 32 << 20;     // one JSON document of evidence (OCI config.json)
constexpr std::size_t kMaxJsonDepth = 64;           // nesting of JSON from evidence
constexpr std::size_t kMaxJsonLineBytes = 8 << 20;  // one line of a .jsonl stream in a bundle
constexpr std::size_t kMaxXattrBytes = 64 << 10;    // one extended attribute value, xattr(7)
constexpr std::size_t kMaxXattrsKeptBytes = 384 << 10;  // values of all of one inode, in memory
constexpr std::size_t kMaxXattrListBytes = 1 << 20;     // names of all of one inode; tmpfs may exceed 64 KiB
constexpr std::size_t kMaxLayers = 512;                 // the kernel's OVL_MAX_STACK is 500
constexpr std::size_t kMaxTreeDepth = 32'768;           // levels of directories that a walk follows
constexpr std::size_t kMaxNameBlockBytes = 2 << 20;     // names of one directory kept in order at a time
constexpr std::uint64_t kMaxHoleBytes = std::uint64_t{4} << 30;  // of one file, read as zeros
constexpr std::size_t kMaxHardLinks = 65'536;     // inodes with several names that are remembered
constexpr std::size_t kMaxMembers = 4'000'000;    // members of one bundle
constexpr std::size_t kMaxProcesses = 4'194'304;  // PID_MAX_LIMIT, proc_sys_kernel(5)
constexpr std::size_t kChunkBytes = 4 << 20;      // original bytes of one chunk of a stream
constexpr std::size_t kJsonChunkBytes = 1 << 20;  // original bytes of one chunk of a .jsonl stream
// Checkpoints.
constexpr std::size_t kMaxCriuEntryBytes = 16 << 20;  // one message of a CRIU image
constexpr std::size_t kMaxCriuEntries = 1 << 20;      // of one CRIU image
constexpr std::size_t kMaxCriuImageBytes = 16 << 20;  // a CRIU image that is read whole: no pages, no ghosts
constexpr std::size_t kMaxCriuProcesses = 8'192;      // of one checkpoint
constexpr std::size_t kMaxCriuTasks = 65'536;         // threads of one checkpoint
constexpr std::size_t kMaxCriuFiles = 131'072;        // open files of one checkpoint
constexpr std::size_t kMaxCriuTextBytes = 16 << 20;   // argv and environ of all its processes that we keep
constexpr std::size_t kMaxCriuTimers = 65'536;        // of all its processes
constexpr std::size_t kMaxCriuWatches = 65'536;       // of inotify, fanotify and epoll, of one checkpoint
constexpr std::size_t kMaxSeccompFilters = 1'024;     // of one checkpoint
constexpr std::size_t kMaxSeccompInstructions = 65'536;  // of all filters of one checkpoint
constexpr std::size_t kMaxSeccompSteps = 8'000'000;      // that are gone through for what they answer
constexpr std::size_t kMaxParentImages =
    64;  // image directories a page is looked for in, one behind the other
constexpr std::size_t kMaxArchiveMembers = 200'000;  // of one archive, or files of one directory
constexpr std::size_t kMaxMemberNameBytes = 4'096;   // PATH_MAX; also a link's target
constexpr std::size_t kMaxPaxHeaderBytes = 1 << 20;  // records before one member
constexpr std::size_t kMaxCheckpoints = 256;         // containers of one archive
constexpr std::size_t kMaxKeptBytes = 24 << 20;      // images of a compressed archive that stay in memory
constexpr std::uint64_t kMaxUnpackedBytes = std::uint64_t{256}
                                            << 30;  // that one compressed archive may become
// list DIR.
constexpr std::size_t kMaxListDepth = 16;              // directories below the one that was named
constexpr std::size_t kMaxListedFiles = 200'000;       // that are looked at
constexpr std::size_t kMaxListedArchives = 20'000;     // that are listed
constexpr std::uint64_t kMaxListUnpacked = 256 << 20;  // of one compressed archive, until its records are met
// cp and extract.
constexpr unsigned kMaxCopyDepth = 128;  // of directories: each is a descriptor
constexpr std::size_t kMaxExtractedFiles = 250'000;
constexpr std::size_t kMaxExtractedEntries = 1'000'000;                    // lines of the manifest
constexpr std::uint64_t kMaxExtractedHoleBytes = std::uint64_t{64} << 30;  // of all files, hashed as zeros
constexpr std::size_t kMaxObjectOwners = 1'000;                            // processes that one object names
constexpr std::size_t kMaxQueuePackets = 262'144;                          // of one image
constexpr std::size_t kMaxQueueReceivers = 65'536;                         // of one image
constexpr std::size_t kMaxPacketsOfOne = 65'536;                           // that one object names
constexpr std::int64_t kReadTimeoutNs =
    2'000'000'000;  // one /proc read that may stick in the target's mmap lock

}  // namespace ctriage
