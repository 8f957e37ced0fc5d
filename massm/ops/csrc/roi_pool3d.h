// Operators of massm::, for every pyramid level in one call. Sizes come three a level, shapes five.
#pragma once

#include <ATen/core/Tensor.h>

#include <tuple>
#include <vector>

#include "geometry.h"

namespace massm {

// The extents of every level, checked against each other and the boxes.
std::vector<Level> make_levels(
    at::ArrayRef<int64_t> shapes, at::ArrayRef<int64_t> sizes, at::ArrayRef<double> scales);

std::vector<int64_t> shapes_of(at::TensorList inputs);

// Length of a box's row: channels times bins, summed over the levels.
int64_t row_length(const std::vector<Level>& levels);

// The CPU's implementations. They are registered beside the schemas, since torch/library.h takes
// as long to compile as they do.
std::tuple<at::Tensor, at::Tensor> max_cpu(
    at::TensorList inputs, const at::Tensor& rois, at::ArrayRef<int64_t> sizes,
    at::ArrayRef<double> scales);
std::vector<at::Tensor> max_backward_cpu(
    const at::Tensor& grad, const at::Tensor& argmax, const at::Tensor& rois,
    at::ArrayRef<int64_t> sizes, at::ArrayRef<double> scales, at::ArrayRef<int64_t> shapes,
    const std::vector<bool>& channels_last);
at::Tensor align_cpu(
    at::TensorList inputs, const at::Tensor& rois, at::ArrayRef<int64_t> sizes,
    at::ArrayRef<double> scales);
std::vector<at::Tensor> align_backward_cpu(
    const at::Tensor& grad, const at::Tensor& rois, at::ArrayRef<int64_t> sizes,
    at::ArrayRef<double> scales, at::ArrayRef<int64_t> shapes, const std::vector<bool>& channels_last);

}  // namespace massm
