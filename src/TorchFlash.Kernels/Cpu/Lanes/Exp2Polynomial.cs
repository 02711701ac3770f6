namespace TorchFlash.Kernels.Cpu.Lanes;

/// <summary>
/// 2^f = 1 + C1 f + C2 f² + ... on [-1/2, 1/2], minimax in the relative error with p(0) = 1 (Remez, 60 digits):
/// 9.2e-8 for float (degree 5), 3.4e-18 for double (degree 11). The integer part of the exponent goes into the
/// exponent field, so that 2^x has the relative error of the polynomial and one rounding.
/// </summary>
internal static class Exp2Polynomial
{
    internal static class Single
    {
        public const float C1 = 0.6931469775998542f;
        public const float C2 = 0.2402224208556494f;
        public const float C3 = 0.05550733741885501f;
        public const float C4 = 0.009671512633666614f;
        public const float C5 = 0.0013264727644223717f;
    }

    internal static class Double
    {
        public const double C1 = 0.6931471805599453;
        public const double C2 = 0.2402265069591013;
        public const double C3 = 0.055504108664820084;
        public const double C4 = 0.00961812910759412;
        public const double C5 = 0.0013333558146774612;
        public const double C6 = 0.00015403530457111996;
        public const double C7 = 1.5252733493136538e-05;
        public const double C8 = 1.3215435282359998e-06;
        public const double C9 = 1.0178199568103496e-07;
        public const double C10 = 7.07378323927803e-09;
        public const double C11 = 4.4347718546320375e-10;
    }
}
