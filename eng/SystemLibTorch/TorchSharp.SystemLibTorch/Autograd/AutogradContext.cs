namespace TorchSharp;

public static partial class torch
{
    public static unsafe partial class autograd
    {
        /// <summary>What a function's forward leaves for its backward.</summary>
        public class AutogradContext : IDisposable
        {
            private readonly Dictionary<string, object> _data = [];

            // TorchSharp keeps them as long as the node: a saved output that nobody disposes of keeps its node for ever.
            private List<Tensor>? _saved;

            // The native context lives as long as the node; it is known here only while forward or backward runs.
            private IntPtr _native;

            internal AutogradContext()
            {
            }

            private IntPtr Handle =>
                _native != IntPtr.Zero ? _native : throw new InvalidOperationException("the context is valid only within forward and backward");

            /// <summary>Whether undefined gradients come to backward as zeros. True by default.</summary>
            public bool MaterializeGrads { get; private set; } = true;

            /// <summary>Saves tensors for backward, which finds out if one was changed in place since. Once, in forward.</summary>
            /// <param name="tensors">Inputs, outputs or others; null for none.</param>
            public void save_for_backward(List<Tensor> tensors)
            {
                _saved = tensors;
                fixed (IntPtr* handles = tensors.Select(tensor => tensor is null or { IsInvalid: true } ? IntPtr.Zero : tensor.Handle).ToArray())
                {
                    Bridge.ContextSave(Handle, handles, tensors.Count);
                }
            }

            /// <summary>The saved tensors, as new objects; null where null was saved.</summary>
            /// <exception cref="System.Runtime.InteropServices.ExternalException">
            /// A saved tensor was changed in place. Backward must catch it, or the process ends.
            /// </exception>
            public List<Tensor> get_saved_variables()
            {
                Bridge.ContextSavedCount(Handle, out long count);
                var saved = new IntPtr[count];
                fixed (IntPtr* handles = saved)
                {
                    Bridge.ContextSaved(Handle, handles, count);
                }
                return saved.Select(handle => handle == IntPtr.Zero ? null! : new Tensor(handle)).ToList();
            }

            /// <summary>Saves something that is not a tensor for backward.</summary>
            public void save_data(string key, object value) => _data[key] = value;

            /// <summary>What <see cref="save_data"/> saved, null if nothing.</summary>
            public object get_data(string key) => _data.GetValueOrDefault(key)!;

            /// <summary>Tells which inputs forward changed in place.</summary>
            public void mark_dirty(List<Tensor> tensors)
            {
                fixed (IntPtr* handles = tensors.Select(tensor => tensor.Handle).ToArray())
                {
                    Bridge.ContextMarkDirty(Handle, handles, tensors.Count);
                }
                GC.KeepAlive(tensors);
            }

            /// <summary>Tells which outputs have no gradient.</summary>
            public void mark_non_differentiable(List<Tensor> tensors)
            {
                fixed (IntPtr* handles = tensors.Select(tensor => tensor.Handle).ToArray())
                {
                    Bridge.ContextMarkNonDifferentiable(Handle, handles, tensors.Count);
                }
                GC.KeepAlive(tensors);
            }

            /// <summary>Chooses whether undefined gradients come to backward as zeros or as invalid tensors.</summary>
            public void set_materialize_grads(bool value) => MaterializeGrads = value;

            internal void Enter(IntPtr native) => _native = native;

            internal void Leave() => _native = IntPtr.Zero;

            /// <inheritdoc/>
            public void Dispose()
            {
                Dispose(true);
                GC.SuppressFinalize(this);
            }

            /// <summary>Drops the saved data.</summary>
            protected virtual void Dispose(bool disposing) => _data.Clear();
        }
    }
}
