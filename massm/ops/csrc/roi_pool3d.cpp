// What the CPU and CUDA implementations share, and the operators' schemas.
#include "roi_pool3d.h"

#include <torch/library.h>

namespace massm {

std::vector<int64_t> shapes_of(at::TensorList inputs) {
  std::vector<int64_t> shapes;
  for (const at::Tensor& input : inputs) {
    TORCH_CHECK_VALUE(input.dim() == 5, "roi_pool3d needs [N, C, X, Y, Z], got ", input.sizes());
    shapes.insert(shapes.end(), input.sizes().begin(), input.sizes().end());
  }
  return shapes;
}

std::vector<Level> make_levels(
    at::ArrayRef<int64_t> shapes, at::ArrayRef<int64_t> sizes, at::ArrayRef<double> scales) {
  size_t count = scales.size();
  TORCH_CHECK_VALUE(
      count > 0 && shapes.size() == 5 * count && sizes.size() == 3 * count,
      "roi_pool3d needs one scale, three bins and one feature map a level");
  std::vector<Level> levels;
  for (size_t i = 0; i < count; ++i) {
    Level level{shapes[5 * i], shapes[5 * i + 1], {}, {}, static_cast<float>(1.0 / scales[i])};
    for (int axis = 0; axis < 3; ++axis) {
      level.length[axis] = shapes[5 * i + 2 + axis];
      level.bins[axis] = sizes[3 * i + axis];
      TORCH_CHECK_VALUE(
          level.length[axis] > 0 && level.bins[axis] > 0, "roi_pool3d needs at least one cell and bin");
    }
    TORCH_CHECK_VALUE(
        level.cells() < (int64_t{1} << 31), "roi_pool3d: one channel has more than 2^31 cells");
    TORCH_CHECK_VALUE(level.batch == shapes[0], "roi_pool3d: levels differ in batch size");
    levels.push_back(level);
  }
  return levels;
}

int64_t row_length(const std::vector<Level>& levels) {
  int64_t total = 0;
  for (const Level& level : levels) total += level.channels * level.bin_count();
  return total;
}

}  // namespace massm

TORCH_LIBRARY(massm, m) {
  m.def("roi_pool3d_max(Tensor[] inputs, Tensor rois, int[] sizes, float[] scales) -> (Tensor, Tensor)");
  m.def(
      "roi_pool3d_max_backward(Tensor grad, Tensor argmax, Tensor rois, int[] sizes, float[] scales, "
      "int[] shapes, bool[] channels_last) -> Tensor[]");
  m.def("roi_pool3d_align(Tensor[] inputs, Tensor rois, int[] sizes, float[] scales) -> Tensor");
  m.def(
      "roi_pool3d_align_backward(Tensor grad, Tensor rois, int[] sizes, float[] scales, "
      "int[] shapes, bool[] channels_last) -> Tensor[]");
}

TORCH_LIBRARY_IMPL(massm, CPU, m) {
  m.impl("roi_pool3d_max", massm::max_cpu);
  m.impl(
      "roi_pool3d_max_backward",
      [](const at::Tensor& grad, const at::Tensor& argmax, const at::Tensor& rois,
         at::ArrayRef<int64_t> sizes, at::ArrayRef<double> scales, at::ArrayRef<int64_t> shapes,
         const c10::List<bool>& channels_last) {
        return massm::max_backward_cpu(grad, argmax, rois, sizes, scales, shapes, channels_last.vec());
      });
  m.impl("roi_pool3d_align", massm::align_cpu);
  m.impl(
      "roi_pool3d_align_backward",
      [](const at::Tensor& grad, const at::Tensor& rois, at::ArrayRef<int64_t> sizes,
         at::ArrayRef<double> scales, at::ArrayRef<int64_t> shapes,
         const c10::List<bool>& channels_last) {
        return massm::align_backward_cpu(grad, rois, sizes, scales, shapes, channels_last.vec());
      });
}
