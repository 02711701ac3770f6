using System.CommandLine;
using System.Diagnostics;
using System.Globalization;
using System.Text.Json;
using AttentionBench.Measuring;
using Gpt2;
using Gpt2.Text;
using static TorchSharp.torch;

namespace AttentionBench.Verbs;

/// <summary>What a training process is to run.</summary>
/// <param name="Preset">Size of the model.</param>
/// <param name="Attention">Its attention.</param>
/// <param name="Context">Tokens of a sequence.</param>
/// <param name="Batch">Sequences of a step.</param>
/// <param name="Threads">Of libtorch and of flash.</param>
internal sealed record Gpt2Request(string Preset, AttentionKind Attention, int Context, int Batch, int Threads)
{
    /// <summary>GPT-2's own vocabulary; the two presets that are not GPT-2's are models of bytes.</summary>
    public GptConfig Config => Gpt2.Preset.Named(Preset).Config(Preset.StartsWith("gpt2", StringComparison.Ordinal) ? GptConfig.Gpt2VocabularySize : 256) with { Context = Context };

    /// <summary>
    /// Bytes that a step takes, roughly: weights, gradients and two moments; logits, their logarithms and their gradient; what the layers keep for
    /// the backward pass, some 18 vectors of the width a token; P of all layers and four matrices of scores at once where scores are stored.
    /// </summary>
    public double EstimatedBytes
    {
        get
        {
            GptConfig c = Config;
            double tokens = (double)Batch * Context, matrix = (double)Batch * c.Heads * Context * Context;
            bool storesScores = Attention == AttentionKind.Naive || (Attention == AttentionKind.Sdpa && !Machine.HasFusedAttention);
            return 2e8 + sizeof(float) * (4.0 * c.ParameterCount + 3 * tokens * c.VocabularySize + 18 * tokens * c.Width * c.Layers + (storesScores ? (c.Layers + 4) * matrix : 0));
        }
    }
}

/// <summary>What it answers after every step.</summary>
/// <param name="Seconds">Of the step.</param>
/// <param name="PeakBytes">Largest resident set of the process so far.</param>
/// <param name="ProcessorSeconds">That the process has used so far.</param>
/// <param name="Loss">Training loss before the step.</param>
internal sealed record Gpt2Step(double Seconds, long PeakBytes, double ProcessorSeconds, double Loss);

/// <summary>A model under training in a process of its own, one step at a time.</summary>
internal sealed class Gpt2Process : IDisposable
{
    private const string Verb = "gpt2-step", Go = "step";

    private readonly Process _process;
    private readonly Task<string> _errors;

    public Gpt2Process(Gpt2Request request)
    {
        Request = request;
        _process = ChildProcess.Start(Verb, JsonSerializer.Serialize(request));
        _errors = _process.StandardError.ReadToEndAsync();
    }

    public Gpt2Request Request { get; }

    /// <summary>One step.</summary>
    /// <exception cref="UserException">The process has ended.</exception>
    public Gpt2Step Step()
    {
        string what = $"{Request.Preset} with {Request.Attention.ToString().ToLowerInvariant()} attention at context {Request.Context}";
        string? answer;
        try
        {
            _process.StandardInput.WriteLine(Go);
            _process.StandardInput.Flush();
            answer = _process.StandardOutput.ReadLine();
        }
        catch (IOException)
        {
            answer = null;
        }
        if (answer is null)
        {
            _process.WaitForExit();
            throw ChildProcess.Failure(what, _process.ExitCode, _errors.Result);
        }
        return ChildProcess.Parse<Gpt2Step>(what, answer);
    }

    /// <summary>Ends it.</summary>
    public void Dispose()
    {
        try
        {
            _process.StandardInput.Close();
        }
        catch (IOException)
        {
            // It has ended already.
        }
        if (!_process.WaitForExit(TimeSpan.FromSeconds(30)))
            _process.Kill();
        _process.Dispose();
    }

    /// <summary>What the child runs: a step for every line it reads.</summary>
    public static Command Command()
    {
        var request = new Argument<string>("request");
        var command = new Command(Verb, "Trains a step for every line on standard input.") { request };
        command.Hidden = true;
        command.SetAction(parsed =>
        {
            Gpt2Request asked = JsonSerializer.Deserialize<Gpt2Request>(parsed.GetValue(request)!) ?? throw new UserException("gpt2-step takes a request.");
            set_num_threads(asked.Threads);
            GptConfig config = asked.Config;
            var options = new TrainingOptions { Steps = int.MaxValue, BatchSize = asked.Batch, LearningRate = 1e-4, ValidationWindows = 1 };
            Corpus corpus = Corpus.FromDocuments([""], new RandomTokens(config.VocabularySize, (int)(2 * config.Context / Corpus.ValidationShare)), "random tokens");
            using var trainer = new Trainer(config, options, corpus, asked.Attention);
            using var process = Process.GetCurrentProcess();
            while (Console.In.ReadLine() == Go)
            {
                StepResult? result = null;
                double seconds = Measure.Seconds(() => result = trainer.TrainStep());
                process.Refresh();
                parsed.InvocationConfiguration.Output.WriteLine(JsonSerializer.Serialize(new Gpt2Step(seconds, process.PeakWorkingSet64, process.TotalProcessorTime.TotalSeconds, result!.Value.Loss)));
            }
        });
        return command;
    }

    /// <summary>A text of any vocabulary: what a step costs does not depend on what it says.</summary>
    private sealed class RandomTokens(int vocabularySize, int count) : ITokenizer
    {
        public int VocabularySize => vocabularySize;

        public int? EndOfText => null;

        public int[] Encode(ReadOnlySpan<byte> text)
        {
            var random = new Random(1);
            return [.. Enumerable.Range(0, count).Select(_ => random.Next(vocabularySize))];
        }

        public ReadOnlySpan<byte> Bytes(int token) => [];
    }
}
