// What the text of a score program (ScoreText.cs) is written in. `visible` has two meanings: over OnePair it tells of a pair whether it
// exists, over Tile of all pairs of a tile at once, by interval arithmetic.
#pragma once
#include "exact_type.cuh"

namespace score {
using Int = int;
using Bool = bool;
using Real = ::Real;

/// A captured tensor. Integers have 64 bits in memory, truth values are bytes.
template <class T> struct Tensor { const T *data; i64 stride[4]; };
template <class T> DEVICE i64 place(const Tensor<T> &t, int a, int b = 0, int c = 0, int d = 0) {
  return a * t.stride[0] + b * t.stride[1] + c * t.stride[2] + d * t.stride[3];
}

// ---- one pair
DEVICE int min(int a, int b) { return a < b ? a : b; }
DEVICE int max(int a, int b) { return a > b ? a : b; }
DEVICE i64 min(i64 a, i64 b) { return a < b ? a : b; }
DEVICE i64 max(i64 a, i64 b) { return a > b ? a : b; }
DEVICE Real min(Real a, Real b) { return b < a || b != b ? b : a; } // a NaN is handed on
DEVICE Real max(Real a, Real b) { return b > a || b != b ? b : a; }
DEVICE int abs(int a) { return a < 0 ? -a : a; }
DEVICE Real abs(Real a) { return a < 0 ? -a : a; }
DEVICE Real to_real(int a) { return Real(a); }
DEVICE Real exp(Real a) { return ::exp(a); }
DEVICE Real log(Real a) { return ::log(a); }
DEVICE Real sqrt(Real a) { return ::sqrt(a); }
DEVICE Real sigmoid(Real a) { return 1 / (1 + ::exp(-a)); }
/// Right to some ulp of 1, not of a small result; without a branch.
DEVICE Real tanh(Real a) { return 1 - 2 / (exp2_of(a * Real(2.8853900817779268)) + 1); }
template <class T> DEVICE T select(bool c, T a, T b) { return c ? a : b; }
DEVICE Real load(const Tensor<Real> &t, int a, int b = 0, int c = 0, int d = 0) { return ldg(t.data + place(t, a, b, c, d)); }
DEVICE int load(const Tensor<i64> &t, int a, int b = 0, int c = 0, int d = 0) { return (int)ldg(t.data + place(t, a, b, c, d)); }
DEVICE bool load(const Tensor<u8> &t, int a, int b = 0, int c = 0, int d = 0) { return ldg(t.data + place(t, a, b, c, d)) != 0; }

// ---- all pairs of a tile: intervals, never too narrow
/// Bounds are held to those of int, which no value leaves: the program would have been refused.
struct Ints {
  i64 low, high;
  DEVICE Ints(i64 x) : low(x), high(x) {}
  DEVICE Ints(i64 a, i64 b) : low(max(a, i64(-2147483648ll))), high(min(b, i64(2147483647ll))) {}
  DEVICE static Ints any() { return {-2147483648ll, 2147483647ll}; }
  DEVICE bool is_one() const { return low == high; }
};
/// With room for the rounding of a result.
struct Reals {
  Real low, high;
  bool nan; // perhaps one of them
  DEVICE Reals(Real x) : low(x), high(x), nan(x != x) {
    if (nan) *this = any();
  }
  DEVICE Reals(Real a, Real b, bool n) : low(a - abs(a) * Real(1e-6) - Real(1e-37)), high(b + abs(b) * Real(1e-6) + Real(1e-37)), nan(n) {
    if (low != low || high != high) *this = any();
  }
  DEVICE static Reals any() {
    Reals x(Real(0));
    x.low = -infinity(), x.high = infinity(), x.nan = true;
    return x;
  }
};
struct Truth {
  bool always, possible;
  DEVICE Truth(bool x) : always(x), possible(x) {}
  DEVICE Truth(bool a, bool p) : always(a), possible(p) {}
};

struct OnePair { using Int = int; using Real = score::Real; using Bool = bool; };
struct Tile { using Int = Ints; using Real = Reals; using Bool = Truth; };

template <class T> DEVICE T smallest(T p, T q, T r, T s) { return min(min(p, q), min(r, s)); }
template <class T> DEVICE T largest(T p, T q, T r, T s) { return max(max(p, q), max(r, s)); }
DEVICE Ints operator+(Ints a, Ints b) { return {a.low + b.low, a.high + b.high}; }
DEVICE Ints operator-(Ints a, Ints b) { return {a.low - b.high, a.high - b.low}; }
DEVICE Ints operator-(Ints a) { return {-a.high, -a.low}; }
DEVICE Ints operator*(Ints a, Ints b) {
  return {smallest(a.low * b.low, a.low * b.high, a.high * b.low, a.high * b.high), largest(a.low * b.low, a.low * b.high, a.high * b.low, a.high * b.high)};
}
DEVICE i64 size(Ints a) { return max(-a.low, a.high); } // the largest |x|
DEVICE Ints operator/(Ints a, Ints b) {
  if (b.low <= 0 && b.high >= 0) return {-size(a), size(a)}; // the divisor is not 0, but may be 1 and -1
  return {smallest(a.low / b.low, a.low / b.high, a.high / b.low, a.high / b.high), largest(a.low / b.low, a.low / b.high, a.high / b.low, a.high / b.high)};
}
DEVICE Ints operator%(Ints a, Ints b) {
  const i64 m = max(i64(1), size(b));
  if (b.is_one() && a.low >= 0 && a.low / m == a.high / m) return {a.low % m, a.high % m};
  return {a.low >= 0 ? 0 : max(a.low, 1 - m), a.high <= 0 ? 0 : min(a.high, m - 1)};
}
DEVICE Ints min(Ints a, Ints b) { return {min(a.low, b.low), min(a.high, b.high)}; }
DEVICE Ints max(Ints a, Ints b) { return {max(a.low, b.low), max(a.high, b.high)}; }
DEVICE Ints abs(Ints a) { return {a.low > 0 ? a.low : a.high < 0 ? -a.high : 0, size(a)}; }
DEVICE Ints select(Truth c, Ints a, Ints b) { return c.always ? a : !c.possible ? b : Ints(min(a.low, b.low), max(a.high, b.high)); }
DEVICE Truth operator<(Ints a, Ints b) { return {a.high < b.low, a.low < b.high}; }
DEVICE Truth operator<=(Ints a, Ints b) { return {a.high <= b.low, a.low <= b.high}; }
DEVICE Truth operator==(Ints a, Ints b) { return {a.is_one() && b.is_one() && a.low == b.low, a.low <= b.high && b.low <= a.high}; }

DEVICE Reals to_real(Ints a) { return {Real(a.low), Real(a.high), false}; }
DEVICE Reals operator+(Reals a, Reals b) { return {a.low + b.low, a.high + b.high, a.nan || b.nan}; }
DEVICE Reals operator-(Reals a, Reals b) { return {a.low - b.high, a.high - b.low, a.nan || b.nan}; }
DEVICE Reals operator-(Reals a) { return {-a.high, -a.low, a.nan}; }
DEVICE Reals operator*(Reals a, Reals b) {
  return {smallest(a.low * b.low, a.low * b.high, a.high * b.low, a.high * b.high), largest(a.low * b.low, a.low * b.high, a.high * b.low, a.high * b.high), a.nan || b.nan};
}
DEVICE Reals min(Reals a, Reals b) { return {min(a.low, b.low), min(a.high, b.high), a.nan || b.nan}; }
DEVICE Reals max(Reals a, Reals b) { return {max(a.low, b.low), max(a.high, b.high), a.nan || b.nan}; }
DEVICE Reals abs(Reals a) { return {a.low > 0 ? a.low : a.high < 0 ? -a.high : Real(0), max(-a.low, a.high), a.nan}; }
DEVICE Reals select(Truth c, Reals a, Reals b) {
  return c.always ? a : !c.possible ? b : Reals(min(a.low, b.low), max(a.high, b.high), a.nan || b.nan);
}
// Rare where it is asked which pairs exist.
DEVICE Reals operator/(Reals, Reals) { return Reals::any(); }
DEVICE Reals exp(Reals) { return Reals::any(); }
DEVICE Reals log(Reals) { return Reals::any(); }
DEVICE Reals tanh(Reals) { return Reals::any(); }
DEVICE Reals sigmoid(Reals) { return Reals::any(); }
DEVICE Reals sqrt(Reals) { return Reals::any(); }
DEVICE Truth operator<(Reals a, Reals b) { return {a.high < b.low && !a.nan && !b.nan, a.low < b.high}; }
DEVICE Truth operator<=(Reals a, Reals b) { return {a.high <= b.low && !a.nan && !b.nan, a.low <= b.high}; }
DEVICE Truth operator==(Reals a, Reals b) { return {false, a.low <= b.high && b.low <= a.high}; }

DEVICE Truth operator&&(Truth a, Truth b) { return {a.always && b.always, a.possible && b.possible}; }
DEVICE Truth operator||(Truth a, Truth b) { return {a.always || b.always, a.possible || b.possible}; }
DEVICE Truth operator!(Truth a) { return {!a.possible, !a.always}; }
DEVICE Truth operator==(Truth a, Truth b) { return (a && b) || (!a && !b); }
DEVICE Truth select(Truth c, Truth a, Truth b) { return (c && a) || (!c && b); }

/// The element where all pairs of the tile read the same one, else nothing is known of what they read.
DEVICE bool is_one_element(Ints a, Ints b, Ints c, Ints d) { return a.is_one() && b.is_one() && c.is_one() && d.is_one(); }
DEVICE Reals load(const Tensor<Real> &t, Ints a, Ints b = 0, Ints c = 0, Ints d = 0) {
  return is_one_element(a, b, c, d) ? Reals(load(t, (int)a.low, (int)b.low, (int)c.low, (int)d.low)) : Reals::any();
}
DEVICE Ints load(const Tensor<i64> &t, Ints a, Ints b = 0, Ints c = 0, Ints d = 0) {
  return is_one_element(a, b, c, d) ? Ints(load(t, (int)a.low, (int)b.low, (int)c.low, (int)d.low)) : Ints::any();
}
DEVICE Truth load(const Tensor<u8> &t, Ints a, Ints b = 0, Ints c = 0, Ints d = 0) {
  return is_one_element(a, b, c, d) ? Truth(load(t, (int)a.low, (int)b.low, (int)c.low, (int)d.low)) : Truth(false, true);
}
} // namespace score
