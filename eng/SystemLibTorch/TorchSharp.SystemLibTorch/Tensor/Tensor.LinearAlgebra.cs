namespace TorchSharp;

public static partial class torch
{
    public partial class Tensor
    {
        /// <summary>Matrix product of the last two dimensions, broadcast over the others.</summary>
        /// <remarks>Operands that do not fit end the process, as in TorchSharp, whose native code catches nothing here.</remarks>
        public Tensor matmul(Tensor target) => Bridge.Uncaught(() => Operator.Call("matmul", "", this, target));

        /// <summary>Matrix product.</summary>
        public Tensor mm(Tensor target) => Operator.Call("mm", "", this, target);

        /// <summary>Matrix times vector.</summary>
        public Tensor mv(Tensor target) => Operator.Call("mv", "", this, target);

        /// <summary>Scalar product of two vectors.</summary>
        public Tensor dot(Tensor target) => Operator.Call("dot", "", this, target);

        /// <summary>Matrix products of two batches.</summary>
        public Tensor bmm(Tensor batch2) => Operator.Call("bmm", "", this, batch2);

        /// <summary>beta x + alpha batch1 batch2, by batches.</summary>
        public Tensor baddbmm(Tensor batch1, Tensor batch2, float beta = 1, float alpha = 1) =>
            Operator.Call("baddbmm", "", this, batch1, batch2, beta, alpha);

        /// <summary>beta x + alpha mat1 mat2.</summary>
        public Tensor addmm(Tensor mat1, Tensor mat2, float beta = 1, float alpha = 1) =>
            Operator.Call("addmm", "", this, mat1, mat2, beta, alpha);

        /// <summary>Outer product of two vectors.</summary>
        public Tensor outer(Tensor vec2) => Operator.Call("outer", "", this, vec2);
    }

    /// <inheritdoc cref="Tensor.matmul"/>
    public static Tensor matmul(Tensor input, Tensor target) => input.matmul(target);

    /// <inheritdoc cref="Tensor.mm"/>
    public static Tensor mm(Tensor input, Tensor target) => input.mm(target);

    /// <inheritdoc cref="Tensor.mv"/>
    public static Tensor mv(Tensor input, Tensor target) => input.mv(target);

    /// <inheritdoc cref="Tensor.dot"/>
    public static Tensor dot(Tensor input, Tensor other) => input.dot(other);

    /// <inheritdoc cref="Tensor.bmm"/>
    public static Tensor bmm(Tensor input, Tensor batch2) => input.bmm(batch2);

    /// <inheritdoc cref="Tensor.baddbmm"/>
    public static Tensor baddbmm(Tensor input, Tensor batch1, Tensor batch2, float beta = 1, float alpha = 1) =>
        input.baddbmm(batch1, batch2, beta, alpha);

    /// <inheritdoc cref="Tensor.addmm"/>
    public static Tensor addmm(Tensor input, Tensor mat1, Tensor mat2, float beta, float alpha) => input.addmm(mat1, mat2, beta, alpha);

    /// <inheritdoc cref="Tensor.outer"/>
    public static Tensor outer(Tensor input, Tensor vec2) => input.outer(vec2);

    /// <summary>Sums of products in Einstein's notation.</summary>
    public static Tensor einsum(string equation, params Tensor[] tensors) => Operator.Call("einsum", "", equation, tensors);

    /// <summary>Linear algebra.</summary>
    public static class linalg
    {
        /// <summary>Inverse of a matrix.</summary>
        public static Tensor inv(Tensor input) => Operator.Call("linalg_inv", "", input);

        /// <summary>Determinant of a matrix.</summary>
        public static Tensor det(Tensor input) => Operator.Call("linalg_det", "", input);

        /// <summary>The vector p-norm over dimensions, all of them for null.</summary>
        public static Tensor vector_norm(Tensor input, double ord = 2d, long[]? dims = null, bool keepdim = false) =>
            Operator.Call("linalg_vector_norm", "", input, ord, dims, keepdim);

        /// <summary>Vector or matrix norm over dimensions, all of them for null.</summary>
        public static Tensor norm(Tensor input, double ord, long[]? dims = null, bool keepdim = false) =>
            Operator.Call("linalg_norm", "", input, ord, dims, keepdim);

        /// <summary>Solves A X = B, or X A = B when not <paramref name="left"/>.</summary>
        public static Tensor solve(Tensor A, Tensor B, bool left = true) => Operator.Call("linalg_solve", "", A, B, left);
    }
}
