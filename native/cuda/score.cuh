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

/// f(element) of every element that pairs of the tile may read, dealt out over the lanes of the warp; false, and nothing, if there are too many.
template <class T, class F> DEVICE bool scan(const Tensor<T> &t, Ints a, Ints b, Ints c, Ints d, F f) {
  constexpr i64 MOST = 2048;
  const i64 n[4] = {a.high - a.low + 1, b.high - b.low + 1, c.high - c.low + 1, d.high - d.low + 1};
  if (n[0] > MOST || n[1] > MOST || n[2] > MOST || n[3] > MOST || n[0] * n[1] > MOST || n[2] * n[3] > MOST || n[0] * n[1] * n[2] * n[3] > MOST) return false;
  const int count = int(n[0] * n[1] * n[2] * n[3]), nd = (int)n[3], nc = (int)n[2], nb = (int)n[1];
  NO_UNROLL for (int e = thread_id() % 32; e < count; e += 32)
    f(load(t, (int)a.low + e / (nd * nc * nb), (int)b.low + e / (nd * nc) % nb, (int)c.low + e / nd % nc, (int)d.low + e % nd));
  return true;
}
/// The smallest and the largest of what the lanes of a warp have (all take part).
DEVICE void meet(Real &low, Real &high) {
  UNROLL for (int mask = 1; mask < 32; mask *= 2) low = min(low, shuffle_xor(low, mask)), high = max(high, shuffle_xor(high, mask));
}
DEVICE void meet(int &low, int &high) {
  UNROLL for (int mask = 1; mask < 32; mask *= 2)
    low = min(low, (int)shuffle_xor((u32)low, mask)), high = max(high, (int)shuffle_xor((u32)high, mask));
}
DEVICE Reals load(const Tensor<Real> &t, Ints a, Ints b = 0, Ints c = 0, Ints d = 0) {
  Reals x(Real(0));
  x.low = infinity(), x.high = -infinity();
  u32 nan = 0;
  if (!scan(t, a, b, c, d, [&](Real e) { x.low = min(x.low, e), x.high = max(x.high, e), nan |= e != e; })) return Reals::any();
  meet(x.low, x.high);
  x.nan = any_in_warp(nan != 0);
  return x.nan ? Reals::any() : x;
}
DEVICE Ints load(const Tensor<i64> &t, Ints a, Ints b = 0, Ints c = 0, Ints d = 0) {
  int low = 0x7fffffff, high = -low - 1;
  if (!scan(t, a, b, c, d, [&](int e) { low = min(low, e), high = max(high, e); })) return Ints::any();
  meet(low, high);
  return {low, high};
}
DEVICE Truth load(const Tensor<u8> &t, Ints a, Ints b = 0, Ints c = 0, Ints d = 0) {
  bool always = true, possible = false;
  if (!scan(t, a, b, c, d, [&](bool e) { always = always && e, possible = possible || e; })) return {false, true};
  return {!any_in_warp(!always), any_in_warp(possible)};
}
} // namespace score
