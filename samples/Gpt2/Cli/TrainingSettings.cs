using Gpt2.Model;
using Gpt2.Text;
using Gpt2.Training;

namespace Gpt2.Cli;

/// <summary>What the command line asks of a new run.</summary>
internal sealed record TrainingSettings(
    Preset Preset, int Context, double Dropout, TrainingOptions Options, string[] Files, TokenizerDescription Tokenizer);
