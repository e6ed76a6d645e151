#include "native/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "kernels/types.h"

namespace kvasir {

namespace {

timespec modification_time(const struct stat& status) {
#ifdef __APPLE__
  return status.st_mtimespec;
#else
  return status.st_mtim;
#endif
}

// Closes on the way out of a constructor that throws, where no destructor runs.
class DescriptorGuard {
 public:
  explicit DescriptorGuard(int descriptor) : descriptor_(descriptor) {}
  ~DescriptorGuard() {
    if (descriptor_ >= 0) close(descriptor_);
  }
  int get() const { return descriptor_; }
  int release() { return std::exchange(descriptor_, -1); }

 private:
  int descriptor_;
};

std::string reason_not_opened(int error) {
  if (error == ELOOP) return "is a symbolic link; give the file it points to";
  return std::strerror(error);
}

}  // namespace

MappedFile::MappedFile(const std::string& path, std::uint64_t expected_num_bytes) : path_(path) {
  // O_NONBLOCK: opening a pipe by mistake must not wait for a writer.
  DescriptorGuard guard(open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK));
  CHECK(guard.get() >= 0, path + ": " + reason_not_opened(errno));
  struct stat status {};
  CHECK(fstat(guard.get(), &status) == 0, path + ": " + std::strerror(errno));
  CHECK(S_ISREG(status.st_mode), path + ": is not a regular file");
  num_bytes_ = static_cast<std::uint64_t>(status.st_size);
  CHECK(num_bytes_ == expected_num_bytes,
        path + ": has " + std::to_string(num_bytes_) + " bytes now and had " +
            std::to_string(expected_num_bytes) + " when its header was read; load it again");
  modified_seconds_ = modification_time(status).tv_sec;
  modified_nanoseconds_ = modification_time(status).tv_nsec;

  if (num_bytes_ > 0) {
    void* data = mmap(nullptr, num_bytes_, PROT_READ, MAP_PRIVATE, guard.get(), 0);
    CHECK(data != MAP_FAILED, path + ": cannot be mapped: " + std::strerror(errno));
    madvise(data, num_bytes_, MADV_SEQUENTIAL);
    data_ = static_cast<std::byte*>(data);
  }
  descriptor_ = guard.release();
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) munmap(data_, num_bytes_);
  if (descriptor_ >= 0) close(descriptor_);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)),
      descriptor_(std::exchange(other.descriptor_, -1)),
      data_(std::exchange(other.data_, nullptr)),
      num_bytes_(std::exchange(other.num_bytes_, 0)),
      modified_seconds_(other.modified_seconds_),
      modified_nanoseconds_(other.modified_nanoseconds_) {}

const std::byte* MappedFile::range(std::uint64_t offset, std::uint64_t length) const {
  // Written so that no sum can wrap.
  CHECK(offset <= num_bytes_ && length <= num_bytes_ - offset,
        path_ + ": bytes " + std::to_string(offset) + " to " + std::to_string(offset) + " + " +
            std::to_string(length) + " lie beyond its end at " + std::to_string(num_bytes_));
  return data_ + offset;
}

void MappedFile::drop(std::uint64_t offset, std::uint64_t length) const {
  const auto page_bytes = static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
  // The page at either end may hold a neighbour's bytes; dropping it early only costs a minor
  // fault.
  const std::uint64_t begin = offset / page_bytes * page_bytes;
  if (length > 0) madvise(data_ + begin, offset + length - begin, MADV_DONTNEED);
}

void MappedFile::check_unchanged() const {
  struct stat status {};
  CHECK(fstat(descriptor_, &status) == 0, path_ + ": " + std::strerror(errno));
  const timespec modified = modification_time(status);
  CHECK(static_cast<std::uint64_t>(status.st_size) == num_bytes_ &&
            modified.tv_sec == modified_seconds_ && modified.tv_nsec == modified_nanoseconds_,
        path_ + ": was changed while it was being loaded; load it again");
}

}  // namespace kvasir
