#include "lib/report/image.h"

#include "lib/core/text.h"
#include "lib/report/document.h"
#include "lib/report/text.h"

namespace ctriage::report {
namespace {

std::string gaps_of(const std::vector<GapRecord>& records, bool every, const Style& style) {
  GapTally gaps;
  for (const GapRecord& gap : records) gaps.add(gap);
  return gaps.total() > 0 ? gaps_block(gaps, every, style) : std::string();
}

std::string image_text(const ImageFacts& image) {
  std::string out = labelled("image", safe(image.name.raw) + "   " + safe(image.digest.raw));
  std::string has = image.distribution.empty() ? "no os-release" : safe(image.distribution.raw);
  has += image.shell ? ", a shell" : ", no shell";
  has += image.package_managers.empty() ? ", no package manager" : ", " + join(image.package_managers, " ");
  if (image.distroless) has += ", distroless";
  return out + labelled("has", has);
}

std::string file_text(const ChangedPackageFile& file) {
  const char* word = !file.package.fits   ? "not compared"
                     : *file.package.fits ? "the package's bytes"
                                          : "NOT THE PACKAGE'S";
  return "  " + pad_right(std::string(to_text(file.kind)), 9) + safe(file.path.raw) + "   " +
         safe(file.package.name) + " " + safe(file.package.version) + ", " + word + "\n";
}

std::string verdict_text(const LayerCheck& layer) {
  switch (layer.verdict) {
    case LayerVerdict::verified:
      return "verified by " + layer.by;
    case LayerVerdict::differs:
      return "DIFFERS";
    case LayerVerdict::not_verifiable:
      return "not verifiable";
  }
  return {};
}

}  // namespace

std::string image_packages_json(const ImagePackagesResult& result) { return document(result); }

std::string image_packages_text(const ImagePackagesResult& result, bool every_gap, const Style& style) {
  std::string out = image_text(result.image);
  const std::string& database = result.image.package_database;
  out += labelled("packages", database.empty() ? "none: the image has no package database"
                                               : with_commas(result.packages.size()) + " of " + database);
  const std::vector<Column> columns{{"PACKAGE", 32}, {"VERSION", 28}, {"CHANGED", 7, true}, {"NEEDS", 0}};
  if (!result.packages.empty()) out += table_head(columns);
  for (const ImagePackage& package : result.packages) {
    out += table_row(columns,
                     {safe(package.name), safe(package.version),
                      package.changed == 0 ? "-" : with_commas(package.changed), safe(package.depends)},
                     style);
  }
  if (!database.empty()) {
    out += labelled("changed", result.changed.empty() ? "no file of a package by the container"
                                                      : counted(result.changed.size(), "file", "files") +
                                                            " of packages by the container");
  }
  for (const ChangedPackageFile& file : result.changed) out += file_text(file);
  return out + gaps_of(result.gaps, every_gap, style);
}

std::string image_verify_json(const ImageVerifyResult& result) { return document(result); }

std::string image_verify_text(const ImageVerifyResult& result, bool every_gap, const Style& style) {
  std::string out = labelled("image", safe(result.name.raw));
  for (const LayerCheck& layer : result.layers) {
    std::string text = verdict_text(layer);
    if (layer.entries > 0)
      text += ", " + counted(layer.entries, "entry", "entries") + ", " + human_size(layer.bytes);
    if (layer.digest) text += "   " + safe(*layer.digest);
    out += labelled("layer " + std::to_string(layer.number), text);
    if (!layer.why.empty()) out += labelled("", safe(layer.why));
    if (layer.verdict != LayerVerdict::verified) out += labelled("", safe(layer.path.raw));
    for (const EntryDifference& one : layer.differences)
      out += "  " + pad_right(join(one.differs, ","), 16) + " " + safe(one.path.raw) + "\n";
    if (layer.more_differences > 0) out += "  and " + with_commas(layer.more_differences) + " more\n";
  }
  if (result.packages) {
    const PackageCheck& check = *result.packages;
    out += labelled("packages", check.manager.empty()
                                    ? "the image has no package database to compare its files with"
                                    : counted(check.compared, "file", "files") + " compared with " +
                                          check.manager + ", " + with_commas(check.differ.size()) +
                                          " differ, " + with_commas(check.missing) + " not there");
    for (const ChangedPackageFile& file : check.differ) out += file_text(file);
  }
  return out + gaps_of(result.gaps, every_gap, style);
}

std::string image_deps_json(const ImageDepsResult& result) { return document(result); }

std::string image_deps_text(const ImageDepsResult& result, bool every_gap, const Style& style) {
  std::string out = image_text(result.image);
  std::size_t missing = 0;
  const std::vector<Column> columns{{"PACKAGE", 24}, {"VERSION", 24}, {"SHA256", 64}, {"FILE", 0}};
  std::string rows;
  for (const LoadedFile& file : result.files) {
    missing += file.missing.has_value();
    rows += table_row(columns,
                      {file.package.empty() ? "-" : safe(file.package),
                       file.version.empty() ? "-" : safe(file.version), file.sha256.value_or("-"),
                       file.missing ? "MISSING " + safe(file.needed_as.raw) + ": " + safe(*file.missing)
                                    : safe(file.path.raw)},
                      style);
  }
  out += labelled("loads", counted(result.files.size() - missing, "file", "files") +
                               (missing == 0 ? "" : ", " + with_commas(missing) + " MISSING"));
  if (!result.files.empty()) out += table_head(columns) + rows;
  const auto told = [&](PackageRole role, std::string_view label) {
    std::vector<std::string> names;
    for (const NeededPackage& one : result.packages)
      if (one.role == role) names.push_back(safe(one.name) + " " + safe(one.version));
    out += labelled(label, counted(names.size(), "package", "packages"));
    for (const std::string& name : names) out += "  " + name + "\n";
  };
  told(PackageRole::loaded, "loaded");
  told(PackageRole::dependency, "they need");
  told(PackageRole::never_loaded, "never");
  if (!result.not_installed.empty()) {
    std::vector<std::string> names;
    for (const std::string& name : result.not_installed) names.push_back(safe(name));
    out += labelled("by others", join(names, ", ") + " (no package of that name)");
  }
  return out + gaps_of(result.gaps, every_gap, style);
}

}  // namespace ctriage::report
