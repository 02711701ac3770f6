namespace TorchSharp;

public static partial class torch
{
    public unsafe partial class Tensor
    {
        /// <summary>Whether gradients with respect to this tensor are computed.</summary>
        public bool requires_grad
        {
            get => Bridge.Read(this, Bridge.Property.RequiresGrad) != 0;
            set => Bridge.SetRequiresGrad(this, value ? 1 : 0);
        }

        /// <summary>Sets <see cref="requires_grad"/>.</summary>
        public Tensor requires_grad_(bool requires_grad = true)
        {
            this.requires_grad = requires_grad;
            return this;
        }

        /// <summary>Sets <see cref="requires_grad"/>.</summary>
        public Tensor with_requires_grad(bool requires_grad = true) => requires_grad_(requires_grad);

        /// <summary>Whether the tensor is not the result of an operation that records gradients.</summary>
        public bool is_leaf => Bridge.Read(this, Bridge.Property.IsLeaf) != 0;

        /// <summary>The accumulated gradient, null if there is none.</summary>
        public Tensor? grad
        {
            get
            {
                Bridge.Grad(this, out IntPtr gradient);
                return gradient == IntPtr.Zero ? null : new Tensor(gradient);
            }
            set
            {
                Bridge.SetGrad(this, value?.Handle ?? IntPtr.Zero);
                GC.KeepAlive(value);
            }
        }

        /// <summary>Keeps the gradient of a tensor that is not a leaf.</summary>
        public void retain_grad() => Operator.CallVoid("retain_grad", "", this);

        /// <summary>The same elements without history.</summary>
        public Tensor detach() => Call("detach");

        /// <summary>Drops the history, in place.</summary>
        public Tensor detach_() => InPlace("detach_", "");

        /// <summary>Adds the gradients of this scalar to the leaves' <see cref="grad"/>.</summary>
        public void backward() => autograd.backward(this);

        /// <summary>Adds the gradients of this tensor, weighted by <paramref name="grad_tensors"/>, to the leaves' <see cref="grad"/>.</summary>
        public void backward(
            IList<Tensor>? grad_tensors = null, bool retain_graph = false, bool create_graph = false, IList<Tensor>? inputs = null) =>
            autograd.backward(this, grad_tensors, retain_graph, create_graph, inputs);
    }

    private sealed class GradientMode : IDisposable
    {
        private readonly bool _before = is_grad_enabled();

        internal GradientMode(bool enabled) => Bridge.SetGradEnabled(enabled ? 1 : 0);

        public void Dispose() => Bridge.SetGradEnabled(_before ? 1 : 0);
    }

    /// <summary>Records no gradients on this thread until disposed of.</summary>
    public static IDisposable no_grad() => new GradientMode(false);

    /// <summary>Records gradients on this thread until disposed of.</summary>
    public static IDisposable enable_grad(bool enabled = true) => new GradientMode(enabled);

    /// <summary>Records gradients, or not, on this thread until disposed of.</summary>
    public static IDisposable set_grad_enabled(bool mode = true) => new GradientMode(mode);

    /// <summary>Whether gradients are recorded on this thread.</summary>
    public static bool is_grad_enabled()
    {
        Bridge.IsGradEnabled(out long enabled);
        return enabled != 0;
    }

    /// <summary>The version of libtorch.</summary>
    public static unsafe string __version__
    {
        get
        {
            Bridge.Version(out byte* version);
            return System.Runtime.InteropServices.Marshal.PtrToStringUTF8((IntPtr)version)!;
        }
    }

    /// <summary>Threads libtorch uses within an operation.</summary>
    public static int get_num_threads()
    {
        Bridge.GetThreads(out long count);
        return (int)count;
    }

    /// <summary>Sets how many threads libtorch uses within an operation.</summary>
    public static void set_num_threads(int num) => Bridge.SetThreads(num);
}
