// The score program of a kernel: this one changes nothing. The engine puts the text of a problem's own in its place (ScoreText.cs).
#pragma once
#include "score.cuh"

namespace score {
enum : bool {
  MODIFIES = false, // scores
  BENDS = false,    // the derivative of a modified score is not 1
  HIDES = false,    // pairs
};
struct Captures {};
struct Gradient { Real s; };
DEVICE Real modify(const Captures &, Real s, int, int, int, int) { return s; }
DEVICE Gradient gradient(const Captures &, Real, int, int, int, int, Real ds) { return {ds}; }
template <class Domain> DEVICE typename Domain::Bool visible(
    const Captures &, typename Domain::Int, typename Domain::Int, typename Domain::Int, typename Domain::Int) { return true; }
} // namespace score
