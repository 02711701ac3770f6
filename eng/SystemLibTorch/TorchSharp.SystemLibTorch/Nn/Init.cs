namespace TorchSharp;

public static partial class torch
{
    public static partial class nn
    {
        /// <summary>Initialisation of parameters, in place and outside of the autograd graph.</summary>
        public static class init
        {
            /// <summary>What follows a layer, which decides the gain of its initialisation.</summary>
            public enum NonlinearityType
            {
                /// <summary>Nothing.</summary>
                Linear = 0,

                /// <summary>Nothing, after a convolution.</summary>
                Conv1D = 1,

                /// <summary>Nothing, after a convolution.</summary>
                Conv2D = 2,

                /// <summary>Nothing, after a convolution.</summary>
                Conv3D = 3,

                /// <summary>Nothing, after a transposed convolution.</summary>
                ConvTranspose1D = 4,

                /// <summary>Nothing, after a transposed convolution.</summary>
                ConvTranspose2D = 5,

                /// <summary>Nothing, after a transposed convolution.</summary>
                ConvTranspose3D = 6,

                /// <summary>The logistic function.</summary>
                Sigmoid = 7,

                /// <summary>The hyperbolic tangent.</summary>
                Tanh = 8,

                /// <summary>max(x, 0).</summary>
                ReLU = 9,

                /// <summary>max(x, a x).</summary>
                LeakyReLU = 10,
            }

            /// <summary>Which of a layer's two sizes the variance is divided by.</summary>
            public enum FanInOut
            {
                /// <summary>Number of inputs: keeps the variance in the forward pass.</summary>
                FanIn = 0,

                /// <summary>Number of outputs: keeps the variance in the backward pass.</summary>
                FanOut = 1,
            }

            /// <summary>The factor that makes up for what a nonlinearity does to the standard deviation.</summary>
            /// <param name="nonlinearity">The nonlinearity.</param>
            /// <param name="param">The slope a of a leaky ReLU.</param>
            public static double calculate_gain(NonlinearityType nonlinearity, double param = 0.0) => nonlinearity switch
            {
                >= NonlinearityType.Linear and <= NonlinearityType.Sigmoid => 1,
                NonlinearityType.Tanh => 5.0 / 3,
                NonlinearityType.ReLU => Math.Sqrt(2),
                NonlinearityType.LeakyReLU => Math.Sqrt(2 / (1 + (param * param))),
                _ => throw new ArgumentOutOfRangeException(nameof(nonlinearity), nonlinearity, "Unknown nonlinearity."),
            };

            /// <summary>Fills a tensor with ones.</summary>
            /// <param name="tensor">The tensor.</param>
            /// <returns>The tensor.</returns>
            public static Tensor ones_(Tensor tensor) => constant_(tensor, 1);

            /// <summary>Fills a tensor with zeros.</summary>
            /// <param name="tensor">The tensor.</param>
            /// <returns>The tensor.</returns>
            public static Tensor zeros_(Tensor tensor) => constant_(tensor, 0);

            /// <summary>Fills a tensor with a value.</summary>
            /// <param name="tensor">The tensor.</param>
            /// <param name="val">The value.</param>
            /// <returns>The tensor.</returns>
            public static Tensor constant_(Tensor tensor, Scalar val) => Fill(tensor, "fill_", "Scalar", val);

            /// <summary>Fills a tensor from the uniform distribution on [low, high).</summary>
            /// <param name="tensor">The tensor.</param>
            /// <param name="low">Lower bound.</param>
            /// <param name="high">Upper bound.</param>
            /// <param name="generator">Random generator; the default one if null.</param>
            /// <returns>The tensor.</returns>
            public static Tensor uniform_(Tensor tensor, double low = 0, double high = 1, Generator? generator = null) =>
                Fill(tensor, "uniform_", "", low, high, generator);

            /// <summary>Fills a tensor from a normal distribution.</summary>
            /// <param name="tensor">The tensor.</param>
            /// <param name="mean">Its mean.</param>
            /// <param name="std">Its standard deviation.</param>
            /// <param name="generator">Random generator; the default one if null.</param>
            /// <returns>The tensor.</returns>
            public static Tensor normal_(Tensor tensor, double mean = 0, double std = 1, Generator? generator = null) =>
                Fill(tensor, "normal_", "", mean, std, generator);

            /// <summary>Glorot and Bengio's initialisation: uniform with variance gain² · 2 / (fan in + fan out).</summary>
            /// <param name="tensor">A tensor of two or more dimensions, (out, in, ...).</param>
            /// <param name="gain">Factor of the standard deviation.</param>
            /// <returns>The tensor.</returns>
            public static Tensor xavier_uniform_(Tensor tensor, double gain = 1.0)
            {
                var (fanIn, fanOut) = CalculateFanInAndFanOut(tensor);
                return UniformOfDeviation(tensor, gain * Math.Sqrt(2.0 / (fanIn + fanOut)));
            }

            /// <summary>
            /// The same as <see cref="xavier_uniform_"/>: TorchSharp draws from the uniform distribution here too, of the standard
            /// deviation that the normal one would have.
            /// </summary>
            /// <param name="tensor">A tensor of two or more dimensions, (out, in, ...).</param>
            /// <param name="gain">Factor of the standard deviation.</param>
            /// <returns>The tensor.</returns>
            public static Tensor xavier_normal_(Tensor tensor, double gain = 1.0) => xavier_uniform_(tensor, gain);

            /// <summary>He's initialisation: uniform with variance gain² / fan.</summary>
            /// <param name="tensor">A tensor of two or more dimensions, (out, in, ...).</param>
            /// <param name="a">Slope of the leaky ReLU that follows.</param>
            /// <param name="mode">Which fan.</param>
            /// <param name="nonlinearity">What follows, which decides the gain.</param>
            /// <returns>The tensor.</returns>
            public static Tensor kaiming_uniform_(
                Tensor tensor, double a = 0, FanInOut mode = FanInOut.FanIn, NonlinearityType nonlinearity = NonlinearityType.LeakyReLU)
            {
                var (fanIn, fanOut) = CalculateFanInAndFanOut(tensor);
                var fan = mode == FanInOut.FanIn ? fanIn : fanOut;
                return UniformOfDeviation(tensor, calculate_gain(nonlinearity, a) / Math.Sqrt(fan));
            }

            /// <summary>Numbers of values that go into, and come out of, one element of a layer.</summary>
            /// <param name="tensor">The layer's weight, of two or more dimensions, (out, in, ...).</param>
            /// <exception cref="ArgumentException">The tensor has fewer than two dimensions.</exception>
            public static (long fanIn, long fanOut) CalculateFanInAndFanOut(Tensor tensor)
            {
                var shape = tensor.shape;
                if (shape.Length < 2) throw new ArgumentException($"Fan in and fan out need two dimensions or more, got {shape.Length}.", nameof(tensor));
                var receptiveField = shape.Skip(2).Aggregate(1L, (product, size) => product * size);
                return (shape[1] * receptiveField, shape[0] * receptiveField);
            }

            /// <summary>Uniform on ±√3 σ, whose standard deviation is σ.</summary>
            private static Tensor UniformOfDeviation(Tensor tensor, double deviation)
            {
                var bound = Math.Sqrt(3) * deviation;
                return uniform_(tensor, -bound, bound);
            }

            private static Tensor Fill(Tensor tensor, string name, string overload, params ReadOnlySpan<object?> arguments)
            {
                ArgumentNullException.ThrowIfNull(tensor);
                using var inference = no_grad();
                Operator.CallVoid(name, overload, [tensor, .. arguments]);
                return tensor;
            }
        }
    }
}
