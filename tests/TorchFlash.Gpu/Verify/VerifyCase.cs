using TorchFlash.Gpu.Device;
using TorchFlash.Kernels;

namespace TorchFlash.Gpu.Verify;

/// <summary>One problem to check, and how its operands lie.</summary>
internal sealed record VerifyCase(AttentionProblem Problem, KernelFamily Family = KernelFamily.Default, Layout Layout = Layout.Contiguous)
{
    /// <summary>Head dimensions below, at and beyond every tile width.</summary>
    private static readonly int[] HeadDims = [1, 8, 32, 40, 59, 64, 80, 96, 111, 128, 160, 192, 256];

    /// <summary>Fewer of them for kernels that a GPU has beside better ones: each is one more to compile.</summary>
    private static readonly int[] FewHeadDims = [32, 59, 64, 96, 128, 256];

    /// <summary>Lengths that end everywhere in a tile.</summary>
    private static readonly (int Queries, int Keys)[] Lengths = [(1, 1), (17, 70), (113, 203), (257, 130), (1023, 1025)];

    private static readonly CausalMask[] Masks = [CausalMask.None, CausalMask.TopLeft, CausalMask.BottomRight];

    /// <summary>Everything that a GPU does in a minute or two.</summary>
    public static List<VerifyCase> Full(KernelFamily[] families)
    {
        List<VerifyCase> cases = [];
        foreach (KernelFamily family in families)
        {
            // Every head dimension with every mask; sizes in turn, so that each of them meets each mask.
            int at = 0;
            foreach (int d in family == KernelFamily.Default ? HeadDims : FewHeadDims)
                foreach (CausalMask mask in Masks)
                {
                    for (int i = 0; i < 2; i++, at++)
                        cases.Add(Of(ElementType.BFloat16, Lengths[at % Lengths.Length], d, d, mask) with { Family = family });
                }
            foreach (int d in (int[])[40, 64, 128])
                foreach ((int, int) lengths in Lengths)
                    foreach (CausalMask mask in Masks)
                        cases.Add(Of(ElementType.Float16, lengths, d, d, mask) with { Family = family });
            foreach ((int, int) lengths in Lengths)
                foreach (CausalMask mask in Masks)
                    cases.Add(Of(ElementType.BFloat16, lengths, 128, 128, mask) with { Family = family });
            cases.AddRange(Features(ElementType.BFloat16, (257, 301), family));
        }
        foreach (ElementType type in (ElementType[])[ElementType.Float32, ElementType.Float64])
        {
            foreach (int d in (int[])[1, 59, 64, 128, 256])
                for (int i = 0; i < Masks.Length; i++)
                    cases.Add(Of(type, Lengths[(d + i) % Lengths.Length], d, d, Masks[i]));
            cases.AddRange(Features(type, (113, 130), KernelFamily.Default));
        }
        return cases;
    }

    /// <summary>What an emulated GPU does in a minute.</summary>
    public static List<VerifyCase> Small(KernelFamily[] families)
    {
        List<VerifyCase> cases = [];
        foreach (KernelFamily family in families)
        {
            cases.Add(Of(ElementType.BFloat16, (33, 70), 64, 64, CausalMask.BottomRight, 1, 1) with { Family = family });
            cases.Add(Of(ElementType.Float16, (70, 33), 40, 24, CausalMask.TopLeft, 1, 1) with { Family = family });
        }
        cases.Add(Of(ElementType.BFloat16, (20, 35), 13, 7, CausalMask.None, 1, 1));
        cases.Add(Of(ElementType.Float32, (33, 40), 24, 16, CausalMask.TopLeft, 1, 2) with { Layout = Layout.Interleaved });
        cases.Add(Of(ElementType.Float64, (20, 33), 13, 7, CausalMask.BottomRight, 1, 2));
        return cases;
    }

    /// <summary>Grouped heads, other value dimensions, layouts, scales, rows without keys, no keys at all.</summary>
    private static IEnumerable<VerifyCase> Features(ElementType type, (int Queries, int Keys) lengths, KernelFamily family)
    {
        VerifyCase plain = Of(type, lengths, 64, 64, CausalMask.TopLeft, 2, 4) with { Family = family };
        AttentionProblem problem = plain.Problem;
        yield return plain with { Problem = problem with { KeyHeads = 2 } };
        yield return plain with { Problem = problem with { KeyHeads = 1, Causal = CausalMask.None } };
        yield return plain with { Problem = problem with { ValueDim = 128 } };
        yield return plain with { Problem = problem with { HeadDim = 128, ValueDim = 64, Scale = AttentionProblem.DefaultScale(128) } };
        yield return plain with { Problem = problem with { HeadDim = 72, ValueDim = 40 } };
        yield return plain with { Layout = Layout.Interleaved };
        yield return plain with { Layout = Layout.Odd };
        yield return plain with { Layout = Layout.Odd, Problem = problem with { HeadDim = 59, ValueDim = 33 } };
        yield return plain with { Problem = problem with { Scale = -0.2 } };
        yield return plain with { Problem = problem with { Scale = 0 } };
        yield return plain with { Problem = problem with { Scale = 1.5 } };
        yield return plain with { Problem = problem with { Causal = CausalMask.BottomRight, KeyLength = 57 } };
        yield return plain with { Problem = problem with { KeyLength = 0 } };
        yield return plain with { Problem = problem with { QueryLength = 0 } };
    }

    private static VerifyCase Of(ElementType type, (int Queries, int Keys) lengths, int headDim, int valueDim, CausalMask causal, int batch = 1, int heads = 2) =>
        new(new AttentionProblem
        {
            Batch = batch,
            Heads = heads,
            QueryLength = lengths.Queries,
            KeyLength = lengths.Keys,
            HeadDim = headDim,
            ValueDim = valueDim,
            Scale = AttentionProblem.DefaultScale(headDim),
            ElementType = type,
            Causal = causal,
        });

    public override string ToString()
    {
        AttentionProblem p = Problem;
        return FormattableString.Invariant($"{p.ElementType} {Family} B={p.Batch} H={p.Heads}{(p.KeyHeads > 0 ? $"/{p.KeyHeads}" : "")} Nq={p.QueryLength} Nk={p.KeyLength} d={p.HeadDim} d_v={p.ValueDim} {p.Causal} scale={p.Scale:G3} {Layout}");
    }
}
