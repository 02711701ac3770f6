using Gpt2.Model;
using TorchSharp.Modules;

namespace Gpt2.Training;

/// <summary>
/// GPT-2's two optimiser groups: matrices and embeddings are decayed; biases and layer-norm parameters, which are vectors,
/// are not.
/// </summary>
internal static class DecayGroups
{
    /// <summary>The named parameters of each group, in the model's order.</summary>
    internal static (List<(string Name, Parameter Parameter)> Decayed, List<(string Name, Parameter Parameter)> Undecayed) Split(GptModel model)
    {
        ILookup<bool, (string, Parameter)> byRank = model.named_parameters().ToLookup(named => named.parameter.dim() >= 2);
        return ([.. byRank[true]], [.. byRank[false]]);
    }
}
