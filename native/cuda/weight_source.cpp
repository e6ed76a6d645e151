#include "native/cuda/weight_source.h"

#include "native/cuda/convert_row.h"

namespace kvasir {

namespace {

class WeightFiles : public WeightSource {
 public:
  explicit WeightFiles(const ModelSpec& spec) : head_dim_(spec.config.head_dim), table_(spec) {
    for (const FileSpec& file : spec.files) files_.emplace_back(file.path, file.byte_length);
  }

  bool has(const std::string& name) const override { return table_.has(name); }

  int open(const std::string& name) override {
    const TensorRef& ref = table_.at(name);
    const bool is_vector = ref.shape.size() == 1;
    const std::int64_t num_columns = is_vector ? 1 : ref.shape[1];
    tensors_.push_back({&ref, file_of(ref).range(ref.offset, ref.byte_length),
                        static_cast<int>(ref.shape[0]), num_columns,
                        kernels::row_bytes(ref.type, num_columns)});
    return static_cast<int>(tensors_.size()) - 1;
  }

  int num_rows(int tensor) const override { return at(tensor).num_rows; }

  void read_row(int tensor, int row, kernels::DType type, void* out, float* scratch) override {
    const Tensor& t = at(tensor);
    const bool is_interleaved = t.ref->num_interleaved_heads > 0;
    const int stored = is_interleaved ? stored_row(row, head_dim_) : row;
    convert_row(t.ref->type, t.data + static_cast<std::size_t>(stored) * t.row_bytes, t.num_columns,
                type, out, scratch);
  }

  std::uint64_t row_bytes(int tensor) const override { return at(tensor).row_bytes; }

  void close(int tensor) override {
    const TensorRef& ref = *at(tensor).ref;
    file_of(ref).drop(ref.offset, ref.byte_length);
  }

  void check_unchanged() const override {
    for (const MappedFile& file : files_) file.check_unchanged();
  }

 private:
  struct Tensor {
    const TensorRef* ref;
    const std::byte* data;
    int num_rows;
    std::int64_t num_columns;
    std::size_t row_bytes;
  };

  const Tensor& at(int tensor) const { return tensors_[static_cast<std::size_t>(tensor)]; }
  const MappedFile& file_of(const TensorRef& ref) const {
    return files_[static_cast<std::size_t>(ref.file)];
  }

  const int head_dim_;
  const TensorTable table_;
  std::vector<MappedFile> files_;
  std::vector<Tensor> tensors_;
};

}  // namespace

std::unique_ptr<WeightSource> open_weight_files(const ModelSpec& spec) {
  return std::make_unique<WeightFiles>(spec);
}

}  // namespace kvasir
