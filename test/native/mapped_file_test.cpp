#include "native/mapped_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <string>

#include "test/kernels/tap.h"

namespace {

// A file of `num_bytes` whose byte i is i % 251; removed at the end of its scope.
class TemporaryFile {
 public:
  explicit TemporaryFile(int num_bytes) {
    char name[] = "/tmp/kvasir-mapped-XXXXXX";
    const int descriptor = mkstemp(name);
    path_ = name;
    FILE* const file = fdopen(descriptor, "wb");
    for (int i = 0; i < num_bytes; ++i) std::fputc(i % 251, file);
    std::fclose(file);
  }
  ~TemporaryFile() { unlink(path_.c_str()); }

  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

void test_ranges(tap::Report& report) {
  const TemporaryFile file(20000);
  const kvasir::MappedFile mapped(file.path(), 20000);
  report.ok(*mapped.range(12345, 1) == std::byte{12345 % 251}, "a byte is where it is in the file");
  report.ok(mapped.range(20000, 0) != nullptr, "an empty range may stand at the end");
  report.throws([&] { mapped.range(20000, 1); }, {"20000"}, "the end is not a byte");
  report.throws([&] { mapped.range(0, 20001); }, {"20001"}, "one byte too many");
  report.throws([&] { mapped.range(UINT64_MAX, 2); }, {"18446744073709551615"},
                "an offset whose end would wrap");
  report.throws([&] { mapped.range(2, UINT64_MAX); }, {"18446744073709551615"},
                "a length whose end would wrap");
  mapped.drop(0, 20000);
  report.ok(*mapped.range(19999, 1) == std::byte{19999 % 251}, "dropped pages come back when read");
}

void test_changes(tap::Report& report) {
  const TemporaryFile file(100);
  const kvasir::MappedFile mapped(file.path(), 100);
  mapped.check_unchanged();
  const timespec times[2] = {{1, 0}, {1, 0}};
  utimensat(AT_FDCWD, file.path().c_str(), times, 0);
  report.throws([&] { mapped.check_unchanged(); }, {"was changed while it was being loaded"},
                "another time of change is noticed");

  const kvasir::MappedFile second(file.path(), 100);
  report.ok(truncate(file.path().c_str(), 99) == 0, "the file is cut");
  report.throws([&] { second.check_unchanged(); }, {"was changed"}, "another size is noticed");
}

void test_refusals(tap::Report& report) {
  const TemporaryFile file(100);
  report.throws([&] { kvasir::MappedFile(file.path(), 101); }, {"100 bytes now", "101"},
                "a size that is not the header's");
  const std::string link = file.path() + "-link";
  report.ok(symlink(file.path().c_str(), link.c_str()) == 0, "a link is made");
  report.throws([&] { kvasir::MappedFile(link, 100); }, {"is a symbolic link"}, "a link");
  unlink(link.c_str());
  const std::string fifo = file.path() + "-fifo";
  report.ok(mkfifo(fifo.c_str(), 0600) == 0, "a pipe is made");
  report.throws([&] { kvasir::MappedFile(fifo, 0); }, {"is not a regular file"},
                "a pipe, without waiting for its writer");
  unlink(fifo.c_str());
}

}  // namespace

int main() {
  tap::Report report;
  test_ranges(report);
  test_changes(report);
  test_refusals(report);
  return report.finish();
}
