// A model file, mapped read-only, its size pinned.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace kvasir {

class MappedFile {
 public:
  // Throws kernels::Error when the path is a symbolic link, is not a regular file, or does not have
  // exactly `expected_num_bytes`: the tensor table was checked against that size.
  MappedFile(const std::string& path, std::uint64_t expected_num_bytes);
  ~MappedFile();

  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&&) = delete;

  const std::string& path() const { return path_; }
  std::uint64_t num_bytes() const { return num_bytes_; }

  // The bytes [offset, offset + length). Throws when any of them lies outside the file.
  const std::byte* range(std::uint64_t offset, std::uint64_t length) const;

  // Gives the pages of a range back once it was copied, so that a model is never resident twice.
  void drop(std::uint64_t offset, std::uint64_t length) const;

  // Throws when size or modification time changed since the file was opened: what was packed may
  // then be a mixture of two files.
  void check_unchanged() const;

 private:
  std::string path_;
  int descriptor_ = -1;
  std::byte* data_ = nullptr;
  std::uint64_t num_bytes_ = 0;
  std::int64_t modified_seconds_ = 0;
  std::int64_t modified_nanoseconds_ = 0;
};

}  // namespace kvasir
