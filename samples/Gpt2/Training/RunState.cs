using Gpt2.Model;
using Gpt2.Text;

namespace Gpt2.Training;

/// <summary>The part of a checkpoint that is not tensors.</summary>
/// <param name="Config">Shape of the model.</param>
/// <param name="Attention">The attention the run used.</param>
/// <param name="Options">Settings of the run.</param>
/// <param name="Corpus">The text and its tokeniser.</param>
/// <param name="Step">Steps finished.</param>
/// <param name="DataOrderState">State of the generator that picks training sequences.</param>
/// <param name="OptimizerSteps">AdamW's step count of each parameter.</param>
/// <param name="History">The losses so far.</param>
public sealed record RunState(
    GptConfig Config,
    AttentionKind Attention,
    TrainingOptions Options,
    CorpusDescription Corpus,
    int Step,
    ulong DataOrderState,
    Dictionary<string, long> OptimizerSteps,
    LossHistory History);
